"""Splits: which speakers, corpora and noises a model is trained on, and which it is measured on. Needs NumPy alone.

Tables are data frames, or anything that gives a column by name: corpus, speaker, clip, kind ("clip" is a caller's
speech), copy.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

CLEAN, NOISY = (
    0,
    1,
)  # copies of each call: a clean telephone; a noisy one for tests only. Copies 2, 3, ... are for training
GROUPS = (  # no language is in two groups
    frozenset({"ravdess", "tess", "fsdd"}),
    frozenset({"emodb", "turev"}),
    frozenset({"nemo", "baved"}),
    frozenset({"banglaser", "emotiontts"}),
    frozenset({"ased"}),
)
PERMISSIVE = frozenset({"banglaser", "fsdd"})  # licences that allow commercial use
SPEAKER_FOLDS = 3
SYNTHETIC = "tones"  # made, not recorded: the source of tones in every copy

Rows = NDArray[np.bool_]


class Table(Protocol):
    """Columns by name, each as long as the others."""

    def __getitem__(self, name: str, /) -> Any: ...


class LeakError(ValueError):
    """A fold trains on what it measures."""


@dataclass(frozen=True)
class Fold:
    """One split. `held_out` marks the rows of speech that no model of this fold is trained on."""

    protocol: str
    number: int
    held_out: Rows

    @property
    def name(self) -> str:
        """The stem of its files."""
        return f"{self.protocol}-{self.number}"

    def among(self, protocols: Sequence[str]) -> bool:
        """Whether one of `protocols`, each a protocol or PROTOCOL:NUMBER, asks for this fold."""
        return self.protocol in protocols or f"{self.protocol}:{self.number}" in protocols


def column(table: Table, name: str) -> NDArray[Any]:
    return np.asarray(table[name])


def is_speech(table: Table) -> Rows:
    return column(table, "kind") == "clip"


def corpus_groups(corpora: Iterable[str]) -> list[frozenset[str]]:
    """The groups that are present, then every unknown corpus as a group of its own."""
    present = set(corpora)
    known = frozenset().union(*GROUPS)
    return [g for g in GROUPS if g & present] + [frozenset({c}) for c in sorted(present - known)]


def fold_of_speakers(table: Table, seed: int, folds: int) -> dict[str, int]:
    """{speaker: fold}: the speakers of each corpus, shuffled and dealt out."""
    rng = np.random.default_rng(seed)
    corpora, speakers, speech = column(table, "corpus"), column(table, "speaker"), is_speech(table)
    fold_of = {}
    for corpus in sorted(set(corpora[speech])):
        for i, speaker in enumerate(rng.permutation(sorted(set(speakers[speech & (corpora == corpus)])))):
            fold_of[str(speaker)] = i % folds
    return fold_of


def make_folds(table: Table, seed: int, speaker_folds: int = SPEAKER_FOLDS) -> list[Fold]:
    """Leave out each group of corpora, all but the permissive corpora, and each fold of speakers within the corpora."""
    corpora, speech = column(table, "corpus"), is_speech(table)
    present = set(corpora[speech])
    groups, out = corpus_groups(present), []
    if len(groups) > 1:
        out += [Fold("unseen_corpora", k, np.isin(corpora, sorted(group))) for k, group in enumerate(groups)]
    if present > PERMISSIVE:
        out.append(Fold("permissive_data", 0, speech & ~np.isin(corpora, sorted(PERMISSIVE))))
    fold_of = fold_of_speakers(table, seed, speaker_folds)
    by_speaker = np.array([fold_of.get(str(speaker), -1) for speaker in column(table, "speaker")])
    return out + [Fold("unseen_speakers", k, by_speaker == k) for k in range(speaker_folds)]


def final_fold(table: Table) -> Fold:
    """The fold of the shipped model: nothing is held out."""
    return Fold("final", 0, np.zeros(len(column(table, "kind")), bool))


def is_training_copy(table: Table) -> Rows:
    return column(table, "copy") != NOISY


def training_rows(table: Table, fold: Fold) -> Rows:
    return ~fold.held_out & is_training_copy(table)


def scored_rows(table: Table, fold: Fold) -> Rows:
    """Held-out speech, clean and noisy, and the non-speech that is for tests only."""
    copy, speech = column(table, "copy"), is_speech(table)
    return np.where(speech, fold.held_out & np.isin(copy, [CLEAN, NOISY]), copy == NOISY)


def check_fold(table: Table, fold: Fold, texts: Mapping[str, str] | None = None) -> None:
    """Raises `LeakError` where training and test rows share a speaker, a clip or a noise, or, unseen corpora, a text.

    Protocols of unseen corpora must not share a corpus either.

    `texts` are the words of clips, where the manifest has them. Actors of one corpus say the same sentences, so the
    protocol of unseen speakers shares texts by design.
    """
    train, test, speech = training_rows(table, fold), scored_rows(table, fold), is_speech(table)
    clips = column(table, "clip")

    def refuse(what: str, values: NDArray[Any], kind: Rows, allowed: frozenset[str] = frozenset()) -> None:
        shared = set(values[train & kind]) & set(values[test & kind]) - allowed
        if shared:
            some = ", ".join(sorted(map(str, shared))[:3])
            raise LeakError(f"{fold.name}: {what} in training and in the test: {some}, {len(shared)} in all")

    refuse("speaker", column(table, "speaker"), speech)
    refuse("clip", clips, speech)
    refuse(
        "noise", column(table, "speaker"), ~speech, frozenset({SYNTHETIC})
    )  # their source stands in the speakers' column
    if fold.protocol != "unseen_speakers":
        refuse("corpus", column(table, "corpus"), speech)
        if texts:
            refuse("text", np.array([texts.get(clip, "") for clip in clips]), speech, frozenset({""}))


def is_test_noise(ids: Sequence[str], kinds: Sequence[str], durations: Sequence[float]) -> Rows:
    """Which noises are for tests only: about a fifth, by a hash of the name, and the shortest hold music."""
    test = np.array([zlib.crc32(i.encode()) % 5 == 0 for i in ids], bool)
    music, length = np.asarray(kinds) == "hold_music", np.asarray(durations, float)
    if music.any():
        test[music] = length[music] == length[music].min()
    return test
