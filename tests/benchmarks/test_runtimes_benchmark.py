"""The benchmark of runtimes: agreement and ratios are measured, and what is missing or fails is said."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from facealign_cli.models.registry import model_file


@pytest.fixture
def benchmark(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("runtimes")


@pytest.fixture
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (16, 1, 160, 160), np.uint8)


def prepared(benchmark: ModuleType, folder: Path, crops: np.ndarray, load, expected=None):
    row = benchmark.Row("mine", model_file("dan-light"), load, "onnxruntime")
    with ExitStack() as until_the_end:
        row.prepare(folder, until_the_end, crops, np.zeros((16, 68, 2)) if expected is None else expected)
    return row


def test_another_runtime_is_compared(benchmark: ModuleType, tmp_path: Path, crops: np.ndarray) -> None:
    def shifted(graph: Path, batch: int, place):
        predict = benchmark.onnx_runtime(graph, batch, place)
        return lambda some: (predict(some)[0] + np.float32([0.3, 0.4]), 0.5 * len(some))

    own = benchmark.onnx_runtime(model_file("dan-light"), 8, None)
    expected = np.concatenate([own(crops[:8])[0], own(crops[8:])[0]])
    reference = prepared(benchmark, tmp_path, crops, benchmark.onnx_runtime, expected)
    (tmp_path / "other").mkdir()
    row = prepared(benchmark, tmp_path / "other", crops, shifted, expected)
    assert not row.why and not reference.why
    reference.seconds = {1: [0.25, 0.75], 8: [4.0, 4.5]}
    row.seconds = {1: [0.5, 0.9], 8: [4.0, 9.0]}
    text = row.text(reference)
    assert "| 0.5000 (0.5000) | 500.00 (2.00) | 500.00 (1.00) |" in text and "| dan-light |" in text


def test_what_is_missing_or_fails_stands_in_its_row(benchmark: ModuleType, tmp_path: Path, crops: np.ndarray) -> None:
    def missing(*_: object) -> None:
        benchmark.needs("no_such_runtime")

    def broken(*_: object) -> None:
        raise RuntimeError("operator GatherElements\nat line 7")

    for name, load, why in (
        ("missing", missing, "not installed: pip install no_such_runtime"),
        ("broken", broken, "RuntimeError: operator GatherElements"),
    ):
        (tmp_path / name).mkdir()
        row = prepared(benchmark, tmp_path / name, crops, load)
        assert row.why == why and f"| {why} | | |" in row.text(row)


def test_a_converter_s_own_words(benchmark: ModuleType, tmp_path: Path) -> None:
    place = benchmark.Place(tmp_path, ExitStack())
    with pytest.raises(benchmark.NotToBeHadError, match="converter fails: no such operator"):
        benchmark.converted(["sh", "-c", "echo no such operator >&2"], tmp_path / "graph.mnn", place)
    benchmark.converted(["sh", "-c", "touch graph.mnn"], tmp_path / "graph.mnn", place)
