#!/usr/bin/env python3
"""From a manifest of labelled clips to a model and its card, in steps that are not repeated when their result is there.

    train.py --stage watch|confirm --corpora DIR --warmline 'warmline' --work DIR --out models [--corpus NAME ...] [--smoke]

DIR holds manifest.csv (id, corpus, path, speaker, gender, language, emotion, licence) and noise/manifest.csv. Steps: telephone
(WAV files), features (what `warmline features` writes: nothing else is read), pack, folds (protocols 1 and 2), final, card.
Delete a step's files in the work directory to run it again. The same seed on the same machine gives the same model.
"""

import argparse
import hashlib
import importlib
import json
import multiprocessing
import shlex
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import torch

import data
import evaluate
from prepare import CLEAN, NOISY, prepare

GROUPS = [{"ravdess", "tess", "fsdd"}, {"emodb", "turev"}, {"nemo", "baved"}, {"banglaser", "emotiontts"}, {"ased"}]  # no language in two
PERMISSIVE = {"banglaser", "fsdd"}  # licences that allow commercial use
SPEAKER_FOLDS = 3


def telephone(a):
    index = a.work / "calls.csv"
    if not index.exists():
        prepare(a.corpora, a.work / "audio", a.copies, a.seed, a.jobs, a.smoke, a.corpus).to_csv(index, index=False)
    return pd.read_csv(index, keep_default_na=False)


def features(a, index):
    name = a.stage.FEATURE_SET.replace("/", "-")
    out, done = a.work / f"features-{name}", a.work / f"features-{name}.done"
    if done.exists():
        return out
    names = index.file.unique()
    (a.work / "files.txt").write_text("".join(f"{a.work / 'audio' / n}\n" for n in names))
    options = ["--npy", "--set", a.stage.FEATURE_SET, "--out", str(out), "--caller-channel", "mono", "--jobs", str(a.jobs)]
    command = [*shlex.split(a.warmline), "features", *options, f"@{a.work / 'files.txt'}"]
    print("features:", shlex.join(command), flush=True)
    subprocess.run(command, check=True)
    done.touch()
    return out


