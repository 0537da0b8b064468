"""The windows that the program scores in a call, cut from what `warmline features` writes: whole calls, as serving sees them."""

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

LIFETIME_S = 20.0  # silence after which a window is forgotten
STEP_S = 0.01


def features(warmline, call, channel, feature_set):
    """The columns of a set, and a call's frames."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(warmline), "features", "--npy", "--set", feature_set, "--caller-channel", channel, "--out", folder, str(call)]
        subprocess.run(command, check=True)
        names = json.loads((Path(folder) / "columns.json").read_text())["columns"]
        return names, np.load(Path(folder) / f"{Path(call).stem}.npy")


class Call:
    """A call's features for one card."""

    def __init__(self, warmline, call, channel, card):
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

    def window(self, t):
        """The last frames of speech that had been heard at `t`."""
        end = np.searchsorted(self.speech_at, t - STEP_S / 2)
        begin = self.pauses[self.pauses < end].max(initial=0)
        last = max(0, end - self.reach)
        return self.frames[max(begin, last - self.most) : last]

    def spoken_s(self, t):
        return float(np.searchsorted(self.speech_at, t - STEP_S / 2)) * STEP_S


def padded(card, window):
    """A batch with the window in its first lane: frames and mask."""
    x = np.zeros((card["lanes"], card["window_frames"], len(card["features"])), np.float32)
    mask = np.zeros((card["lanes"], card["window_frames"]), np.float32)
    x[0, : len(window)], mask[0, : len(window)] = window, 1
    return {"frames": x, "mask": mask}


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
