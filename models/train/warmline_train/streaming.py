"""The windows that the program scores in a call, cut from what `warmline features` writes."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Batch = dict[str, NDArray[np.float32]]

LIFETIME_S = 20.0  # silence after which a window is forgotten
STEP_S = 0.01


def features(warmline: str | Path, call: Path, channel: str, feature_set: str) -> tuple[list[str], NDArray]:
    """The columns of a set, and a call's frames."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--npy", "--set", feature_set, "--caller-channel", channel, "--out", folder]
        subprocess.run([str(warmline), "features", *options, str(call)], check=True)
        names = json.loads((Path(folder) / "columns.json").read_text())["columns"]
        return names, np.load(Path(folder) / f"{Path(call).stem}.npy")


class Call:
    """A call's features for one card."""

    def __init__(self, warmline: str | Path, call: Path, channel: str, card: Mapping[str, Any]) -> None:
        names, frames = features(warmline, call, channel, "prosody/1")
        self.speech_at = frames[frames[:, names.index("speech")] > 0.5][:, 0].astype(float)
        self.length_s = float(frames[-1, 0]) + STEP_S if len(frames) else 0.0
        if card["feature_set"] == "prosody/1":
            self.reach, frames = 0, frames[frames[:, names.index("speech")] > 0.5]
        else:
            names, frames = features(warmline, call, channel, card["feature_set"])
            self.reach = 2  # a frame of the log-mel needs two hops of speech after its own
        self.frames = frames[:, [names.index(name) for name in card["features"]]]
        self.pauses = np.flatnonzero(np.diff(self.speech_at) > LIFETIME_S) + 1
        self.most = card["window_frames"]

    def window(self, t: float) -> NDArray:
        """The last frames of speech received before `t`."""
        end = np.searchsorted(self.speech_at, t - STEP_S / 2)
        begin = self.pauses[self.pauses < end].max(initial=0)
        last = max(0, end - self.reach)
        return self.frames[max(begin, last - self.most) : last]

    def spoken_s(self, t: float) -> float:
        """Seconds of speech received before `t`."""
        return float(np.searchsorted(self.speech_at, t - STEP_S / 2)) * STEP_S


def padded(card: Mapping[str, Any], window: NDArray) -> Batch:
    """A batch with the window in its first lane: frames and mask."""
    x = np.zeros((card["lanes"], card["window_frames"], len(card["features"])), np.float32)
    mask = np.zeros((card["lanes"], card["window_frames"]), np.float32)
    x[0, : len(window)], mask[0, : len(window)] = window, 1
    return {"frames": x, "mask": mask}
