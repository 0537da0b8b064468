"""A fold that trains on what it measures is refused, whatever leaks: a speaker, a clip, a corpus, a text or a noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from tests.conftest import CORPORA, Columns
from warmline_train.data import Sampler
from warmline_train.folds import (
    CLEAN,
    Fold,
    LeakError,
    check_fold,
    is_speech,
    make_folds,
    training_rows,
)

SEED = 7
Break = Callable[[Columns, Fold], None]


def named(table: Columns, name: str) -> Fold:
    (fold,) = (fold for fold in make_folds(table, SEED) if fold.name == name)
    return fold


def train_on_a_held_out_clip(table: Columns, fold: Fold) -> None:
    clean = fold.held_out & is_speech(table) & (table["copy"] == CLEAN)
    fold.held_out[np.flatnonzero(clean)[0]] = False


def train_on_a_held_out_speaker(table: Columns, fold: Fold) -> None:
    """Every third clip of each speaker goes back to training."""
    fold.held_out[np.char.endswith(table["clip"], "_2")] = False


def train_on_a_corpus_of_the_group(table: Columns, fold: Fold) -> None:
    """Other speakers of a held-out corpus."""
    fold.held_out[table["speaker"] == "tess_1"] = False


def give_one_clip_to_two_speakers(table: Columns, fold: Fold) -> None:
    held_out, other = (table["speaker"][rows & is_speech(table)][0] for rows in (fold.held_out, ~fold.held_out))
    table["clip"][table["speaker"] == other] = table["clip"][table["speaker"] == held_out][0]


def train_on_a_test_noise(table: Columns, fold: Fold) -> None:
    del fold
    table["speaker"][(table["speaker"] == "noise_1") & (table["copy"] == CLEAN)] = "noise_0"


@pytest.mark.parametrize(
    ("name", "break_it", "what"),
    [
        ("unseen_speakers-0", train_on_a_held_out_clip, "speaker"),
        ("unseen_speakers-1", train_on_a_held_out_speaker, "speaker"),
        ("unseen_speakers-2", give_one_clip_to_two_speakers, "clip"),
        ("unseen_speakers-0", train_on_a_test_noise, "noise"),
        ("unseen_corpora-0", train_on_a_held_out_clip, "speaker"),
        ("unseen_corpora-0", train_on_a_corpus_of_the_group, "corpus"),
        ("unseen_corpora-1", train_on_a_test_noise, "noise"),
        ("permissive_data-0", train_on_a_corpus_of_the_group, "corpus"),
    ],
)
def test_a_leaky_fold_is_refused(table: Columns, name: str, break_it: Break, what: str) -> None:
    fold = named(table, name)
    check_fold(table, fold)
    break_it(table, fold)
    with pytest.raises(LeakError, match=f"^{name}: {what} in training and in the test: "):
        check_fold(table, fold)


def test_a_text_in_two_corpora_is_refused(table: Columns, texts: dict[str, str]) -> None:
    fold = named(table, "unseen_corpora-0")
    texts["nemo_0_1"] = texts["ravdess_0_1"]
    with pytest.raises(LeakError, match=r"^unseen_corpora-0: text in training and in the test: sentence 1"):
        check_fold(table, fold, texts)


def test_clips_without_a_text_share_none(table: Columns) -> None:
    check_fold(table, named(table, "unseen_corpora-0"), {"ravdess_0_1": "", "nemo_0_1": ""})


def test_speakers_of_one_corpus_may_say_the_same_sentence(table: Columns, texts: dict[str, str]) -> None:
    check_fold(table, named(table, "unseen_speakers-0"), texts)


def test_made_tones_are_in_every_copy(table: Columns) -> None:
    """They are no recording: the card says that the tones of the test are of the same kinds."""
    fold = named(table, "unseen_speakers-0")
    assert "tones" in table["speaker"][training_rows(table, fold)]
    check_fold(table, fold)


FRAMES = 120  # of a clip


@pytest.mark.parametrize("protocol", ["unseen_corpora", "unseen_speakers", "permissive_data"])
def test_training_windows_hold_no_frame_of_a_held_out_speaker(table: Columns, protocol: str) -> None:
    """Each frame carries its speaker's number, so that a batch shows where it came from."""
    clips = pd.DataFrame(table)
    start = np.arange(len(clips)) * FRAMES
    clips = clips.assign(start=start, end=start + FRAMES)
    turn = [clips.speaker, clips.emotion, clips["copy"]]
    clips = clips.assign(run=clips.groupby(turn).start.transform("min"))
    speakers = sorted(set(clips.speaker))
    number = clips.speaker.map(speakers.index).to_numpy()
    frames = np.repeat(number, FRAMES)[:, None].astype(np.float32) + 1
    for fold in make_folds(table, SEED):
        if fold.protocol != protocol:
            continue
        sampler = Sampler(frames, clips[training_rows(table, fold)], np.random.default_rng(SEED))
        x, mask, _ = sampler.batch(512)
        drawn = {speakers[int(n) - 1] for n in np.unique(x[mask > 0])}
        held_out = set(table["speaker"][fold.held_out & is_speech(table)])
        assert len(drawn) > len(CORPORA) / 2
        assert not drawn & held_out, fold.name
