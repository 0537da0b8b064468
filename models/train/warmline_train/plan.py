"""Which calls to make of a manifest's clips and noises: pure tables, no audio."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from warmline_train.folds import CLEAN, NOISY, is_test_noise

CLIPS_A_CALL = 10
TONES_A_COPY = 12
NON_SPEECH = ("hold_music", "noise", "background_safe")
BACKGROUND = ("noise", "background_safe", "babble")


@dataclass(frozen=True)
class PlannedCall:
    """A file to write. `rows` are clips of one speaker, or one piece of noise, or nothing where tones are made."""

    file: str
    copy: int
    kind: str  # clip, non_speech or prompt
    rows: list[Any]


def split_noises(noises: pd.DataFrame) -> pd.DataFrame:
    """The noises with the column `test`: whether the noisy test copy alone may use them."""
    return noises.assign(test=is_test_noise(noises.id, noises.kind, noises.duration_s))


def background_of(noises: pd.DataFrame, copy: int) -> pd.DataFrame:
    """The noises that are mixed into the calls of a copy: none into the clean one."""
    usable = noises.kind.isin(BACKGROUND) & (noises.test == (copy == NOISY)) & (copy != CLEAN)
    return noises[usable]


def some_of(clips: pd.DataFrame, noises: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A handful of clips and noises, for a smoke run."""
    few = clips.drop_duplicates(["corpus", "speaker"]).groupby("corpus").head(5).speaker
    clips = clips[clips.speaker.isin(few)].groupby(["speaker", "emotion"]).head(4)
    return clips, noises.groupby(["kind", "test"]).head(3)


def plan(clips: pd.DataFrame, noises: pd.DataFrame, copies: int, seed: int) -> list[PlannedCall]:
    """For each copy: every clip once, about ten of a speaker a call, the angry ones last; noises; tones."""
    calls = []
    for copy in range(copies):
        for speaker, own in clips.groupby("speaker", sort=True):
            rng = np.random.default_rng([seed, copy, zlib.crc32(str(speaker).encode())])
            order = rng.permutation(len(own))
            for i, part in enumerate(np.array_split(order, -(-len(own) // CLIPS_A_CALL))):
                rows = own.iloc[part]
                calm, angry = rows[rows.emotion != "anger"], rows[rows.emotion == "anger"]
                both = [*calm.itertuples(), *angry.itertuples()]
                calls.append(PlannedCall(f"{copy}-{speaker}-{i:03d}.wav", copy, "clip", both))
        for row in noises.itertuples():
            kind = kind_of_noise(str(row.kind))
            if kind and row.test == (copy == NOISY):
                name = str(row.id).replace(".", "_")
                calls.append(PlannedCall(f"{copy}-noise-{name}.wav", copy, kind, [row]))
        for i in range(TONES_A_COPY):
            calls.append(PlannedCall(f"{copy}-tones-{i:03d}.wav", copy, "non_speech", []))
    return calls


def kind_of_noise(kind: str) -> str | None:
    """The kind of call that a noise makes, if any: babble is mixed in only."""
    if kind in NON_SPEECH:
        return "non_speech"
    return "prompt" if kind == "ivr_prompt_speech" else None
