"""The `confirm` network: the stem and first layers of Whisper tiny.en, fine-tuned: a window of log-mel frames → logits.

frames [lanes, window, 61] as `warmline features --set speech-log-mel/1` writes them, mask [lanes, window] → logits
[lanes, 2] (frustration, speech). The level of the window is subtracted in the graph, so the gain of a line is not an
input; the bands above 4 kHz, which a telephone does not have, are at the floor.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn
from torch.nn import functional as F

from warmline_train import export as files
from warmline_train.data import Sampler, Windows
from warmline_train.nets import loop, whisper
from warmline_train.nets.loop import LN10
from warmline_train.stages.confirm import BANDS, FLOOR
from warmline_train.stages.stage import HEADS, StageSpec

LAYERS = 3
RATE, HEAD_RATE, DECAY = 2e-5, 1e-4, 0.99
PROBE_WINDOWS, PROBE_WINDOWS_SHORT, PROBE_DECAY = 16_000, 256, 0.2
KEEP = 0.5  # share of the fine-tuned weights in what is shipped; the rest is what they were before
INPUTS = 2 * whisper.WIDTH * (LAYERS + 1)


class ConfirmNet(nn.Module):
    """Encoder; mean and deviation over the window of what the stem and each layer give; one linear layer."""

    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.encoder = whisper.Encoder(LAYERS)
        self.register_buffer("mean", torch.zeros(INPUTS))
        self.register_buffer("scale", torch.ones(INPUTS))
        self.dropout = nn.Dropout(0.2)
        self.heads = nn.Linear(INPUTS, len(HEADS))

    def relative(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Whisper's scale, the window's mean power in the place of its recording's peak: [lanes, 80, window]."""
        m = mask.unsqueeze(-1)
        power = (torch.exp(frames * LN10) * m).sum((1, 2), keepdim=True) / mask.sum(1).clamp(min=1)[:, None, None]
        x = (frames - torch.log(power + 1e-10) / LN10).clamp(FLOOR, 4.0)
        x = F.pad(x, (0, whisper.MELS - BANDS), value=FLOOR)
        return ((x + 3.0) / 4.0 * m).transpose(1, 2)

    def pooled(self, frames: Tensor, mask: Tensor) -> Tensor:
        present = mask.reshape(mask.shape[0], -1, 2).mean(2).ceil()
        share = (present / present.sum(1, keepdim=True).clamp(min=1)).unsqueeze(-1)
        out = []
        for h in self.encoder(self.relative(frames, mask), present):
            h = h.to(frames.dtype)
            mean = (share * h).sum(1)
            out += [mean, ((share * h * h).sum(1) - mean * mean).clamp(min=1e-6).sqrt()]
        return torch.cat(out, dim=1)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        return self.heads(self.dropout((self.pooled(frames, mask) - self.mean) * self.scale))


def augment(x: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
    """A random channel, and a masked run of bands and of frames (SpecAugment, Park 2019)."""
    lanes, frames = x.shape[:2]
    x = x + loop.smooth_equaliser(lanes, BANDS, 0.3, generator)
    mean = x.mean(1, keepdim=True)
    for axis, size, longest in ((2, BANDS, 10), (1, frames, 25)):
        shape = (lanes, 1, 1)
        start = torch.randint(size, shape, generator=generator)
        length = torch.randint(longest, shape, generator=generator)
        place = torch.arange(size).reshape((1, 1, -1) if axis == 2 else (1, -1, 1))
        x = torch.where((place >= start) & (place < start + length), mean, x)
    return x


def train(spec: StageSpec, sampler: Sampler, steps: int, seed: int, label: str) -> nn.Module:
    """The head first (Kumar 2022), then everything, then the mean of the weights before and after (Wortsman 2022)."""
    torch.manual_seed(seed)
    model = ConfirmNet()
    model.encoder.load(whisper.weights_file())
    probe(model, sampler, PROBE_WINDOWS if steps == spec.steps else PROBE_WINDOWS_SHORT, label)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    groups: list[dict[str, Any]] = [
        {"params": model.heads.parameters(), "lr": HEAD_RATE},
        {"params": model.encoder.parameters(), "lr": RATE},
    ]
    after = loop.optimise(
        model, groups, sampler, augment, steps, spec.batch, seed, label, decay=DECAY, precision=torch.bfloat16
    )
    mean = {
        name: torch.lerp(before[name], value, KEEP) if value.is_floating_point() else value
        for name, value in after.state_dict().items()
    }
    after.load_state_dict(mean)
    return after.eval()


@torch.no_grad()
def pool(model: ConfirmNet, sampler: Sampler, windows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What `windows` augmented windows look like to the head, and their labels."""
    inputs, labels = [], []
    for _ in range(windows // 64):
        x, mask, y = map(torch.from_numpy, sampler.batch(64))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inputs.append(model.pooled(augment(x, mask, generator), mask))
        labels.append(y)
    return torch.cat(inputs), torch.cat(labels)


def probe(model: ConfirmNet, sampler: Sampler, windows: int, label: str) -> None:
    """Logistic regression with a quadratic penalty on the pooled outputs of the encoder as it stands."""
    begun = time.time()
    inputs, labels = pool(model, sampler, windows, torch.Generator().manual_seed(0))
    model.mean.copy_(inputs.mean(0))
    model.scale.copy_(1 / inputs.std(0).clamp(min=1e-3))
    inputs = (inputs - model.mean) * model.scale
    nn.init.zeros_(model.heads.weight)
    nn.init.zeros_(model.heads.bias)
    optimiser = torch.optim.LBFGS(model.heads.parameters(), max_iter=60, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = loop.loss_of(model.heads(inputs), labels) + PROBE_DECAY * (model.heads.weight**2).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    print(
        f"{label}: probe of {len(inputs)} windows, loss {closure().item():.4f}, {time.time() - begun:.0f} s", flush=True
    )


def export(spec: StageSpec, model: nn.Module, path: Path, lanes: int, windows: Windows) -> None:
    """Matrix products in eight bits (dynamic range, so `windows` go unused), the stem in 32."""
    del windows
    model = copy.deepcopy(model)
    model.encoder.position.data = model.encoder.position.data[: spec.window_frames // 2]
    whole = path.with_name(f"{path.stem}-fp32.onnx")
    files.to_onnx(model, whole, lanes, spec.window_frames, BANDS)
    proto = onnx.load(str(whole))
    del proto.graph.value_info[:]  # the quantiser infers shapes of its own
    onnx.save(proto, str(whole))
    (heads,) = [
        node.name for node in proto.graph.node if "logits" in node.output
    ]  # in 32 bits, so that adapt.py can refit it
    quantize_dynamic(
        str(whole),
        str(path),
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=["MatMul", "Gemm"],
        nodes_to_exclude=[heads, f"{heads}_MatMul"],
    )
    files.save(onnx.load(str(path)), path)
    whole.unlink()