@torch.no_grad()
def score(model, frames, clips):
    """The clips with the logit of the mean probability of their windows, for each head."""
    spans, owner = data.whole_clips(clips)
    lengths = np.array([end - start for start, end in spans])
    logits = np.zeros((len(spans), 2), np.float32)
    by_length = np.argsort(lengths, kind="stable")
    for some in np.array_split(by_length, max(1, len(spans) // 64)):
        longest = -(-lengths[some].max() // 4) * 4  # both nets pool frames, by two and by four
        x, mask = data.windows(frames, [spans[i] for i in some], min(longest, data.WINDOW))
        logits[some] = model(torch.from_numpy(x), torch.from_numpy(mask)).numpy()
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    mean = np.stack([np.bincount(owner, p[:, k]) / np.bincount(owner) for k in range(p.shape[1])], axis=1).clip(1e-9, 1 - 1e-9)
    logit = np.log(mean / (1 - mean))
    return clips.assign(anger=(clips.emotion == "anger").astype(int), logit=logit[:, 0], speech_logit=logit[:, 1])


def folds(a, clips):
    """(protocol, number, held-out clips): groups of corpora, all but the permissive corpora, and speakers within each corpus."""
    speech = clips[clips.kind == "clip"]
    rng = np.random.default_rng(a.seed)
    fold_of = {}
    for _, speakers in speech.groupby("corpus").speaker:
        for i, s in enumerate(rng.permutation(sorted(speakers.unique()))):
            fold_of[s] = i % a.speaker_folds
    known = set().union(*GROUPS)
    groups = [g for g in GROUPS if g & set(speech.corpus)] + [{c} for c in sorted(set(speech.corpus) - known)]
    by_speaker = clips.speaker.map(fold_of)
    out = [("unseen_corpora", k, clips.corpus.isin(g)) for k, g in enumerate(groups)] if len(groups) > 1 else []
    if PERMISSIVE < set(speech.corpus):
        out.append(("permissive_data", 0, (clips.kind == "clip") & ~clips.corpus.isin(PERMISSIVE)))
    return out + [("unseen_speakers", k, by_speaker == k) for k in range(a.speaker_folds)]


def fit_and_score(job):
    """One fold, or the final model when nothing is held out. Returns without work when its result is there."""
    a, frames, clips, (protocol, k, held_out) = job
    weights = a.folder / f"{protocol}-{k}.pt"
    if weights.exists():
        return
    torch.set_num_threads(1)  # a fold a core: cheaper than sharing one, and the sums have one order
    sampler = data.Sampler(frames, data.training_clips(clips[~held_out]), np.random.default_rng(a.seed + k))
    model = a.stage.train(sampler, a.steps, a.seed + k, f"{protocol} {k}")
    if protocol != "final":
        test = clips[(held_out | (clips.kind != "clip")) & clips["copy"].isin([CLEAN, NOISY])]
        table = score(model, frames, test.reset_index(drop=True)).assign(fold=k)
        table.to_csv(a.folder / f"{protocol}-{k}.csv", index=False)
        auc = {c: v["auc"] for c, v in evaluate.by_group(table[(table["copy"] == CLEAN) & (table.kind == "clip")], "corpus").items()}
        print(f"{protocol} {k}: AUC {auc}", flush=True)
    torch.save(model.state_dict(), weights)


def fit_all(a, frames, clips):
    """Trains the folds and the final model, `jobs` at a time. Returns each protocol's held-out scores."""
    jobs = [f for f in folds(a, clips) if f[0] in a.protocols or f"{f[0]}:{f[1]}" in a.protocols]
    jobs.append(("final", 0, pd.Series(False, index=clips.index)))
    global _JOBS
    _JOBS = [(a, frames, clips, job) for job in jobs]  # inherited by the forked workers
    with multiprocessing.get_context("fork").Pool(a.jobs) as pool:
        for _ in pool.imap_unordered(_fit_number, range(len(jobs)), chunksize=1):
            pass
    scores = {}
    for protocol, k, _ in jobs[:-1]:
        scores.setdefault(protocol, []).append(pd.read_csv(a.folder / f"{protocol}-{k}.csv", keep_default_na=False))
    return {protocol: pd.concat(parts, ignore_index=True) for protocol, parts in scores.items()}


def trained(stage, weights):
    model = stage.class_of()
    model.load_state_dict(torch.load(weights))
    return model.eval()


def _fit_number(i):
    fit_and_score(_JOBS[i])


def figures(a, scores):
    out = {}
    for protocol, table in scores.items():
        out[protocol] = {}
        for condition, copy in (("clean_telephone", CLEAN), ("noisy_telephone", NOISY)):
            clips = table[(table.kind == "clip") & (table["copy"] == copy)].reset_index(drop=True)
            out[protocol][condition] = {"mean_over_corpora": evaluate.mean_over_corpora(clips, a.bootstrap, a.seed), "corpus": evaluate.by_group(clips, "corpus")}
            if protocol == "unseen_corpora":
                out[protocol][condition]["threshold_transfer"] = evaluate.transfer(clips)
                out[protocol][condition]["after_an_opening"] = evaluate.after_an_opening(clips, a.seed)
            if copy == CLEAN:
                out[protocol][condition] |= {"gender": evaluate.by_group(clips, "gender"), "language": evaluate.by_group(clips, "language")}
                pairs = clips[clips.gender != ""].assign(pair=lambda t: t.corpus + " " + t.gender)
                out[protocol][condition]["corpus_and_gender"] = evaluate.by_group(pairs, "pair")
        heard = table[(table["copy"] == NOISY) & table.kind.isin(["clip", "non_speech"])]
        if heard.kind.nunique() == 2:
            y, s = (heard.kind == "clip").astype(int).to_numpy(), heard.speech_logit.to_numpy()
            out[protocol]["speech_head"] = {"auc": round(float(evaluate.roc_auc_score(y, s)), 4), "recall_at_fpr_5": round(float(evaluate.recall_at(y, s, 0.05)), 4), "non_speech_pieces": int(heard[heard.kind == "non_speech"]["clip"].nunique())}
    return out


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def only(row, lanes):
    """A batch with `row` first and empty lanes after it."""
    return np.concatenate([row[None], np.zeros((lanes - 1, *row.shape), np.float32)])


def examine(a, model, path, windows):
    """Facts about the file: agreement with PyTorch, gain invariance, rows alone and in company, cost."""
    x, mask = (part[:64].astype(np.float32) for part in windows)
    run = lambda s, x, mask, lanes: np.concatenate([s.run(None, {"frames": x[i : i + lanes], "mask": mask[i : i + lanes]})[0] for i in range(0, len(x), lanes)])
    one = session(path)
    logits = run(one, x, mask, 1)
    with torch.no_grad():
        against_torch = float(np.abs(model(torch.from_numpy(x), torch.from_numpy(mask)).numpy() - logits).max())
    shift = 0.0
    for gain in (-20, -7.3, 20):
        y = x.copy()
        levels = [i for i, name in enumerate(a.stage.FEATURES) if "mel_" in name]
        y[..., levels] += gain * a.stage.DECIBEL * mask[..., None]
        shift = max(shift, float(np.abs(run(one, y, mask, 1) - logits).max()))
    facts = {"max_difference_from_training_graph": against_torch, "max_logit_shift_at_20_db_gain": shift, "lanes": {}}
    for lanes in (1, 8, 32):
        other = path.with_name(f"{path.stem}-lanes-{lanes}.onnx") if lanes != a.lanes else path
        if lanes != a.lanes:
            a.stage.export(model, other, lanes, windows)
        s = session(other)
        batch = run(s, x, mask, lanes)
        shuffled = np.random.default_rng(a.seed).permutation(64)
        in_company = run(s, x[shuffled], mask[shuffled], lanes)
        alone = [s.run(None, {"frames": only(x[i], lanes), "mask": only(mask[i], lanes)})[0][0] for i in range(64)]
        times = []
        for _ in range(40):
            begun = time.perf_counter()
            s.run(None, {"frames": x[:lanes], "mask": mask[:lanes]})
            times.append((time.perf_counter() - begun) / lanes * 1e6)
        facts["lanes"][lanes] = {
            "rows_independent_of_company": bool(np.array_equal(in_company, batch[shuffled]) and np.array_equal(alone, batch)),
            "rows_equal_to_lanes_1": bool(np.array_equal(batch, logits)),
            "us_per_window_min": round(min(times)),
            "us_per_window_median": round(float(np.median(times))),
        }
        if lanes != a.lanes:
            other.unlink()
    return facts


def card_of(stage, path, lanes, calibration):
    """What a card must hold."""
    return {
        "schema": "warmline.model-card/1",
        "name": stage.NAME,
        "version": stage.VERSION,
        "contract": "warmline.score/1",
        "stage": stage.__name__,
        "feature_set": stage.FEATURE_SET,
        "features": stage.FEATURES,
        "window_frames": stage.WINDOW,
        "hop_frames": stage.HOP,
        "min_frames": stage.MIN_FRAMES,
        "lanes": lanes,
        "heads": stage.HEADS,
        "normalisation": stage.NORMALISATION,
        "calibration": calibration,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def publish(a, name, protocol, frames, clips, held_out, metrics):
    """Writes a trained net as a model file with its card; `held_out` are the scores its calibration comes from."""
    model = trained(a.stage, a.folder / f"{protocol}-0.pt")
    held_out = held_out[held_out.kind == "clip"].reset_index(drop=True)
    calibration = evaluate.calibrate(held_out, a.seed, a.stage.CALLS)
    path = a.out / f"{name}.onnx"
    sample = data.training_clips(clips[clips.kind == "clip"]).sample(256, random_state=a.seed, replace=True)
    windows = data.windows(frames, data.whole_clips(sample)[0][:256])
    a.stage.export(model, path, a.lanes, windows)
    used = clips[(clips.kind == "clip") & (clips["copy"] == CLEAN)]
    manifest = pd.read_csv(a.corpora / "manifest.csv", keep_default_na=False)
    licence = manifest.drop_duplicates("corpus").set_index("corpus").licence
    card = card_of(a.stage, path, a.lanes, calibration) | {
        "metrics": metrics,
        "runtime": examine(a, model, path, windows),
        "training": {
            "command": "python models/train/train.py " + shlex.join(shown_arguments(a)),
            "seed": a.seed,
            "steps": a.steps,
            "batch": a.stage.BATCH,
            "parameters": sum(p.numel() for p in model.parameters()),
            "data": [{"corpus": c, "licence": licence[c], "speakers": int(t.speaker.nunique()), "clips": len(t)} for c, t in used.groupby("corpus")],
        }
        | ({"pre_trained": a.stage.PRE_TRAINED} if hasattr(a.stage, "PRE_TRAINED") else {}),
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    print(name, json.dumps({key: card[key] for key in ("calibration", "runtime")}, indent=1))


def shown_arguments(a):
    """The arguments without this machine's paths."""
    out = ["--stage", a.stage.__name__, "--corpora", "CORPORA", "--warmline", "warmline", "--seed", str(a.seed), "--steps", str(a.steps), "--copies", str(a.copies), "--speaker-folds", str(a.speaker_folds), "--bootstrap", str(a.bootstrap)]
    return out + (["--corpus", *a.corpus] if a.corpus else []) + (["--smoke"] if a.smoke else [])


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--corpora", type=Path, required=True)
    p.add_argument("--warmline", default="warmline", help="the command whose `features` is run")
    p.add_argument("--work", type=Path, default=Path(".warmline/train"))
    p.add_argument("--out", type=Path, default=Path("models"))
    p.add_argument("--stage", choices=["watch", "confirm"], required=True, help="which of the two models")
    p.add_argument("--name", help="file name of the model and its card [the stage's]")
    p.add_argument("--corpus", nargs="*", help="train on these corpora alone")
    p.add_argument("--protocols", nargs="*", default=["unseen_corpora", "permissive_data", "unseen_speakers"], help="NAME, or NAME:FOLD for one of its folds")
    p.add_argument("--seed", type=int, default=7)
    p.add_argument("--copies", type=int, default=4, help="telephones each clip goes through: clean, noisy (tests only), augmented...")
    p.add_argument("--steps", type=int, help="[the stage's]")
    p.add_argument("--lanes", type=int, default=1)
    p.add_argument("--speaker-folds", type=int, default=SPEAKER_FOLDS)
    p.add_argument("--bootstrap", type=int, default=500)
    p.add_argument("--jobs", type=int, default=2)
    p.add_argument("--smoke", action="store_true", help="few clips, few steps: does it run?")
    a = p.parse_args()
    a.stage = importlib.import_module(a.stage)
    a.name, a.steps = a.name or a.stage.__name__, a.steps or a.stage.STEPS
    a.folder = a.work / a.name
    if a.smoke:
        a.copies, a.steps, a.speaker_folds, a.bootstrap = 2, 40, 2, 20
    return a


def main():
    a = arguments()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for d in (a.folder, a.out):
        d.mkdir(parents=True, exist_ok=True)
    if not (a.folder / "clips.csv").exists():
        index = telephone(a)
        data.pack(index, features(a, index), a.folder, a.stage)
    frames, clips = data.load(a.folder, a.stage)
    print(f"{len(clips)} clips in {clips['copy'].nunique()} copies, {len(frames) / 360000:.1f} h of speech frames", flush=True)

    scores = fit_all(a, frames, clips)
    metrics = figures(a, scores)
    publish(a, a.name, "final", frames, clips, scores.get("unseen_corpora", next(iter(scores.values()))), metrics)
    if "permissive_data" in scores:
        heard = clips[clips.corpus.isin(PERMISSIVE)]
        publish(a, f"permissive-{a.name}", "permissive_data", frames, heard, scores["permissive_data"], {"permissive_data": metrics["permissive_data"]})
    for protocol, conditions in metrics.items():
        for condition in ("clean_telephone", "noisy_telephone"):
            print(protocol, condition, json.dumps(conditions[condition]["mean_over_corpora"]))


if __name__ == "__main__":
    sys.exit(main())
