#!/usr/bin/env python3
"""Scores of whole calls as the program streams them, held to the same models run on what `warmline features` writes: the training side.

    parity.py --warmline target/release/warmline [CALL.wav ...]

Prints the largest difference of a raw probability, for each model and call, and ends with 1 where it is above 1e-3.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "models" / "train"))

from warmline_train import streaming  # noqa: E402
from warmline_train.runtime import session as open_session  # noqa: E402

MOST = 1e-3


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--warmline", default=ROOT / "target/release/warmline")
    p.add_argument("calls", nargs="*", type=Path, default=[ROOT / "fixtures/calls" / n for n in ("escalating.wav", "loud_but_happy.wav", "mostly_silence.wav")])
    a = p.parse_args()
    worst = 0.0
    for card_file in sorted(f for f in (ROOT / "models").glob("*.json") if f.with_suffix(".onnx").exists()):
        card = json.loads(card_file.read_text())
        session = open_session(card_file.with_suffix(".onnx"))
        for path in a.calls:
            lines = subprocess.run([a.warmline, "replay", "--json", "--model", card_file, path], check=True, capture_output=True, text=True).stdout
            told = [e for e in map(json.loads, lines.splitlines()) if e["type"] == "score"]
            call = streaming.Call(a.warmline, path, "left", card)
            logits = [float(session.run(["logits"], streaming.padded(card, call.window(e["t"])))[0][0, 0]) for e in told]
            difference = max((abs(e["raw"] - 1 / (1 + np.exp(-x))) for e, x in zip(told, logits)), default=0.0)
            worst = max(worst, difference)
            print(f"{card_file.stem}, {path.name}: {len(told)} scores, largest difference {difference:.1e}", flush=True)
            if not told:
                print("parity: no scores to compare", file=sys.stderr)
                return 1
    print(f"largest difference {worst:.1e}, allowed {MOST:.0e}")
    return int(worst > MOST)


if __name__ == "__main__":
    sys.exit(main())
