#!/usr/bin/env python3
"""Whole calls of callers, languages and rooms that no net has heard, each with the models trained without them: a suite for `warmline evaluate`.

    calls.py --corpora DIR --make-calls make_calls.py [--work DIR] [--calls N] [--seed S] [--stages watch confirm]
    warmline evaluate DIR/calls/suite.csv

For each group of corpora, the nets that `train.py` trained without it become model files whose calibration comes from the other
groups; make_calls.py makes calls out of the group's clips. The suite's column `models` names the cards each call is to be scored
by. `--work` is the folder that train.py worked in.
"""

import argparse
import csv
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd

import data
import evaluate
import train


def export(a, stage, k, folder):
    """The fold's net as a model file with its card: the path of the card."""
    name, work = stage.__name__, a.work / stage.__name__
    path = folder / f"{name}.onnx"
    if not path.with_suffix(".json").exists():
        frames, clips = data.load(work, stage)
        heard = data.training_clips(clips[(clips.kind == "clip") & ~clips.corpus.isin(train.GROUPS[k])])
        sample = heard.sample(256, random_state=a.seed)
        stage.export(train.trained(stage, work / f"unseen_corpora-{k}.pt"), path, 1, data.windows(frames, data.whole_clips(sample)[0][:256]))
        others = [pd.read_csv(work / f"unseen_corpora-{i}.csv", keep_default_na=False) for i in range(len(train.GROUPS)) if i != k]
        told = pd.concat(others, ignore_index=True)
        calibration = evaluate.calibrate(told[told.kind == "clip"].reset_index(drop=True), a.seed, stage.CALLS)
        card = train.card_of(stage, path, 1, calibration) | {"version": f"unseen-corpora-{k}"}
        path.with_suffix(".json").write_text(json.dumps(card))
    return path.with_suffix(".json")


def suite_of(a, k):
    """Calls of the group's speakers: the folder with suite.csv."""
    folder = a.work / "calls" / f"suite-{k}-{a.seed}-{a.calls}"
    if not (folder / "suite.csv").exists():
        make = [sys.executable, a.make_calls, "--corpora", a.corpora, "--out", folder, "--calls", a.calls, "--seed", a.seed + k]
        subprocess.run([*map(str, make), "--corpus", *sorted(train.GROUPS[k])], check=True, stdout=subprocess.DEVNULL)
    return folder


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--corpora", type=Path, required=True)
    p.add_argument("--make-calls", type=Path, required=True)
    p.add_argument("--work", type=Path, default=Path(".warmline/train"))
    p.add_argument("--calls", type=int, default=60, help="calls a group")
    p.add_argument("--seed", type=int, default=7)
    p.add_argument("--stages", nargs="+", default=["watch", "confirm"])
    p.add_argument("--groups", type=int, nargs="*", default=list(range(len(train.GROUPS))))
    a = p.parse_args()
    rows = []
    for k in a.groups:
        folder = a.work / "calls" / f"model-{k}"
        folder.mkdir(parents=True, exist_ok=True)
        cards = [export(a, importlib.import_module(stage), k, folder) for stage in a.stages]
        suite = suite_of(a, k)
        for row in csv.DictReader(open(suite / "suite.csv")):
            models = " ".join(str(card.relative_to(a.work / "calls")) for card in cards)
            rows.append(row | {"file": f"{suite.name}/{row['file']}", "models": models})
    out = a.work / "calls" / "suite.csv"
    with open(out, "w", newline="") as f:
        writer = csv.DictWriter(f, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} calls: {out}")


if __name__ == "__main__":
    main()
