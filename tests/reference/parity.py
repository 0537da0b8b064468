#!/usr/bin/env python3
"""Scores of whole calls as the program streams them, held to the same models run on what `warmline features` writes: the training side.

    parity.py --warmline target/release/warmline [CALL.wav ...]

Prints the largest difference of a raw probability, for each model and call, and ends with 1 where it is above 1e-3.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

ROOT = Path(__file__).resolve().parents[2]
MOST = 1e-3
LIFETIME_S = 20.0  # silence after which a window is forgotten
STEP_S = 0.01


def features(warmline, call, feature_set, folder):
    command = [warmline, "features", "--npy", "--set", feature_set, "--caller-channel", "left", "--out", folder, call]
    subprocess.run(command, check=True)
    names = json.loads((Path(folder) / "columns.json").read_text())["columns"]
    return names, np.load(Path(folder) / f"{call.stem}.npy")


def windows(card, names, frames, speech_at, times):
    """For each time the last frames of speech that had been heard."""
    if "speech" in names:
        frames = frames[frames[:, names.index("speech")] > 0.5]
        reach = 0
    else:
        reach = 2  # a frame of the log-mel needs two hops of speech after its own
    chosen = [names.index(name) for name in card["features"]]
    pauses = np.flatnonzero(np.diff(speech_at) > LIFETIME_S) + 1
    for t in times:
        end = np.searchsorted(speech_at, t - STEP_S / 2)
        begin = pauses[pauses < end].max(initial=0)
        yield frames[max(begin, end - reach - card["window_frames"]) : end - reach][:, chosen]


def raw(session, card, window):
    x = np.zeros((card["lanes"], card["window_frames"], len(card["features"])), np.float32)
    mask = np.zeros((card["lanes"], card["window_frames"]), np.float32)
    x[0, : len(window)], mask[0, : len(window)] = window, 1
    logit = session.run(None, {"frames": x, "mask": mask})[0][0, 0]
    return 1 / (1 + np.exp(-float(logit)))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--warmline", default=ROOT / "target/release/warmline")
    p.add_argument("calls", nargs="*", type=Path, default=[ROOT / "fixtures/calls" / n for n in ("escalating.wav", "loud_but_happy.wav", "mostly_silence.wav")])
    a = p.parse_args()
    worst = 0.0
    for card_file in sorted((ROOT / "models").glob("*.json")):
        card = json.loads(card_file.read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(card_file.with_suffix(".onnx"), options, providers=["CPUExecutionProvider"])
        for call in a.calls:
            lines = subprocess.run([a.warmline, "replay", "--json", "--model", card_file, call], check=True, capture_output=True, text=True).stdout
            told = [e for e in map(json.loads, lines.splitlines()) if e["type"] == "score"]
            with tempfile.TemporaryDirectory() as folder:
                every, heard = features(a.warmline, call, "prosody/1", folder)
                speech_at = heard[heard[:, every.index("speech")] > 0.5][:, 0].astype(float)
                names, frames = features(a.warmline, call, card["feature_set"], folder)
            mine = [raw(session, card, w) for w in windows(card, names, frames, speech_at, [e["t"] for e in told])]
            difference = max((abs(e["raw"] - r) for e, r in zip(told, mine)), default=0.0)
            worst = max(worst, difference)
            print(f"{card['name']} {card['version']}, {call.name}: {len(told)} scores, largest difference {difference:.1e}")
            if not told:
                print("parity: no scores to compare", file=sys.stderr)
                return 1
    print(f"largest difference {worst:.1e}, allowed {MOST:.0e}")
    return int(worst > MOST)


if __name__ == "__main__":
    sys.exit(main())
