"""The load test of the service: it starts, its answers are counted, its memory and processor time are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="need pip install -e '.[review]'")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def benchmark(load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return load("service_load")


def test_answers_are_counted(benchmark: ModuleType, astronaut: np.ndarray) -> None:
    good = cv2.imencode(".jpg", astronaut[40:220, 130:310])[1].tobytes()
    with benchmark.serving() as service:
        cells = benchmark.row("some", service, [good, good[:500], good], 2).split(" | ")
        alone = benchmark.silent_clients(service, 3, lambda: benchmark.row("beside", service, [good], 1))
    assert cells[:3] == ["| some", "2", "2 × 200, 1 × 422"]
    assert 0 < float(cells[3]) <= float(cells[4]) and float(cells[5]) > 0
    assert 0 < float(cells[6]) < 60_000 and float(cells[7].strip(" |")) > 50
    assert "1 × 200" in alone


def test_pictures_as_large_as_asked(benchmark: ModuleType, astronaut: np.ndarray) -> None:
    enlarged = cv2.imdecode(np.frombuffer(benchmark.large(astronaut, 3), np.uint8), cv2.IMREAD_COLOR)
    assert enlarged.shape[0] * enlarged.shape[1] == pytest.approx(3e6, rel=0.01)
