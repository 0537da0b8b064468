"""Figures of held-out scores. Means are over corpora; intervals are 95 %, from drawing speakers anew in each corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from warmline_train.calibration import (
    PRIOR,
    balance,
    both_labels,
    calibrated,
    caller_calibration,
    ece,
    less_opening,
    platt,
    with_opening,
)
from warmline_train.folds import CLEAN, NOISY

Figures = dict[str, Any]
Scored = tuple[NDArray, NDArray]  # labels and logits


def recall_at(y: NDArray, s: NDArray, fpr: float) -> float:
    """Highest recall with a false-positive rate of at most `fpr`."""
    f, t, _ = roc_curve(y, s)
    return t[f <= fpr].max()


def threshold_at(y: NDArray, s: NDArray, fpr: float) -> float:
    return float(np.quantile(s[y == 0], 1 - fpr))


FIGURES: dict[str, Callable[[NDArray, NDArray], float]] = {
    "auc": roc_auc_score,
    "recall_at_fpr_1": lambda y, s: recall_at(y, s, 0.01),
    "recall_at_fpr_5": lambda y, s: recall_at(y, s, 0.05),
}


def by_group(table: pd.DataFrame, column: str) -> Figures:
    """{group: figures}, for groups with both labels."""
    out = {}
    for name, part in table.groupby(column):
        if name and part.anger.nunique() == 2:
            y, s = part.anger.to_numpy(), part.logit.to_numpy()
            figures = {k: round(float(f(y, s)), 4) for k, f in FIGURES.items()}
            out[str(name)] = figures | {"clips": len(part), "angry": int(y.sum())}
    return out


def mean_over_corpora(table: pd.DataFrame, repeats: int, seed: int) -> Figures:
    """Each figure with its interval: {figure: {value, low, high}}."""
    rng = np.random.default_rng(seed)
    corpora = [voices_of(corpus) for _, corpus in table.groupby("corpus") if corpus.anger.nunique() == 2]
    value = means([joined(voices, np.arange(len(voices))) for voices in corpora])
    samples = []
    for _ in range(repeats):
        draws = [joined(voices, rng.integers(len(voices), size=len(voices))) for voices in corpora]
        samples.append(means([d for d in draws if 0 < d[0].sum() < len(d[0])]))
    low, high = np.percentile(samples, [2.5, 97.5], axis=0)
    return {
        name: {"value": round(float(v), 4), "low": round(float(lo), 4), "high": round(float(hi), 4)}
        for name, v, lo, hi in zip(FIGURES, value, low, high, strict=True)
    }


def voices_of(corpus: pd.DataFrame) -> list[Scored]:
    return [(own.anger.to_numpy(), own.logit.to_numpy()) for _, own in corpus.groupby("speaker")]


def joined(voices: list[Scored], pick: NDArray[np.int64]) -> Scored:
    return np.concatenate([voices[i][0] for i in pick]), np.concatenate([voices[i][1] for i in pick])


def means(corpora: list[Scored]) -> list[float]:
    return [float(np.mean([figure(y, s) for y, s in corpora])) for figure in FIGURES.values()]


def transfer(table: pd.DataFrame, fpr: float = 0.05) -> Figures:
    """A threshold set for `fpr` on the other corpora: {corpus: realised false-positive rate, recall, ECE}."""
    both = both_labels(table)
    out, errors = {}, []
    for name, part in both.groupby("corpus"):
        rest = both[both.corpus != name]
        limits = [threshold_at(p.anger.to_numpy(), p.logit.to_numpy(), fpr) for _, p in rest.groupby("corpus")]
        hit = part.logit > np.mean(limits)
        p = calibrated(part.logit.to_numpy(), platt(rest))
        errors.append(ece(p, part.anger.to_numpy(), balance(part, PRIOR)))
        out[str(name)] = {
            "fpr": round(float(hit[part.anger == 0].mean()), 4),
            "recall": round(float(hit[part.anger == 1].mean()), 4),
            "ece": round(errors[-1], 4),
        }
    worst = max(v["fpr"] for v in out.values())
    return {
        "nominal_fpr": fpr,
        "worst_realised_fpr": worst,
        "mean_ece": round(float(np.mean(errors)), 4),
        "corpora": out,
    }


def after_an_opening(table: pd.DataFrame, seed: int) -> Figures:
    """With and without the caller's opening, each corpus calibrated on the others: AUC at one threshold, transfer."""
    table = with_opening(table, seed)
    moved = [less_opening(part, caller_calibration(table[table.corpus != c])) for c, part in table.groupby("corpus")]
    out = {}
    for name, scored in (("without", table), ("with", pd.concat(moved, ignore_index=True))):
        pooled = roc_auc_score(scored.anger, scored.logit, sample_weight=balance(scored, PRIOR))
        mean = np.mean([group["auc"] for group in by_group(scored, "corpus").values()])
        aucs = {"auc_one_threshold": round(float(pooled), 4), "auc_mean_over_corpora": round(float(mean), 4)}
        out[name] = aucs | transfer(scored)
    return out


def speech_head(table: pd.DataFrame) -> Figures | None:
    """How well the second output tells speech from test noises; None where either is missing."""
    pieces = table[(table["copy"] == NOISY) & table.kind.isin(["clip", "non_speech"])]
    if pieces.kind.nunique() != 2:
        return None
    y, s = (pieces.kind == "clip").astype(int).to_numpy(), pieces.speech_logit.to_numpy()
    return {
        "auc": round(float(roc_auc_score(y, s)), 4),
        "recall_at_fpr_5": round(float(recall_at(y, s, 0.05)), 4),
        "non_speech_pieces": int(pieces[pieces.kind == "non_speech"]["clip"].nunique()),
    }


def of_condition(clips: pd.DataFrame, protocol: str, clean: bool, bootstrap: int, seed: int) -> Figures:
    """The figures of one protocol's clips through one kind of telephone."""
    out: Figures = {
        "mean_over_corpora": mean_over_corpora(clips, bootstrap, seed),
        "corpus": by_group(clips, "corpus"),
    }
    if protocol == "unseen_corpora":
        out["threshold_transfer"] = transfer(clips)
        out["after_an_opening"] = after_an_opening(clips, seed)
    if clean:
        pairs = clips[clips.gender != ""].assign(pair=lambda t: t.corpus + " " + t.gender)
        out["gender"] = by_group(clips, "gender")
        out["language"] = by_group(clips, "language")
        out["corpus_and_gender"] = by_group(pairs, "pair")
    return out


def of_protocols(scores: Mapping[str, pd.DataFrame], bootstrap: int, seed: int) -> dict[str, Figures]:
    """{protocol: figures} of each protocol's held-out scores."""
    out: dict[str, Figures] = {}
    for protocol, table in scores.items():
        out[protocol] = {}
        for condition, copy in (("clean_telephone", CLEAN), ("noisy_telephone", NOISY)):
            clips = table[(table.kind == "clip") & (table["copy"] == copy)].reset_index(drop=True)
            out[protocol][condition] = of_condition(clips, protocol, copy == CLEAN, bootstrap, seed)
        speech = speech_head(table)
        if speech:
            out[protocol]["speech_head"] = speech
    return out
