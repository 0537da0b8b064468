"""Trains a stage on each fold and on everything, and scores what each fold holds out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from warmline_train import data, figures
from warmline_train.folds import CLEAN, Fold, scored_rows, training_rows
from warmline_train.stages import Stage
from warmline_train.workers import in_order

SCORE_BATCH = 64
POOLED_FRAMES = 4  # both nets pool frames, by two and by four


@dataclass(frozen=True)
class FitJob:
    """One fold to train. Its weights and scores go to `folder`, and are not made again when they are there."""

    stage: Stage
    folder: Path
    frames: NDArray
    clips: pd.DataFrame
    fold: Fold
    steps: int
    seed: int

    @property
    def weights(self) -> Path:
        return self.folder / f"{self.fold.name}.pt"

    @property
    def scores(self) -> Path:
        return self.folder / f"{self.fold.name}.csv"


@torch.no_grad()
def score(model: nn.Module, frames: NDArray, clips: pd.DataFrame) -> pd.DataFrame:
    """The clips with the logit of the mean probability of their windows, for each head."""
    spans, owner = data.whole_clips(clips)
    lengths = np.array([end - start for start, end in spans])
    logits = np.zeros((len(spans), 2), np.float32)
    by_length = np.argsort(lengths, kind="stable")
    for some in np.array_split(by_length, max(1, len(spans) // SCORE_BATCH)):
        longest = -(-lengths[some].max() // POOLED_FRAMES) * POOLED_FRAMES
        x, mask = data.windows(frames, [spans[i] for i in some], min(longest, data.WINDOW))
        logits[some] = model(torch.from_numpy(x), torch.from_numpy(mask)).numpy()
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    windows = np.bincount(owner)
    mean = np.stack([np.bincount(owner, p[:, k]) / windows for k in range(p.shape[1])], axis=1).clip(1e-9, 1 - 1e-9)
    logit = np.log(mean / (1 - mean))
    anger = (clips.emotion == "anger").astype(int)
    return clips.assign(anger=anger, logit=logit[:, 0], speech_logit=logit[:, 1])


def fit_fold(job: FitJob) -> None:
    """Trains on the fold's training rows, then scores its test rows. The final fold holds out nothing: no scores."""
    if job.weights.exists():
        return
    torch.set_num_threads(1)  # a fold a core: cheaper than sharing one, and the sums have one order
    fold, seed = job.fold, job.seed + job.fold.number
    training = job.clips[training_rows(job.clips, fold)]
    sampler = data.Sampler(job.frames, training, np.random.default_rng(seed))
    model = job.stage.train(sampler, job.steps, seed, f"{fold.protocol} {fold.number}")
    if fold.held_out.any():
        test = job.clips[scored_rows(job.clips, fold)].reset_index(drop=True)
        table = score(model, job.frames, test).assign(fold=fold.number)
        table.to_csv(job.scores, index=False)
        groups = figures.by_group(table[(table["copy"] == CLEAN) & (table.kind == "clip")], "corpus")
        auc = {corpus: group["auc"] for corpus, group in groups.items()}
        print(f"{fold.protocol} {fold.number}: AUC {auc}", flush=True)
    torch.save(model.state_dict(), job.weights)


def fit_all(jobs: Sequence[FitJob], workers: int) -> dict[str, pd.DataFrame]:
    """Trains every job, `workers` at a time. Returns each protocol's held-out scores."""
    for _ in in_order(fit_fold, jobs, workers):
        pass
    parts: dict[str, list[pd.DataFrame]] = {}
    for job in jobs:
        if job.fold.held_out.any():
            parts.setdefault(job.fold.protocol, []).append(pd.read_csv(job.scores, keep_default_na=False))
    return {protocol: pd.concat(tables, ignore_index=True) for protocol, tables in parts.items()}


def trained(stage: Stage, weights: Path) -> nn.Module:
    """The network with weights that `fit_fold` wrote."""
    model = stage.build()
    model.load_state_dict(torch.load(weights))
    return model.eval()
