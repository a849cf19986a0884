"""Blinks in series that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facealign_cli.errors import InputError
from facealign_cli.measures import Blink, FaceMeasures, MeasuredFace, find_blinks
from facealign_cli.measures.blinks import are_told, dips, why_untold


def series(
    blinks: list[tuple[float, float, float]], *, rate: float = 30.0, seconds: float = 20.0, level: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    """Openings with blinks (middle in seconds, duration from begin to end, depth): a raised cosine each."""
    times = np.arange(0, seconds, 1 / rate)
    closed = np.zeros_like(times)
    for middle, duration, depth in blinks:
        inside = np.abs(times - middle) < duration / 2
        closed[inside] = depth * (0.5 + 0.5 * np.cos(2 * np.pi * (times[inside] - middle) / duration))
    return times, level * (1 - closed)


@pytest.mark.parametrize("rate", [24, 25, 30, 60])
@pytest.mark.parametrize("level", [0.15, 0.3, 0.45])
def test_all_blinks_are_found_and_none_else(rate: float, level: float) -> None:
    """0.1 to 0.5 s long, for narrow and wide eyes; noise of 3 % of the opening."""
    truth = [(2.0 + 1.7 * i, duration, 0.8) for i, duration in enumerate(np.linspace(0.1, 0.5, 10))]
    times, openings = series(truth, rate=rate, level=level)
    noisy = openings + np.random.default_rng(0).normal(0, 0.02 * level, len(times))
    found = dips(times, noisy)
    assert len(found) == len(truth)
    for (middle, duration, _), (start, peak, end, depth) in zip(truth, found, strict=True):
        assert peak == pytest.approx(middle, abs=0.05)
        assert middle - duration / 2 - 2 / rate < start < peak < end < middle + duration / 2 + 2 / rate
        assert 0.25 < depth < 0.95


def test_frames_that_are_far_apart_tell_no_blinks() -> None:
    assert are_told(np.arange(20) / 15) and not are_told(np.arange(20) / 10)
    assert are_told(np.arange(3) / 15) and not are_told(np.arange(2) / 15) and not are_told(np.array([]))


def test_begin_end_and_depth_of_a_blink() -> None:
    times, openings = series([(5.0, 0.4, 0.7)], rate=200)
    ((start, peak, end, depth),) = dips(times, openings)
    assert depth == pytest.approx(0.7, abs=0.01) and peak == pytest.approx(5.0, abs=0.005)
    fifth = 0.4 * np.arccos(2 * 0.2 - 1) / (2 * np.pi)  # where the raised cosine has a fifth of its height
    assert (start, end) == (pytest.approx(5 - fifth, abs=0.003), pytest.approx(5 + fifth, abs=0.003))


def test_a_double_blink_is_two() -> None:
    times, openings = series([(5.0, 0.24, 0.8), (5.3, 0.24, 0.6)], rate=60)
    assert [round(peak, 1) for _, peak, _, _ in dips(times, openings)] == [5.0, 5.3]


@pytest.mark.parametrize(
    "change",
    [
        lambda t: 1 - 0.4 * ((t > 8) & (t < 11)),  # a look down of three seconds
        lambda t: 1 - 0.9 * ((t > 8) & (t < 10)),  # eyes closed for two
        lambda t: 1 + 0.25 * ((t > 8) & (t < 9)),  # eyes wide open, and back
        lambda t: 1 - 0.15 * (np.abs(t - 8) < 0.1),  # a shallow dip
        lambda t: 0.7 + 0.3 * np.cos(2 * np.pi * t / 20),  # a slow drift
        lambda t: np.where(t < 10, 1.0, 0.6),  # another person's eyes
    ],
)
def test_what_is_no_blink(change: object) -> None:
    times, openings = series([])
    noisy = openings * change(times) + np.random.default_rng(1).normal(0, 0.006, len(times))  # type: ignore[operator]
    assert dips(times, noisy) == []


def test_noise_alone_has_no_blinks() -> None:
    times, openings = series([], seconds=60)
    assert dips(times, openings + np.random.default_rng(2).normal(0, 0.04, len(times))) == []


def test_a_blink_cut_off_by_the_clips_end_or_a_gap_does_not_count() -> None:
    times, openings = series([(0.05, 0.3, 0.8), (10.0, 0.3, 0.8), (19.95, 0.3, 0.8)])
    assert len(dips(times, openings)) == 1
    lost = np.abs(times - 10.15) > 0.15
    assert dips(times[lost], openings[lost]) == []


def test_eyes_that_stay_half_shut_after_a_blink() -> None:
    times, openings = series([(5.0, 0.3, 0.8)])
    openings = np.where((times > 5.05) & (times < 6.5), np.minimum(openings, 0.23), openings)
    ((start, _, end, _),) = dips(times, openings)
    assert 4.8 < start < 5 < end < 5.3


def face(time: float | None, opening: float | None, face_id: int = 0, source: str = "a.mp4") -> MeasuredFace:
    measures = FaceMeasures(opening, opening, None, None, None, None, 0.0, 50.0)
    return MeasuredFace(source, None, time, face_id, 0.9, None, measures)


@pytest.mark.parametrize(
    ("sized", "why"),
    [
        (True, "no head pose fits the landmarks, without which no eye is measured"),
        (False, "the rows do not say how large the pictures are"),
    ],
)
def test_why_no_eye_is_measured(sized: bool, why: str) -> None:
    assert why_untold([replace(face(i / 25, None), sized=sized) for i in range(9)]) == why


def test_what_is_no_measured_face() -> None:
    with pytest.raises(InputError, match="faces: expected a list of MeasuredFace, got float in it"):
        find_blinks([face(0.0, 0.3), 0.3])  # type: ignore[list-item]


def test_each_person_of_each_clip_has_its_own() -> None:
    times, first = series([(5.0, 0.3, 0.8)])
    _, second = series([(7.0, 0.3, 0.8), (12.0, 0.3, 0.8)], level=0.2)
    faces = [face(t, o, 0) for t, o in zip(times, first, strict=True)]
    faces += [face(t, o, 1) for t, o in zip(times, second, strict=True)]
    faces += [face(t, o, 0, "b.mp4") for t, o in zip(times, second, strict=True)]
    found = find_blinks([*reversed(faces), face(None, 0.1), face(3.0, None)])
    assert sorted((b.source, b.face_id, round(b.peak_s)) for b in found) == [
        ("a.mp4", 0, 5),
        ("a.mp4", 1, 7),
        ("a.mp4", 1, 12),
        ("b.mp4", 0, 7),
        ("b.mp4", 0, 12),
    ]
    assert Blink("a", 0, 1.0, 1.1, 1.3, 0.5).duration_s == pytest.approx(0.3)
