"""The card of a model file: what the program needs to run it, and what its user should know.

Its form is `templates/card.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from warmline_train import templates
from warmline_train.stages.stage import StageSpec

Card = dict[str, Any]


def model_card(
    spec: StageSpec,
    model: Path,
    lanes: int,
    calibration: Mapping[str, Any],
    version: str | None = None,
    metrics: Mapping[str, Any] | None = None,
    runtime: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> Card:
    """The card of the file `model`. Metrics, runtime and training are left out where they are not given."""
    return templates.data(
        "card.json",
        name=spec.name,
        version=version or spec.version,
        stage=spec.key,
        feature_set=spec.feature_set,
        features=list(spec.features),
        window_frames=spec.window_frames,
        hop_frames=spec.hop_frames,
        min_frames=spec.min_frames,
        lanes=lanes,
        heads=list(spec.heads),
        normalisation=spec.normalisation,
        calibration=calibration,
        sha256=sha256(model),
        metrics=metrics,
        runtime=runtime,
        training=training,
    )


def training_facts(
    spec: StageSpec, arguments: str, seed: int, steps: int, parameters: int, data: Sequence[Mapping[str, Any]]
) -> Card:
    """How the model was made. `arguments` are those of the command `train`, `data` has a row for each corpus."""
    return templates.data(
        "training.json",
        command=templates.text("training-command.txt", arguments=arguments),
        seed=seed,
        steps=steps,
        batch=spec.batch,
        parameters=parameters,
        data=data,
        pre_trained=spec.pre_trained,
    )


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(card: Card, path: Path) -> None:
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
