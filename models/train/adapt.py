#!/usr/bin/env python3
"""Fits a shipped model to calls of your own: the last layer and the calibration, from labelled calls or exported verdicts.

    adapt.py SUITE.csv --model models/confirm.json --out mine/confirm.json --warmline warmline

SUITE.csv is what `warmline evaluate` reads: file, label (escalate or calm), onset_s, and maybe caller_channel. Speech after an onset
counts as frustrated, all other speech as not. The new layer is drawn to the shipped one, the more so the fewer calls there are. Prints
how well held-out calls are ranked before and after, and writes nothing when that got worse.
"""

import argparse
import csv
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import streaming
from evaluate import PRIOR

FOLDS = 5
PULL = 20.0  # windows that the shipped weights count for
SECOND = 1.0
CLEAR_S = 3.0  # after an onset, until a window holds nothing older


def last_layer(proto):
    """Names of the input, weight and bias of the layer that makes the logits, and whether its weight is [heads, inputs]."""
    made_by = {name: node for node in proto.graph.node for name in node.output}
    node = made_by["logits"]
    if node.op_type == "Gemm" and len(node.input) == 3:
        return *node.input, any(a.name == "transB" and a.i for a in node.attribute)
    product = made_by.get(node.input[0])
    if node.op_type == "Add" and product is not None and product.op_type == "MatMul":
        return *product.input, node.input[1], False
    raise SystemExit(f"adapt: the model ends in {node.op_type}: expected a linear layer in 32 bits, as train.py exports it")


def windows_of(a, card, session, layer_input):
    """What the last layer is given in each second of each call, its label, and the call's number."""
    inputs, labels, owner = [], [], []
    rows = list(csv.DictReader(open(a.suite)))
    for number, row in enumerate(rows):
        if row.get("label") not in ("escalate", "calm"):
            raise SystemExit(f"adapt: {a.suite} line {number + 2}: label is {row.get('label')!r}: expected escalate or calm")
        onset = float(row["onset_s"]) if row["label"] == "escalate" else np.inf
        call = streaming.Call(a.warmline, a.suite.parent / row["file"], row.get("caller_channel") or "left", card)
        spoken = 0.0
        for t in np.arange(SECOND, call.length_s, SECOND):
            window = call.window(t)
            new, spoken = call.spoken_s(t) - spoken >= 0.1, call.spoken_s(t)
            if new and len(window) >= card["min_frames"] and not onset <= t < onset + CLEAR_S:
                inputs.append(session.run([layer_input], streaming.padded(card, window))[0][0])
                labels.append(t >= onset)
                owner.append(number)
        print(f"adapt: {number + 1}/{len(rows)} calls, {len(labels)} windows", flush=True)
    return np.array(inputs), np.array(labels), np.array(owner)


def fit(x, y, weight, bias):
    """Logistic regression drawn to (weight, bias): the frustration row alone."""
    x, y = torch.from_numpy(x), torch.from_numpy(y.astype(np.float32))
    start = torch.from_numpy(np.append(weight, bias))
    w = start.clone().requires_grad_()
    share = torch.where(y > 0, PRIOR / y.mean(), (1 - PRIOR) / (1 - y.mean()))
    optimiser = torch.optim.LBFGS([w], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(x @ w[:-1] + w[-1], y, share)
        (loss + PULL / len(y) * ((w - start) ** 2).sum()).backward()
        return loss

    optimiser.step(closure)
    w = w.detach().numpy()
    return w[:-1], w[-1]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("suite", type=Path)
    p.add_argument("--model", type=Path, required=True, help="the card of the model to start from")
    p.add_argument("--out", type=Path, required=True, help="the card to write; the .onnx goes beside it")
    p.add_argument("--warmline", default="warmline")
    a = p.parse_args()
    card = json.loads(a.model.read_text())
    proto = onnx.load(a.model.with_suffix(".onnx"))
    layer_input, weight_name, bias_name, upright = last_layer(proto)
    tensors = {t.name: t for t in proto.graph.initializer}
    weights, biases = (numpy_helper.to_array(tensors[name]).copy() for name in (weight_name, bias_name))
    weights = weights if upright else weights.T.copy()
    proto.graph.output.append(onnx.helper.make_tensor_value_info(layer_input, onnx.TensorProto.FLOAT, None))
    x, y, owner = windows_of(a, card, streaming.session(proto.SerializeToString()), layer_input)
    proto.graph.output.pop()
    if min(len(set(owner[y])), len(set(owner[~y]))) < FOLDS:
        raise SystemExit(f"adapt: {len(set(owner[y]))} calls with frustrated speech and {len(set(owner[~y]))} with other: expected {FOLDS} of each at least")

    before, after = x @ weights[0] + biases[0], np.zeros(len(y))
    for k in range(FOLDS):
        held_out = owner % FOLDS == k
        w, b = fit(x[~held_out], y[~held_out], weights[0], biases[0])
        after[held_out] = x[held_out] @ w + b
    auc = [roc_auc_score(y, s) for s in (before, after)]
    print(f"adapt: {len(y)} windows of {owner.max() + 1} calls, held out {FOLDS} ways: AUC {auc[0]:.4f} before, {auc[1]:.4f} after")
    if auc[1] < auc[0]:
        print("adapt: calls held out were ranked worse: nothing was written; more calls are needed", file=sys.stderr)
        return 1
    weights[0], biases[0] = fit(x, y, weights[0], biases[0])
    platt = LogisticRegression(C=1e6).fit(after[:, None], y, sample_weight=np.where(y, PRIOR / y.mean(), (1 - PRIOR) / (1 - y.mean())))
    for name, value in ((weight_name, weights if upright else weights.T), (bias_name, biases)):
        tensors[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    a.out.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(proto, a.out.with_suffix(".onnx"))
    calm = [np.median(after[(owner == n) & ~y]) for n in set(owner[~y])]
    calibration = card["calibration"] | {"slope": float(platt.coef_[0, 0]), "intercept": float(platt.intercept_[0])}
    if calibration.get("caller"):
        calibration["caller"] = calibration["caller"] | {"reference": float(np.median(calm))}
    sha256 = hashlib.sha256(a.out.with_suffix(".onnx").read_bytes()).hexdigest()
    adapted = {"from": card["sha256"], "calls": int(owner.max() + 1), "windows": len(y), "auc_before": auc[0], "auc_after": auc[1]}
    card |= {"version": f"{card['version']}+adapted", "calibration": calibration, "sha256": sha256, "metrics": {}, "training": {"adapted": adapted, "base": card.get("training", {})}}
    a.out.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
