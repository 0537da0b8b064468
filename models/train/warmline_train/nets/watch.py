"""The `watch` network: a window of raw descriptors → logits, with every normalisation inside.

frames [lanes, window, D] as `warmline features` writes them, mask [lanes, window] → logits [lanes, 2] (frustration,
speech). The level of the window (its mean power) is subtracted from the log-mel bands, which are then cut at FLOOR_DB
below it: the gain of a line is not an input. Padding reaches neither convolutions nor pooling.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from warmline_train import export as files
from warmline_train.data import Sampler, Windows
from warmline_train.nets import loop
from warmline_train.stages.stage import HEADS, StageSpec
from warmline_train.stages.watch import DESCRIPTORS, FLOOR_DB

MEL = 40
INPUTS = MEL + len(DESCRIPTORS)
STACK = 4  # frames seen together: the network runs at 40 ms
RATE, DECAY = 2e-3, 0.997


class Normalise(nn.Module):
    """Raw descriptors → standardised inputs [lanes, window, INPUTS], padding zero."""

    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(INPUTS))
        self.register_buffer("scale", torch.ones(INPUTS))

    def relative(self, frames: Tensor, mask: Tensor) -> Tensor:
        m = mask.unsqueeze(-1)
        mel, voicing = frames[..., :40], frames[..., 40:41]
        f0, voiced_only = frames[..., 41:42], frames[..., 42:]
        power = (torch.exp(mel * 0.23025851) * m).sum((1, 2), keepdim=True) / mask.sum(1).clamp(min=1)[:, None, None]
        level = 4.3429448 * torch.log(power + 1e-20)
        mel = (mel - level).clamp(FLOOR_DB, 20.0)
        voiced = (f0 > 0).to(frames.dtype) * m
        semitones = 17.312340 * torch.log(f0.clamp(min=20.0) * 0.01)
        centre = (semitones * voiced).sum(1, keepdim=True) / voiced.sum(1, keepdim=True).clamp(min=1)
        return torch.cat([mel, voicing, (semitones - centre) * voiced, voiced_only], dim=-1)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        return (self.relative(frames, mask) - self.mean) * self.scale * mask.unsqueeze(-1)


class Residual(nn.Module):
    """A dilated convolution over time, added to its input."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, h: Tensor, m: Tensor) -> Tensor:
        return (h + torch.relu(self.norm(self.conv(h)))) * m


class WatchNet(nn.Module):
    """Time-delay network with attentive statistics pooling (Okabe 2018) beside plain statistics of the inputs."""

    def __init__(
        self, width: int = 96, dilations: tuple[int, ...] = (1, 2, 3, 4), embedding: int = 64, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.entry = nn.Sequential(nn.Conv1d(STACK * INPUTS, width, 1, bias=False), nn.BatchNorm1d(width), nn.ReLU())
        self.blocks = nn.ModuleList(Residual(width, d) for d in dilations)
        self.attention = nn.Sequential(nn.Conv1d(width, 32, 1), nn.Tanh(), nn.Conv1d(32, width, 1))
        self.embed = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(2 * width + 2 * INPUTS, embedding, bias=False),
            nn.BatchNorm1d(embedding),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.heads = nn.Linear(embedding, len(HEADS))

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        x = self.normalise(frames, mask)
        lanes, window = frames.shape[0], frames.shape[1]
        n = mask.sum(1, keepdim=True).clamp(min=1)
        x_mean = x.sum(1) / n
        x_std = ((x * x).sum(1) / n - x_mean * x_mean).clamp(min=1e-4).sqrt()
        h = x.reshape(lanes, window // STACK, STACK * INPUTS).transpose(1, 2)
        m = mask.reshape(lanes, window // STACK, STACK).mean(2).unsqueeze(1).ceil()
        h = self.entry(h) * m
        for block in self.blocks:
            h = block(h, m)
        a = torch.softmax(self.attention(h) + (m - 1) * 1e4, dim=2) * m
        h_mean = (a * h).sum(2)
        h_std = ((a * h * h).sum(2) - h_mean * h_mean).clamp(min=1e-4).sqrt()
        return self.heads(self.embed(torch.cat([h_mean, h_std, x_mean, x_std], dim=1)))


def augment(x: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
    """A random channel."""
    x[..., :MEL] += loop.smooth_equaliser(len(x), MEL, 3.0, generator) * mask.unsqueeze(-1)
    return x


def train(spec: StageSpec, sampler: Sampler, steps: int, seed: int, label: str) -> nn.Module:
    """A constant rate and the running average of the weights: decay and long training fit strangers worse."""
    torch.manual_seed(seed)
    model = WatchNet()
    x, mask, _ = map(torch.from_numpy, sampler.batch(1000))
    with torch.no_grad():
        inputs = model.normalise.relative(x, mask)[mask > 0]
        model.normalise.mean.copy_(inputs.mean(0))
        model.normalise.scale.copy_(1 / inputs.std(0).clamp(min=1e-3))
    groups: list[dict[str, Any]] = [{"params": model.parameters(), "lr": RATE}]
    return loop.optimise(model, groups, sampler, augment, steps, spec.batch, seed, label, decay=DECAY)


class CalibrationWindows(CalibrationDataReader):
    """Gives windows to the quantiser, which sees from them how large activations get."""

    def __init__(self, lanes: int, windows: Windows) -> None:
        x, mask = windows
        starts = range(0, len(x) - lanes + 1, lanes)
        self.batches: Iterator[dict[str, Any]] = iter(
            [{"frames": x[i : i + lanes], "mask": mask[i : i + lanes]} for i in starts]
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self.batches, None)


def export(spec: StageSpec, model: nn.Module, path: Path, lanes: int, windows: Windows) -> None:
    """Convolutions in eight bits, with ranges from `windows` of training speech; the rest in 32: a third less time."""
    whole, prepared = (path.with_name(f"{path.stem}-{part}.onnx") for part in ("fp32", "prepared"))
    files.to_onnx(model, whole, lanes, spec.window_frames, INPUTS)
    quant_pre_process(str(whole), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(path),
        CalibrationWindows(lanes, windows),
        op_types_to_quantize=["Conv"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
    )
    files.save(onnx.load(str(path)), path)
    whole.unlink()
    prepared.unlink()
