"""Pitch and voice quality against Praat, on real speech as recorded and through a telephone.

Draws clips from every corpus, asks `warmline features` for their descriptors, asks Praat (parselmouth) for the same,
and prints a Markdown table. The telephone is 300-3400 Hz, a random level and G.711 mu-law.

    python tests/reference/pitch.py --corpora DIR > pitch.md

Needs numpy, scipy, soundfile and praat-parselmouth. Without the corpora the comparison is skipped.
"""

import argparse
import sys

import numpy as np

import clips

HOP_S = 0.010
FRAME_S = 0.025
F0_MIN, F0_MAX = 60.0, 500.0
F0_TOLERANCE, F0_NEAR, VOICING_AGREES = 0.03, 0.95, 0.90
# Praat places its frames symmetrically in a sound, ours begin at its first sample. Without these samples, and with a
# whole number of hops after them, Praat's i-th frame is centred where our (i + 2)-th is.
LEAD = 60
HOP = 80


def main():
    options = clips.arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    rng = np.random.default_rng(options.seed)
    rows = []
    for clip in clips.draw(options.corpora, options.clips, options.seed):
        raw = clips.samples(clip) / 32_768
        if len(raw) < clips.RATE // 4:
            continue
        phone = telephone(rng, raw)
        raw = raw / max(np.abs(raw).max(), 1e-9) * 0.5
        rows.append((clip.corpus, *(compare(options.features_command, raw, sound) for sound in (raw, phone))))
    report(rows, options)
    return missed(rows)


def missed(rows):
    """What falls short of the shares that Warmline holds itself to, in a sentence; nothing if all is well."""
    short = []
    for channel, of in (("as recorded", [raw for _, raw, _ in rows]), ("telephone", [phone for _, _, phone in rows])):
        f0, praat = joined(of, "f0", "praat")
        voiced = (f0 > 0) & (praat > 0)
        near = np.mean(np.abs(f0[voiced] / praat[voiced] - 1) <= F0_TOLERANCE)
        agree = np.mean((f0 > 0) == (praat > 0))
        short += [f"{channel}: f0 near on {near:.1%}"] if near < F0_NEAR else []
        short += [f"{channel}: voicing agrees on {agree:.1%}"] if agree < VOICING_AGREES else []
    return f"fewer frames agree than should: {', '.join(short)}" if short else 0


def telephone(rng, sound):
    """The sound through 300-3400 Hz, at a peak of -26 to -2 dBFS, and G.711 mu-law (ITU-T G.711, 14-bit)."""
    from scipy.signal import butter, sosfilt

    band = sosfilt(butter(4, [300, 3400], btype="band", fs=clips.RATE, output="sos"), sound)
    x = np.round(band / max(np.abs(band).max(), 1e-9) * 10 ** (rng.uniform(-26, -2) / 20) * 8158)
    magnitude = np.minimum(np.abs(x), 8158) + 33
    step = 2.0 ** (np.floor(np.log2(magnitude)) - 4)
    return np.sign(x) * ((np.floor(magnitude / step) + 0.5) * step - 33) / 8192


