"""Clips → calls that came through a telephone: WAV files and `calls.csv` (file, copy, start_s, corpus, speaker, clip, kind, ...).

A call is about ten clips of one speaker, the angry ones last, on one channel: one gain, one equaliser, one background, one codec.
Copy 0 is a clean telephone, copy 1 a noisy one with noises that no other copy contains (for tests only), copies 2... are augmented
for training. Non-speech (hold music, noise, tones) and recorded prompts are calls of their own.
"""

import multiprocessing
import zlib

import numpy as np
import pandas as pd
import soundfile as sf
from scipy.signal import butter, firwin2, lfilter, resample_poly, sosfilt

RATE = 8000
CLIPS_A_CALL = 10
ACTIVE_LEVEL = 0.05  # RMS of the median clip before the channel's gain: -26 dBFS
CLEAN, NOISY = 0, 1
NON_SPEECH = ("hold_music", "noise", "background_safe")
BACKGROUND = ("noise", "background_safe", "babble")
BAND = butter(4, [300, 3400], btype="band", fs=RATE, output="sos")


def mulaw_round_trip(x):
    """G.711 µ-law, encoded and decoded: ITU-T G.711 table 2, magnitudes of 14 bits."""
    pcm = np.clip(np.round(x * 8192), -8192, 8191).astype(np.int32)
    magnitude = np.minimum(np.where(pcm < 0, ~pcm, pcm) + 33, 0x1FFF)
    shift = np.floor(np.log2(magnitude)).astype(np.int32) - 4  # 1..8: the step of the segment
    decoded = ((((magnitude >> shift) & 0xF) * 2 + 33) << (shift - 1)) - 33
    return np.where(pcm < 0, -decoded, decoded) / 8192


def read(path):
    x, rate = sf.read(path, dtype="float64", always_2d=True)
    x = x.mean(axis=1)
    return x if rate == RATE else resample_poly(x, RATE, rate)


