"""What a prediction is, and what else an evaluation tells of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.landmarks import N_LANDMARKS

Status = Literal["ok", "missed", "no_prediction", "wrong_points", "nan", "no_box", "error"]


@dataclass(frozen=True)
class Irregularity:
    """Something that did not go as it should, beside a face's own status.

    kind: "left out", "extra prediction", "several faces", "ambiguous prediction", … name: the file's or the face's.
    """

    kind: str
    name: str
    detail: str = ""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was predicted for one annotated face.

    stages: each (68, 2) pixels, the last one is the result; empty unless status is "ok". detail: why it is not, or what
    was chosen among several faces. confidence: 0 to 1, if there is one. warning: what is wrong with the file of its
    picture, which was used all the same. Raises ValueError where these contradict.
    """

    status: Status
    stages: tuple[Floats, ...] = ()
    confidence: float | None = None
    detail: str = ""
    warning: str | None = None

    def __post_init__(self) -> None:
        if (self.status == "ok") != bool(self.stages):
            raise ValueError(f"status {self.status!r} does not go with {len(self.stages)} stages")
        for stage in self.stages:
            if stage.shape != (N_LANDMARKS, 2) or not np.isfinite(stage).all():
                raise ValueError(f"expected stages of ({N_LANDMARKS}, 2) finite numbers, got shape {stage.shape}")


def end_alike(one: list[str], other: list[str]) -> bool:
    """Whether the shorter path is the end of the longer one."""
    count = min(len(one), len(other))
    return one[-count:] == other[-count:]
