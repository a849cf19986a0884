"""The smoothing benchmark's own logic: its measures, and a short run."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from facealign_cli.aligner import Aligner
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.video.smoothing import Smoothing


@pytest.fixture
def benchmark(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("video_smoothing")


def test_measures_are_percent_of_the_outer_eye_distance(benchmark: ModuleType) -> None:
    shape = init_shape_from_bbox(np.array([0.0, 0, 100, 100]))
    step = benchmark.outer_eyes(shape) / 100
    moving = shape + step * np.arange(20)[:, None, None] * [1.0, 0.0]
    assert benchmark.movement(moving) == pytest.approx(1.0)
    assert benchmark.error(moving, np.repeat(shape[None], 20, axis=0)) == pytest.approx(9.5)


def test_every_motion_begins_at_a_face_and_moves_what_it_says(benchmark: ModuleType) -> None:
    shape = init_shape_from_bbox(np.array([0.0, 0, 100, 100]))
    for name, (path, points) in benchmark.motions(shape).items():
        assert path.shape == (90, 68, 2) and np.isfinite(path).all()
        assert np.ptp(path, axis=0)[points].mean() > 1, name


@pytest.mark.long
def test_a_short_run(benchmark: ModuleType, astronaut: np.ndarray) -> None:
    picture = np.ascontiguousarray(astronaut[:320, 60:380])
    lines = benchmark.with_network(picture, Aligner(), Smoothing(), 12).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["2", "4", "8"]
    assert "blink" in benchmark.with_points(init_shape_from_bbox(np.array([0.0, 0, 100, 100])), Smoothing())
