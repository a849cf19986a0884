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


def test_labels_of_turned_heads_are_placed_as_the_training_faces_tell(sigma: ModuleType) -> None:
    """A model that sees every point further to the right than the labels have it, as far as one sees that from the
    side: once the labels are placed, the held-out ones stand where it sees them."""
    from facealign_cli.geometry import CropFrame
    from tests.training.conftest import draw_pack

    pack = draw_pack(24)
    pack.yaw[:] = np.linspace(-70, 70, 24)
    pack.yaw[::8] = np.nan  # of another data set
    known = np.isfinite(pack.yaw)
    model = Model(np.zeros((1, 68, 2)), 1.0)
    model.frame = CropFrame(48, 0.25)  # type: ignore[attr-defined]
    _, truth, _ = sigma.as_it_is(pack.select(known), model)
    size = np.sqrt(np.ptp(truth, axis=1).prod(axis=1))[:, None]
    model.said.landmarks = truth.copy()
    model.said.landmarks[..., 0] += 0.05 * size * np.cos(np.radians(pack.yaw[known]))[:, None]
    crops, placed, counts = sigma.placed(pack, model)
    rows = sigma.is_turned(pack)[known]
    assert len(crops) == rows.sum() > 0
    np.testing.assert_allclose(placed[counts], model.said.landmarks[rows][counts], atol=1e-3)
    assert counts.sum() == rows.sum() * sigma.INNER.sum()
