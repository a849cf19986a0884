"""Records check themselves."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facealign_cli.boxes import BBox, BoxCalibration, Detection
from facealign_cli.errors import InputError
from facealign_cli.landmarks import MEAN_SHAPE, SCHEME
from facealign_cli.records import Face, FrameResult, Quality

coordinate = st.integers(-50, 50)
boxes = st.builds(BBox.from_xywh, coordinate, coordinate, st.integers(1, 40), st.integers(1, 40))


def face(**fields: object) -> Face:
    return replace(Face(0, BBox(0, 0, 1, 1), MEAN_SHAPE, 0.5), **fields)  # type: ignore[arg-type]


def test_bbox() -> None:
    box = BBox.from_xywh(1, 2, 30, 50)
    assert box == BBox(1, 2, 31, 52)
    assert (box.width, box.height, box.size) == (30, 50, 40)
    assert box.xyxy == (1, 2, 31, 52)
    assert all(type(value) is float for value in BBox(*np.array([1, 2, 3, 4])).xyxy)


def test_bbox_around_points() -> None:
    box = BBox.around(np.array([[3, 9], [1, 8], [2, 11]]))
    assert box == BBox(1, 8, 3, 11)
    assert all(type(value) is float for value in box.xyxy)
    with pytest.raises(InputError, match="bbox: expected"):
        BBox.around(np.ones((3, 2)))


@pytest.mark.parametrize(
    "values", [(0, 0, 0, 1), (0, 0, 1, 0), (2, 0, 1, 1), (0, 0, float("nan"), 1), (0, 0, float("inf"), 1)]
)
def test_bbox_refuses(values: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="bbox: expected"):
        BBox(*values)


@given(boxes, boxes)
def test_iou_counts_cells(a: BBox, b: BBox) -> None:
    """Against the definition, on whole pixels."""

    def cells(box: BBox) -> set[tuple[int, int]]:
        x1, y1, x2, y2 = map(int, box.xyxy)
        return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}

    expected = len(cells(a) & cells(b)) / len(cells(a) | cells(b))
    assert a.iou(b) == pytest.approx(expected)
    assert a.iou(b) == b.iou(a)
    assert a.iou(a) == 1


def test_calibration_moves_each_edge_by_its_share() -> None:
    box = BBox(100, 200, 200, 400)
    assert BoxCalibration().landmarks_bbox(box) == box
    assert BoxCalibration(0.1, -0.2, 0.3, 0.05).landmarks_bbox(box) == BBox(110, 160, 230, 410)
    with pytest.raises(InputError, match="leaves nothing of a box"):
        BoxCalibration(left=1)


def test_face_keeps_its_own_read_only_copy() -> None:
    source = MEAN_SHAPE.astype(np.float32)
    made = face(landmarks=source)
    source[0] = 7
    assert made.landmarks.dtype == np.float64
    assert made.landmarks[0, 0] != 7
    with pytest.raises(ValueError, match="read-only"):
        made.landmarks[0, 0] = 1
    with pytest.raises(FrozenInstanceError):
        made.confidence = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"landmarks": MEAN_SHAPE[:67]}, r"expected \(68, 2\) numbers, got \(67, 2\)"),
        ({"landmarks": MEAN_SHAPE * np.nan}, "finite"),
        ({"confidence": 1.01}, "confidence"),
        ({"confidence": float("nan")}, "confidence"),
        ({"detector_score": float("nan")}, "detector_score"),
        ({"detector_score": float("inf")}, "detector_score"),
    ],
)
def test_face_refuses(fields: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        face(**fields)


def test_results_know_their_status() -> None:
    assert FrameResult.of_faces("a", []).status == "no_face"
    found = FrameResult.of_faces("a", [face()], width=5, height=6, model="m")
    assert (found.status, found.faces[0].confidence, found.width, found.scheme) == ("ok", 0.5, 5, SCHEME)
    failed = FrameResult.of_error("a", "why", frame=3)
    assert (failed.status, failed.error, failed.frame, failed.faces) == ("error", "why", 3, ())


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "ok"},
        {"status": "fine"},
        {"status": "no_face", "faces": (face(),)},
        {"status": "error"},
        {"status": "error", "error": ""},
        {"status": "no_face", "error": "why"},
        {"status": "no_face", "width": -1},
        {"status": "no_face", "frame": -1},
        {"status": "no_face", "left_out": -1},
        {"status": "no_face", "left_out": "3"},
        {"status": "no_face", "timestamp_s": float("nan")},
    ],
)
def test_results_refuse_contradictions(fields: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"status|expected"):
        FrameResult("a", **fields)  # type: ignore[arg-type]


def test_detection_has_a_score_or_none() -> None:
    assert Detection(BBox(0, 0, 1, 1)).score is None
    with pytest.raises(InputError, match="unsure: expected True or False"):
        Detection(BBox(0, 0, 1, 1), unsure="no")  # type: ignore[arg-type]


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda face: pickle.loads(pickle.dumps(face))])
def test_a_copy_of_a_face_is_read_only_too(again: Callable[[Face], Face]) -> None:
    whole = face(sigma=np.ones(68), visible=np.ones(68, bool), track_id=3)
    other = again(whole)
    for name in ("landmarks", "sigma", "visible"):
        np.testing.assert_array_equal(getattr(other, name), getattr(whole, name))
        with pytest.raises(ValueError, match="read-only"):
            getattr(other, name)[0] = 0
    assert (other.bbox, other.track_id, other.confidence) == (whole.bbox, 3, whole.confidence)


def test_copies_are_equal_and_count_as_one() -> None:
    """By value, arrays among it: what comes back from another process is the same face."""
    whole = face(sigma=np.ones(68), visible=np.ones(68, bool), track_id=3)
    for other in (copy.deepcopy(whole), pickle.loads(pickle.dumps(whole)), replace(whole)):
        assert other == whole
        assert len({other, whole}) == 1
        assert FrameResult.of_faces("a", [other]) == FrameResult.of_faces("a", [whole])
    moved = MEAN_SHAPE.copy()
    moved[5, 1] += 1e-9
    for fields in ({"landmarks": moved}, {"sigma": None}, {"visible": np.zeros(68, bool)}, {"face_id": 1}):
        assert replace(whole, **fields) != whole  # type: ignore[arg-type]
    assert face() == face()
    assert face() != "face"


@pytest.mark.parametrize(
    "fields",
    [
        {"face_id": True},
        {"face_id": 2**70},
        {"track_id": "3"},
        {"track_id": 0.5},
        {"track_id": float("nan")},
        {"confidence": True},
        {"detector_score": True},
        {"sigma": np.ones(68) + 1j},
        {"sigma": np.ones(68, bool)},
        {"sigma": ["1"] * 68},
        {"sigma": "1"},
        {"sigma": [[1], [2, 3]]},
        {"sigma": -np.ones(68)},
        {"sigma": np.ma.array(np.ones(68), mask=True)},
        {"landmarks": np.ma.array(MEAN_SHAPE, mask=MEAN_SHAPE > 50)},
        {"pose": (0, 0, 0)},
        {"quality": 0.5},
    ],
)
def test_a_face_refuses_values_of_another_kind(fields: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(fields))}: expected"):
        face(**fields)


def kinds(values: Iterable[object]) -> set[type]:
    """The types of values, and of what is in tuples among them."""
    return {type(part) for value in values for part in (value if isinstance(value, tuple) else (value,))}


def test_numbers_of_numpy_become_python_s() -> None:
    """So that every format can write them, and records be hashed."""
    number, whole = np.float32(0.5), np.int64(3)
    made = face(face_id=whole, track_id=np.uint8(4), confidence=number, detector_score=number)
    record = FrameResult.of_faces(
        "a", [made], width=whole, height=whole, frame=whole, timestamp_s=number, left_out=whole
    )
    found = Detection(BBox(*np.arange(4)), number, np.array([0, 90.0]), np.bool_(True))  # type: ignore[arg-type]
    assert kinds([made.face_id, made.track_id, record.width, record.height, record.frame, record.left_out]) == {int}
    assert kinds([made.confidence, made.detector_score, record.timestamp_s, found.score, found.rolls]) == {float}
    assert kinds(vars(Quality(number, number, number, number)).values()) == {float}
    assert kinds(vars(BoxCalibration(number, number, number, number)).values()) == {float}
    assert found.unsure is True
    assert len({found, Detection(found.bbox, 0.5, [0.0, 90.0], True)}) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "others"), [("face_id", {}), ("track_id", {"face_id": 1})])
def test_no_two_faces_of_a_picture_have_one_number(name: str, others: dict[str, Any]) -> None:
    """A table would make two pictures of them, and a track lose one of them in silence."""
    faces = [face(track_id=7), replace(face(track_id=7), **others)]
    with pytest.raises(InputError, match=f"two of them have the {name} {getattr(faces[0], name)};"):
        FrameResult.of_faces("a", faces)
    assert len(FrameResult.of_faces("a", [face(), replace(face(), face_id=1)]).faces) == 2  # without tracks


@pytest.mark.parametrize(
    "points", [None, [], [[1, 2, 3]], "ab", [[1], [2, 3]], [1.0, 2.0], np.ma.array(MEAN_SHAPE, mask=MEAN_SHAPE > 50)]
)
def test_no_box_around_what_are_no_points(points: object) -> None:
    with pytest.raises(InputError, match="points: expected") as caught:
        BBox.around(points)  # type: ignore[arg-type]
    assert isinstance(caught.value, ValueError)  # who catches Python's own error catches this one
