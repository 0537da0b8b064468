"""Both stages are a `Stage`, and their facts need no PyTorch."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from warmline_train.stages import STAGES, Stage

METHODS = ("build", "train", "export")


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_a_stage_satisfies_the_protocol(stage: Stage) -> None:
    assert isinstance(stage, Stage)
    for name in METHODS:
        asked, given = (inspect.signature(getattr(kind, name)) for kind in (Stage, type(stage)))
        assert given == asked, name


def test_what_cannot_be_exported_is_no_stage() -> None:
    class Half:
        spec = STAGES["watch"].spec

        def build(self) -> None: ...

        def train(self) -> None: ...

    assert not isinstance(Half(), Stage)


def test_stages_are_listed_by_their_key() -> None:
    assert list(STAGES) == ["watch", "confirm"]
    assert all(stage.spec.key == key for key, stage in STAGES.items())


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_the_facts_of_a_stage_are_consistent(stage: Stage) -> None:
    spec = stage.spec
    assert len(set(spec.features)) == len(spec.features)
    assert 0 < spec.min_frames < spec.window_frames
    assert any("mel_" in name for name in spec.features)  # `export` moves these to test gain invariance
    assert spec.heads == ("frustration", "speech")


def test_stages_options_and_cards_load_without_pytorch() -> None:
    modules = "warmline_train.stages, warmline_train.options, warmline_train.model_card"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "False"


def test_watch_gives_the_same_logits_at_any_gain() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    spec, net = STAGES["watch"].spec, STAGES["watch"].build().eval()
    frames = torch.randn(3, spec.window_frames, len(spec.features)) * 10 - 50
    mask = torch.ones(3, spec.window_frames)
    mask[1, 200:] = 0
    louder = frames.clone()
    louder[..., :40] += 20 * spec.decibel
    with torch.no_grad():
        logits, shifted = net(frames, mask), net(louder, mask)
    assert logits.shape == (3, len(spec.heads))
    assert torch.allclose(logits, shifted, atol=1e-3)
