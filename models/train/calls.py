#!/usr/bin/env python3
"""Whole calls of callers, languages and rooms the model has never heard: what the program decides, as the program decides it.

    calls.py --corpora DIR --make-calls make_calls.py --warmline warmline [--work DIR] [--calls N] [--seed S] [--enter P ...]
    calls.py --suite DIR [--model CARD.json] [--warmline warmline] [--enter P ...]

For each group of corpora, the net that `train.py` trained without it becomes a model whose calibration comes from the other groups;
make_calls.py makes calls out of the group's clips, and `warmline replay` plays them under the built-in policy with each
`enter`. Detected: a transfer within 10 s of caller speech after the first angry utterance began. A false alarm: a transfer in a calm
call, or before that. Prints a Markdown table. `--work` is the folder that train.py worked in. With `--suite`, the calls of one folder
(suite.csv and the WAV files it names) under one model, the shipped one if none is named, which has heard every corpus.
"""
import argparse
import csv
import hashlib
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pandas as pd
import torch

import evaluate
import net
from train import GROUPS

WITHIN_S = 10.0  # of caller speech
HYSTERESIS = 0.2


def model_of(a, k):
    """The fold's net as a model file with its card: the path of the card."""
    folder = a.work / "calls" / f"model-{k}"
    folder.mkdir(parents=True, exist_ok=True)
    watch = net.Watch(a.width)
    watch.load_state_dict(torch.load(a.work / f"unseen_corpora-{k}.pt"))
    net.export(watch.eval(), folder / "watch.onnx", 1)
    others = [pd.read_csv(a.work / f"unseen_corpora-{i}.csv", keep_default_na=False) for i in range(len(GROUPS)) if i != k]
    clips = pd.concat(others, ignore_index=True)
    calibration, _ = evaluate.calibrate(clips[clips.kind == "clip"].reset_index(drop=True), a.seed)
    card = json.loads((Path(__file__).parent.parent / "watch.json").read_text())
    card |= {"version": f"unseen-corpora-{k}", "calibration": calibration, "metrics": {}, "training": {}}
    card["sha256"] = hashlib.sha256((folder / "watch.onnx").read_bytes()).hexdigest()
    (folder / "watch.json").write_text(json.dumps(card))
    return folder / "watch.json"


def suite_of(a, k):
    """Calls of the group's speakers: the folder with suite.csv."""
    folder = a.work / "calls" / f"suite-{k}-{a.seed}-{a.calls}"
    if not (folder / "suite.csv").exists():
        make = [sys.executable, a.make_calls, "--corpora", a.corpora, "--out", folder, "--calls", a.calls, "--seed", a.seed + k]
        subprocess.run([*map(str, make), "--corpus", *sorted(GROUPS[k])], check=True, stdout=subprocess.DEVNULL)
    return folder


def replay(a, folder, card, enter):
    """{file: what happened in the call} under the built-in policy with this `enter`."""
    policy = Path(tempfile.gettempdir()) / f"warmline-enter-{enter}.toml"
    policy.write_text(f'version = "enter-{enter}"\n[frustration]\nenter = {enter}\nexit = {max(0.0, enter - HYSTERESIS):.3f}\n')
    done = subprocess.run([a.warmline, "replay", "--json", "--model", card, "--policy", policy, folder], check=True, capture_output=True, text=True)
    calls = {}
    for event in map(json.loads, done.stdout.splitlines()):
        if event["type"] == "call_started":
            call = calls[event["file"]] = {"speech": [(0.0, 0.0)], "at": None}
        elif event["type"] == "score":
            call["speech"].append((event["t"], event["speech_s"]))
        elif event["type"] == "transfer":
            call["at"] = event["t"]
        elif event["type"] == "call_ended":
            call["speech_s"] = event["caller_speech_s"]
    return calls


def spoken_by(call, t):
    return max(speech for at, speech in call["speech"] if at <= t)


def judge(rows, calls):
    """Counts of one suite: detected, escalating calls, false alarms by scenario, hours of caller speech, delays."""
    detected, escalating, alarms, hours, delays = 0, 0, Counter(), 0.0, []
    for row in rows:
        call, at = calls[row["file"]], calls[row["file"]]["at"]
        onset = float(row["onset_s"]) if row["label"] == "escalate" else float("inf")
        hours += call["speech_s"] / 3600
        escalating += row["label"] == "escalate"
        if at is not None and at < onset:
            alarms[row["scenario"]] += 1
        if row["label"] == "escalate":
            heard = at is not None and at >= onset
            detected += heard and spoken_by(call, at) - spoken_by(call, onset) <= WITHIN_S
            delays.append(at - onset if heard else float("inf"))
    return detected, escalating, alarms, hours, delays


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--corpora", type=Path)
    p.add_argument("--make-calls", type=Path)
    p.add_argument("--suite", type=Path, help="judge these calls alone")
    p.add_argument("--model", type=Path, default=Path(__file__).parent.parent / "watch.json", help="with --suite: the card of the model")
    p.add_argument("--warmline", default="warmline")
    p.add_argument("--work", type=Path, default=Path(".warmline/train"))
    p.add_argument("--calls", type=int, default=60, help="calls a group")
    p.add_argument("--width", type=int, default=96)
    p.add_argument("--seed", type=int, default=7)
    p.add_argument("--enter", type=float, nargs="*", default=[0.6, 0.65, 0.7, 0.75, 0.8, 0.85])
    a = p.parse_args()
    if not a.suite and not (a.corpora and a.make_calls):
        p.error("say either --suite, or --corpora and --make-calls")
    folds = [(a.suite, a.model)] if a.suite else [(suite_of(a, k), model_of(a, k)) for k in range(len(GROUPS))]
    rows = [list(csv.DictReader(open(folder / "suite.csv"))) for folder, _ in folds]
    print(f"{sum(map(len, rows))} calls" + (f" of unseen corpora, seed {a.seed}\n" if not a.suite else "\n"))
    print("| enter | detected within 10 s of caller speech | false alarms per hour of caller speech | median delay, s | false alarms by scenario |")
    print("|---|---|---|---|---|")
    for enter in a.enter:
        parts = [judge(r, replay(a, folder, card, enter)) for r, (folder, card) in zip(rows, folds)]
        detected, escalating, hours = (sum(part[i] for part in parts) for i in (0, 1, 3))
        alarms = sum((part[2] for part in parts), Counter())
        delays = sorted(d for part in parts for d in part[4])
        by = ", ".join(f"{scenario} {n}" for scenario, n in sorted(alarms.items()))
        print(f"| {enter:.2f} | {detected / escalating:.0%} of {escalating} | {alarms.total() / hours:.1f} in {hours:.2f} h | {delays[len(delays) // 2]:.1f} | {by} |", flush=True)


if __name__ == "__main__":
    main()
