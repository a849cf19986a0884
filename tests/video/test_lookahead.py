"""Smoothing that sees ahead: calm at rest, and no change comes late, or lower than it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facealign_cli.boxes import BBox
from facealign_cli.errors import InputError
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.records import Face
from facealign_cli.video.lookahead import LookAhead, LookAheadSmoother, line_weights, parse_smoothing
from facealign_cli.video.smoothing import FaceSmoother, Smoothing, moved_to

SHAPE = init_shape_from_bbox(np.array([100.0, 100, 200, 200]))


def face_at(shape: np.ndarray, track_id: int | None = 0) -> Face:
    return Face(0, BBox.around(shape), shape, 0.9, track_id=track_id)


def smoothed(shapes: np.ndarray, times: np.ndarray | float = 30.0) -> np.ndarray:
    """(N, 68, 2) through the smoother; times: seconds, or frames a second."""
    smoother, given = LookAheadSmoother(), []
    stamps = np.arange(len(shapes)) / times if np.isscalar(times) else times
    for shape, time in zip(shapes, stamps, strict=True):
        given += smoother.push([face_at(shape)], float(time))
    given += smoother.flush()
    assert len(given) == len(shapes)
    return np.array([faces[0].landmarks for faces in given])


def noise(count: int, sigma: float = 0.1) -> np.ndarray:
    return np.random.default_rng(0).normal(0, sigma, (count, 68, 2))


def movement(shapes: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(shapes, axis=0), axis=2).mean())


def opened(amounts: np.ndarray) -> np.ndarray:
    """(N, 68, 2) lower lids of both eyes moved down by pixels."""
    shapes = np.repeat(SHAPE[None], len(amounts), axis=0)
    shapes[:, [40, 41, 46, 47], 1] += amounts[:, None]
    return shapes


def lids(shapes: np.ndarray) -> np.ndarray:
    return shapes[:, [40, 41, 46, 47], 1].mean(axis=1) - SHAPE[[40, 41, 46, 47], 1].mean()


@pytest.mark.parametrize("rate", [24, 30, 60])
def test_a_still_face_stands_still(rate: int) -> None:
    raw = SHAPE + noise(4 * rate)
    assert movement(smoothed(raw, rate)[rate:-rate]) < movement(raw) / 14
    assert np.abs(smoothed(raw, rate) - SHAPE).mean() < np.abs(raw - SHAPE).mean() / 2


@pytest.mark.parametrize("rate", [25, 30, 60])
@pytest.mark.parametrize("seconds", [0.1, 0.2, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_a_change_is_in_time_and_keeps_its_height(rate: int, seconds: float, sigma: float) -> None:
    times = np.arange(0, seconds + 4, 1 / rate)
    truth = 8 * np.clip((times - 2.003) / seconds + 0.5, 0, 1)
    found = lids(smoothed(opened(truth) + noise(len(times), sigma), rate))
    rises = np.interp(4.0, found[np.abs(times - 2) < 1 + seconds], times[np.abs(times - 2) < 1 + seconds])
    assert rises == pytest.approx(2.003, abs=1 / rate)
    settled = times > 2 + seconds / 2 + 0.3
    assert found[settled].mean() == pytest.approx(8, abs=0.05)


@pytest.mark.parametrize("rate", [25, 30, 60])
@pytest.mark.parametrize("seconds", [0.1, 0.2, 0.5])
def test_a_blink_keeps_its_depth(rate: int, seconds: float) -> None:
    times = np.arange(0, 4, 1 / rate)
    truth = np.where(np.abs(times - 2) < seconds / 2, 4 + 4 * np.cos(2 * np.pi * (times - 2) / seconds), 0)
    assert lids(smoothed(opened(truth), rate)).max() == pytest.approx(8, rel=0.001)
    raw = opened(truth) + noise(len(times))
    assert np.abs(lids(smoothed(raw, rate)) - truth).max() < 0.4
    assert np.argmax(lids(smoothed(raw, rate))) == np.argmax(truth)


def test_motion_without_noise_is_left_as_it_is() -> None:
    times = np.arange(90) / 30
    shapes = SHAPE + 40 * np.sin(5 * times)[:, None, None] * [1.0, 0.5]
    assert smoothed(shapes) == pytest.approx(shapes, abs=1e-6)


def test_uneven_times_are_no_motion() -> None:
    """Frames of a variable rate, on a face that moves evenly."""
    times = np.cumsum(np.random.default_rng(3).uniform(0.01, 0.06, 120))
    shapes = SHAPE + 60 * times[:, None, None] * [1.0, 0.0]
    assert smoothed(shapes, times) == pytest.approx(shapes, abs=1e-6)
    noisy = smoothed(shapes + noise(120), times)
    assert np.abs(noisy - shapes)[20:-20].mean() < np.abs(noise(120)).mean() / 2


def test_results_come_by_the_lag_later_and_in_order() -> None:
    smoother, counts = LookAheadSmoother(LookAhead(0.2)), []
    for i in range(20):
        counts.append(len(smoother.push([face_at(SHAPE + i)], i / 10)))
    assert counts == [0, 0, *[1] * 18]
    assert [faces[0].landmarks[0, 0] for faces in smoother.flush()] == pytest.approx(SHAPE[0, 0] + [18, 19], abs=1e-6)
    assert smoother.flush() == []


def test_faces_come_and_go_and_some_have_no_id() -> None:
    smoother = LookAheadSmoother()
    frames = [[face_at(SHAPE, 0)], [], [face_at(SHAPE, 0), face_at(SHAPE + 300, 1)], [face_at(SHAPE, None)]]
    given = [faces for i, frame in enumerate(frames) for faces in smoother.push(frame, i / 30)] + smoother.flush()
    assert [[face.track_id for face in faces] for faces in given] == [[0], [], [0, 1], [None]]
    assert given[2][1].landmarks == pytest.approx(SHAPE + 300)
    assert given[3][0] is frames[3][0]


def test_the_box_is_smoothed_with_the_points() -> None:
    smoother, boxes = LookAheadSmoother(), []
    for i, shape in enumerate(SHAPE + noise(60)):
        face = replace(face_at(shape), bbox=BBox(100 + float(noise(60)[i, 0, 0]), 100, 200, 200))
        boxes += [faces[0].bbox.x1 for faces in smoother.push([face], i / 30)]
    assert np.std(np.diff(boxes)) < 0.02


def test_boxes_of_next_to_nothing() -> None:
    """A box that smoothing makes smaller than a box can be, or turns inside out, stays as it came in."""
    rng = np.random.default_rng(0)
    corners = [(x, 100.0, x + side, 100.0 + side) for x, side in zip(*rng.uniform(0.011, 0.05, (2, 40)), strict=True)]
    causal, ahead, out = FaceSmoother(Smoothing(0.5, 0.0)), LookAheadSmoother(), []
    for i, box in enumerate(corners):
        face = replace(face_at(SHAPE), bbox=BBox(*box))
        out += [causal([face], i / 30), *ahead.push([face], i / 30)]
    out += ahead.flush()
    assert len(out) == 2 * len(corners)
    assert moved_to(face, np.concatenate([SHAPE + 1, [[5, 5], [5.005, 9]]])).bbox == face.bbox
    assert moved_to(face, np.concatenate([SHAPE + 1, [[5, 5], [6, 9]]])).bbox == BBox(5, 5, 6, 9)


def test_a_clip_that_jumps_back_begins_anew() -> None:
    smoother = LookAheadSmoother()
    given = [faces for i in range(5) for faces in smoother.push([face_at(SHAPE)], 9 + i / 30)]
    given += [faces for i in range(5) for faces in smoother.push([face_at(SHAPE + 50)], 2 + i / 30)]
    given += smoother.flush()
    places = [faces[0].landmarks[0, 0] - SHAPE[0, 0] for faces in given]
    assert places == pytest.approx([0] * 5 + [50] * 5, abs=1e-6)


def test_a_line_through_the_neighbours() -> None:
    away = np.array([-0.2, -0.13, -0.1, 0.0, 0.02, 0.1])
    weights = line_weights(away, 0.25)
    assert weights @ (7 + 3 * away) == pytest.approx(7)
    assert line_weights(away, 0.01).tolist() == [0, 0, 0, 1, 0, 0]


def test_parameters_are_parsed() -> None:
    assert parse_smoothing("on") == LookAhead() and parse_smoothing("off") is None
    assert parse_smoothing("causal") == Smoothing() and parse_smoothing("2,5") == Smoothing(2.0, 5.0)
    with pytest.raises(InputError, match="causal"):
        parse_smoothing("fast")
    for lag in (0.0, -0.1, 0.6, float("nan")):
        with pytest.raises(InputError, match="lag_s"):
            LookAhead(lag)
