"""What both networks share in training: the loss, the loop, the running average of the weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from warmline_train.data import Sampler

LN10 = 2.302585093

Augment = Callable[[Tensor, Tensor, torch.Generator], Tensor]  # frames and mask → frames


def smooth_equaliser(lanes: int, bands: int, decibels: float, generator: torch.Generator) -> Tensor:
    """Random channels [lanes, 1, bands] in dB, linear between six points; half of them are flat."""
    points = torch.randn(lanes, 1, 6, generator=generator) * decibels
    points = points * (torch.rand(lanes, 1, 1, generator=generator) < 0.5)
    return F.interpolate(points, size=bands, mode="linear", align_corners=True)


def loss_of(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of both heads, the labels softened: actors do not always convince."""
    y = y * 0.96 + 0.02
    frustration = F.binary_cross_entropy_with_logits(logits[:, 0], y[:, 0])
    return frustration + 0.3 * F.binary_cross_entropy_with_logits(logits[:, 1], y[:, 1])


def optimise(
    model: nn.Module,
    groups: list[dict[str, Any]],
    sampler: Sampler,
    augment: Augment,
    steps: int,
    batch: int,
    seed: int,
    label: str,
    decay: float = 0.0,
    warm_up: int = 100,
    precision: torch.dtype = torch.float32,
) -> nn.Module:
    """Steps at a constant rate after a warm-up. Returns the running average of the weights (`decay` 0: the last)."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(groups, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1, (step + 1) / warm_up))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    model.train()
    begun, running = time.time(), 0.0
    for step in range(1, steps + 1):
        x, mask, y = map(torch.from_numpy, sampler.batch(batch))
        x = augment(x, mask, generator)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
            logits = model(x, mask)
        loss = loss_of(logits.float(), y)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimiser.step()
        schedule.step()
        average.update_parameters(model)
        running += (loss.item() - running) / min(step, 100)
        if step % max(1, steps // 8) == 0:
            print(f"{label}: step {step}/{steps}, loss {running:.4f}, {time.time() - begun:.0f} s", flush=True)
    return average.module.eval()
