"""Pitch and voice quality against Praat, on real speech as recorded and through a telephone.

Draws clips from every corpus, asks `warmline features` for their descriptors, asks Praat (parselmouth) for the same,
and prints a Markdown table. The telephone is 300-3400 Hz, a random level and G.711 mu-law.

    python tests/reference/pitch.py --corpora DIR > pitch.md

Needs numpy, scipy, soundfile and praat-parselmouth. DIR holds manifest.csv with columns `corpus` and `path`. Without it
the comparison is skipped.
"""

import argparse
import csv
import io
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

RATE = 8_000
HOP_S = 0.010
FRAME_S = 0.025
F0_MIN, F0_MAX = 60.0, 500.0
# Praat places its frames symmetrically in a sound, ours begin at its first sample. Without these samples, and with a
# whole number of hops after them, Praat's i-th frame is centred where our (i + 2)-th is.
LEAD = 60
HOP = 80


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=Path("corpora"), help="directory with manifest.csv")
    parser.add_argument("--clips", type=int, default=160, help="clips in all, spread evenly over the corpora")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--features-command", default="warmline features", help="called with a WAV file, CSV on stdout")
    args = parser.parse_args()
    if not (args.corpora / "manifest.csv").is_file():
        print(f"skipped: no corpora at {args.corpora}")
        return

    import numpy as np

    rng = np.random.default_rng(args.seed)
    rows = []
    for corpus, path in draw(rng, args.corpora, args.clips):
        raw = read(path)
        if len(raw) < RATE // 4:
            continue
        phone = telephone(rng, raw)
        raw = raw / max(np.abs(raw).max(), 1e-9) * 0.5
        rows.append((corpus, *(compare(args.features_command, raw, sound) for sound in (raw, phone))))
    report(rows, args)


