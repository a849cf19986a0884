"""Timing: what is timed, in which order, and what the figures are."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import cv2
import pytest

from facealign_cli.errors import InputError, ModelError
from facealign_cli.models import timing
from facealign_cli.models.registry import read_registry
from facealign_cli.models.timing import Step, bench, measure, timings


def step(model: str, seconds: list[float], *, faces: int = 1, what: str = "x", batch: int = 1) -> Step:
    return Step(model, what, 1, batch, faces, lambda: None, seconds)


def test_figures_are_medians_per_face() -> None:
    first, second = timings([step("a", [1.0, 2.0, 9.0], faces=4), step("b", [0.5, 1.0, 4.5], faces=1)])
    assert (first.ms_per_face, first.ratio) == (500, 1)
    assert (second.ms_per_face, second.ratio) == (1000, 2)


def test_the_ratio_is_the_median_of_the_rounds_own() -> None:
    """A slow round falls on both; the medians of the times themselves would give 2.5."""
    assert timings([step("a", [1.0, 10.0, 2.0]), step("b", [3.0, 5.0, 6.0])])[1].ratio == 3


def test_only_like_is_compared_with_like() -> None:
    steps = [step("a", [1.0]), step("a", [4.0], batch=16), step("a", [7.0], what="y"), step("b", [2.0], batch=16)]
    assert [timing.ratio for timing in timings(steps)] == [1, 1, 1, 0.5]


def test_rounds_are_interleaved_and_the_first_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    clock = itertools.count()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    steps = [Step(name, "x", 1, 1, 1, lambda name=name: ran.append(name)) for name in "abc"]  # type: ignore[misc]
    before = cv2.getNumThreads()
    measure(steps, 2)
    assert "".join(ran) == "abc" * 3
    assert [s.seconds for s in steps] == [[1, 1]] * 3
    assert cv2.getNumThreads() == before


def test_bench_times_a_model_beside_itself(tmp_path: Path) -> None:
    registry = read_registry()
    copy = tmp_path / "copy.onnx"
    shutil.copy(registry.get(registry.default).path, copy)
    seen = []
    result = bench(
        [registry.default, str(copy)],
        batches=(1, 2),
        threads=(1,),
        rounds=1,
        faces=3,
        watch=lambda rounds: (seen.append(i) or i for i in rounds),  # type: ignore[func-returns-value]
    )
    assert [(t.model, t.what, t.batch) for t in result] == [
        (name, what, batch)
        for name in (registry.default, str(copy))
        for what, batch in (("crop + grey", 1), ("crop → landmarks", 1), ("crop → landmarks", 2))
    ]
    assert all(t.ms_per_face > 0 for t in result)
    assert all(t.ratio == 1 for t in result[:3])
    assert seen == [0, 1]


@pytest.mark.parametrize("options", [{"batches": ()}, {"threads": ()}, {"rounds": 0}])
def test_nothing_to_time(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="nothing to time"):
        bench(["dan-light"], **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nothing to time"):
        bench([])


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown model"):
        bench(["nothing"], rounds=1)
    (tmp_path / "x.onnx").write_bytes(b"x")
    with pytest.raises(ModelError, match="not an ONNX model"):
        bench([str(tmp_path / "x.onnx")], rounds=1)
