"""Fits a shipped model to calls of your own: the last layer and the calibration, from labelled calls or verdicts.

    python -m warmline_train adapt SUITE.csv --model models/confirm.json --out mine/confirm.json --warmline warmline

SUITE.csv is what `warmline evaluate` reads: file, label (escalate or calm), onset_s, and maybe caller_channel. Speech
after an onset counts as frustrated, all other speech as not. The new layer stays close to the shipped one, the more so
the fewer calls there are. Prints how well held-out calls rank before and after, and writes nothing when that got worse.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from warmline_train import card as cards
from warmline_train import streaming
from warmline_train.calibration import PRIOR
from warmline_train.runtime import session

FOLDS = 5
PULL = 20.0  # windows that the shipped weights count for
SECOND = 1.0
NEW_SPEECH_S = 0.1  # a window is used when this much speech is new in it
CLEAR_S = 3.0  # after an onset, until a window holds nothing older


@dataclass
class LastLayer:
    """The linear layer that makes the logits: its tensors' names in the graph, and their values [heads, inputs]."""

    proto: onnx.ModelProto
    input_name: str
    weight_name: str
    bias_name: str
    upright: bool  # whether the graph keeps the weight as [heads, inputs]

    def __post_init__(self) -> None:
        self.tensors = {t.name: t for t in self.proto.graph.initializer}
        weights, biases = (numpy_helper.to_array(self.tensors[n]).copy() for n in (self.weight_name, self.bias_name))
        self.weights: NDArray[np.float32] = weights if self.upright else weights.T.copy()
        self.biases: NDArray[np.float32] = biases

    def store(self) -> None:
        """Writes the values into the graph."""
        weights = self.weights if self.upright else self.weights.T
        for name, value in ((self.weight_name, weights), (self.bias_name, self.biases)):
            self.tensors[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))

    def session_before(self) -> onnxruntime.InferenceSession:
        """A session that also gives the layer's input."""
        output = onnx.helper.make_tensor_value_info(self.input_name, onnx.TensorProto.FLOAT, None)
        self.proto.graph.output.append(output)
        opened = session(self.proto.SerializeToString())
        self.proto.graph.output.pop()
        return opened


@dataclass(frozen=True)
class Windows:
    """What the last layer is given in each second of each call, its label, and the call's number."""

    x: NDArray[np.float32]
    y: NDArray[np.bool_]
    owner: NDArray[np.int64]

    def calls(self, label: bool) -> set[int]:
        return set(self.owner[self.y == label])


def last_layer(proto: onnx.ModelProto) -> LastLayer:
    made_by = {name: node for node in proto.graph.node for name in node.output}
    node = made_by["logits"]
    if node.op_type == "Gemm" and len(node.input) == 3:
        layer_input, weight, bias = node.input
        return LastLayer(proto, layer_input, weight, bias, any(a.name == "transB" and a.i for a in node.attribute))
    product = made_by.get(node.input[0])
    if node.op_type == "Add" and product is not None and product.op_type == "MatMul":
        layer_input, weight = product.input
        return LastLayer(proto, layer_input, weight, node.input[1], False)
    raise SystemExit(f"adapt: the model ends in {node.op_type}: expected a linear layer in 32 bits, as `train` writes")


def windows_of(suite: Path, warmline: str, card: Mapping[str, Any], layer: LastLayer) -> Windows:
    before = layer.session_before()
    inputs: list[NDArray[np.float32]] = []
    labels: list[bool] = []
    owner: list[int] = []
    with open(suite, newline="") as f:
        rows = list(csv.DictReader(f))
    for number, row in enumerate(rows):
        if row.get("label") not in ("escalate", "calm"):
            raise SystemExit(
                f"adapt: {suite} line {number + 2}: label is {row.get('label')!r}: expected escalate or calm"
            )
        onset = float(row["onset_s"]) if row["label"] == "escalate" else np.inf
        call = streaming.Call(warmline, suite.parent / row["file"], row.get("caller_channel") or "left", card)
        spoken = 0.0
        for t in np.arange(SECOND, call.length_s, SECOND):
            window = call.window(t)
            new, spoken = call.spoken_s(t) - spoken >= NEW_SPEECH_S, call.spoken_s(t)
            if new and len(window) >= card["min_frames"] and not onset <= t < onset + CLEAR_S:
                inputs.append(before.run([layer.input_name], streaming.padded(card, window))[0][0])
                labels.append(bool(t >= onset))
                owner.append(number)
        print(f"adapt: {number + 1}/{len(rows)} calls, {len(labels)} windows", flush=True)
    return Windows(np.array(inputs), np.array(labels), np.array(owner))


