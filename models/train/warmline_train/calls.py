"""Whole calls of unseen corpora, each scored by the models trained without its corpus: a suite for `warmline evaluate`.

    python -m warmline_train calls --corpora DIR --make-calls make_calls.py --work DIR
    warmline evaluate DIR/calls/suite.csv

For each group of corpora, the nets that `train` trained without it become model files whose calibration comes from the
other groups; make_calls.py makes calls out of the group's clips. The suite's column `models` names the cards that score
each call.
`--work` is the folder that `train` worked in.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from warmline_train import card, data
from warmline_train.calibration import calibrate
from warmline_train.fit import trained
from warmline_train.folds import GROUPS, is_speech, is_training_copy
from warmline_train.stages import STAGES, Stage

QUANTISATION_WINDOWS = 256


@dataclass(frozen=True)
class Options:
    """The command line."""

    corpora: Path
    make_calls: Path
    work: Path
    calls: int
    seed: int
    stages: list[str]
    groups: list[int]

    @property
    def folder(self) -> Path:
        return self.work / "calls"


def export(o: Options, stage: Stage, k: int, folder: Path) -> Path:
    """The net that was trained without group `k`, as a model file with its card: the path of the card."""
    spec, work = stage.spec, o.work / stage.spec.key
    path = folder / f"{spec.key}.onnx"
    if not path.with_suffix(".json").exists():
        frames, clips = data.load(work, spec)
        training = clips[is_speech(clips) & ~clips.corpus.isin(sorted(GROUPS[k])) & is_training_copy(clips)]
        sample = training.sample(QUANTISATION_WINDOWS, random_state=o.seed)
        windows = data.windows(frames, data.whole_clips(sample)[0][:QUANTISATION_WINDOWS])
        stage.export(trained(stage, work / f"unseen_corpora-{k}.pt"), path, 1, windows)
        others = [work / f"unseen_corpora-{i}.csv" for i in range(len(GROUPS)) if i != k]
        scores = pd.concat([pd.read_csv(other, keep_default_na=False) for other in others], ignore_index=True)
        calibration = calibrate(scores[scores.kind == "clip"].reset_index(drop=True), o.seed, spec.clips_to_calls)
        card.write(card.model_card(spec, path, 1, calibration, f"unseen-corpora-{k}"), path.with_suffix(".json"))
    return path.with_suffix(".json")


def suite_of(o: Options, k: int) -> Path:
    """Calls of the group's speakers: the folder with suite.csv."""
    folder = o.folder / f"suite-{k}-{o.seed}-{o.calls}"
    if not (folder / "suite.csv").exists():
        options = ["--corpora", o.corpora, "--out", folder, "--calls", o.calls, "--seed", o.seed + k]
        command = [sys.executable, o.make_calls, *options, "--corpus", *sorted(GROUPS[k])]
        fixed = os.environ | {"PYTHONHASHSEED": "0"}  # it draws from sets, in the order of hashes
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, env=fixed)
    return folder


def rows_of(o: Options, k: int) -> list[dict[str, str]]:
    """The group's calls with the cards that score them, paths relative to the joint suite."""
    folder = o.folder / f"model-{k}"
    folder.mkdir(parents=True, exist_ok=True)
    cards = [export(o, STAGES[stage], k, folder) for stage in o.stages]
    models = " ".join(str(path.relative_to(o.folder)) for path in cards)
    suite = suite_of(o, k)
    with open(suite / "suite.csv", newline="") as f:
        return [row | {"file": f"{suite.name}/{row['file']}", "models": models} for row in csv.DictReader(f)]


def options() -> Options:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--corpora", type=Path, required=True)
    p.add_argument("--make-calls", type=Path, required=True)
    p.add_argument("--work", type=Path, default=Path(".warmline/train"))
    p.add_argument("--calls", type=int, default=60, help="calls a group")
    p.add_argument("--seed", type=int, default=7)
    p.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES))
    p.add_argument("--groups", type=int, nargs="*", default=list(range(len(GROUPS))))
    return Options(**vars(p.parse_args()))


def main() -> int:
    o = options()
    rows = [row for k in o.groups for row in rows_of(o, k)]
    out = o.folder / "suite.csv"
    with open(out, "w", newline="") as f:
        writer = csv.DictWriter(f, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} calls: {out}")
    return 0