def rms(x):
    """Level of what is loud in `x`: 20 ms blocks within 30 dB of the loudest."""
    power = np.mean(x[: len(x) // 160 * 160].reshape(-1, 160) ** 2, axis=1) if len(x) >= 160 else np.array([np.mean(x**2)])
    return np.sqrt(power[power > power.max() * 1e-3].mean() if power.max() > 0 else 0) + 1e-9


def equaliser(rng, depth_db):
    """A random smooth response: up to ±`depth_db` at six points of the band."""
    points = [0, 300, 700, 1300, 2100, 3400, RATE / 2]
    gain = 10 ** (rng.uniform(-depth_db, depth_db, 7) / 20)
    return firwin2(65, points, gain, fs=RATE)


def telephone(rng, x, background, copy):
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


def tones(rng):
    """Thirty seconds of ringback, busy, a touch-tone or a fax: pairs of frequencies with a cadence."""
    pairs = [(440, 480, 2, 4), (425, 425, 1, 4), (480, 620, 0.5, 0.5), (697, 1209, 0.1, 0.1), (852, 1477, 0.2, 0.3), (1100, 1100, 0.5, 3), (2100, 2100, 3, 1), (400, 450, 0.4, 0.2)]
    f1, f2, on, off = pairs[rng.integers(len(pairs))]
    t = np.arange(30 * RATE) / RATE
    return (np.sin(2 * np.pi * f1 * t) + np.sin(2 * np.pi * f2 * t)) * (t % (on + off) < on)


def plan(clips, noises, copies, seed):
    """The calls to write: (file name, copy, kind, rows). The rows are clips of one speaker, or one piece of noise."""
    calls = []
    for copy in range(copies):
        for speaker, own in clips.groupby("speaker", sort=True):
            rng = np.random.default_rng([seed, copy, zlib.crc32(speaker.encode())])
            order = rng.permutation(len(own))
            for i, part in enumerate(np.array_split(order, -(-len(own) // CLIPS_A_CALL))):
                rows = own.iloc[part]
                calm, angry = rows[rows.emotion != "anger"], rows[rows.emotion == "anger"]
                calls.append((f"{copy}-{speaker}-{i:03d}.wav", copy, "clip", [*calm.itertuples(), *angry.itertuples()]))
        for row in noises.itertuples():
            kind = "non_speech" if row.kind in NON_SPEECH else "prompt" if row.kind == "ivr_prompt_speech" else None
            if kind and (row.test == (copy == NOISY)):
                calls.append((f"{copy}-noise-{row.id.replace('.', '_')}.wav", copy, kind, [row]))
        for i in range(12):
            calls.append((f"{copy}-tones-{i:03d}.wav", copy, "non_speech", []))
    return calls


def write(job):
    corpora, out, background, seed, (name, copy, kind, rows) = job
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    silence = lambda: np.zeros(int(RATE * rng.uniform(0.3, 0.8)))
    index = []
    if kind == "clip":
        audio = [read(corpora / r.path) for r in rows]
        level = np.median([rms(x) for x in audio])
        tempo = rng.choice([18, 19, 20, 21, 22]) if copy > NOISY else 20
        parts, at = [silence()], 0
        for r, x in zip(rows, audio):
            at = sum(map(len, parts))
            parts += [resample_poly(x / level, tempo, 20), silence()]
            index.append((name, copy, kind, at / RATE, r.corpus, r.speaker, r.id, r.emotion, r.gender, r.language))
        x = np.concatenate(parts)
    else:
        source = rows[0].id if rows else "tones"
        x = read(corpora / "noise" / rows[0].path) if rows else tones(rng)
        start = rng.integers(max(1, len(x) - 60 * RATE))
        x = x[start : start + 60 * RATE]
        x = np.concatenate([silence(), x / rms(x), silence()])
        index.append((name, copy, kind, 0.0, kind, source, name, "", "", ""))
    y = telephone(rng, x, background if kind != "non_speech" else [], copy)
    sf.write(out / name, y, RATE, subtype="PCM_16")
    return index


def prepare(corpora, out, copies, seed, jobs, smoke=False, only=None):
    """Writes `out/*.wav` and returns the index, one row a clip in the order heard."""
    clips = pd.read_csv(corpora / "manifest.csv", keep_default_na=False)
    noises = pd.read_csv(corpora / "noise" / "manifest.csv", keep_default_na=False)
    noises = noises.assign(test=[zlib.crc32(i.encode()) % 5 == 0 for i in noises.id])
    music = noises[noises.kind == "hold_music"].index
    noises.loc[music, "test"] = noises.loc[music].duration_s == noises.loc[music].duration_s.min()
    if only:
        clips = clips[clips.corpus.isin(only)]
    if smoke:
        few = clips.drop_duplicates(["corpus", "speaker"]).groupby("corpus").head(5).speaker
        clips = clips[clips.speaker.isin(few)].groupby(["speaker", "emotion"]).head(4)
        noises = noises.groupby(["kind", "test"]).head(3)
    out.mkdir(parents=True, exist_ok=True)
    load = lambda test: [read(corpora / "noise" / p) for p in noises[noises.kind.isin(BACKGROUND) & (noises.test == test)].path]
    background = {True: load(True), False: load(False)}
    work = [(corpora, out, background[call[1] == NOISY] if call[1] != CLEAN else [], seed, call) for call in plan(clips, noises, copies, seed)]
    index = []
    # The jobs are inherited by the forked workers, so only their numbers travel.
    global _WORK
    _WORK = work
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for i, rows in enumerate(pool.imap(_write_number, range(len(work)), chunksize=8)):
            index += rows
            if i % 500 == 0:
                print(f"prepare: {i}/{len(work)} calls", flush=True)
    columns = "file copy kind start_s corpus speaker clip emotion gender language".split()
    return pd.DataFrame(index, columns=columns)


def _write_number(i):
    return write(_WORK[i])
