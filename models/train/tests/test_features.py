"""Packing keeps what `warmline features` calls speech, and refuses the features of another set."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from warmline_train import data, features
from warmline_train.stages import STAGES

SPEC = dataclasses.replace(STAGES["watch"].spec, features=("level",), stored="<f4")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Two calls of 300 frames: a caller who speaks for 0.7 s of each second, and noise."""
    folder = tmp_path / "features"
    folder.mkdir()
    columns = ["at_s", "level", "speech"]
    (folder / "columns.json").write_text(json.dumps({"feature_set": SPEC.feature_set, "columns": columns}))
    at = np.arange(300) * 0.01
    speech = ((at % 1.0 >= 0.195) & (at % 1.0 < 0.895)).astype(float)
    np.save(folder / "call.npy", np.stack([at, at * 10, speech], axis=1))
    np.save(folder / "noise.npy", np.stack([at, at * 10, np.zeros(300)], axis=1))
    return folder


INDEX = pd.DataFrame(
    [
        ("call.wav", 0, "clip", 0.0, "calm_1", "neutral"),
        ("call.wav", 0, "clip", 1.0, "angry_1", "anger"),
        ("call.wav", 0, "clip", 2.0, "angry_2", "anger"),
        ("noise.wav", 0, "non_speech", 0.0, "noise", ""),
    ],
    columns=["file", "copy", "kind", "start_s", "clip", "emotion"],
)


def test_speech_is_kept_of_callers_and_every_frame_of_noise(written: Path, tmp_path: Path) -> None:
    features.pack(INDEX, written, tmp_path, SPEC)
    frames, clips = data.load(tmp_path, SPEC)
    assert clips[["run", "start", "end"]].to_numpy().tolist() == [
        [0, 0, 70],
        [70, 70, 140],
        [70, 140, 210],  # angry turns run together
        [210, 210, 510],
    ]
    assert frames[0, 0] == pytest.approx(2.0)
    assert len(frames) == 510


def test_another_feature_set_is_refused(written: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(SPEC, feature_set="prosody/2")
    with pytest.raises(SystemExit, match=r"holds prosody/1: expected prosody/2"):
        features.pack(INDEX, written, tmp_path, other)


def test_a_long_clip_is_scored_every_half_second_and_a_short_one_whole() -> None:
    clips = pd.DataFrame({"start": [0, 1000], "end": [80, 1400]})
    spans, owner = data.whole_clips(clips)
    assert spans == [(0, 80), (1100, 1400), (1050, 1350), (1000, 1300)]
    assert owner.tolist() == [0, 1, 1, 1]
