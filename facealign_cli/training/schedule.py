"""What a training run is told: how long, how fast, with what augmentation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from facealign_cli.errors import InputError
from facealign_cli.training.augmentation import Augmentation
from facealign_cli.training.bounds import MOST, check_bounds

TEACHER_SHARE = 0.5
"""Of the loss, where there is a teacher and nothing else is said."""
_BOUNDS = {
    **dict.fromkeys(("steps", "eval_every", "checkpoint_every", "turned"), (1, MOST)),
    **dict.fromkeys(("warmup_steps", "decay_steps", "seed", "patience", "minutes", "weight_decay"), (0, MOST)),
    **dict.fromkeys(("average", "teacher_share", "decay_share"), (0, 1)),
    **dict.fromkeys(("lr", "confidence_weight", "sigma_weight"), (0, MOST)),
    "stage": (0, MOST),
    "batch_size": (1, MOST),
}


@dataclass(frozen=True)
class TrainConfig:
    """One run. stage: 1, 2, … trains that stage alone with the earlier ones frozen; 0 trains all jointly.

    The learning rate rises over `warmup_steps`, stays at `lr`, and falls along a cosine over the last `decay_steps`; in
    a run of fewer steps than that, it falls from the beginning on.
    minutes: the run ends by the clock instead; the rate then falls over the last `decay_share` of that time, and
    `steps` is only the most that it may take. turned: how often a pass draws a face turned by 30 to 60 degrees, and how
    often one turned by more. teacher_share: how much of the loss is the distance from the teacher's
    landmarks on the same crop instead of from the labels; 0 without a teacher. The defaults are those of `train run`.
    """

    steps: int = 16000
    stage: int = 0
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.02
    warmup_steps: int = 200
    decay_steps: int = 5000
    average: float = 0.9995
    seed: int = 0
    eval_every: int = 500
    checkpoint_every: int = 250
    patience: int = 0
    confidence_weight: float = 0.05
    sigma_weight: float = 0.02
    teacher_share: float = 0.0
    turned: tuple[int, int] = (1, 1)
    minutes: float = 0.0
    decay_share: float = 0.5
    bf16: bool = False
    device: str = "auto"
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        check_bounds(self, _BOUNDS)

    def lr_at(self, step: int, seconds: float = 0.0) -> float:
        """Learning rate of a step, counted from 0; `seconds` of the run have passed."""
        rate = self.lr * min(1.0, (step + 1) / max(1, self.warmup_steps))
        left, decay = float(self.steps - step), float(min(self.decay_steps, self.steps))
        if self.minutes:
            left, decay = max(0.0, 60 * self.minutes - seconds), 60 * self.minutes * self.decay_share
        if left < decay:
            rate *= 0.5 * (1 - math.cos(math.pi * left / decay))
        return rate

    def ended(self, step: int, seconds: float) -> bool:
        """Whether a run that has made so many steps, in so many seconds, is over."""
        return step >= self.steps or bool(self.minutes and seconds >= 60 * self.minutes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """From `to_dict`'s values, also those of a checkpoint of an earlier version.

        Raises ValueError for a value of another type, or that no run can have.
        """
        from facealign_cli.files.documents import structured  # NumPy comes with it: this file is read for options, too

        renamed = {"batch_size" if name == "batch" else name: value for name, value in values.items()}
        return replace(structured(renamed, cls))  # what had no value is in the new object, where vars() finds it, too


def check_same(folder: Path, begun: Mapping[str, Any], same: Mapping[str, Any]) -> None:
    """Raise InputError for a setting of `same` that is not as in `begun`, with which the run in `folder` was begun."""
    for name, value in same.items():
        if value != begun[name]:
            raise InputError(
                f"{folder}: {name} was {begun[name]}, is {value}: a run goes on with the settings that it was begun "
                "with. Leave the option out, or begin another run."
            )
