"""Annotations and predictions that follow another convention are named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from facealign_cli.evaluation.base import Prediction
from facealign_cli.evaluation.conventions import odd_annotations, odd_predictions
from facealign_cli.landmarks import MIRROR_ORDER
from tests.evaluation.faces import TRUTH, sample

OTHER_CONVENTIONS = {
    "left and right": lambda points: points[list(MIRROR_ORDER)],
    "x and y": lambda points: points[:, ::-1],
    "from the bottom": lambda points: points * (1, -1) + (0, 300),
}


@pytest.mark.parametrize("change", OTHER_CONVENTIONS.values(), ids=OTHER_CONVENTIONS)
def test_mirrored_points_are_named(change: Callable[[np.ndarray], np.ndarray]) -> None:
    samples = [sample("a.jpg"), sample("b.jpg", change(TRUTH)), sample("c.jpg", 500 - TRUTH)]  # c: upside down
    assert [odd.name for odd in odd_annotations(samples)] == ["b.jpg"]
    predictions = {"a.jpg": Prediction("ok", (change(TRUTH),)), "b.jpg": Prediction("ok", (TRUTH,))}
    odd = odd_predictions(samples, predictions | {"c.jpg": Prediction("missed")})
    assert [(item.kind, item.name) for item in odd] == [("mirrored prediction", "a.jpg")]


@pytest.mark.parametrize(
    ("shift", "faces", "told"),
    [
        ((1, 1), 30, "pixel right of and below"),
        ((-1, -1), 30, "pixel left of and above"),
        ((1, 1), 19, ""),
        ((1, 0), 30, ""),
        ((1, -1), 30, ""),
        ((2, 2), 30, ""),
        ((0, 0), 30, ""),
    ],
)
def test_pixels_that_are_counted_from_1(shift: tuple[int, int], faces: int, told: str) -> None:
    rng = np.random.default_rng(0)
    samples = [sample(f"{i}.jpg") for i in range(faces)]
    shapes = TRUTH + shift + rng.normal(0, 3, (faces, 68, 2))
    predictions = {one.name: Prediction("ok", (shape,)) for one, shape in zip(samples, shapes, strict=True)}
    odd = list(odd_predictions(samples, predictions))
    assert [item.name for item in odd] == [f"{faces} faces"] * bool(told)
    assert all(told in item.detail for item in odd)
