"""Speech frames of all calls (and every frame of non-speech) in one array on disk, and the windows that are cut from it."""

import json

import numpy as np
import pandas as pd

from prepare import NOISY

WINDOW, MIN_FRAMES = 300, 100
SHORTEST = 50  # clips with less than 0.5 s of speech are left out
CORPUS_WEIGHT = {"baved": 0.3, "fsdd": 0.2}  # no angry clips there
P_NON_SPEECH, P_PROMPT, P_ANGER = 0.06, 0.03, 0.35
LENGTHS = [120, 160, 200, WINDOW]  # frames of a training batch: short ones cost less, and callers start with short windows


def pack(index, features, out, stage):
    """Appends the speech frames of every call to `out/frames` and writes `out/clips.csv`: the index with each clip's rows."""
    columns = json.loads((features / "columns.json").read_text())
    assert columns["feature_set"] == stage.FEATURE_SET, f"expected {stage.FEATURE_SET}, read {columns['feature_set']}"
    names = columns["columns"]
    at, speech = names.index("at_s"), names.index("speech") if "speech" in names else None
    chosen = [names.index(name) for name in stage.FEATURES]
    rows, total = [], 0
    with open(out / "frames", "wb") as f:
        for name, clips in index.groupby("file", sort=False):
            frames = np.load(features / f"{name[:-4]}.npy")
            if speech is not None and clips.kind.iloc[0] != "non_speech":  # what the speech gate would stop is still worth knowing by the speech head
                frames = frames[frames[:, speech] > 0.5]
            f.write(np.ascontiguousarray(frames[:, chosen], dtype=stage.STORED).tobytes())
            bounds = np.append(np.searchsorted(frames[:, at], clips.start_s.to_numpy() - 0.02), len(frames))
            run = bounds[0]
            angry = (clips.emotion == "anger").to_numpy()
            for i in range(len(clips)):
                run = bounds[i] if i and angry[i] != angry[i - 1] else run
                rows.append((total + run, total + bounds[i], total + bounds[i + 1]))
            total += len(frames)
    index = index.assign(**{name: column for name, column in zip(("run", "start", "end"), np.array(rows).T)})
    index.to_csv(out / "clips.csv", index=False)


def load(out, stage):
    clips = pd.read_csv(out / "clips.csv", keep_default_na=False)
    frames = np.memmap(out / "frames", dtype=stage.STORED, mode="r").reshape(-1, len(stage.FEATURES))
    return frames, clips[clips.end - clips.start >= SHORTEST].reset_index(drop=True)


def probabilities(clips):
    """How often each clip is drawn for training: corpora weigh the same, a fixed part is angry, a fixed part is no speech."""
    angry = (clips.emotion == "anger").to_numpy()
    p = np.zeros(len(clips))
    speech = (clips.kind == "clip").to_numpy()
    for part, share in ((speech & angry, P_ANGER), (speech & ~angry, 1 - P_ANGER - P_NON_SPEECH - P_PROMPT)):
        corpora = clips.corpus[part]
        weight = corpora.map(lambda c: CORPUS_WEIGHT.get(c, 1.0)) / corpora.map(corpora.value_counts())
        p[part] = share * weight / weight.sum()
    for kind, share in (("non_speech", P_NON_SPEECH), ("prompt", P_PROMPT)):
        part = (clips.kind == kind).to_numpy()
        p[part] = share / max(1, part.sum())
    return p / p.sum()


def windows(frames, spans, length=WINDOW):
    """(start, end) spans → frames [n, length, D] padded at the end with zeros, mask [n, length]."""
    x = np.zeros((len(spans), length, frames.shape[1]), np.float32)
    mask = np.zeros((len(spans), length), np.float32)
    for i, (start, end) in enumerate(spans):
        x[i, : end - start] = frames[start:end]
        mask[i, : end - start] = 1
    return x, mask


class Sampler:
    """Random windows: of one clip, or of consecutive clips of one speaker with the same label, as a caller's turns are in a call."""

    def __init__(self, frames, clips, rng):
        self.frames, self.rng = frames, rng
        self.clips = clips[["run", "start", "end"]].to_numpy()
        self.anger = (clips.emotion == "anger").to_numpy(np.float32)
        self.speech = (clips.kind != "non_speech").to_numpy(np.float32)
        self.cumulative = np.cumsum(probabilities(clips))

    def span(self, length, run, start, end):
        first = start if self.rng.random() < 0.5 else run
        last = self.rng.integers(min(end, max(start + SHORTEST, first + MIN_FRAMES)), end + 1)
        return max(first, last - length), last

    def batch(self, n):
        i = np.minimum(np.searchsorted(self.cumulative, self.rng.random(n)), len(self.clips) - 1)
        length = self.rng.choice(LENGTHS)
        x, mask = windows(self.frames, [self.span(length, *self.clips[k]) for k in i], length)
        return x, mask, np.stack([self.anger[i], self.speech[i]], axis=1)


def whole_clips(clips):
    """The windows that score a clip alone: its speech frames, or every half second of them when they are more than a window."""
    spans, owner = [], []
    for i, (start, end) in enumerate(clips[["start", "end"]].to_numpy()):
        ends = np.arange(end, start + WINDOW - 1, -50) if end - start > WINDOW else [end]
        spans += [(max(start, e - WINDOW), e) for e in ends]
        owner += [i] * len(ends)
    return spans, np.array(owner)


def training_clips(clips):
    return clips[clips["copy"] != NOISY]