def draw(rng, corpora, clips):
    """(corpus, path) of clips from every corpus alike."""
    with open(corpora / "manifest.csv", newline="", encoding="utf-8") as f:
        by_corpus = {}
        for row in csv.DictReader(f):
            by_corpus.setdefault(row["corpus"], []).append(corpora / row["path"])
    share = -(-clips // len(by_corpus))
    for corpus, paths in sorted(by_corpus.items()):
        for i in rng.choice(len(paths), min(share, len(paths)), replace=False):
            yield corpus, paths[i]


def read(path):
    import numpy as np
    import soundfile

    sound, rate = soundfile.read(path, dtype="float64", always_2d=True)
    assert rate == RATE, f"{path}: {rate} Hz, expected {RATE}"
    return np.ascontiguousarray(sound[:, 0])


def telephone(rng, sound):
    """The sound through 300-3400 Hz, at a peak of -26 to -2 dBFS, and G.711 mu-law (ITU-T G.711, 14-bit)."""
    import numpy as np
    from scipy.signal import butter, sosfilt

    band = sosfilt(butter(4, [300, 3400], btype="band", fs=RATE, output="sos"), sound)
    x = np.round(band / max(np.abs(band).max(), 1e-9) * 10 ** (rng.uniform(-26, -2) / 20) * 8158)
    magnitude = np.minimum(np.abs(x), 8158) + 33
    step = 2.0 ** (np.floor(np.log2(magnitude)) - 4)
    return np.sign(x) * ((np.floor(magnitude / step) + 0.5) * step - 33) / 8192


def compare(command, raw, sound):
    """Our frames beside Praat's of the same sound, and of the sound as recorded."""
    import numpy as np
    import parselmouth
    import soundfile
    from parselmouth.praat import call

    with tempfile.TemporaryDirectory() as directory:
        wav = Path(directory) / "clip.wav"
        soundfile.write(wav, sound, RATE, subtype="PCM_16")
        sound, _ = soundfile.read(wav, dtype="float64")
        output = subprocess.run([*shlex.split(command), str(wav)], check=True, capture_output=True, text=True).stdout
    ours = list(csv.DictReader(io.StringIO(output)))
    column = lambda name: np.array([float(row[name] or "nan") for row in ours])
    centre = column("at_s") + FRAME_S / 2

    def cut(x):
        return parselmouth.Sound(x[LEAD : LEAD + (len(x) - LEAD) // HOP * HOP], RATE, start_time=LEAD / RATE)

    def pitch_of(x):
        return cut(x).to_pitch_ac(time_step=HOP_S, pitch_floor=F0_MIN, pitch_ceiling=F0_MAX)

    pitch, pitch_raw = pitch_of(sound), pitch_of(raw)
    harmonicity = cut(sound).to_harmonicity_ac(time_step=HOP_S, minimum_pitch=F0_MIN)
    times = pitch.xs()
    nearest = np.array([np.abs(centre - t).argmin() if len(centre) else 0 for t in times], dtype=int)
    apart = np.abs(centre[nearest] - times) < 1e-4
    nearest = nearest[apart]
    points = call([cut(sound), pitch], "To PointProcess (cc)")
    local = (0, 0, 0.0001, 0.02, 1.3)
    return {
        "f0": column("f0_hz")[nearest],
        "praat": pitch.selected_array["frequency"][apart],
        "praat_raw": pitch_raw.selected_array["frequency"][apart],
        "hnr": column("hnr_db")[nearest],
        "praat_hnr": np.array([harmonicity.get_value(t) for t in times[apart]]),
        "jitter": mean_of_voiced(column("jitter_local"), column("f0_hz")),
        "shimmer": mean_of_voiced(column("shimmer_local"), column("f0_hz")),
        "h1_h2": column("h1_h2_db")[nearest],
        "praat_jitter": call(points, "Get jitter (local)", *local),
        "praat_shimmer": call([cut(sound), points], "Get shimmer (local)", *local, 1.6),
    }


def mean_of_voiced(values, f0):
    import numpy as np

    values = values[(f0 > 0) & np.isfinite(values)]
    return values.mean() if len(values) else np.nan


def report(rows, args):
    import numpy as np

    corpora = sorted({row[0] for row in rows})
    print(f"Pitch and voice quality against Praat: {len(rows)} clips of {len(corpora)} corpora, seed {args.seed}\n")
    print("| figure | as recorded | telephone | n (frames or clips) |")
    print("|---|---|---|---|")

    def line(name, figure):
        """`figure` gives (value, n) of the clips of one channel."""
        (a, n), (b, m) = figure([row[1] for row in rows]), figure([row[2] for row in rows])
        print(f"| {name} | {a} | {b} | {n}, {m} |")

    for name, reference in [("Praat on the same sound", "praat"), ("Praat on the recording", "praat_raw")]:
        line(f"f0 within 3 %, both voiced; {name}", lambda clips: within(clips, reference, 0.03))
        line(f"f0 off by more than 20 %, both voiced; {name}", lambda clips: beyond(clips, reference, 0.2))
        line(f"voicing agrees; {name}", lambda clips: voicing(clips, reference))
        line(f"voiced here, unvoiced there; {name}", lambda clips: only(clips, "f0", reference))
        line(f"unvoiced here, voiced there; {name}", lambda clips: only(clips, reference, "f0"))
    line("hnr_db: frames' correlation", lambda clips: hnr(clips, correlation))
    line("hnr_db: mean difference, dB", lambda clips: hnr(clips, lambda a, b: f"{(a - b).mean():+.2f}"))
    for name in ["jitter", "shimmer"]:
        for kind, figure in [("correlation", correlation), ("rank correlation", ranks), ("ratio of medians", ratio)]:
            line(f"{name}_local of a clip: {kind}", lambda clips: of_clips(clips, name, figure))
    print(f"\nh1_h2_db, telephone against recording: {same_descriptor(rows, 'h1_h2')}")
    print("\n| corpus | clips | f0 within 3 %: recorded | telephone | voicing agrees: recorded | telephone |")
    print("|---|---|---|---|---|---|")
    for corpus in corpora:
        raw, phone = zip(*[row[1:] for row in rows if row[0] == corpus])
        figures = [within(raw, "praat", 0.03), within(phone, "praat", 0.03), voicing(raw, "praat"), voicing(phone, "praat")]
        print(f"| {corpus} | {len(raw)} | " + " | ".join(value for value, _ in figures) + " |")


def joined(clips, *names):
    import numpy as np

    return [np.concatenate([clip[name] for clip in clips]) for name in names]


def percent(what):
    return f"{100 * what.mean():.2f} %", len(what)


def both(clips, reference):
    f0, praat = joined(clips, "f0", reference)
    voiced = (f0 > 0) & (praat > 0)
    return abs(f0[voiced] / praat[voiced] - 1)


def within(clips, reference, tolerance):
    return percent(both(clips, reference) <= tolerance)


def beyond(clips, reference, tolerance):
    return percent(both(clips, reference) > tolerance)


def voicing(clips, reference):
    f0, praat = joined(clips, "f0", reference)
    return percent((f0 > 0) == (praat > 0))


def only(clips, voiced, unvoiced):
    a, b = joined(clips, voiced, unvoiced)
    return percent((a > 0) & ~(b > 0))


def hnr(clips, figure):
    import numpy as np

    f0, praat, ours, theirs = joined(clips, "f0", "praat", "hnr", "praat_hnr")
    known = (f0 > 0) & (praat > 0) & np.isfinite(theirs) & (theirs > -100)
    return figure(ours[known], theirs[known]), known.sum()


def of_clips(clips, name, figure):
    import numpy as np

    ours, theirs = (np.array([clip[key] for clip in clips]) for key in (name, f"praat_{name}"))
    known = np.isfinite(ours) & np.isfinite(theirs)
    return figure(ours[known], theirs[known]), known.sum()


def same_descriptor(rows, name):
    import numpy as np

    raw, phone = [np.array([clip[name][clip["f0"] > 0].mean() for clip in clips if (clip["f0"] > 0).any()])
                  for clips in zip(*[(a, b) for _, a, b in rows if (a["f0"] > 0).any() and (b["f0"] > 0).any()])]
    return f"correlation of clips' means {correlation(raw, phone)}, n = {len(raw)}"


def correlation(a, b):
    import numpy as np

    return f"{np.corrcoef(a, b)[0, 1]:.3f}"


def ranks(a, b):
    from scipy.stats import spearmanr

    return f"{spearmanr(a, b).statistic:.3f}"


def ratio(a, b):
    import numpy as np

    return f"{np.median(a) / np.median(b):.2f}"


if __name__ == "__main__":
    sys.exit(main())