def balance(y: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights that give the frustrated windows a share of `PRIOR`."""
    return np.where(y, PRIOR / y.mean(), (1 - PRIOR) / (1 - y.mean()))


def fit(
    x: NDArray[np.float32], y: NDArray[np.bool_], weight: NDArray[np.float32], bias: np.float32
) -> tuple[NDArray[np.float32], np.float32]:
    """Logistic regression drawn to (weight, bias): the frustration row alone."""
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y.astype(np.float32))
    start = torch.from_numpy(np.append(weight, bias))
    w = start.clone().requires_grad_()
    share = torch.where(labels > 0, PRIOR / labels.mean(), (1 - PRIOR) / (1 - labels.mean()))
    optimiser = torch.optim.LBFGS([w], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        logits = inputs @ w[:-1] + w[-1]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, share)
        (loss + PULL / len(labels) * ((w - start) ** 2).sum()).backward()
        return loss

    optimiser.step(closure)
    fitted = w.detach().numpy()
    return fitted[:-1], fitted[-1]


def held_out_logits(windows: Windows, layer: LastLayer) -> NDArray[np.float64]:
    """The logit of each window by a layer fitted without its call."""
    after = np.zeros(len(windows.y))
    for k in range(FOLDS):
        held_out = windows.owner % FOLDS == k
        w, b = fit(windows.x[~held_out], windows.y[~held_out], layer.weights[0], layer.biases[0])
        after[held_out] = windows.x[held_out] @ w + b
    return after


def calibration_of(card: Mapping[str, Any], windows: Windows, logits: NDArray[np.float64]) -> dict[str, Any]:
    """The card's calibration, fitted anew on held-out logits."""
    y, owner = windows.y, windows.owner
    platt = LogisticRegression(C=1e6).fit(logits[:, None], y, sample_weight=balance(y))
    fitted = {"slope": float(platt.coef_[0, 0]), "intercept": float(platt.intercept_[0])}
    calibration = card["calibration"] | fitted
    if calibration.get("caller"):
        calm = [np.median(logits[(owner == n) & ~y]) for n in windows.calls(False)]
        calibration["caller"] = calibration["caller"] | {"reference": float(np.median(calm))}
    return calibration


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("suite", type=Path)
    p.add_argument("--model", type=Path, required=True, help="the card of the model to start from")
    p.add_argument("--out", type=Path, required=True, help="the card to write; the .onnx goes beside it")
    p.add_argument("--warmline", default="warmline")
    a = p.parse_args()
    card = json.loads(a.model.read_text())
    layer = last_layer(onnx.load(a.model.with_suffix(".onnx")))
    windows = windows_of(a.suite, a.warmline, card, layer)
    frustrated, other = len(windows.calls(True)), len(windows.calls(False))
    if min(frustrated, other) < FOLDS:
        raise SystemExit(
            f"adapt: {frustrated} calls with frustrated speech and {other} with other: expected {FOLDS} of each"
        )

    before, after = windows.x @ layer.weights[0] + layer.biases[0], held_out_logits(windows, layer)
    auc = [float(roc_auc_score(windows.y, s)) for s in (before, after)]
    calls, count = int(windows.owner.max() + 1), len(windows.y)
    print(
        f"adapt: {count} windows of {calls} calls, held out {FOLDS} ways: AUC {auc[0]:.4f} before, {auc[1]:.4f} after"
    )
    if auc[1] < auc[0]:
        print("adapt: held-out calls rank worse: nothing was written; label more calls", file=sys.stderr)
        return 1
    layer.weights[0], layer.biases[0] = fit(windows.x, windows.y, layer.weights[0], layer.biases[0])
    layer.store()
    a.out.parent.mkdir(parents=True, exist_ok=True)
    model = a.out.with_suffix(".onnx")
    onnx.save(layer.proto, model)
    adapted = {"from": card["sha256"], "calls": calls, "windows": count, "auc_before": auc[0], "auc_after": auc[1]}
    card |= {
        "version": f"{card['version']}+adapted",
        "calibration": calibration_of(card, windows, after),
        "sha256": cards.sha256(model),
        "metrics": {},
        "training": {"adapted": adapted, "base": card.get("training", {})},
    }
    cards.write(card, a.out)
    return 0
