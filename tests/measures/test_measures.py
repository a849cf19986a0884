"""Measures of faces whose openings are known, seen from many sides."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
import pytest

from facealign_cli.boxes import BBox
from facealign_cli.errors import InputError
from facealign_cli.measures import FaceMeasures, measure_face, measure_results
from facealign_cli.measures.base import CHUNK, lay_back
from facealign_cli.pose import camera_matrix, estimate_pose, mean_face, project
from facealign_cli.records import Face, FrameResult, HeadPose

CAMERA = camera_matrix(640, 480)


def seen(degrees: tuple[float, float, float], face: np.ndarray | None = None) -> np.ndarray:
    pose = HeadPose((-40.0, 30.0, 650.0), tuple(np.radians(degrees)))
    return project(mean_face() if face is None else face, pose, CAMERA)


def measured(landmarks: np.ndarray) -> FaceMeasures:
    return measure_face(landmarks, CAMERA, estimate_pose(landmarks, CAMERA))


def test_the_formulas_by_hand() -> None:
    """On the mean face itself, whose points can be read in face3d.json."""
    points = mean_face()[:, :2]
    io = points[45, 0] - points[36, 0]
    eye = (np.hypot(*(points[37] - points[41])) + np.hypot(*(points[38] - points[40]))) / 2
    found = measured(seen((0, 0, 0)))
    assert io == pytest.approx(88.92)
    assert found.eye_opening_left == pytest.approx(eye / np.hypot(*(points[36] - points[39])), rel=1e-3)
    assert found.eye_opening_left == pytest.approx(found.eye_opening_right, rel=1e-3)
    assert found.mouth_opening == pytest.approx(5.48 / 88.92, rel=1e-2)
    assert found.mouth_width == pytest.approx(49.12 / 88.92, rel=1e-3)
    assert found.brow_left == pytest.approx((48.438 - 26.245) / 88.92, rel=1e-2)
    assert found.roll_deg == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("turn", [(0, 40, 0), (0, -40, 0), (25, 0, 0), (-25, 0, 0), (10, 30, 35), (-10, -30, -80)])
def test_the_turn_of_the_head_is_taken_out(turn: tuple[float, float, float]) -> None:
    straight, turned = measured(seen((0, 0, 0))), measured(seen(turn))
    for name in ("eye_opening_left", "eye_opening_right", "mouth_opening", "mouth_width", "brow_left", "brow_right"):
        assert getattr(turned, name) == pytest.approx(getattr(straight, name), rel=1e-3), name


def test_each_measure_follows_its_own_part() -> None:
    rest = measured(seen((5, 10, 0)))
    for moved, shift, name in (
        ([46, 47], (0, -2, 0), "eye_opening_right"),
        ([40, 41], (0, -2, 0), "eye_opening_left"),
        ([65, 66, 67], (0, 9, 0), "mouth_opening"),
        ([54], (5, 0, 0), "mouth_width"),
        ([17, 18, 19, 20, 21], (0, -4, 0), "brow_left"),
        ([22, 23, 24, 25, 26], (0, -4, 0), "brow_right"),
    ):
        face = mean_face().copy()
        face[moved] += shift
        changed = measured(seen((5, 10, 0), face))
        for other in ("eye_opening_left", "eye_opening_right", "mouth_opening", "mouth_width"):
            difference = getattr(changed, other) - getattr(rest, other)
            assert abs(difference) > 0.02 if other == name else abs(difference) < 0.006, (name, other)
        assert abs(getattr(changed, name) - getattr(rest, name)) > 0.02, name
    assert changed.brow_right is not None and rest.brow_right is not None and changed.brow_right > rest.brow_right


def test_roll_and_size_are_those_of_the_picture() -> None:
    found = measured(seen((0, 0, 30)))
    assert found.roll_deg == pytest.approx(30, abs=0.5)
    points = seen((0, 0, 30))
    assert found.inter_ocular_px == pytest.approx(np.hypot(*(points[45] - points[36])))


def test_what_cannot_be_seen_is_empty() -> None:
    """Positive yaw turns the nose to the left in the picture: the left half of the face goes out of sight."""
    turned = measured(seen((0, 52, 0)))
    assert turned.eye_opening_left is turned.brow_left is turned.mouth_opening is turned.mouth_width is None
    assert turned.eye_opening_right is not None and turned.brow_right is not None
    assert turned.eye_opening == turned.eye_opening_right
    other = measured(seen((0, -52, 0)))
    assert other.eye_opening_right is None and other.eye_opening_left is not None
    for turn in ((0, 65, 0), (45, 0, 0)):
        gone = measured(seen(turn))
        assert gone.eye_opening is gone.brow_left is gone.mouth_width is None
        assert gone.inter_ocular_px > 0


def test_laid_back_points_are_the_mean_faces_own() -> None:
    pose = HeadPose((30.0, -20.0, 700.0), (0.2, -0.5, 0.3))
    laid = lay_back(project(mean_face(), pose, CAMERA), pose, CAMERA)
    assert laid == pytest.approx(mean_face()[:, :2], abs=1e-6)


def test_results_become_measured_faces() -> None:
    face = Face(0, BBox(0, 0, 9, 9), seen((0, 0, 0)), 0.75, track_id=4)
    result = FrameResult.of_faces("clip.mp4", [face], width=640, height=480, frame=3, timestamp_s=0.12)
    (found,) = measure_results([result, FrameResult("clip.mp4", "no_face")])
    assert (found.source, found.frame, found.timestamp_s, found.face_id) == ("clip.mp4", 3, 0.12, 4)
    assert found.confidence == 0.75 and found.pose is not None
    assert astuple(found.measures) == pytest.approx(astuple(measured(face.landmarks)), abs=1e-6)


def test_measures_do_not_depend_on_what_is_measured_beside_them() -> None:
    """Frames go through in chunks, of several sizes and with faces that no pose fits."""
    shapes = [seen((5 * i % 40, 11 * i % 70 - 35, 0)) for i in range(CHUNK + 9)]
    shapes[3] = np.full((68, 2), 50.0)
    results = [
        FrameResult.of_faces(
            "clip.mp4",
            [Face(number, BBox(0, 0, 9, 9), shape + number, 0.75) for number in range(i % 3)],
            width=640 + i % 2,
            height=480,
            frame=i,
            timestamp_s=i / 25,
        )
        for i, shape in enumerate(shapes)
    ]
    found = list(measure_results(results))
    assert [(one.frame, one.face_id) for one in found] == [(i, n) for i in range(len(shapes)) for n in range(i % 3)]
    for one in found[::23]:
        width = 640 + int(one.frame or 0) % 2
        face, camera = shapes[int(one.frame or 0)] + one.face_id, camera_matrix(width, 480)
        alone = astuple(measure_face(face, camera, estimate_pose(face, camera)))
        assert astuple(one.measures) == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"results": 3}, "results: expected a list of FrameResult, got int"),
        ({"results": ["rows.csv"]}, "results: expected a list of FrameResult, got str in it"),
        ({"results": [], "focal_px": -1}, "focal length: expected a number of pixels above 0, got -1"),
        ({"results": [], "size": 640}, "size: expected width and height in pixels, got 640"),
        ({"results": [], "size": (640, 480, 3)}, "size: expected width and height in pixels"),
        ({"results": [], "size": (640, 0)}, "height: expected a whole number, 1 or more, got 0"),
    ],
)
def test_what_is_nothing_to_measure(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        list(measure_results(**arguments))
    assert words in str(caught.value)


def test_pictures_of_unknown_size() -> None:
    """OpenFace's tables do not say how large the pictures are."""
    face = Face(0, BBox(0, 0, 9, 9), seen((0, 0, 10)), 0.9)
    result = FrameResult.of_faces("x", [face])
    (blind,) = measure_results([result])
    assert blind.pose is None and blind.measures.eye_opening is None
    assert blind.measures.roll_deg == pytest.approx(10, abs=0.5)
    (told,) = measure_results([result], size=(640, 480))
    assert astuple(told.measures) == pytest.approx(astuple(measured(face.landmarks)), abs=1e-6)


def test_a_face_without_extent_has_no_measures() -> None:
    found = measured(np.full((68, 2), 50.0))
    assert found.eye_opening is found.mouth_width is None and found.inter_ocular_px == 0
