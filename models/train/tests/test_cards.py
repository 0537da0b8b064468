"""Cards come from templates: the shipped MODEL_CARD.md is what the templates give for the shipped cards."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from warmline_train import card, model_card, templates
from warmline_train.model_card import Cards
from warmline_train.options import options
from warmline_train.stages import STAGES

MODELS = Path(__file__).resolve().parents[2]
SHIPPED = ("watch", "confirm", "permissive-watch", "permissive-confirm")


def shipped(name: str) -> dict[str, Any]:
    return json.loads((MODELS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def cards() -> Cards:
    return Cards.read(MODELS)


def test_the_shipped_document_is_rendered_from_the_shipped_cards(cards: Cards) -> None:
    written = (MODELS / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert model_card.render(cards) == written, "run: PYTHONPATH=models/train python -m warmline_train card"


def test_no_placeholder_is_left(cards: Cards) -> None:
    assert "$" not in model_card.render(cards)


def test_a_missing_value_is_an_error(cards: Cards) -> None:
    values = model_card.values(cards)
    del values["opening"]
    with pytest.raises(KeyError, match="opening"):
        templates.text("MODEL_CARD.md", **values)


def test_a_change_in_a_card_shows_in_the_document(cards: Cards) -> None:
    auc = cards.confirm["metrics"]["unseen_corpora"]["clean_telephone"]["mean_over_corpora"]["auc"]
    before = model_card.interval(auc)
    auc["value"] = 0.123
    assert f"unseen corpora, clean: confirm | {model_card.interval(auc)}" in model_card.render(cards)
    assert before not in model_card.headline(cards)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_card_has_the_form_and_the_facts_of_the_shipped_ones(name: str, tmp_path: Path) -> None:
    """Whatever the calibration, metrics and weights: the rest follows from the stage and the templates."""
    known = shipped(name)
    spec, training = STAGES[known["stage"]].spec, known["training"]
    model = tmp_path / "model.onnx"
    model.write_bytes(b"any")
    made = card.model_card(
        spec,
        model,
        known["lanes"],
        known["calibration"],
        metrics=known["metrics"],
        runtime=known["runtime"],
        training=card.training_facts(
            spec,
            training["command"].split(" train ")[1],
            training["seed"],
            training["steps"],
            training["parameters"],
            training["data"],
        ),
    )
    assert json.dumps(made | {"sha256": known["sha256"]}) == json.dumps(known)


def test_a_card_without_metrics_leaves_the_key_out(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"any")
    made = card.model_card(STAGES["watch"].spec, model, 1, {"slope": 1.0, "intercept": 0.0}, version="fold")
    assert not {"metrics", "runtime", "training"} & set(made)
    assert made["version"] == "fold"
    assert made["sha256"] == card.sha256(model)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_command_in_a_card_is_one_that_runs(name: str) -> None:
    command = shlex.split(shipped(name)["training"]["command"])
    assert command[:4] == ["python", "-m", "warmline_train", "train"]
    o = options("", command[4:])
    assert o.stage.spec.key == shipped(name)["stage"]
    assert templates.text("training-command.txt", arguments=o.shown()) == shlex.join(command)
