"""The stages of the cascade, by name."""

from warmline_train.stages.confirm import Confirm
from warmline_train.stages.stage import Stage, StageSpec
from warmline_train.stages.watch import Watch

STAGES: dict[str, Stage] = {stage.spec.key: stage for stage in (Watch(), Confirm())}

__all__ = ["STAGES", "Stage", "StageSpec"]
