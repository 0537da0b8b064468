"""Clips of real speech and Warmline's descriptors of them, for the comparisons with reference programs."""

import csv
import dataclasses
import io
import os
import pathlib
import random
import shlex
import subprocess
import sys
import tempfile

import numpy as np
import soundfile

RATE = 8_000


@dataclasses.dataclass(frozen=True)
class Clip:
    """A recording of one speaker."""

    id: str
    corpus: str
    path: pathlib.Path


def arguments(parser):
    """Adds the options every comparison has and parses the command line; exits with 0 where there are no corpora."""
    parser.add_argument("--seed", type=int, default=1, help="draws the clips")
    parser.add_argument("--clips", type=int, default=200, help="how many, evenly over the corpora")
    parser.add_argument(
        "--corpora",
        type=pathlib.Path,
        default=os.environ.get("WARMLINE_CORPORA", "corpora"),
        help="directory with manifest.csv (id, corpus, path, ...)",
    )
    parser.add_argument(
        "--features-command", default="warmline features --caller-channel mono", help="prints the descriptors of the file named after it as CSV"
    )
    options = parser.parse_args()
    if not (options.corpora / "manifest.csv").is_file():
        print(f"skipped: no manifest.csv in {options.corpora}")
        sys.exit(0)
    return options


def draw(corpora, clips, seed):
    """Draws `clips` clips, as evenly over the corpora as their sizes allow, the same ones for the same seed."""
    by_corpus = {}
    with open(corpora / "manifest.csv", newline="", encoding="utf-8") as manifest:
        for row in csv.DictReader(manifest):
            by_corpus.setdefault(row["corpus"], []).append(Clip(row["id"], row["corpus"], corpora / row["path"]))
    rng = random.Random(seed)
    for corpus in sorted(by_corpus):
        rng.shuffle(by_corpus[corpus])
    drawn = []
    while len(drawn) < clips and any(by_corpus.values()):
        for corpus in sorted(by_corpus):
            if by_corpus[corpus] and len(drawn) < clips:
                drawn.append(by_corpus[corpus].pop())
    return drawn


def samples(clip):
    """The clip's samples: 16-bit integers at 8 kHz, mono."""
    pcm, rate = soundfile.read(clip.path, dtype="int16")
    if rate != RATE or pcm.ndim != 1:
        raise ValueError(f"{clip.path}: expected 8000 Hz mono, read {rate} Hz, shape {pcm.shape}")
    return pcm


def features(command, pcm):
    """Warmline's descriptors of the samples: a column of floats for each name in the CSV; an empty cell is NaN."""
    with tempfile.TemporaryDirectory() as directory:
        wav = pathlib.Path(directory) / "clip.wav"
        soundfile.write(wav, pcm, RATE, subtype="PCM_16")
        run = subprocess.run([*shlex.split(command), str(wav)], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise RuntimeError(f"{command} failed with {run.returncode}: {run.stderr.strip()}")
    rows = csv.reader(io.StringIO(run.stdout))
    names = next(rows)
    columns = zip(*rows)
    return {name: np.array([number(cell) for cell in column]) for name, column in zip(names, columns)}


def number(cell):
    """A cell as a float; a word or nothing is NaN."""
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def smooth(column):
    """The mean of each frame and its two neighbours (openSMILE's `sma3`); the ends keep the neighbour they have."""
    padded = np.pad(column, 1, mode="edge")
    return (padded[:-2] + padded[1:-1] + padded[2:]) / 3


def lagged(ours, theirs, lag):
    """Both columns, cut to the frames they share when our frame `i` is their frame `i + lag`."""
    ours, theirs = ours[max(0, -lag) :], theirs[max(0, lag) :]
    shared = min(len(ours), len(theirs))
    return ours[:shared], theirs[:shared]


def correlation(a, b):
    """Pearson's r over the frames where both are finite; NaN where either is constant."""
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < 3 or a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
