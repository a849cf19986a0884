"""The confidence benchmark's figures, on numbers whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture
def confidence(load: Callable[[str], ModuleType]) -> ModuleType:
    for package in ("h5py", "torch"):
        pytest.importorskip(package)
    return load("confidence")


@pytest.mark.parametrize(
    ("right", "wrong", "area"),
    [
        ([0.9, 0.8], [0.1, 0.2], 1.0),
        ([0.1], [0.9, 0.8], 0.0),
        ([0.5], [0.5], 0.5),
        ([0.2, 0.6], [0.4], 0.5),
        ([0.5, 0.9], [0.5, 0.1], 0.875),
    ],
)
def test_area(right: list[float], wrong: list[float], area: float, confidence: ModuleType) -> None:
    assert confidence.area_under_roc(right, wrong) == pytest.approx(area)


def test_area_is_the_trapezium_under_the_curve(confidence: ModuleType) -> None:
    rng = np.random.default_rng(0)
    right, wrong = np.round(rng.normal(0.6, 0.2, 200), 2), np.round(rng.normal(0.4, 0.2, 150), 2)
    thresholds = np.concatenate([[np.inf], np.unique([*right, *wrong])[::-1]])
    passed, slipped = confidence.rates(right, wrong, thresholds)
    assert confidence.area_under_roc(right, wrong) == pytest.approx(np.trapezoid(passed, slipped))


def test_rates_count_the_threshold_itself(confidence: ModuleType) -> None:
    passed, slipped = confidence.rates(np.array([0.2, 0.5, 0.8, 0.9]), np.array([0.5, 0.1]), np.array([0.1, 0.5, 0.81]))
    assert passed.tolist() == [1, 0.75, 0.25]
    assert slipped.tolist() == [1, 0.5, 0]


def test_recommended_threshold(confidence: ModuleType) -> None:
    assert confidence.recommended_threshold([0.9, 0.8], [0.2, 0.1]) == pytest.approx(0.51)
    assert confidence.recommended_threshold([0.9, 0.8, 0.3], [0.55, 0.5, 0.4]) == pytest.approx(0.68)


@pytest.mark.parametrize("scores", [[], [np.nan], [[0.5]]])
def test_what_is_refused(scores: list[float], confidence: ModuleType) -> None:
    with pytest.raises(ValueError, match="one or more confidences"):
        confidence.area_under_roc(scores, [0.5])
    with pytest.raises(ValueError, match="one or more confidences"):
        confidence.rates([0.5], scores, [0.5])


def test_table(confidence: ModuleType) -> None:
    box = confidence.Scored("organisers' box", np.array([0.9, 0.8]), np.array([0.03, 0.04]))
    faceless = confidence.Scored("faceless", np.array([0.1, 0.2]), np.array([np.inf, np.inf]))
    text = confidence.table([box, faceless])
    assert "| organisers' box | 2 | 0 | – |" in text
    assert "| faceless | 0 | 2 | 1.0000 |" in text
    assert "| all | 2 | 2 | **1.0000** |" in text
    assert "| **0.51** | 100.00 | 0.00 |" in text
    assert "Recommended threshold: 0.51." in text
