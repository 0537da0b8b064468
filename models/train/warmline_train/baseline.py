"""openSMILE's eGeMAPSv02 functionals and a support vector machine on the folds of `train`: the models' reference.

    python -m warmline_train baseline --work DIR

DIR is the folder `train` worked in: the same clips through the same telephones, the same folds. Writes
DIR/egemaps/figures.json. Needs opensmile==2.6.0 (its licence allows research use). Eyben et al. 2016, IEEE Trans.
Affective Computing 7(2).
"""

from __future__ import annotations

import argparse
import json
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import opensmile
import pandas as pd
import soundfile as sf
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from warmline_train.figures import mean_over_corpora
from warmline_train.folds import CLEAN, SPEAKER_FOLDS, make_folds
from warmline_train.telephone import RATE
from warmline_train.workers import in_order

Call = tuple[Path, list[float]]  # the file, and where its clips begin in seconds


def functionals(call: Call) -> NDArray[np.float32]:
    """The 88 functionals of each clip of one call."""
    path, starts = call
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    x, _ = sf.read(path, dtype="float32")
    at = [round(s * RATE) for s in starts] + [len(x)]
    parts = [smile.process_signal(x[max(0, a) : b], RATE).to_numpy(np.float32) for a, b in pairwise(at)]
    return np.concatenate(parts)


def describe(work: Path, clips: pd.DataFrame, workers: int) -> NDArray[np.float32]:
    """The functionals of all clips, computed once."""
    kept = work / "egemaps" / "clean.npy"
    kept.parent.mkdir(exist_ok=True)
    if not kept.exists():
        calls = [(work / "audio" / str(n), part.start_s.tolist()) for n, part in clips.groupby("file", sort=False)]
        parts = []
        for i, part in enumerate(in_order(functionals, calls, workers, chunk=8)):
            parts.append(part)
            if i % 200 == 0:
                print(f"egemaps: {i}/{len(calls)} calls", flush=True)
        np.save(kept, np.concatenate(parts))
    return np.load(kept)


def main() -> int:
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
    x, anger = describe(a.work, clips, a.jobs), (clips.emotion == "anger").astype(int)
    tables: dict[str, list[pd.DataFrame]] = {}
    for fold in make_folds(clips, a.seed, a.speaker_folds):
        held_out = fold.held_out
        svm = make_pipeline(StandardScaler(), SVC(C=1.0, class_weight="balanced", cache_size=1000))
        svm.fit(x[~held_out], anger[~held_out])
        table = clips[held_out].assign(anger=anger[held_out], logit=svm.decision_function(x[held_out]))
        tables.setdefault(fold.protocol, []).append(table)
        print(f"egemaps, {fold.protocol} {fold.number}: {len(table)} clips", flush=True)
    figures = {
        protocol: mean_over_corpora(pd.concat(parts, ignore_index=True), a.bootstrap, a.seed)
        for protocol, parts in tables.items()
    }
    print(json.dumps(figures, indent=1))
    (a.work / "egemaps" / "figures.json").write_text(json.dumps(figures, indent=1))
    return 0
