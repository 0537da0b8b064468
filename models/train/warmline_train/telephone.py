"""The telephone channel: 8 kHz, band, equaliser, gain, background, G.711 µ-law, lost packets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray
from scipy.signal import butter, firwin2, lfilter, resample_poly, sosfilt

from warmline_train.folds import CLEAN, NOISY

Samples = NDArray[np.float64]

RATE = 8000
ACTIVE_LEVEL = 0.05  # RMS of the median clip before the channel's gain: -26 dBFS
BAND = butter(4, [300, 3400], btype="band", fs=RATE, output="sos")
TONES = (  # two frequencies in Hz, seconds on, seconds off: ringback, busy, congestion, touch-tones, fax
    (440, 480, 2, 4),
    (425, 425, 1, 4),
    (480, 620, 0.5, 0.5),
    (697, 1209, 0.1, 0.1),
    (852, 1477, 0.2, 0.3),
    (1100, 1100, 0.5, 3),
    (2100, 2100, 3, 1),
    (400, 450, 0.4, 0.2),
)


def mulaw_round_trip(x: Samples) -> Samples:
    """G.711 µ-law, encoded and decoded: ITU-T G.711 table 2, magnitudes of 14 bits."""
    pcm = np.clip(np.round(x * 8192), -8192, 8191).astype(np.int32)
    magnitude = np.minimum(np.where(pcm < 0, ~pcm, pcm) + 33, 0x1FFF)
    shift = np.floor(np.log2(magnitude)).astype(np.int32) - 4  # 1..8: the step of the segment
    decoded = ((((magnitude >> shift) & 0xF) * 2 + 33) << (shift - 1)) - 33
    return np.where(pcm < 0, -decoded, decoded) / 8192


def read(path: Path) -> Samples:
    """A recording as mono at 8 kHz."""
    x, rate = sf.read(path, dtype="float64", always_2d=True)
    x = x.mean(axis=1)
    return x if rate == RATE else resample_poly(x, RATE, rate)


def rms(x: Samples) -> float:
    """Level of what is loud in `x`: 20 ms blocks within 30 dB of the loudest."""
    blocks = x[: len(x) // 160 * 160].reshape(-1, 160) if len(x) >= 160 else x[None]
    power = np.mean(blocks**2, axis=1)
    return np.sqrt(power[power > power.max() * 1e-3].mean() if power.max() > 0 else 0) + 1e-9


def equaliser(rng: np.random.Generator, depth_db: float) -> Samples:
    """A random smooth response: up to ±`depth_db` at six points of the band."""
    points = [0, 300, 700, 1300, 2100, 3400, RATE / 2]
    gain = 10 ** (rng.uniform(-depth_db, depth_db, 7) / 20)
    return firwin2(65, points, gain, fs=RATE)


def telephone(rng: np.random.Generator, x: Samples, background: list[Samples], copy: int) -> Samples:
    """The channel of one call. `background` holds arrays to choose from."""
    gain_db = rng.uniform(-30, 6)
    x = x * ACTIVE_LEVEL
    if copy != CLEAN and background and (copy == NOISY or rng.random() < 0.6):
        n = background[rng.integers(len(background))]
        n = np.roll(np.tile(n, len(x) // len(n) + 1), rng.integers(len(n)))[: len(x)]
        x = x + n * (ACTIVE_LEVEL / rms(n) * 10 ** (-rng.uniform(5, 25) / 20))
    x = x + rng.standard_normal(len(x)) * 10 ** (rng.uniform(-80, -65) / 20)
    x = sosfilt(BAND, lfilter(equaliser(rng, 3 if copy == CLEAN else 6), 1, x))
    x = mulaw_round_trip(np.clip(x * 10 ** (gain_db / 20), -1, 1))
    if copy == NOISY or (copy > NOISY and rng.random() < 0.3):  # lost packets of 20 ms, played as silence
        lost = rng.random(len(x) // 160 + 1) < rng.uniform(0, 0.03)
        x = np.where(np.repeat(lost, 160)[: len(x)], 0, x)
    return x


def tones(rng: np.random.Generator) -> Samples:
    """Thirty seconds of one of `TONES`."""
    f1, f2, on, off = TONES[rng.integers(len(TONES))]
    t = np.arange(30 * RATE) / RATE
    return (np.sin(2 * np.pi * f1 * t) + np.sin(2 * np.pi * f2 * t)) * (t % (on + off) < on)
