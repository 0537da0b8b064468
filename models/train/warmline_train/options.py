"""The command line of `train`. Needs no PyTorch."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from warmline_train.folds import SPEAKER_FOLDS
from warmline_train.stages import STAGES, Stage

PROTOCOLS = ("unseen_corpora", "permissive_data", "unseen_speakers")
SMOKE = {"copies": 2, "steps": 40, "speaker_folds": 2, "bootstrap": 20}


@dataclass(frozen=True)
class Options:
    """What a run is made of, and where it reads and writes."""

    corpora: Path
    warmline: str
    work: Path
    out: Path
    stage: Stage
    name: str
    corpus: list[str] | None
    protocols: list[str]
    seed: int
    copies: int
    steps: int
    lanes: int
    speaker_folds: int
    bootstrap: int
    jobs: int
    smoke: bool

    @property
    def folder(self) -> Path:
        """Frames, weights and scores of this model."""
        return self.work / self.name

    def shown(self) -> str:
        """The arguments without this machine's paths."""
        out = ["--stage", self.stage.spec.key, "--corpora", "CORPORA", "--warmline", "warmline"]
        out += ["--seed", str(self.seed), "--steps", str(self.steps), "--copies", str(self.copies)]
        out += ["--speaker-folds", str(self.speaker_folds), "--bootstrap", str(self.bootstrap)]
        out += ["--corpus", *self.corpus] if self.corpus else []
        return shlex.join(out + (["--smoke"] if self.smoke else []))


def options(description: str, argv: Sequence[str] | None = None) -> Options:
    """The options in `argv`, or in the command line. `description` is for --help."""
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--corpora", type=Path, required=True)
    p.add_argument("--warmline", default="warmline", help="the command whose `features` is run")
    p.add_argument("--work", type=Path, default=Path(".warmline/train"))
    p.add_argument("--out", type=Path, default=Path("models"))
    p.add_argument("--stage", choices=list(STAGES), required=True, help="which of the two models")
    p.add_argument("--name", help="file name of the model and its card [the stage's]")
    p.add_argument("--corpus", nargs="*", help="train on these corpora alone")
    p.add_argument("--protocols", nargs="*", default=list(PROTOCOLS), help="NAME, or NAME:FOLD for one of its folds")
    p.add_argument("--seed", type=int, default=7)
    p.add_argument(
        "--copies",
        type=int,
        default=4,
        help="telephones each clip goes through: clean, noisy (tests only), augmented...",
    )
    p.add_argument("--steps", type=int, help="[the stage's]")
    p.add_argument("--lanes", type=int, default=1)
    p.add_argument("--speaker-folds", type=int, default=SPEAKER_FOLDS)
    p.add_argument("--bootstrap", type=int, default=500)
    p.add_argument("--jobs", type=int, default=2)
    p.add_argument("--smoke", action="store_true", help="few clips, few steps: does it run?")
    given = vars(p.parse_args(argv))
    stage = STAGES[given["stage"]]
    given |= {"stage": stage, "name": given["name"] or stage.spec.key, "steps": given["steps"] or stage.spec.steps}
    if given["smoke"]:
        given |= SMOKE
    return Options(**given)
