"""From a manifest of labelled clips to a model and its card, in steps that are not repeated when their result is there.

    python -m warmline_train train --stage watch --corpora DIR --warmline warmline --work DIR --out models

The corpora hold manifest.csv (id, corpus, path, speaker, gender, language, emotion, licence, and text where known) and
noise/manifest.csv. Steps: telephone (WAV files), features (what `warmline features` writes: nothing else is read),
pack, folds (unseen corpora, permissive data, unseen speakers), final, card. Delete a step's files in the work directory
to run it again. The same seed on the same machine gives the same model.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from numpy.typing import NDArray

from warmline_train import card, data, features, figures
from warmline_train.calibration import calibrate
from warmline_train.export import examine
from warmline_train.fit import FitJob, fit_all, trained
from warmline_train.folds import (
    CLEAN,
    PERMISSIVE,
    check_fold,
    final_fold,
    is_speech,
    is_training_copy,
    make_folds,
)
from warmline_train.options import Options, options
from warmline_train.prepare import prepare

QUANTISATION_WINDOWS = 256


def telephone(o: Options) -> pd.DataFrame:
    """The index of the calls, which are made unless they are there."""
    index = o.work / "calls.csv"
    if not index.exists():
        calls = prepare(o.corpora, o.work / "audio", o.copies, o.seed, o.jobs, o.smoke, o.corpus)
        calls.to_csv(index, index=False)
    return pd.read_csv(index, keep_default_na=False)


def texts_of(manifest: pd.DataFrame) -> dict[str, str]:
    """{clip: words}, empty where the manifest has none."""
    return dict(zip(manifest.id, manifest.text, strict=True)) if "text" in manifest else {}


def fit_jobs(o: Options, frames: NDArray, clips: pd.DataFrame, texts: Mapping[str, str]) -> list[FitJob]:
    """The folds that were asked for, each checked for leaks, and the final model."""
    wanted = [fold for fold in make_folds(clips, o.seed, o.speaker_folds) if fold.among(o.protocols)]
    for fold in wanted:
        check_fold(clips, fold, texts)
    return [FitJob(o.stage, o.folder, frames, clips, f, o.steps, o.seed) for f in (*wanted, final_fold(clips))]


def publish(
    o: Options,
    name: str,
    weights: Path,
    frames: NDArray,
    clips: pd.DataFrame,
    held_out: pd.DataFrame,
    metrics: Mapping[str, Any],
    manifest: pd.DataFrame,
) -> None:
    """Writes a trained net as a model file with its card; `held_out` are the scores its calibration comes from."""
    spec = o.stage.spec
    model = trained(o.stage, weights)
    held_out = held_out[held_out.kind == "clip"].reset_index(drop=True)
    calibration = calibrate(held_out, o.seed, spec.clips_to_calls)
    path = o.out / f"{name}.onnx"
    speech = clips[is_speech(clips) & is_training_copy(clips)]
    sample = speech.sample(QUANTISATION_WINDOWS, random_state=o.seed, replace=True)
    windows = data.windows(frames, data.whole_clips(sample)[0][:QUANTISATION_WINDOWS])
    o.stage.export(model, path, o.lanes, windows)
    used = clips[is_speech(clips) & (clips["copy"] == CLEAN)]
    licence = manifest.drop_duplicates("corpus").set_index("corpus").licence
    sources = [
        {"corpus": corpus, "licence": licence[corpus], "speakers": int(own.speaker.nunique()), "clips": len(own)}
        for corpus, own in used.groupby("corpus")
    ]
    parameters = sum(p.numel() for p in model.parameters())
    made = card.model_card(
        spec,
        path,
        o.lanes,
        calibration,
        metrics=metrics,
        runtime=examine(o.stage, model, path, o.lanes, windows, o.seed),
        training=card.training_facts(spec, o.shown(), o.seed, o.steps, parameters, sources),
    )
    card.write(made, path.with_suffix(".json"))
    print(name, json.dumps({key: made[key] for key in ("calibration", "runtime")}, indent=1))


def main() -> int:
    o = options(__doc__)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for folder in (o.folder, o.out):
        folder.mkdir(parents=True, exist_ok=True)
    spec = o.stage.spec
    if not (o.folder / "clips.csv").exists():
        index = telephone(o)
        features.pack(index, features.extract(spec, o.warmline, o.work, index, o.jobs), o.folder, spec)
    frames, clips = data.load(o.folder, spec)
    print(
        f"{len(clips)} clips in {clips['copy'].nunique()} copies, {len(frames) / 360000:.1f} h of speech frames",
        flush=True,
    )

    manifest = pd.read_csv(o.corpora / "manifest.csv", keep_default_na=False)
    jobs = fit_jobs(o, frames, clips, texts_of(manifest))
    scores = fit_all(jobs, o.jobs)
    metrics = figures.of_protocols(scores, o.bootstrap, o.seed)
    held_out = scores.get("unseen_corpora", next(iter(scores.values())))
    publish(o, o.name, o.folder / "final-0.pt", frames, clips, held_out, metrics, manifest)
    if "permissive_data" in scores:
        own = {"permissive_data": metrics["permissive_data"]}
        weights, used = o.folder / "permissive_data-0.pt", clips[clips.corpus.isin(sorted(PERMISSIVE))]
        publish(o, f"permissive-{o.name}", weights, frames, used, scores["permissive_data"], own, manifest)
    for protocol, conditions in metrics.items():
        for condition in ("clean_telephone", "noisy_telephone"):
            print(protocol, condition, json.dumps(conditions[condition]["mean_over_corpora"]))
    return 0
