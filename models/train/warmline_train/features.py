"""Frames of every call, as `warmline features` writes them and as training reads them: one array on disk."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd

from warmline_train.stages.stage import StageSpec


def extract(spec: StageSpec, warmline: str, work: Path, index: pd.DataFrame, jobs: int) -> Path:
    """Runs `warmline features` over the calls of `work/audio`, once. Returns the folder with a file a call."""
    name = spec.feature_set.replace("/", "-")
    out, done = work / f"features-{name}", work / f"features-{name}.done"
    if done.exists():
        return out
    files = work / "files.txt"
    files.write_text("".join(f"{work / 'audio' / n}\n" for n in index.file.unique()))
    options = ["--npy", "--set", spec.feature_set, "--out", str(out), "--caller-channel", "mono", "--jobs", str(jobs)]
    command = [*shlex.split(warmline), "features", *options, f"@{files}"]
    print("features:", shlex.join(command), flush=True)
    subprocess.run(command, check=True)
    done.touch()
    return out


def pack(index: pd.DataFrame, features: Path, out: Path, spec: StageSpec) -> None:
    """Writes the speech frames of every call to `out/frames`, and `out/clips.csv`: the index with each clip's rows."""
    columns = json.loads((features / "columns.json").read_text())
    if columns["feature_set"] != spec.feature_set:
        raise SystemExit(f"features: {features} holds {columns['feature_set']}: expected {spec.feature_set}")
    names = columns["columns"]
    at, speech = names.index("at_s"), names.index("speech") if "speech" in names else None
    chosen = [names.index(name) for name in spec.features]
    rows, total = [], 0
    with open(out / "frames", "wb") as f:
        for name, clips in index.groupby("file", sort=False):
            frames = np.load(features / f"{str(name)[:-4]}.npy")
            # Of non-speech every frame is kept, so that the speech head also learns what the speech gate would stop.
            if speech is not None and clips.kind.iloc[0] != "non_speech":
                frames = frames[frames[:, speech] > 0.5]
            f.write(np.ascontiguousarray(frames[:, chosen], dtype=spec.stored).tobytes())
            bounds = np.append(np.searchsorted(frames[:, at], clips.start_s.to_numpy() - 0.02), len(frames))
            run = bounds[0]
            angry = (clips.emotion == "anger").to_numpy()
            for i in range(len(clips)):
                run = bounds[i] if i and angry[i] != angry[i - 1] else run
                rows.append((total + run, total + bounds[i], total + bounds[i + 1]))
            total += len(frames)
    run_start_end = dict(zip(("run", "start", "end"), np.array(rows).T, strict=True))
    index.assign(**run_start_end).to_csv(out / "clips.csv", index=False)
