"""What both stages share: the loss, the loop, the running average of the weights, the ONNX file."""

import logging
import time

import onnx
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

HEADS = ["frustration", "speech"]
LN10 = 2.302585093


def smooth_equaliser(lanes, bands, decibels, generator):
    """Random channels [lanes, 1, bands] in dB, linear between six points; half of them are flat."""
    points = torch.randn(lanes, 1, 6, generator=generator) * decibels * (torch.rand(lanes, 1, 1, generator=generator) < 0.5)
    return F.interpolate(points, size=bands, mode="linear", align_corners=True)


def loss_of(logits, y):
    """Cross-entropy of both heads, the labels softened: actors are not always believed."""
    y = y * 0.96 + 0.02
    return F.binary_cross_entropy_with_logits(logits[:, 0], y[:, 0]) + 0.3 * F.binary_cross_entropy_with_logits(logits[:, 1], y[:, 1])


def optimise(model, groups, sampler, augment, steps, batch, seed, label, decay=0.0, warm_up=100, precision=torch.float32):
    """Steps at a constant rate after a warm-up; gives back the running average of the weights (`decay` 0: the last ones)."""
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


def export(model, path, lanes, window, features):
    """Writes the ONNX file with a batch of exactly `lanes`."""
    model.eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    frames, mask = torch.randn(lanes, window, features) * 10 - 50, torch.ones(lanes, window)
    program = torch.onnx.export(
        model, (frames, mask), input_names=["frames", "mask"], output_names=["logits"], opset_version=18, dynamo=True, verbose=False
    )
    save(program.model_proto, path)


def save(proto, path):
    """Without the traces of the exporting machine."""
    for part in (*proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output, proto.graph, proto):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.checker.check_model(proto)
    onnx.save(proto, str(path))
