"""The ONNX file of a network, and facts about it: agreement with PyTorch, gain invariance, independent rows, cost."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from torch import nn

from warmline_train.data import Windows
from warmline_train.runtime import session
from warmline_train.stages import Stage, StageSpec

LANES = (1, 8, 32)
EXAMINED = 64  # windows
TIMED = 40  # runs
GAINS_DB = (-20, -7.3, 20)


def to_onnx(model: nn.Module, path: Path, lanes: int, window: int, features: int) -> None:
    """Writes the ONNX file with a batch of exactly `lanes`."""
    model.eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    frames, mask = torch.randn(lanes, window, features) * 10 - 50, torch.ones(lanes, window)
    program = torch.onnx.export(
        model,
        (frames, mask),
        input_names=["frames", "mask"],
        output_names=["logits"],
        opset_version=18,
        dynamo=True,
        verbose=False,
    )
    save(program.model_proto, path)


def save(proto: onnx.ModelProto, path: Path) -> None:
    """Without the traces of the exporting machine."""
    graph = proto.graph
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, graph, proto):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.checker.check_model(proto)
    onnx.save(proto, str(path))


def scores(s: InferenceSession, x: NDArray, mask: NDArray, lanes: int) -> NDArray:
    """Logits of windows, `lanes` at a time."""
    batches = [{"frames": x[i : i + lanes], "mask": mask[i : i + lanes]} for i in range(0, len(x), lanes)]
    return np.concatenate([s.run(None, batch)[0] for batch in batches])


def only(row: NDArray, lanes: int) -> NDArray:
    """A batch with `row` first and empty lanes after it."""
    return np.concatenate([row[None], np.zeros((lanes - 1, *row.shape), np.float32)])


def largest_shift(s: InferenceSession, spec: StageSpec, x: NDArray, mask: NDArray, logits: NDArray) -> float:
    """How far a gain of the line moves a logit."""
    levels = [i for i, name in enumerate(spec.features) if "mel_" in name]
    shift = 0.0
    for gain in GAINS_DB:
        y = x.copy()
        y[..., levels] += gain * spec.decibel * mask[..., None]
        shift = max(shift, float(np.abs(scores(s, y, mask, 1) - logits).max()))
    return shift


def times_us(s: InferenceSession, x: NDArray, mask: NDArray, lanes: int) -> list[float]:
    """Microseconds a window, one entry a run."""
    out = []
    for _ in range(TIMED):
        begun = time.perf_counter()
        s.run(None, {"frames": x[:lanes], "mask": mask[:lanes]})
        out.append((time.perf_counter() - begun) / lanes * 1e6)
    return out


def examine_lanes(
    s: InferenceSession, x: NDArray, mask: NDArray, lanes: int, logits: NDArray, seed: int
) -> dict[str, Any]:
    """Whether rows of a batch depend on each other, and the cost. `logits` are those of single rows."""
    batch = scores(s, x, mask, lanes)
    shuffled = np.random.default_rng(seed).permutation(len(x))
    in_company = scores(s, x[shuffled], mask[shuffled], lanes)
    alone = [
        s.run(None, {"frames": only(r, lanes), "mask": only(m, lanes)})[0][0] for r, m in zip(x, mask, strict=True)
    ]
    times = times_us(s, x, mask, lanes)
    return {
        "rows_independent_of_company": bool(
            np.array_equal(in_company, batch[shuffled]) and np.array_equal(alone, batch)
        ),
        "rows_equal_to_lanes_1": bool(np.array_equal(batch, logits)),
        "us_per_window_min": round(min(times)),
        "us_per_window_median": round(float(np.median(times))),
    }


def examine(stage: Stage, model: nn.Module, path: Path, lanes: int, windows: Windows, seed: int) -> dict[str, Any]:
    """Facts about the file at `path`, which has a batch of `lanes`; other batches are exported for the occasion."""
    x, mask = (part[:EXAMINED].astype(np.float32) for part in windows)
    one = session(path)
    logits = scores(one, x, mask, 1)
    with torch.no_grad():
        trained = model(torch.from_numpy(x), torch.from_numpy(mask)).numpy()
    facts: dict[str, Any] = {
        "max_difference_from_training_graph": float(np.abs(trained - logits).max()),
        "max_logit_shift_at_20_db_gain": largest_shift(one, stage.spec, x, mask, logits),
        "lanes": {},
    }
    for n in LANES:
        if n == lanes:
            facts["lanes"][n] = examine_lanes(one, x, mask, n, logits, seed)
            continue
        other = path.with_name(f"{path.stem}-lanes-{n}.onnx")
        stage.export(model, other, n, windows)
        facts["lanes"][n] = examine_lanes(session(other), x, mask, n, logits, seed)
        other.unlink()
    return facts
