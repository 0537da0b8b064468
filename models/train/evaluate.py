"""Figures of held-out scores. Means are over corpora; intervals are 95 %, by drawing speakers anew within each corpus."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve

PRIOR = 0.4  # share of angry windows that calibrated probabilities assume
CALM = {"neutral", "calm", "boredom", "low_arousal"}
OPENING_CLIPS, OPENING_S = 4, 12.0
CALLER_WEIGHT = 0.8  # chosen on whole calls of unseen corpora, see the card; single clips ask for .5 to .65


def recall_at(y, s, fpr):
    """Highest recall with a false-positive rate of at most `fpr`."""
    f, t, _ = roc_curve(y, s)
    return t[f <= fpr].max()


def threshold_at(y, s, fpr):
    return np.quantile(s[y == 0], 1 - fpr)


FIGURES = {
    "auc": roc_auc_score,
    "recall_at_fpr_1": lambda y, s: recall_at(y, s, 0.01),
    "recall_at_fpr_5": lambda y, s: recall_at(y, s, 0.05),
}


def by_group(table, column):
    """{group: figures}, for groups with both labels."""
    out = {}
    for name, part in table.groupby(column):
        if name and part.anger.nunique() == 2:
            y, s = part.anger.to_numpy(), part.logit.to_numpy()
            out[name] = {k: round(float(f(y, s)), 4) for k, f in FIGURES.items()} | {"clips": len(part), "angry": int(y.sum())}
    return out


def mean_over_corpora(table, repeats, seed):
    """Each figure with its interval: {figure: {value, low, high}}."""
    rng = np.random.default_rng(seed)
    corpora = [[(p.anger.to_numpy(), p.logit.to_numpy()) for _, p in c.groupby("speaker")] for _, c in table.groupby("corpus") if c.anger.nunique() == 2]
    figures = lambda draws: [np.mean([f(*d) for d in draws]) for f in FIGURES.values()]
    joined = lambda voices, pick: (np.concatenate([voices[i][0] for i in pick]), np.concatenate([voices[i][1] for i in pick]))
    value = figures([joined(v, range(len(v))) for v in corpora])
    samples = []
    for _ in range(repeats):
        draws = [joined(v, rng.integers(len(v), size=len(v))) for v in corpora]
        samples.append(figures([d for d in draws if 0 < d[0].sum() < len(d[0])]))
    low, high = np.percentile(samples, [2.5, 97.5], axis=0)
    return {k: {"value": round(float(v), 4), "low": round(float(l), 4), "high": round(float(h), 4)} for k, v, l, h in zip(FIGURES, value, low, high)}


def balance(table, prior):
    """Weights that give every corpus the same say and the angry clips a share of `prior`."""
    size = table.groupby(["corpus", "anger"]).logit.transform("size")
    return np.where(table.anger == 1, prior, 1 - prior) / size


def both_labels(table):
    return table[table.groupby("corpus").anger.transform("nunique") == 2].reset_index(drop=True)


def logistic(table, columns, prior):
    fit = LogisticRegression(C=1e6).fit(table[columns].to_numpy(), table.anger, sample_weight=balance(table, prior) * len(table))
    return fit.coef_[0], fit.intercept_[0]


def platt(table, prior=PRIOR):
    """p = 1 / (1 + exp(-(slope * logit + intercept))), over corpora that have both labels."""
    (slope,), intercept = logistic(both_labels(table), ["logit"], prior)
    if slope <= 0:
        print("evaluate: held-out clips are ranked no better than by chance: this model is of no use (a smoke run's may be)", flush=True)
        slope = 1e-3
    return {"slope": round(float(slope), 6), "intercept": round(float(intercept), 6)}


def with_opening(table, seed):
    """The clips of each caller but four calm ones, whose median logit becomes `opening`. Callers with fewer are left out."""
    rng = np.random.default_rng(seed)
    parts = []
    for _, own in table.groupby(["speaker", "copy"]):
        calm = own.index[own.emotion.isin(CALM)]
        if len(calm) >= OPENING_CLIPS:
            first = rng.choice(calm, OPENING_CLIPS, replace=False)
            parts.append(own.drop(first).assign(opening=own.logit[first].median()))
    return both_labels(pd.concat(parts, ignore_index=True))


def less_opening(table, caller):
    """What the caller's opening deviates from the reference is taken off, in part."""
    return table.assign(logit=table.logit - caller["weight"] * (table.opening - caller["reference"]))


def caller_calibration(table):
    """What an opening is held against: the median over callers."""
    reference = table.drop_duplicates(["speaker", "copy"]).opening.median()
    return {"weight": CALLER_WEIGHT, "reference": round(float(reference), 4), "opening_s": OPENING_S}


def calibrate(table, seed, calls):
    """Calibration as served: slope and intercept of single clips, then `calls` = (factor, shift) of log-odds in calls, where turns are long."""
    table = with_opening(table, seed)
    caller = caller_calibration(table)
    clip = platt(less_opening(table, caller))
    factor, shift = calls
    served = {"slope": round(factor * clip["slope"], 6), "intercept": round(factor * clip["intercept"] + shift, 6)}
    return served | {"caller": caller, "prior": PRIOR}


def after_an_opening(table, seed):
    """Scores with and without the caller's opening, each corpus calibrated on the others: AUC over all corpora at one threshold, and transfer."""
    table = with_opening(table, seed)
    parts = [less_opening(part, caller_calibration(table[table.corpus != name])) for name, part in table.groupby("corpus")]
    out = {}
    for name, t in (("without", table), ("with", pd.concat(parts, ignore_index=True))):
        pooled = roc_auc_score(t.anger, t.logit, sample_weight=balance(t, PRIOR))
        out[name] = {"auc_one_threshold": round(float(pooled), 4), "auc_mean_over_corpora": round(float(np.mean([g["auc"] for g in by_group(t, "corpus").values()])), 4)} | transfer(t)
    return out


def calibrated(logit, calibration):
    return 1 / (1 + np.exp(-(calibration["slope"] * logit + calibration["intercept"])))


def ece(p, y, w, bins=10):
    """Expected calibration error over equal-width bins, weighted."""
    b = np.minimum((p * bins).astype(int), bins - 1)
    return float(sum(abs(np.sum(w[b == k] * (p[b == k] - y[b == k]))) for k in range(bins)) / w.sum())


def transfer(table, fpr=0.05):
    """A threshold set for `fpr` on the other corpora: {corpus: realised false-positive rate and recall}. Calibration likewise."""
    both = both_labels(table)
    out, errors = {}, []
    for name, part in both.groupby("corpus"):
        rest = both[both.corpus != name]
        limit = np.mean([threshold_at(p.anger.to_numpy(), p.logit.to_numpy(), fpr) for _, p in rest.groupby("corpus")])
        hit = part.logit > limit
        p = calibrated(part.logit.to_numpy(), platt(rest))
        errors.append(ece(p, part.anger.to_numpy(), balance(part, PRIOR)))
        out[name] = {"fpr": round(float(hit[part.anger == 0].mean()), 4), "recall": round(float(hit[part.anger == 1].mean()), 4), "ece": round(errors[-1], 4)}
    worst = max(v["fpr"] for v in out.values())
    return {"nominal_fpr": fpr, "worst_realised_fpr": worst, "mean_ece": round(float(np.mean(errors)), 4), "corpora": out}
