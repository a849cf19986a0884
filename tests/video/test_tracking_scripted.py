"""What tracking decides frame by frame, with faces from a script: who is who, and when the detector looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from facealign_cli.arrays import Floats, Image
from facealign_cli.geometry import bbox_of_shape
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.records import BBox, BoxCalibration, Detection, Face
from facealign_cli.video.tracking import Tracker, TrackingOptions

UNIT = (MEAN_SHAPE - MEAN_SHAPE.mean(axis=0)) / np.ptp(MEAN_SHAPE, axis=0).mean()
SIZE = 64.0
BLANK = np.full((120, 160, 3), 90, np.uint8)
STEP = 1 / 32


def at(x: float, y: float = 100.0, size: float = SIZE, tall: float = 1.0) -> Floats:
    """(68, 2): the mean shape about a place."""
    return UNIT * [size, size * tall] + [x, y]


@dataclass
class Shapes:
    landmarks: Floats
    confidence: Floats
    sigma: Floats


@dataclass
class Script:
    """Stands for aligner and detector. Following leads to the nearest face, and to nowhere if there is none."""

    calibration = BoxCalibration()
    faces: list[Floats] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    sigma: float = np.nan
    looked: bool = False
    source: str | None = None

    @property
    def detector(self) -> Script:
        return self

    def detect(self, _image: Image, source: str | None) -> list[Detection]:
        self.looked, self.source = True, source
        return [Detection(BBox(*bbox_of_shape(shape).tolist()), 7.0 + i) for i, shape in enumerate(self.faces)]

    def align_boxes(self, _image: Image, found: Sequence[Detection], _calibration: BoxCalibration) -> list[Face]:
        indices = [int(d.score or 7) - 7 for d in found]
        return [
            Face(i, d.bbox, self.faces[k], self.confidence[k], d.score)
            for i, (k, d) in enumerate(zip(indices, found, strict=True))
        ]

    def align_shapes(self, _image: Image, init_shapes: Sequence[Floats]) -> Shapes:
        landmarks, confidence = [], []
        for shape in init_shapes:
            ways = [float(np.linalg.norm((face - shape).mean(axis=0))) for face in self.faces]
            nearest = int(np.argmin(ways)) if ways else -1
            landmarks.append(self.faces[nearest] if ways else shape)
            confidence.append(self.confidence[nearest] if ways else 0.0)
        n = len(landmarks)
        return Shapes(np.array(landmarks), np.array(confidence), np.full((n, 68), self.sigma))


class Clip:
    """A clip of one tracker. frame: its next frame, with these faces; gives id → landmarks."""

    def __init__(self, step: float = STEP, **options: float) -> None:
        self.script, self.step, self.time_s = Script(), step, 0.0
        self.tracker = Tracker(self.script, TrackingOptions(**options))  # type: ignore[arg-type]
        self.faces: list[Face] = []

    def frame(self, *faces: Floats, confidence: float | Sequence[float] = 0.9, count: int = 1) -> dict[int, Floats]:
        given = [confidence] * len(faces) if isinstance(confidence, float) else list(confidence)
        self.script.faces, self.script.confidence = list(faces), given
        for _ in range(count):
            self.script.looked = False
            self.faces = self.tracker.update(BLANK, self.time_s, "clip.mp4")
            self.time_s += self.step
        return {int(face.track_id or 0): face.landmarks for face in self.faces}

    def looks(self, *faces: Floats, count: int) -> list[int]:
        """In which of the next frames the detector ran."""
        seen = []
        for i in range(count):
            self.frame(*faces)
            if self.script.looked:
                seen.append(i)
        return seen


def centers(found: dict[int, Floats]) -> dict[int, float]:
    return {track: round(float(shape[:, 0].mean()), 1) for track, shape in found.items()}


def test_a_followed_face_has_what_the_network_says_of_this_frame() -> None:
    clip = Clip()
    clip.frame(at(100), at(300))
    assert [(face.face_id, face.track_id, face.detector_score) for face in clip.faces] == [(0, 0, 7.0), (1, 1, 8.0)]
    clip.script.sigma = 1.5
    clip.frame(at(103), at(300), confidence=[0.7, 0.95])
    assert [(face.face_id, face.track_id, face.detector_score) for face in clip.faces] == [(0, 0, None), (1, 1, None)]
    assert [face.confidence for face in clip.faces] == [0.7, 0.95]
    for face in clip.faces:
        assert face.sigma is not None and (face.sigma == 1.5).all()
    np.testing.assert_array_equal(clip.faces[0].landmarks, at(103))
    clip.script.sigma = np.nan
    clip.frame(at(103), at(300))
    assert [face.sigma for face in clip.faces] == [None, None]


def test_the_detector_is_told_the_source() -> None:
    clip = Clip()
    clip.frame(at(100))
    assert clip.script.source == "clip.mp4"


@pytest.mark.parametrize(("new", "kept", "expected"), [(0.6, 0.5, 2), (0.59, 0.5, 0), (0.6, 0.49, 1), (1.0, 0.5, 2)])
def test_a_new_face_takes_more_confidence_than_one_that_is_followed(new: float, kept: float, expected: int) -> None:
    clip = Clip()
    found = len(clip.frame(at(100), confidence=new))
    found += len(clip.frame(at(100), confidence=kept))
    assert found == expected


@pytest.mark.parametrize(("away_s", "expected"), [(0.5, 0), (0.625, 1)])
def test_a_lost_id_is_kept_for_as_long_as_asked_for(away_s: float, expected: int) -> None:
    clip = Clip(0.125, keep_lost_s=0.5)
    clip.frame(at(100), count=4)
    assert clip.frame(count=round(away_s / 0.125) - 1) == {}
    assert list(clip.frame(at(100))) == [expected]


def test_a_lost_id_is_not_kept_when_the_clip_jumps_back() -> None:
    clip = Clip()
    clip.frame(at(100), count=40)
    clip.frame()
    clip.time_s = 0.5
    assert list(clip.frame(at(100), count=4)) == [1]


def test_a_held_id_stays_when_the_clip_jumps_back() -> None:
    clip = Clip()
    clip.frame(at(100), count=40)
    clip.time_s = 0.5
    assert list(clip.frame(at(100))) == [0]


@pytest.mark.parametrize(
    ("step", "options", "expected"),
    [
        (STEP, {}, [0, 3, 6, 9]),
        (STEP, {"detect_every": 2}, [0, 2, 4, 6, 8, 10]),
        (STEP, {"detect_every": 5}, [0, 3, 6, 9]),
        (0.125, {}, list(range(11))),
    ],
)
def test_where_nobody_is_the_detector_looks_often(step: float, options: dict[str, float], expected: list[int]) -> None:
    assert Clip(step, **options).looks(count=11) == expected


@pytest.mark.parametrize(
    ("step", "options", "expected"),
    [
        (STEP, {"keep_lost_s": 60.0}, [1, 3, 5, 7, 9]),
        (STEP, {"keep_lost_s": 60.0, "detect_every": 1000}, [1, 3, 5, 7, 9]),
        (0.0625, {"keep_lost_s": 60.0}, [1, 3, 5, 7, 9]),
        (0.09375, {"keep_lost_s": 60.0}, list(range(11))),
    ],
)
def test_for_a_lost_face_the_detector_looks_every_other_frame(
    step: float, options: dict[str, float], expected: list[int]
) -> None:
    """And in every frame where they are further apart. One face is still held meanwhile."""
    clip = Clip(step, **options)
    clip.frame(at(100), at(1000))
    assert clip.looks(at(100), count=11) == expected


@pytest.mark.parametrize(("step", "runs"), [(0.25, False), (0.3125, True)])
def test_frames_far_apart_are_detected_anew(step: float, runs: bool) -> None:
    clip = Clip(step)
    clip.frame(at(100))
    assert clip.looks(at(100), count=2) == ([0, 1] if runs else [])


def test_without_tracking_every_frame_is_detected_and_ids_go_on() -> None:
    clip = Clip(detect_every=1)
    clip.script.align_shapes = None  # type: ignore[assignment, method-assign]
    assert [list(clip.frame(at(100 + i))) for i in range(4)] == [[0]] * 4
    assert clip.faces[0].detector_score == 7.0


@pytest.mark.parametrize("stays", [0, 1])
def test_where_two_fall_on_one_face_it_goes_on_with_the_one_it_is_like(stays: int) -> None:
    clip = Clip()
    people = [at(100), at(300, tall=1.4)]
    clip.frame(*people, count=5)
    assert list(clip.frame(people[stays])) == [stays]
    assert list(clip.frame(*people, count=3)) == [0, 1]


def test_a_face_that_is_followed_is_not_found_a_second_time() -> None:
    clip = Clip(detect_every=2)
    for i in range(6):
        found = clip.frame(at(100), at(112 + i), confidence=[0.95, 0.9])  # two boxes on one head
        assert list(found) == [0]


def test_of_two_boxes_on_one_new_face_the_more_confident_one_counts() -> None:
    clip = Clip()
    assert centers(clip.frame(at(100), at(112), confidence=[0.7, 0.9])) == {0: 112.0}


def test_faces_beside_each_other_are_two() -> None:
    assert centers(Clip().frame(at(100), at(100 + 0.4 * SIZE))) == {0: 100.0, 1: 125.6}


@pytest.mark.parametrize(("grown", "expected"), [(1.75, 0), (1.85, 1), (1 / 1.75, 0), (1 / 1.85, 1)])
def test_a_lost_face_comes_back_in_about_its_size(grown: float, expected: int) -> None:
    clip = Clip()
    clip.frame(at(100), count=3)
    clip.frame(count=4)
    assert list(clip.frame(at(100, size=SIZE * grown), count=4)) == [expected]


@pytest.mark.parametrize(("steps", "sizes", "expected"), [(4, 1.1, 0), (4, 1.4, 1), (16, 1.4, 0), (16, 1.6, 1)])
def test_the_longer_a_face_was_lost_the_further_off_it_may_come_back(steps: int, sizes: float, expected: int) -> None:
    """A face size at once, and one more in a second."""
    clip = Clip()
    clip.frame(at(100), count=3)
    clip.frame(count=steps)
    assert list(clip.frame(at(100 + sizes * SIZE), count=4)) == [expected]


def test_a_lost_face_is_looked_for_where_its_motion_leads() -> None:
    clip, speed = Clip(), 160.0
    for i in range(20):
        clip.frame(at(100 + speed * i * STEP))
    gone = 100 + speed * 19 * STEP
    clip.frame(count=7)
    ahead = gone + speed * 8 * STEP
    found = centers(clip.frame(at(gone), at(ahead), count=2))
    assert found[0] == pytest.approx(ahead, abs=0.1)
    assert found[1] == pytest.approx(gone, abs=0.1)


def test_motion_is_foreseen_for_a_second_at_most() -> None:
    clip, speed = Clip(keep_lost_s=10.0), 64.0
    for i in range(20):
        clip.frame(at(100 + speed * i * STEP))
    gone = 100 + speed * 19 * STEP
    clip.frame(count=95)
    found = centers(clip.frame(at(gone + speed * 1.0), at(gone + speed * 3.0), count=3))
    assert found[0] == pytest.approx(gone + speed, abs=0.1)


def test_who_comes_back_where_is_told_by_the_shape_too() -> None:
    """Two heads close beside each other are lost and come back the other way round."""
    long, broad = 1.5, 0.75
    clip = Clip()
    clip.frame(at(100, tall=long), at(125, tall=broad), count=4)
    clip.frame(count=4)
    found = centers(clip.frame(at(125, tall=long), at(100, tall=broad), count=4))
    assert found == {0: 125.0, 1: 100.0}


def test_each_lost_face_comes_back_once() -> None:
    clip = Clip()
    clip.frame(at(100), count=3)
    clip.frame(count=4)
    found = centers(clip.frame(at(130), at(90), count=4))
    assert found == {0: 90.0, 1: 130.0}


def test_no_more_faces_are_taken_than_are_wanted_beside_those_that_are_followed() -> None:
    clip = Clip(max_faces=2, detect_every=3)
    assert centers(clip.frame(at(100), at(300), at(500, size=90), count=2)) == {0: 500.0, 1: 100.0}
    people = (at(100), at(300), at(500, size=90), at(700, size=99))
    assert centers(clip.frame(*people, count=8)) == {0: 500.0, 1: 100.0}
    assert sorted(centers(clip.frame(at(100), at(700, size=99), count=8)).values()) == [100.0, 700.0]
