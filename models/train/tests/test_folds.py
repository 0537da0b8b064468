"""Folds are grouped by speaker and by corpus group, and are the same for the same seed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import CORPORA, Columns
from warmline_train.folds import (
    CLEAN,
    GROUPS,
    NOISY,
    PERMISSIVE,
    Fold,
    check_fold,
    corpus_groups,
    final_fold,
    is_speech,
    is_test_noise,
    is_training_copy,
    make_folds,
    scored_rows,
    training_rows,
)

SEED = 7


def of_protocol(table: Columns, protocol: str) -> list[Fold]:
    return [fold for fold in make_folds(table, SEED) if fold.protocol == protocol]


def corpora_of(table: Columns, rows: np.ndarray) -> set[str]:
    return set(table["corpus"][rows & is_speech(table)])


def test_no_corpus_is_in_two_groups() -> None:
    assert sum(map(len, GROUPS)) == len(frozenset().union(*GROUPS))


LANGUAGE_OF = {
    "ased": "am",
    "banglaser": "bn",
    "baved": "ar",
    "emodb": "de",
    "emotiontts": "ko",
    "fsdd": "en",
    "nemo": "pl",
    "ravdess": "en",
    "tess": "en",
    "turev": "tr",
}


def test_no_language_is_in_two_groups() -> None:
    languages = [{LANGUAGE_OF[corpus] for corpus in group} for group in GROUPS]
    assert sum(map(len, languages)) == len(set().union(*languages))


def test_the_published_groups_stay_as_they_are() -> None:
    """The cards and `calls` number the groups."""
    assert [sorted(group) for group in GROUPS] == [
        ["fsdd", "ravdess", "tess"],
        ["emodb", "turev"],
        ["baved", "nemo"],
        ["banglaser", "emotiontts"],
        ["ased"],
    ]


def test_an_unknown_corpus_is_a_group_of_its_own() -> None:
    assert corpus_groups(["tess", "mine", "yours", "emodb"]) == [GROUPS[0], GROUPS[1], {"mine"}, {"yours"}]


def test_each_group_of_corpora_is_left_out_once_and_as_a_whole(table: Columns) -> None:
    folds = of_protocol(table, "unseen_corpora")
    left_out = [corpora_of(table, scored_rows(table, fold)) for fold in folds]
    assert left_out == [group & set(CORPORA) for group in corpus_groups(CORPORA)]
    for fold, group in zip(folds, left_out, strict=True):
        assert corpora_of(table, training_rows(table, fold)) == set(CORPORA) - group


def test_one_group_of_corpora_alone_gives_no_corpus_folds(table: Columns) -> None:
    one = np.isin(table["corpus"], [*GROUPS[0], "non_speech", "prompt"])
    own = {name: column[one] for name, column in table.items()}
    assert {fold.protocol for fold in make_folds(own, SEED)} == {"unseen_speakers"}


def test_the_permissive_model_trains_on_permissive_corpora_alone(table: Columns) -> None:
    (fold,) = of_protocol(table, "permissive_data")
    assert corpora_of(table, training_rows(table, fold)) == PERMISSIVE
    assert corpora_of(table, scored_rows(table, fold)) == set(CORPORA) - PERMISSIVE


def test_each_speaker_is_held_out_in_exactly_one_fold(table: Columns) -> None:
    held_out = np.stack([fold.held_out for fold in of_protocol(table, "unseen_speakers")])
    assert np.array_equal(held_out.sum(axis=0), is_speech(table))
    for speaker in set(table["speaker"][is_speech(table)]):
        rows = table["speaker"] == speaker
        assert all(part[rows].all() or not part[rows].any() for part in held_out), speaker


def test_each_fold_of_speakers_trains_and_tests_on_every_corpus(table: Columns) -> None:
    for fold in of_protocol(table, "unseen_speakers"):
        assert corpora_of(table, training_rows(table, fold)) == set(CORPORA)
        assert corpora_of(table, scored_rows(table, fold)) == set(CORPORA)


def test_the_noisy_copy_is_for_tests_only(table: Columns) -> None:
    for fold in make_folds(table, SEED):
        assert not (table["copy"][training_rows(table, fold)] == NOISY).any()
        tested = scored_rows(table, fold)
        assert set(table["copy"][tested & is_speech(table)]) == {CLEAN, NOISY}
        assert set(table["copy"][tested & ~is_speech(table)]) == {NOISY}


def test_the_shipped_model_trains_on_all_speech_but_the_noisy_copy(table: Columns) -> None:
    assert np.array_equal(training_rows(table, final_fold(table)), is_training_copy(table))


def test_every_fold_passes_the_check(table: Columns, texts: dict[str, str]) -> None:
    folds = make_folds(table, SEED)
    assert len(folds) == len(GROUPS) + 1 + 1 + 3
    for fold in folds:
        check_fold(table, fold, texts)


def test_the_order_of_rows_does_not_matter(table: Columns) -> None:
    order = np.random.default_rng(0).permutation(len(table["kind"]))
    shuffled = {name: column[order] for name, column in table.items()}
    for fold, again in zip(make_folds(table, SEED), make_folds(shuffled, SEED), strict=True):
        assert np.array_equal(fold.held_out[order], again.held_out), fold.name


def test_the_published_folds_of_speakers_stay_as_they_are(table: Columns) -> None:
    """The figures of the cards hold for seed 7 and these draws."""
    own = {name: column[np.isin(table["corpus"], ["ased", "emodb"])] for name, column in table.items()}
    held_out = [
        sorted(set(own["speaker"][f.held_out])) for f in make_folds(own, SEED) if f.protocol == "unseen_speakers"
    ]
    assert held_out == [["ased_0", "ased_3", "emodb_0", "emodb_3"], ["ased_2", "emodb_1"], ["ased_1", "emodb_2"]]


@pytest.mark.parametrize(
    ("protocols", "wanted"),
    [
        (["unseen_corpora"], ["unseen_corpora-0", "unseen_corpora-1"]),
        (["unseen_corpora:1"], ["unseen_corpora-1"]),
        (["unseen_speakers:2", "unseen_corpora:0"], ["unseen_corpora-0", "unseen_speakers-2"]),
        ([], []),
    ],
)
def test_protocols_choose_folds(table: Columns, protocols: list[str], wanted: list[str]) -> None:
    own = {name: column[np.isin(table["corpus"], ["ased", "emodb"])] for name, column in table.items()}
    assert [fold.name for fold in make_folds(own, SEED) if fold.among(protocols)] == wanted


def test_a_noise_is_for_tests_by_its_name_and_hold_music_by_its_length() -> None:
    ids = [f"n{i}" for i in range(1000)]
    by_name = is_test_noise(ids, ["noise"] * 1000, [1.0] * 1000)
    assert 0.15 < by_name.mean() < 0.25
    assert np.array_equal(by_name, is_test_noise(ids, ["noise"] * 1000, [2.0] * 1000))
    assert is_test_noise(["a", "b", "c"], ["hold_music"] * 3, [3.0, 1.0, 2.0]).tolist() == [False, True, False]


def test_folds_need_numpy_alone() -> None:
    code = "import sys, warmline_train.folds as f; print({'torch', 'pandas', 'scipy', 'sklearn'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "set()"
