"""Clips → calls that came through a telephone: WAV files, and an index with a row for each clip.

A call is about ten clips of one speaker, the angry ones last, on one channel: one gain, one equaliser, one background,
one codec. Copy 0 is a clean telephone, copy 1 a noisy one with noises that no other copy contains (for tests only),
copies 2... are augmented for training. Non-speech (hold music, noise, tones) and recorded prompts are calls of their
own.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf
from scipy.signal import resample_poly

from warmline_train import plan
from warmline_train.folds import NOISY, SYNTHETIC
from warmline_train.plan import PlannedCall
from warmline_train.telephone import RATE, Samples, read, rms, telephone, tones
from warmline_train.workers import in_order

COLUMNS = ("file", "copy", "kind", "start_s", "corpus", "speaker", "clip", "emotion", "gender", "language")
MOST_NON_SPEECH_S = 60


@dataclass(frozen=True)
class WriteJob:
    """One call to write into `out`, with the recordings that may be mixed in."""

    corpora: Path
    out: Path
    background: list[Samples]
    seed: int
    call: PlannedCall


def silence(rng: np.random.Generator) -> Samples:
    return np.zeros(int(RATE * rng.uniform(0.3, 0.8)))


def write(job: WriteJob) -> list[tuple]:
    """Writes the call and returns its rows of the index."""
    call = job.call
    rng = np.random.default_rng([job.seed, zlib.crc32(call.file.encode())])
    if call.kind == "clip":
        x, index = turns(rng, job)
    else:
        source = call.rows[0].id if call.rows else SYNTHETIC
        x = read(job.corpora / "noise" / call.rows[0].path) if call.rows else tones(rng)
        most = MOST_NON_SPEECH_S * RATE
        start = rng.integers(max(1, len(x) - most))
        x = x[start : start + most]
        x = np.concatenate([silence(rng), x / rms(x), silence(rng)])
        index = [(call.file, call.copy, call.kind, 0.0, call.kind, source, call.file, "", "", "")]
    y = telephone(rng, x, job.background if call.kind != "non_speech" else [], call.copy)
    sf.write(job.out / call.file, y, RATE, subtype="PCM_16")
    return index


def turns(rng: np.random.Generator, job: WriteJob) -> tuple[Samples, list[tuple]]:
    """The clips of a call one after the other, and where each begins."""
    call, index = job.call, []
    audio = [read(job.corpora / r.path) for r in call.rows]
    level = np.median([rms(x) for x in audio])
    tempo = rng.choice([18, 19, 20, 21, 22]) if call.copy > NOISY else 20
    parts = [silence(rng)]
    for r, x in zip(call.rows, audio, strict=True):
        at = sum(map(len, parts)) / RATE
        parts += [resample_poly(x / level, tempo, 20), silence(rng)]
        index.append((call.file, call.copy, "clip", at, r.corpus, r.speaker, r.id, r.emotion, r.gender, r.language))
    return np.concatenate(parts), index


def prepare(
    corpora: Path,
    out: Path,
    copies: int,
    seed: int,
    jobs: int,
    smoke: bool = False,
    only: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Writes `out/*.wav` and returns the index, one row a clip, in the order of the calls."""
    clips = pd.read_csv(corpora / "manifest.csv", keep_default_na=False)
    noises = plan.split_noises(pd.read_csv(corpora / "noise" / "manifest.csv", keep_default_na=False))
    if only:
        clips = clips[clips.corpus.isin(only)]
    if smoke:
        clips, noises = plan.some_of(clips, noises)
    out.mkdir(parents=True, exist_ok=True)

    @functools.cache
    def noise(path: str) -> Samples:
        return read(corpora / "noise" / path)

    by_copy = [[noise(path) for path in plan.background_of(noises, copy).path] for copy in range(copies)]
    work = [WriteJob(corpora, out, by_copy[c.copy], seed, c) for c in plan.plan(clips, noises, copies, seed)]
    index = []
    for i, rows in enumerate(in_order(write, work, jobs, chunk=8)):
        index += rows
        if i % 500 == 0:
            print(f"prepare: {i}/{len(work)} calls", flush=True)
    return pd.DataFrame(index, columns=list(COLUMNS))