def compare(command, raw, sound):
    """Our frames beside Praat's of the same sound, and of the sound as recorded."""
    import parselmouth
    from parselmouth.praat import call

    pcm = np.round(sound * 32_768).clip(-32_768, 32_767).astype(np.int16)
    sound = pcm / 32_768
    ours = clips.features(command, pcm)
    column = lambda name: ours.get(name, np.full(len(ours["at_s"]), np.nan))
    centre = column("at_s") + FRAME_S / 2

    def cut(x, lead=LEAD):
        return parselmouth.Sound(x[lead : lead + (len(x) - lead) // HOP * HOP], clips.RATE, start_time=lead / clips.RATE)

    def pitch_of(x):
        return cut(x).to_pitch_ac(time_step=HOP_S, pitch_floor=F0_MIN, pitch_ceiling=F0_MAX)

    pitch, pitch_raw = pitch_of(sound), pitch_of(raw)
    hnr_ac = cut(sound).to_harmonicity_ac(time_step=HOP_S, minimum_pitch=F0_MIN, periods_per_window=4.5)
    hnr_cc = cut(sound, LEAD + HOP // 2).to_harmonicity_cc(time_step=HOP_S, minimum_pitch=F0_MIN, periods_per_window=1.0)

    def at_times(hnr):
        """Praat's harmonicity at the pitch frames; silence (-200 dB) is unknown."""
        known = np.where(hnr.values[0] > -100, hnr.values[0], np.nan)
        return np.interp(times[apart], hnr.xs(), known, np.nan, np.nan)

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
        "hnr_ac": at_times(hnr_ac),
        "hnr_cc": at_times(hnr_cc),
        "jitter": mean_of_voiced(column("jitter_local"), column("f0_hz")),
        "shimmer": mean_of_voiced(column("shimmer_local"), column("f0_hz")),
        "h1_h2": column("h1_h2_db")[nearest],
        "h4_h2k": column("h4_h2k_db")[nearest],
        "praat_jitter": call(points, "Get jitter (local)", *local),
        "praat_shimmer": call([cut(sound), points], "Get shimmer (local)", *local, 1.6),
    }


def mean_of_voiced(values, f0):
    values = values[(f0 > 0) & np.isfinite(values)]
    return values.mean() if len(values) else np.nan


def report(rows, options):
    corpora = sorted({row[0] for row in rows})
    print(f"Pitch and voice quality against Praat: {len(rows)} clips of {len(corpora)} corpora, seed {options.seed}\n")
    print("| figure | as recorded | telephone | n (frames or clips) |")
    print("|---|---|---|---|")

    def line(name, figure):
        """`figure` gives (value, n) of the clips of one channel."""
        (a, n), (b, m) = figure([row[1] for row in rows]), figure([row[2] for row in rows])
        print(f"| {name} | {a} | {b} | {n}, {m} |")

    for name, reference in [("Praat on the same sound", "praat"), ("Praat on the recording", "praat_raw")]:
        line(f"f0 within 3 %, both voiced; {name}", lambda of: within(of, reference, 0.03))
        line(f"f0 off by more than 20 %, both voiced; {name}", lambda of: beyond(of, reference, 0.2))
        line(f"voicing agrees; {name}", lambda of: voicing(of, reference))
        line(f"voiced here, unvoiced there; {name}", lambda of: only(of, "f0", reference))
        line(f"unvoiced here, voiced there; {name}", lambda of: only(of, reference, "f0"))
    for kind in ["ac", "cc"]:
        line(f"hnr_db: correlation with Praat's ({kind})", lambda of: hnr(of, kind, correlation))
        line(f"hnr_db: median difference, dB ({kind})", lambda of: hnr(of, kind, difference))
    for name in ["jitter", "shimmer"]:
        for kind, figure in [("correlation", correlation), ("rank correlation", ranks), ("ratio of medians", ratio)]:
            line(f"{name}_local of a clip: {kind}", lambda of: of_clips(of, name, figure))
    for name in ["h1_h2", "h4_h2k"]:
        print(f"\n{name}_db, telephone against recording: {same_descriptor(rows, name)}")
    print("\n| corpus | clips | f0 within 3 %: recorded | telephone | voicing agrees: recorded | telephone |")
    print("|---|---|---|---|---|---|")
    for corpus in corpora:
        raw, phone = zip(*[row[1:] for row in rows if row[0] == corpus])
        figures = [within(raw, "praat", 0.03), within(phone, "praat", 0.03), voicing(raw, "praat"), voicing(phone, "praat")]
        print(f"| {corpus} | {len(raw)} | " + " | ".join(value for value, _ in figures) + " |")


def joined(of, *names):
    return [np.concatenate([clip[name] for clip in of]) for name in names]


def percent(what):
    return f"{100 * what.mean():.2f} %", len(what)


def both(of, reference):
    f0, praat = joined(of, "f0", reference)
    voiced = (f0 > 0) & (praat > 0)
    return abs(f0[voiced] / praat[voiced] - 1)


def within(of, reference, tolerance):
    return percent(both(of, reference) <= tolerance)


def beyond(of, reference, tolerance):
    return percent(both(of, reference) > tolerance)


def voicing(of, reference):
    f0, praat = joined(of, "f0", reference)
    return percent((f0 > 0) == (praat > 0))


def only(of, voiced, unvoiced):
    a, b = joined(of, voiced, unvoiced)
    return percent((a > 0) & ~(b > 0))


def hnr(of, kind, figure):
    f0, praat, ours, theirs = joined(of, "f0", "praat", "hnr", f"hnr_{kind}")
    known = (f0 > 0) & (praat > 0) & np.isfinite(theirs)
    return figure(ours[known], theirs[known]), known.sum()


def of_clips(of, name, figure):
    ours, theirs = (np.array([clip[key] for clip in of]) for key in (name, f"praat_{name}"))
    known = np.isfinite(ours) & np.isfinite(theirs)
    return figure(ours[known], theirs[known]), known.sum()


def same_descriptor(rows, name):
    raw, phone = [np.array([clip[name][clip["f0"] > 0].mean() for clip in clips if (clip["f0"] > 0).any()])
                  for clips in zip(*[(a, b) for _, a, b in rows if (a["f0"] > 0).any() and (b["f0"] > 0).any()])]
    return f"correlation of clips' means {correlation(raw, phone)}, n = {len(raw)}"


def correlation(a, b):
    return f"{np.corrcoef(a, b)[0, 1]:.3f}"


def ranks(a, b):
    from scipy.stats import spearmanr

    return f"{spearmanr(a, b).statistic:.3f}"


def difference(a, b):
    return f"{np.median(a - b):+.2f}"


def ratio(a, b):
    return f"{np.median(a) / np.median(b):.2f}"


if __name__ == "__main__":
    sys.exit(main())
