"""One Euro: calm at rest, close behind motion, the same at every resolution and frame rate."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from facealign_cli.boxes import BBox
from facealign_cli.errors import InputError
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.records import Face
from facealign_cli.video.smoothing import _HEAD_KNEE, FaceSmoother, OneEuroFilter, Smoothing

SHAPE = init_shape_from_bbox(np.array([100.0, 100, 200, 200]))
SIZE = 100.0


def smoothed(
    shapes: np.ndarray, rate: float = 30.0, size: float = SIZE, smoothing: Smoothing | None = None
) -> np.ndarray:
    one = OneEuroFilter(smoothing or Smoothing())
    return np.array([one(shape, i / rate, size) for i, shape in enumerate(shapes)])


def noisy(count: int, sigma: float = 0.1) -> np.ndarray:
    return SHAPE + np.random.default_rng(0).normal(0, sigma, (count, 68, 2))


def movement(shapes: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(shapes[15:], axis=0), axis=2).mean())


def test_the_paper_by_hand() -> None:
    """Two steps of one point by the paper's formulas, the knee, and the way that the velocity foretells."""
    smoothing, step, size = Smoothing(1.0, 2.0, 1.0), 0.1, 10.0
    alpha = 1 / (1 + 1 / (2 * np.pi * 1.0 * step))
    velocity = alpha * 3.0 / step
    speed = velocity / size
    trust = speed**2 / (speed**2 + _HEAD_KNEE**2)
    share = 1 / (1 + 1 / (2 * np.pi * (1.0 + 2.0 * trust * speed) * step))
    expected = 5.0 + trust * velocity * step
    one = OneEuroFilter(smoothing)
    assert one(np.array([[5.0, 7.0]]), 0.0, size).tolist() == [[5.0, 7.0]]
    x = expected + share * (8.0 - expected)
    assert one(np.array([[8.0, 7.0]]), step, size) == pytest.approx(np.array([[x, 7.0]]), abs=1e-12)


def test_points_at_rest_come_to_rest() -> None:
    raw = noisy(120)
    assert movement(smoothed(raw)) < movement(raw) / 8


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    return importlib.import_module("video_smoothing")


@pytest.mark.parametrize("name", ["pan", "nod", "slow", "roll", "zoom", "head turns", "blink", "speech"])
def test_known_motions_do_not_lag(benchmark: ModuleType, name: str) -> None:
    """On points without noise all the error is the filter's: percent of the outer-eye distance."""
    path, points = benchmark.motions(SHAPE)[name]
    assert benchmark.error(benchmark.smoothed(path, Smoothing()), path, points) < (
        0.15 if name in ("blink", "speech") else 0.3
    )


@pytest.mark.parametrize("rate", [12, 24, 25, 30, 50, 60, 120])
@pytest.mark.parametrize("d_cutoff_hz", [4.0, 5.0, 6.0])
def test_a_turn_of_the_motion_is_no_rest(rate: int, d_cutoff_hz: float) -> None:
    """Where the velocity passes through zero the filter must not shut: no frame falls far behind."""
    times = np.arange(3 * rate) / rate
    raw = SHAPE + SIZE * 0.3 * np.abs(times % 1 - 0.5)[:, None, None] * [1.0, 0.0]
    behind = np.linalg.norm(smoothed(raw, rate, smoothing=Smoothing(d_cutoff_hz=d_cutoff_hz)) - raw, axis=2)
    assert behind.max() < max(0.8 * SIZE * 0.3 / rate, 0.005 * SIZE)  # of a frame's way, or next to nothing


@pytest.mark.parametrize("sizes_a_second", [0.1, 0.5, 2.0, 8.0])
def test_a_steady_motion_is_followed_at_any_speed(sizes_a_second: float) -> None:
    raw = SHAPE + np.arange(90)[:, None, None] * np.array([sizes_a_second * SIZE / 30, 0])
    lag = np.linalg.norm(smoothed(raw) - raw, axis=2)[30:].mean()
    assert lag < 0.002 * SIZE


def test_resolution_changes_nothing() -> None:
    raw = noisy(30)
    assert np.allclose(smoothed(4 * raw, size=4 * SIZE), 4 * smoothed(raw))


def test_the_frame_rate_changes_little() -> None:
    """The same motion, sampled four times as often, lags as much in seconds."""

    def path(rate: int) -> np.ndarray:
        times = np.arange(2 * rate) / rate
        return SHAPE + 25 * np.sin(2 * np.pi * 1.5 * times)[:, None, None]

    lags = [np.abs(smoothed(path(rate), rate) - path(rate)).mean() for rate in (30, 120)]
    assert lags[1] == pytest.approx(lags[0], rel=0.5)


@pytest.mark.parametrize("time_s", [0.0, -1.0, 0.033, 2.0])
def test_a_gap_or_a_jump_back_begins_anew(time_s: float) -> None:
    one = OneEuroFilter(Smoothing())
    one(SHAPE, 0.033, SIZE)
    assert np.array_equal(one(SHAPE + 50, time_s, SIZE), SHAPE + 50)


def test_each_track_has_its_own_filter() -> None:
    smoother = FaceSmoother(Smoothing())
    a = Face(0, BBox(100, 100, 200, 200), SHAPE, 0.9, track_id=3)
    b = replace(a, landmarks=SHAPE + 300, bbox=BBox(400, 400, 500, 500), track_id=4)
    smoother([a, b], 0.0)
    again = smoother([b, a], 0.04)
    assert np.allclose(again[0].landmarks, SHAPE + 300) and np.allclose(again[1].landmarks, SHAPE)
    without = replace(a, track_id=None)
    assert smoother([without], 0.08) == [without]


def test_the_box_is_smoothed_with_the_points() -> None:
    smoother = FaceSmoother(Smoothing())
    boxes = []
    for i, shape in enumerate(noisy(40)):
        corner = 100 + float(shape[0, 0] - SHAPE[0, 0])
        face = Face(0, BBox(corner, 100, 200, 200), shape, 0.9, track_id=0)
        boxes.append((face.bbox.x1, smoother([face], i / 30)[0].bbox.x1))
    raw, smooth = np.diff(np.array(boxes)[10:], axis=0).std(axis=0)
    assert smooth < raw / 2


def test_the_first_box_comes_out_as_it_went_in() -> None:
    bbox = BBox(10, 200, 110, 330)
    face = Face(0, bbox, SHAPE + np.array([-90, 160]), 0.9, track_id=3)
    (smoothed_face,) = FaceSmoother(Smoothing())([face], 0.0)
    assert smoothed_face.bbox.xyxy == pytest.approx(bbox.xyxy)


def test_parameters_are_parsed() -> None:
    assert Smoothing.parse("causal") == Smoothing()
    assert Smoothing.parse("2") == Smoothing(2.0)
    assert Smoothing.parse("2,5,1.5") == Smoothing(2.0, 5.0, 1.5)
    for text in ("", "fast", "1,2,3,4", "0", "-1", "nan", "1,-1", "inf"):
        with pytest.raises(InputError, match="smoothing"):
            Smoothing.parse(text)
