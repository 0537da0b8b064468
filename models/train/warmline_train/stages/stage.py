"""What a stage is: the facts of its model, and how to build, train and export it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from warmline_train.data import Sampler, Windows

HEADS = ("frustration", "speech")
WINDOW, MIN_FRAMES = 300, 100  # frames of 10 ms


@dataclass(frozen=True)
class StageSpec:
    """The facts of a stage that data preparation, figures and cards read. Needs no PyTorch."""

    key: str  # the name on the command line and in the card
    name: str
    version: str
    feature_set: str
    features: tuple[str, ...]
    min_frames: int
    clips_to_calls: tuple[float, float]  # factor and shift of log-odds, fitted on the calls of calls.py
    decibel: float  # one decibel in the unit of the features
    stored: str  # NumPy type of the packed frames
    steps: int
    batch: int
    normalisation: str
    pre_trained: str | None = None
    window_frames: int = WINDOW
    hop_frames: int = 100
    heads: tuple[str, ...] = HEADS


@runtime_checkable
class Stage(Protocol):
    """A model of the cascade. Code that trains or exports takes a `Stage`; where facts suffice, it takes the spec."""

    @property
    def spec(self) -> StageSpec:
        """The facts of the stage."""

    def build(self) -> nn.Module:
        """The network, untrained: frames [lanes, window, D] and mask [lanes, window] → logits [lanes, 2]."""

    def train(self, sampler: Sampler, steps: int, seed: int, label: str) -> nn.Module:
        """The network, trained on windows of `sampler`. `label` names the run in progress lines."""

    def export(self, model: nn.Module, path: Path, lanes: int, windows: Windows) -> None:
        """Writes the ONNX file with a batch of exactly `lanes`. Quantisation ranges come from `windows`."""
