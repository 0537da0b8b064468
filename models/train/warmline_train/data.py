"""Windows of frames: drawn at random to train on, or covering a clip to score it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from warmline_train.stages.stage import MIN_FRAMES, WINDOW, StageSpec

Span = tuple[int, int]  # rows of the packed frames, the end not included
Windows = tuple[NDArray[np.float32], NDArray[np.float32]]  # frames [n, length, D] and mask [n, length]
Labelled = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]  # the same and labels [n, 2]

SHORTEST = 50  # clips with less than 0.5 s of speech are left out
CORPUS_WEIGHT = {"baved": 0.3, "fsdd": 0.2}  # no angry clips there
P_NON_SPEECH, P_PROMPT, P_ANGER = 0.06, 0.03, 0.35
LENGTHS = (
    120,
    160,
    200,
    WINDOW,
)  # frames of a training batch: short ones cost less, and calls start with short windows


def load(out: Path, spec: StageSpec) -> tuple[NDArray, pd.DataFrame]:
    """What `features.pack` wrote, without the shortest clips."""
    clips = pd.read_csv(out / "clips.csv", keep_default_na=False)
    frames = np.memmap(out / "frames", dtype=spec.stored, mode="r").reshape(-1, len(spec.features))
    return frames, clips[clips.end - clips.start >= SHORTEST].reset_index(drop=True)


def probabilities(clips: pd.DataFrame) -> NDArray[np.float64]:
    """How often each clip is drawn: corpora weigh the same, a fixed part is angry, a fixed part is no speech."""
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


def windows(frames: NDArray, spans: Sequence[Span], length: int = WINDOW) -> Windows:
    """The frames of spans, padded at the end with zeros."""
    x = np.zeros((len(spans), length, frames.shape[1]), np.float32)
    mask = np.zeros((len(spans), length), np.float32)
    for i, (start, end) in enumerate(spans):
        x[i, : end - start] = frames[start:end]
        mask[i, : end - start] = 1
    return x, mask


class Sampler:
    """Random windows: of one clip, or of consecutive clips of one speaker and label, as turns follow in a call."""

    def __init__(self, frames: NDArray, clips: pd.DataFrame, rng: np.random.Generator) -> None:
        self.frames, self.rng = frames, rng
        self.clips = clips[["run", "start", "end"]].to_numpy()
        self.anger = (clips.emotion == "anger").to_numpy(np.float32)
        self.speech = (clips.kind != "non_speech").to_numpy(np.float32)
        self.cumulative = np.cumsum(probabilities(clips))

    def span(self, length: int, run: int, start: int, end: int) -> Span:
        first = start if self.rng.random() < 0.5 else run
        last = int(self.rng.integers(min(end, max(start + SHORTEST, first + MIN_FRAMES)), end + 1))
        return max(first, last - length), last

    def batch(self, n: int) -> Labelled:
        """Frames, mask and labels (frustration, speech) of `n` windows of one random length."""
        i = np.minimum(np.searchsorted(self.cumulative, self.rng.random(n)), len(self.clips) - 1)
        length = self.rng.choice(LENGTHS)
        x, mask = windows(self.frames, [self.span(length, *self.clips[k]) for k in i], length)
        return x, mask, np.stack([self.anger[i], self.speech[i]], axis=1)


def whole_clips(clips: pd.DataFrame) -> tuple[list[Span], NDArray[np.int64]]:
    """The spans that score each clip, and whose they are: all its speech, or of a long clip a window every 0.5 s."""
    spans: list[Span] = []
    owner: list[int] = []
    for i, (start, end) in enumerate(clips[["start", "end"]].to_numpy()):
        ends = np.arange(end, start + WINDOW - 1, -50) if end - start > WINDOW else [end]
        spans += [(max(start, e - WINDOW), e) for e in ends]
        owner += [i] * len(ends)
    return spans, np.array(owner)
