"""The benchmark of measures: its drawn lids and its table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner

from facealign_cli.aligner import Aligner


@pytest.fixture
def benchmark(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("measures")


def test_lids_close_the_eyes_and_nothing_else(benchmark: ModuleType, astronaut: np.ndarray) -> None:
    aligner = Aligner()
    landmarks = aligner.align(astronaut)[0].landmarks
    unmoved = benchmark.with_lids_drawn(astronaut, landmarks, 0.0)
    assert np.abs(unmoved.astype(int) - astronaut).max() <= 2
    shut = benchmark.with_lids_drawn(astronaut, landmarks, 1.0)
    closed = aligner.align_shapes(shut, [landmarks]).landmarks[0]
    assert benchmark._eye(closed, 36) < 0.75 * benchmark._eye(landmarks, 36)
    assert np.linalg.norm(closed - landmarks, axis=1)[48:].max() < 2  # the mouth stays


def test_blinks_last_as_long_as_they_say(benchmark: ModuleType) -> None:
    times = np.arange(0, benchmark.EVERY_S * (len(benchmark.DURATIONS_S) + 1), 1e-3)
    shut = np.array([benchmark.closing(time) for time in times])
    assert shut.max() == pytest.approx(1, abs=1e-3)
    assert (shut > 0).mean() * times[-1] == pytest.approx(sum(benchmark.DURATIONS_S), abs=0.05)


@pytest.mark.long
def test_a_table_by_yaw(benchmark: ModuleType, shared_data: Path) -> None:
    result = CliRunner().invoke(benchmark.main, ["turned", str(shared_data / "more" / "aflw2000")])
    assert result.exit_code == 0, result.output
    rows = {tuple(cells[:2]): cells[2:] for cells in _cells(result.output)}
    picture, laid = ([float(cell.split()[0]) for cell in rows["eye, far side", w]] for w in ("picture", "laid back"))
    assert max(picture[:4]) > 2 * picture[0] and max(laid[:4]) < 1.15 * laid[0]


def _cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
