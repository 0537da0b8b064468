#!/usr/bin/env python3
"""Fits the logistic regression of `prosody/speech.rs` and prints its coefficients as Rust. Runs in a checkout.

    fit_speech.py --corpora DIR [--music DIR] [--features "warmline features"] [--scale N] [--seed S]

Streams and split: `tests/reference/speech.py`, whose fitting half this takes (half of the speakers of every corpus,
half of the backgrounds and noises, no hold music of the corpora but the files in --music DIR, and sounds made there).
Cues come from `warmline features`; `statistics` below repeats in NumPy what `Statistics` in `prosody/speech.rs` does
frame by frame. A frame is used if it has sound in it and is clearly speech or clearly none; every kind of sound weighs
as KIND_WEIGHTS says, and speech as much as everything else. Needs numpy, scipy, soundfile, scikit-learn.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray
from scipy.signal import lfilter
from sklearn.linear_model import LogisticRegression

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "reference"))
import speech

Floats = NDArray[np.float64]
Columns = Mapping[str, Floats]  # of `warmline features`, by name

LATENCY_FRAMES, MEMORY_FRAMES = 30, 60
STEP_FRAMES = 5
NAMES = ("voicing", "voicing_sd", "steady", "gliding", "c2_sd", "crest_db")
KIND_WEIGHTS = {"music": 3.0, "background": 2.0, "babble": 0.0, "clean": 2.0}  # else 1
ENTER_DB, EXIT_DB, ONSET_FRAMES, HANGOVER_FRAMES, IDLE_DBFS, BIAS_DB = 5.0, 3.0, 3, 20, -75.0, 1.5


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--corpora", required=True)
    p.add_argument("--music", type=Path)
    p.add_argument("--features", default="warmline features")
    p.add_argument("--scale", type=int, default=5)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    streams = speech.make_streams(a.corpora, "fit", a.scale, a.seed) + list(music_streams(a.music))
    with tempfile.TemporaryDirectory() as out:
        rows = [training_rows(s, speech.features(a.features, s, out, i)) for i, s in enumerate(streams)]
    x, y, kinds = (np.concatenate(column) for column in zip(*rows, strict=True))
    print(rust(*fit(x, y, kinds)))
    return 0


def music_streams(folder: Path | None) -> Iterator[Any]:
    rng = np.random.default_rng(9)
    for path in sorted(folder.glob("*.wav")) if folder else []:
        audio, rate = sf.read(path, dtype="float64")
        if rate != speech.RATE:
            raise SystemExit(f"fit_speech: {path}: {rate} Hz, expected {speech.RATE}")
        yield speech.sound_stream(rng, "music", path.name, audio)


def training_rows(stream: Any, columns: Columns) -> tuple[Floats, NDArray[np.bool_], NDArray[np.str_]]:
    """Statistics, label and kind of every fifth frame that has sound in it; each is judged LATENCY_FRAMES later."""
    sound, values = statistics(columns)
    n = np.arange(LATENCY_FRAMES, min(len(sound), len(stream.labels)))
    is_speech = stream.kind in speech.CONDITIONS or stream.kind == "prompts"
    label = speech.SPEECH if is_speech else speech.SILENCE
    n = n[sound[n - LATENCY_FRAMES] & (stream.labels[n - LATENCY_FRAMES] == label)][::STEP_FRAMES]
    return values[n], np.full(len(n), is_speech), np.full(len(n), stream.kind)


def fit(x: Floats, y: NDArray[np.bool_], kinds: NDArray[np.str_]) -> tuple[float, Floats]:
    """Intercept and slope on the values as they are."""
    weights = np.zeros(len(y))
    for label in (False, True):
        for kind in np.unique(kinds[y == label]):
            mask = (kinds == kind) & (y == label)
            weights[mask] = KIND_WEIGHTS.get(str(kind), 1.0) / mask.sum()
        weights[y == label] /= weights[y == label].mean()
    mean, sd = x.mean(0), x.std(0)
    model = LogisticRegression(C=1.0, max_iter=1000).fit((x - mean) / sd, y, sample_weight=weights)
    slope = model.coef_[0] / sd
    return model.intercept_[0] - slope @ mean, slope


def rust(intercept: float, slope: Floats) -> str:
    terms = "".join(f"\n        {s:+.3f} * v.{name}" for s, name in zip(slope, NAMES, strict=True))
    return f"{intercept:.3f}{terms}"


def statistics(columns: Columns) -> tuple[NDArray[np.bool_], Floats]:
    """Per frame: whether there is sound, and the values of NAMES."""
    level, voicing, f0 = columns["level_dbfs"], columns["voicing"], columns["f0_hz"]
    mel = np.stack([columns[f"mel_{band:02}_db"] for band in range(40)], axis=1)
    sound, floor = activity(level)
    weight = (sound & (level - floor > EXIT_DB)).astype(float)

    run = np.logical_and.reduce([delayed(f0, k) > 0 for k in range(4)])
    semitones = 12 * np.log2(np.maximum(f0, 1))
    moved = np.where(run, np.abs(semitones - delayed(semitones, 3)), np.inf)

    top = np.maximum(mel.max(1), -100)
    bands = np.maximum(mel, np.maximum(top - 40, -100)[:, None])
    c2 = bands @ (np.sqrt(2 / 40) * np.cos(np.pi * 2 * (np.arange(40) + 0.5) / 40))

    def average(term: Any) -> Floats:
        return lfilter([1 / MEMORY_FRAMES], [1, 1 / MEMORY_FRAMES - 1], weight * term)

    amount = np.maximum(average(1.0), 1e-3)

    def mean(term: Floats) -> Floats:
        return average(term) / amount

    def sd(term: Floats) -> Floats:
        return np.sqrt(np.maximum(mean(term**2) - mean(term) ** 2, 0))

    runs = average(run) + 0.1
    steady, gliding = average(moved < 0.15) / runs, average((moved >= 0.15) & (moved < 2)) / runs
    values = [mean(voicing), sd(voicing), steady, gliding, sd(c2), mean(top - bands.mean(1))]
    return sound, np.stack(values, axis=1)


def delayed(x: Floats, frames: int, before: float = 0.0) -> Floats:
    return np.concatenate([np.full(frames, before), x])[: len(x)]


def activity(level: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """`Activity` of `media/activity.rs`: whether there is sound, and the noise floor."""
    sound, floor = np.zeros(len(level), bool), np.zeros(len(level))
    past, current = [np.inf] * 8, np.inf
    minimum: float | None = None
    smoothed: float | None = None
    is_sound, above, quiet = False, 0, 0
    for i, x in enumerate(np.maximum(level, IDLE_DBFS).tolist()):
        smoothed = x if smoothed is None else smoothed + 0.2 * (x - smoothed)
        current, minimum = min(current, smoothed), smoothed if minimum is None else min(minimum, smoothed)
        if i % 30 == 29:
            past = [*past[1:], current]
            minimum, current = min(past), np.inf
        floor[i] = max(minimum + BIAS_DB, IDLE_DBFS)
        over = x - floor[i]
        if is_sound:
            quiet = 0 if over >= EXIT_DB else quiet + 1
            is_sound = quiet <= HANGOVER_FRAMES
            above = 0
        elif over < ENTER_DB:
            above = max(above - 1, 0)
        else:
            above += 1
            is_sound, quiet = above >= ONSET_FRAMES, 0
        sound[i] = is_sound
    return sound, floor


if __name__ == "__main__":
    sys.exit(main())
