"""The stage `watch`: a small network over descriptors, which scores every call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_train.stages.stage import MIN_FRAMES, StageSpec
from warmline_train.templates import text

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from warmline_train.data import Sampler, Windows

FLOOR_DB = -60.0  # below the window's mean power
DESCRIPTORS = ("voicing", "f0_hz", "hnr_db", "jitter_local", "shimmer_local", "h1_h2_db")


class Watch:
    """Implements `Stage`. PyTorch is imported by the methods that need it."""

    spec = StageSpec(
        key="watch",
        name="watch-tdnn-96",
        version="0.2.0",
        feature_set="prosody/1",
        features=(*(f"mel_{i:02d}_db" for i in range(40)), *DESCRIPTORS),
        min_frames=MIN_FRAMES,
        clips_to_calls=(1.81, 0.78),
        decibel=1.0,
        stored="<f4",
        steps=800,
        batch=64,
        normalisation=text("normalisation-watch.txt", floor_db=f"{FLOOR_DB:g}"),
    )

    def build(self) -> nn.Module:
        from warmline_train.nets.watch import WatchNet

        return WatchNet()

    def train(self, sampler: Sampler, steps: int, seed: int, label: str) -> nn.Module:
        from warmline_train.nets import watch

        return watch.train(self.spec, sampler, steps, seed, label)

    def export(self, model: nn.Module, path: Path, lanes: int, windows: Windows) -> None:
        from warmline_train.nets import watch

        watch.export(self.spec, model, path, lanes, windows)
