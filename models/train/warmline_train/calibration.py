"""From logits to probabilities: Platt's two numbers, the caller's opening, and the calibration error."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

PRIOR = 0.4  # share of angry windows that calibrated probabilities assume
CALM = frozenset({"neutral", "calm", "boredom", "low_arousal"})
OPENING_CLIPS, OPENING_S = 4, 12.0
CALLER_WEIGHT = 0.8  # chosen on whole calls of unseen corpora, see the card; single clips ask for .5 to .65


class Caller(TypedDict):
    """How a caller's opening moves the caller's scores."""

    weight: float
    reference: float
    opening_s: float


class Platt(TypedDict):
    """p = 1 / (1 + exp(-(slope * logit + intercept)))."""

    slope: float
    intercept: float


class Calibration(Platt):
    """What a card holds."""

    caller: Caller
    prior: float


def balance(table: pd.DataFrame, prior: float) -> NDArray[np.float64]:
    """Weights that give every corpus the same say and the angry clips a share of `prior`."""
    size = table.groupby(["corpus", "anger"]).logit.transform("size")
    return np.where(table.anger == 1, prior, 1 - prior) / size


def both_labels(table: pd.DataFrame) -> pd.DataFrame:
    """The corpora that have angry and other clips."""
    return table[table.groupby("corpus").anger.transform("nunique") == 2].reset_index(drop=True)


def platt(table: pd.DataFrame, prior: float = PRIOR) -> Platt:
    """Logistic regression of the label on the logit, over corpora that have both labels."""
    table = both_labels(table)
    weights = balance(table, prior) * len(table)
    fit = LogisticRegression(C=1e6).fit(table[["logit"]].to_numpy(), table.anger, sample_weight=weights)
    slope, intercept = fit.coef_[0][0], fit.intercept_[0]
    if slope <= 0:
        print(
            "calibration: held-out clips rank no better than chance, as after a smoke run: do not use it",
            flush=True,
        )
        slope = 1e-3
    return {"slope": round(float(slope), 6), "intercept": round(float(intercept), 6)}


def with_opening(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The clips of each caller but four calm ones, whose median logit becomes `opening`; callers with fewer go."""
    rng = np.random.default_rng(seed)
    parts = []
    for _, own in table.groupby(["speaker", "copy"]):
        calm = own.index[own.emotion.isin(CALM)]
        if len(calm) >= OPENING_CLIPS:
            first = rng.choice(calm, OPENING_CLIPS, replace=False)
            parts.append(own.drop(first).assign(opening=own.logit[first].median()))
    return both_labels(pd.concat(parts, ignore_index=True))


def less_opening(table: pd.DataFrame, caller: Caller) -> pd.DataFrame:
    """The scores less a part of what the caller's opening deviates from the reference."""
    return table.assign(logit=table.logit - caller["weight"] * (table.opening - caller["reference"]))


def caller_calibration(table: pd.DataFrame) -> Caller:
    """The reference of openings: the median over callers."""
    reference = table.drop_duplicates(["speaker", "copy"]).opening.median()
    return {"weight": CALLER_WEIGHT, "reference": round(float(reference), 4), "opening_s": OPENING_S}


def calibrate(table: pd.DataFrame, seed: int, clips_to_calls: tuple[float, float]) -> Calibration:
    """Calibration as served: that of single clips, then (factor, shift) of log-odds in calls, where turns are long."""
    table = with_opening(table, seed)
    caller = caller_calibration(table)
    clip = platt(less_opening(table, caller))
    factor, shift = clips_to_calls
    return {
        "slope": round(factor * clip["slope"], 6),
        "intercept": round(factor * clip["intercept"] + shift, 6),
        "caller": caller,
        "prior": PRIOR,
    }


def calibrated(logit: NDArray[np.float64], calibration: Platt) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-(calibration["slope"] * logit + calibration["intercept"])))


def ece(p: NDArray[np.float64], y: NDArray, w: NDArray[np.float64], bins: int = 10) -> float:
    """Expected calibration error over equal-width bins, weighted."""
    b = np.minimum((p * bins).astype(int), bins - 1)
    return float(sum(abs(np.sum(w[b == k] * (p[b == k] - y[b == k]))) for k in range(bins)) / w.sum())
