"""The stage `confirm`: a pre-trained speech encoder, fine-tuned, which scores calls that `watch` suspects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_train.stages.stage import MIN_FRAMES, StageSpec
from warmline_train.templates import text

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from warmline_train.data import Sampler, Windows

BANDS = 61
FLOOR = -6.0  # log10 of power below the window's mean


class Confirm:
    """Implements `Stage`. PyTorch is imported by the methods that need it."""

    spec = StageSpec(
        key="confirm",
        name="confirm-whisper-tiny-3",
        version="0.1.0",
        feature_set="speech-log-mel/1",
        features=tuple(f"log_mel_{i:02d}" for i in range(BANDS)),
        min_frames=MIN_FRAMES - 2,  # a frame reaches two hops further
        clips_to_calls=(1.89, 1.31),
        decibel=0.1,  # log10 of power
        stored="<f2",
        steps=400,
        batch=32,
        normalisation=text("normalisation-confirm.txt", floor=f"{FLOOR:g}"),
        pre_trained=text("pre-trained-confirm.txt"),
    )

    def build(self) -> nn.Module:
        from warmline_train.nets.confirm import ConfirmNet

        return ConfirmNet()

    def train(self, sampler: Sampler, steps: int, seed: int, label: str) -> nn.Module:
        from warmline_train.nets import confirm

        return confirm.train(self.spec, sampler, steps, seed, label)

    def export(self, model: nn.Module, path: Path, lanes: int, windows: Windows) -> None:
        from warmline_train.nets import confirm

        confirm.export(self.spec, model, path, lanes, windows)
