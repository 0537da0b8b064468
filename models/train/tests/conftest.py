"""A small corpus that never was: a table of calls as `prepare` writes it, without audio."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from warmline_train.folds import CLEAN, NOISY, SYNTHETIC

CORPORA = ("ravdess", "tess", "fsdd", "emodb", "turev", "nemo", "banglaser", "emotiontts", "ased", "of_our_own")
SPEAKERS, CLIPS, COPIES, NOISES, TONES = 4, 3, 4, 6, 2
TEST_NOISES = frozenset({"noise_0", "noise_3"})

Columns = dict[str, NDArray]


def sentence(corpus: str, number: int) -> str:
    """The words of clip `number` of every speaker of `corpus`."""
    return f"sentence {number} in the language of {corpus}"


@pytest.fixture
def table() -> Columns:
    """Columns by name: ten corpora of four speakers, noises, prompts and tones, in four copies."""
    rows = []
    for copy in range(COPIES):
        for corpus, speaker, clip in itertools.product(CORPORA, range(SPEAKERS), range(CLIPS)):
            name = f"{corpus}_{speaker}"
            rows.append((copy, "clip", corpus, name, f"{name}_{clip}", "anger" if clip == 2 else "neutral"))
        for i in range(NOISES):
            if (f"noise_{i}" in TEST_NOISES) == (copy == NOISY):
                kind = "prompt" if i % 3 == 2 else "non_speech"
                rows.append((copy, kind, kind, f"noise_{i}", f"{copy}-noise_{i}.wav", ""))
        for i in range(TONES):
            rows.append((copy, "non_speech", "non_speech", SYNTHETIC, f"{copy}-tones-{i}.wav", ""))
    names = ("copy", "kind", "corpus", "speaker", "clip", "emotion")
    columns = {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    assert set(columns["copy"]) > {CLEAN, NOISY}
    return columns


@pytest.fixture
def texts() -> dict[str, str]:
    """{clip: words}: speakers of one corpus say the same sentences."""
    return {
        f"{corpus}_{speaker}_{clip}": sentence(corpus, clip)
        for corpus, speaker, clip in itertools.product(CORPORA, range(SPEAKERS), range(CLIPS))
    }
