"""The plan of calls keeps test noises apart and uses each clip once a copy."""

from __future__ import annotations

import itertools
from collections import Counter

import pandas as pd
import pytest

from warmline_train import plan
from warmline_train.folds import CLEAN, NOISY

COPIES, SEED = 4, 7
KINDS = ("hold_music", "noise", "background_safe", "babble", "ivr_prompt_speech")


@pytest.fixture
def clips() -> pd.DataFrame:
    rows = [
        (f"c{s}_{i}", f"corpus{s % 2}", f"s{s}", "anger" if i % 4 == 0 else "neutral", f"{s}/{i}.opus")
        for s, i in itertools.product(range(5), range(23))
    ]
    return pd.DataFrame(rows, columns=["id", "corpus", "speaker", "emotion", "path"])


@pytest.fixture
def noises() -> pd.DataFrame:
    rows = [(f"{kind}.{i}", kind, f"{kind}/{i}.opus", 10.0 + i) for kind, i in itertools.product(KINDS, range(20))]
    return plan.split_noises(pd.DataFrame(rows, columns=["id", "kind", "path", "duration_s"]))


def test_each_kind_of_noise_is_in_training_and_in_the_test(noises: pd.DataFrame) -> None:
    assert (noises.groupby("kind").test.nunique() == 2).all()


def test_no_noise_of_the_test_is_a_call_or_a_background_in_training(clips: pd.DataFrame, noises: pd.DataFrame) -> None:
    used: dict[bool, set[str]] = {True: set(), False: set()}
    for call in plan.plan(clips, noises, COPIES, SEED):
        if call.kind != "clip":
            used[call.copy == NOISY] |= {row.id for row in call.rows}
    for copy in range(COPIES):
        used[copy == NOISY] |= set(plan.background_of(noises, copy).id)
    assert used[True]
    assert used[False]
    assert not used[True] & used[False]


def test_a_clean_telephone_has_no_background(noises: pd.DataFrame) -> None:
    assert plan.background_of(noises, CLEAN).empty
    assert not plan.background_of(noises, NOISY).empty


def test_each_copy_holds_every_clip_once(clips: pd.DataFrame, noises: pd.DataFrame) -> None:
    calls = [call for call in plan.plan(clips, noises, COPIES, SEED) if call.kind == "clip"]
    counts = Counter((call.copy, row.id) for call in calls for row in call.rows)
    assert len(counts) == COPIES * len(clips)
    assert set(counts.values()) == {1}


def test_a_call_is_of_one_speaker_and_ends_angry(clips: pd.DataFrame, noises: pd.DataFrame) -> None:
    calls = plan.plan(clips, noises, COPIES, SEED)
    for call in calls:
        if call.kind == "clip":
            assert len({row.speaker for row in call.rows}) == 1
            assert len(call.rows) <= plan.CLIPS_A_CALL
            angry = [row.emotion == "anger" for row in call.rows]
            assert angry == sorted(angry)
    assert len({call.file for call in calls}) == len(calls)


def test_the_same_seed_plans_the_same_calls(clips: pd.DataFrame, noises: pd.DataFrame) -> None:
    first, again = (plan.plan(clips, noises, COPIES, SEED) for _ in range(2))
    assert first == again
    assert first != plan.plan(clips, noises, COPIES, SEED + 1)


def test_a_smoke_run_takes_few_clips_of_every_corpus(clips: pd.DataFrame, noises: pd.DataFrame) -> None:
    few, some = plan.some_of(clips, noises)
    assert set(few.corpus) == set(clips.corpus)
    assert (few.groupby(["speaker", "emotion"]).size() <= 4).all()
    assert (some.groupby(["kind", "test"]).size() <= 3).all()
