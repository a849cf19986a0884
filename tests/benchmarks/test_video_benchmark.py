"""The video benchmark's own logic: a looped clip, its table, its steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from clips import pictures, write_clip

from facealign_cli.aligner import Aligner


@pytest.fixture
def benchmark(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("video")


@pytest.mark.long
def test_a_looped_clip_goes_on(benchmark: ModuleType, tmp_path: Path) -> None:
    looped = benchmark.Looped(str(write_clip(tmp_path / "in.mp4", pictures(10))), 1.0)
    frames = list(looped)
    assert [frame.index for frame in frames] == list(range(30))
    assert np.allclose([frame.timestamp_s for frame in frames], np.arange(30) * 0.04)


@pytest.mark.long
def test_a_clip_is_measured(benchmark: ModuleType, tmp_path: Path, astronaut: np.ndarray) -> None:
    path, aligner = write_clip(tmp_path / "in.mp4", [astronaut[20:260, 100:340]] * 8), Aligner()
    found = benchmark.speed(path, aligner, 1)
    assert found.n_frames == 8 and found.tracked_fps > 0
    assert all(ms > 0 for ms in found.steps_ms.values())
    assert "in.mp4 (240×240)" in benchmark.table([found])
    assert len(benchmark.memory(path, aligner, [0.005, 0.01], overlay=True)) == 2


def test_a_clip_is_measured_beside_another_checkout(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, places, answers = write_clip(tmp_path / "in.mp4", pictures(4)), [], iter((200, 100, 300, 100))

    def run(command: list[str], env: dict[str, str], **_: object) -> str:
        places.append(env["PYTHONPATH"])
        fps = next(answers) if places[-1] == str(tmp_path) else 2 * next(answers)
        assert command[2:] == ["rates", str(clip)]
        return f"[[4, {fps}, {1000 / fps}]]"

    monkeypatch.setattr(benchmark.subprocess, "check_output", run)
    row = benchmark.against([clip], tmp_path, 2, None).splitlines()[2]
    assert places[0] == places[2] == str(tmp_path) and places[1] == places[3] == str(
        Path(benchmark.__file__).parents[1]
    )
    assert row == "| in.mp4 | 4 | 200 | 8.0 | 300 | 0.80 | 5.00 | 3.33 | 1.20 |"
