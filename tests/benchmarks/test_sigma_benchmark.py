"""The benchmark of sigma, on a model that is known to be right about itself, and on one that is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def sigma(load: Callable[[str], ModuleType]) -> ModuleType:
    for package in ("h5py", "torch"):
        pytest.importorskip(package)
    return load("sigma")


@dataclass
class Said:
    landmarks: np.ndarray
    sigma: np.ndarray


class Model:
    """Misses the truth at random, by the density that sigma is defined by, and says `factor` times how far."""

    def __init__(self, truth: np.ndarray, factor: float) -> None:
        from facealign_cli.training.calibrate import _quantile

        rng = np.random.default_rng(0)
        scale = rng.uniform(0.5, 4.0, truth.shape[:2])
        distance, angle = rng.gamma(2.0, scale), rng.uniform(0, 2 * np.pi, scale.shape)
        landmarks = truth + distance[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        self.said = Said(landmarks, factor * scale * _quantile(0.68))

    def predict(self, crops: np.ndarray) -> Said:
        return self.said


def cells(row: str) -> list[Any]:
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_a_row_says_how_many_points_lie_within_each_radius(sigma: ModuleType, factor: float) -> None:
    truth = np.random.default_rng(1).uniform(0, 100, (300, 68, 2))
    faces = np.zeros((300, 1, 8, 8), np.uint8), truth, np.ones((300, 68), bool)
    name, count, *within, rank = cells(sigma.row("drawn", Model(truth, factor), faces))
    assert (name, count) == ("drawn", "300")
    held = [float(cell) for cell in within]
    if factor == 1.0:
        assert held == pytest.approx([50, 68, 90, 95], abs=1.0)
    else:
        assert all(share < level - 5 for share, level in zip(held, [50, 68, 90, 95], strict=True))
    assert 0.3 < float(rank) < 0.7  # half of a miss is chance


def test_points_of_no_weight_do_not_count(sigma: ModuleType) -> None:
    truth = np.random.default_rng(1).uniform(0, 100, (50, 68, 2))
    counts = np.ones((50, 68), bool)
    counts[:, :17] = False
    model = Model(truth, 1.0)
    model.said.landmarks[:, :17] += 1000.0
    held = cells(sigma.row("drawn", model, (np.zeros((50, 1, 8, 8), np.uint8), truth, counts)))[2:-1]
    assert [float(cell) for cell in held] == pytest.approx([50, 68, 90, 95], abs=3.0)
