"""The pose benchmark's own logic, on faces made from the mean face."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from facealign_cli.pose import camera_matrix, mean_face, project
from facealign_cli.records import HeadPose


@pytest.fixture
def benchmark(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("pose")


def test_errors_are_degrees_of_yaw(benchmark: ModuleType) -> None:
    pose = HeadPose((0, 0, 3000), (0, np.radians(30), 0))
    points = project(mean_face(), pose, camera_matrix(256, 256, 4 * 256))
    off = project(mean_face(), HeadPose((0, 0, 3000), (0, np.radians(37), 0)), camera_matrix(256, 256, 4 * 256))
    faces = [benchmark.TurnedFace(30.0, 256, 256, points, off, None)]
    assert benchmark.yaw_errors(faces, "labels", 4.0) == pytest.approx([0], abs=0.01)
    assert benchmark.yaw_errors(faces, "landmarks", 4.0) == pytest.approx([7], abs=0.01)
    assert "| 30 to 45 | 1 | 0.0 | 7.0 |" in benchmark.by_yaw(faces, 4.0)


def test_brow_weights_are_put_back(benchmark: ModuleType) -> None:
    points = project(mean_face(), HeadPose((0, 0, 3000), (0, 0, 0)), camera_matrix(256, 256, 4 * 256))
    before = benchmark.pose._WEIGHTS.copy()
    table = benchmark.by_brow_weight([benchmark.TurnedFace(0.0, 256, 256, points, points, None)], 4.0)
    tilts = [float(line.split("|")[3]) for line in table.splitlines()[2:]]
    assert tilts == sorted(tilts, reverse=True) and tilts[0] > 2 > tilts[-1] > 0
    assert np.array_equal(benchmark.pose._WEIGHTS, before)
