"""Warmline's spectral descriptors against openSMILE's eGeMAPSv02, frame by frame on real speech.

    python tests/reference/egemaps.py --corpora DIR > egemaps.md

Needs numpy, soundfile and opensmile. Both hear the same 8 kHz samples; Warmline's frames are smoothed over three as
openSMILE smooths its own (`sma3`). Where a definition differs, the table also has the comparison after undoing the
difference: of openSMILE's slopes, the share of the level they contain; of our flux, the normalisation.
"""

import argparse
import collections
import sys

import clips

COLUMNS = {
    "loudness": "Loudness",
    "slope_0_500": "slope0-500",
    "slope_500_1500": "slope500-1500",
    "alpha_ratio_db": "alphaRatio",
    "hammarberg_db": "hammarbergIndex",
    "mfcc_1": "mfcc1",
    "mfcc_2": "mfcc2",
    "mfcc_3": "mfcc3",
    "mfcc_4": "mfcc4",
    "flux": "spectralFlux",
}
LAGS = range(-3, 4)
EDGE = 2  # frames at either end whose smoothing differs
FFT_LEN = 256
BIN_HZ = clips.RATE / FFT_LEN
SLOPE_BINS = {"slope_0_500": (0, 16), "slope_500_1500": (16, 48)}
REQUIRED = 0.9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options = clips.arguments(parser)

    import opensmile

    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.LowLevelDescriptors
    )
    pairs = collections.defaultdict(list)
    drawn = clips.draw(options.corpora, options.clips, options.seed)
    for clip in drawn:
        pcm = clips.samples(clip)
        ours = clips.features(options.features_command, pcm)
        theirs = smile.process_signal(pcm / 32_768, clips.RATE)
        for name, column in COLUMNS.items():
            reference = theirs[f"{column}_sma3"].to_numpy(float)
            pairs[name].append((clips.smooth(ours[name]), reference))
            if name in SLOPE_BINS:
                pairs[f"{name}, level removed"].append((clips.smooth(ours[name]), level_removed(name, reference, pcm)))
        unnormalised = flux_with_level(ours["flux"], ours["level_dbfs"])
        pairs["flux, level put back"].append((clips.smooth(unnormalised), theirs["spectralFlux_sma3"].to_numpy(float)))

    print(f"{len(drawn)} clips of {len({clip.corpus for clip in drawn})} corpora, seed {options.seed}.\n")
    print("| descriptor | openSMILE | lag, frames | r, all frames | r, median of clips | frames |")
    print("|---|---|---|---|---|---|")
    agreed = {}
    for name in sorted(pairs, key=lambda name: list(COLUMNS).index(name.split(",")[0])):
        base = name.split(",")[0]
        lag, pooled, median, frames = compare(pairs[name])
        agreed[base] = max(agreed.get(base, -1), pooled)
        print(f"| {name} | {COLUMNS[base]} | {lag} | {pooled:.3f} | {median:.3f} | {frames} |")
    ours, theirs = (sum(column.sum() for column in side) for side in zip(*(clips.lagged(*p, 0) for p in pairs["loudness"])))
    print(f"\nMean loudness, ours over openSMILE's: {ours / theirs:.3f}.")
    print(NOTES)
    disagreed = [name for name, r in agreed.items() if not r >= REQUIRED]
    sys.exit(f"r below {REQUIRED}: {', '.join(disagreed)}" if disagreed else 0)


def compare(columns):
    """The lag with the greatest correlation over all frames, that correlation, the median of the clips' own, the frames."""
    import numpy as np

    best = None
    for lag in LAGS:
        cut = [tuple(column[EDGE:-EDGE] for column in clips.lagged(ours, theirs, lag)) for ours, theirs in columns]
        pooled = clips.correlation(*(np.concatenate(side) for side in zip(*cut)))
        if best is None or pooled > best[1]:
            median = np.nanmedian([clips.correlation(ours, theirs) for ours, theirs in cut])
            best = lag, pooled, median, sum(len(ours) for ours, _ in cut)
    return best


def level_removed(name, slope, pcm):
    """openSMILE's slope as the least-squares line it means to be.

    Over `n` bins, it takes `n - 1` for `n`: ((n-1) Σ fL - Σ f Σ L) / ((n-1) Σ f² - (Σ f)²). That is
    ((n-1) S b - f̄ Σ L) / ((n-1) Σ f² - (Σ f)²) with the true slope b and S = Σ (f - f̄)².
    """
    import numpy as np

    first, last = SLOPE_BINS[name]
    f = np.arange(first, last + 1) * BIN_HZ
    n, spread = len(f), ((f - f.mean()) ** 2).sum()
    frames = np.lib.stride_tricks.sliding_window_view(pcm / 32_768, 160)[::80] * np.hamming(160)
    power = np.abs(np.fft.rfft(frames, FFT_LEN)[:, first : last + 1]) ** 2
    level = clips.smooth(10 * np.log10(np.maximum(power, 1e-14)).sum(axis=1))[: len(slope)]
    return (slope * ((n - 1) * (f**2).sum() - f.sum() ** 2) + f.mean() * level) / ((n - 1) * spread)


def flux_with_level(flux, level_dbfs):
    """‖A - B‖ from d = ‖A/a - B/b‖ and the norms a, b that follow from the levels: (a - b)² + a b d²."""
    import numpy as np

    a = 10 ** (level_dbfs / 20)
    b = np.concatenate([a[:1], a[:-1]])
    return np.sqrt((a - b) ** 2 + a * b * flux**2)


NOTES = """
Different by definition:

- **slopes**: openSMILE 3 counts one bin too few in its regression, and so mixes the level into the slope: 6 dB more gain
  are 4.8 dB/kHz less in 0-500 Hz and 3.3 dB/kHz less in 500-1500 Hz. Ours is the least-squares line and has no level in
  it; "level removed" compares it with openSMILE's after taking that share out.
- **flux**: openSMILE's is the distance between spectra as they are, so it follows the level; ours is the distance
  between spectra of unit norm. "Level put back" computes openSMILE's from our `flux` and `level_dbfs`.
- **alpha ratio**: ours leaves out what lies below 50 Hz, as Eyben et al. (2016) define it; openSMILE starts at 0 Hz.
- **frames**: ours last 25 ms, openSMILE's 20 ms; both begin at the same sample.
"""

if __name__ == "__main__":
    main()
