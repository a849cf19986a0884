"""Faces with errors that are known, and their evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facealign_cli.datasets import Sample
from facealign_cli.evaluation.base import Prediction
from facealign_cli.evaluation.figures import Evaluation, evaluate
from facealign_cli.landmarks import MEAN_SHAPE

OCULAR = 91.60119  # outer eye corners of the mean shape: 45.80059 on either side
TRUTH = MEAN_SHAPE + 100
DIRECTION = np.array([0.6, 0.8])


def sample(name: str, landmarks: np.ndarray = TRUTH) -> Sample:
    return Sample(name, "set", name, Path("/data") / name, landmarks)


def moved(pixels: float, *before: float) -> Prediction:
    """All points off by so many pixels; `before`: after the earlier stages."""
    return Prediction("ok", tuple(TRUTH + p * DIRECTION for p in (*before, pixels)), 0.75)


def run(predictions: dict[str, Prediction], **fields: object) -> Evaluation:
    return evaluate([sample(name) for name in predictions], predictions, about={"title": "t"}, **fields)  # type: ignore[arg-type]


def folder(name: str, count: int, prediction: Prediction | None = None) -> dict[str, Prediction]:
    return {f"{name}/{i:04}.jpg": prediction or moved(1) for i in range(count)}
