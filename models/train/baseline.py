#!/usr/bin/env python3
"""openSMILE's eGeMAPSv02 functionals and a support vector machine, on the folds of train.py: what the models are held against.

    baseline.py --work DIR [--jobs N]

DIR is the folder train.py worked in: the same clips through the same telephones, the same folds. Writes DIR/egemaps/figures.json.
Needs opensmile==2.6.0 (its licence allows research use). Eyben et al. 2016, IEEE Trans. Affective Computing 7(2).
"""

import argparse
import json
import multiprocessing
import sys
import warnings
from pathlib import Path

import numpy as np
import opensmile
import pandas as pd
import soundfile as sf
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import evaluate
from prepare import CLEAN, RATE
from train import SPEAKER_FOLDS, folds


def functionals(job):
    """The 88 functionals of each clip of one call."""
    path, starts = job
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    x, _ = sf.read(path, dtype="float32")
    at = [round(s * RATE) for s in starts] + [len(x)]
    return np.concatenate([smile.process_signal(x[max(0, a) : b], RATE).to_numpy(np.float32) for a, b in zip(at, at[1:])])


def describe(a, clips):
    kept = a.work / "egemaps" / "clean.npy"
    kept.parent.mkdir(exist_ok=True)
    if not kept.exists():
        jobs = [(a.work / "audio" / name, part.start_s.tolist()) for name, part in clips.groupby("file", sort=False)]
        with multiprocessing.get_context("fork").Pool(a.jobs) as pool:
            parts = []
            for i, part in enumerate(pool.imap(functionals, jobs, chunksize=8)):
                parts.append(part)
                if i % 200 == 0:
                    print(f"egemaps: {i}/{len(jobs)} calls", flush=True)
        np.save(kept, np.concatenate(parts))
    return np.load(kept)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", type=Path, default=Path(".warmline/train"))
    p.add_argument("--seed", type=int, default=7)
    p.add_argument("--speaker-folds", type=int, default=SPEAKER_FOLDS)
    p.add_argument("--bootstrap", type=int, default=500)
    p.add_argument("--jobs", type=int, default=2)
    a = p.parse_args()
    warnings.filterwarnings("ignore")
    clips = pd.read_csv(a.work / "calls.csv", keep_default_na=False)
    clips = clips[(clips["copy"] == CLEAN) & (clips.kind == "clip")].reset_index(drop=True)
    x, anger = describe(a, clips), (clips.emotion == "anger").astype(int)
    figures = {}
    for protocol, k, held_out in folds(a, clips):
        svm = make_pipeline(StandardScaler(), SVC(C=1.0, class_weight="balanced", cache_size=1000))
        svm.fit(x[~held_out], anger[~held_out])
        table = clips[held_out].assign(anger=anger[held_out], logit=svm.decision_function(x[held_out]))
        figures.setdefault(protocol, []).append(table)
        print(f"egemaps, {protocol} {k}: {len(table)} clips", flush=True)
    figures = {protocol: evaluate.mean_over_corpora(pd.concat(tables, ignore_index=True), a.bootstrap, a.seed) for protocol, tables in figures.items()}
    print(json.dumps(figures, indent=1))
    (a.work / "egemaps" / "figures.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    sys.exit(main())
