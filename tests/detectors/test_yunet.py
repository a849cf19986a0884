"""YuNet: its arithmetic against plain references, and real detection."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from facealign_cli.boxes import BBox
from facealign_cli.detectors import create_detector, yunet
from facealign_cli.detectors.base import Detector, detect_faces
from facealign_cli.geometry import SimilarityTransform
from facealign_cli.landmarks import MEAN_SHAPE

FACE = BBox(176, 60, 266, 173)
"""Eileen Collins's face in `astronaut`, brow or hairline to chin."""


@pytest.fixture(scope="module")
def detector() -> Detector:
    return create_detector("yunet")


def test_finds_the_astronaut(detector: Detector, astronaut: np.ndarray) -> None:
    (face,) = detector.detect(astronaut)
    assert FACE.iou(face.bbox) > 0.8
    assert face.score is not None
    assert face.score > 0.85
    assert abs(face.rolls[0]) < 10


def test_grey_and_mirrored_find_the_same_face(detector: Detector, astronaut: np.ndarray) -> None:
    (face,) = detector.detect(cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY))
    assert FACE.iou(face.bbox) > 0.8
    (face,) = detector.detect(astronaut[:, ::-1])  # not contiguous
    assert FACE.iou(BBox(511 - face.bbox.x2, face.bbox.y1, 511 - face.bbox.x1, face.bbox.y2)) > 0.8


def test_colour_goes_in_as_blue_green_red(astronaut: np.ndarray) -> None:
    assert yunet.network_input(astronaut)[0, 0, 100, 90:93].tolist() == astronaut[100, 30].tolist()


def test_a_face_drawn_twice_as_large_has_a_box_twice_as_large(astronaut: np.ndarray) -> None:
    """To 1 % of the box, half a pixel off the corner of the picture included."""
    large = cv2.resize(astronaut, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    (small_face,) = create_detector("yunet", min_face=40).detect(astronaut)
    for min_face in (80, 40):
        (face,) = create_detector("yunet", min_face=min_face).detect(large)
        expected = 2 * np.array(small_face.bbox.xyxy) + 0.5
        np.testing.assert_allclose(face.bbox.xyxy, expected, atol=(0.01 if min_face == 80 else 0.06) * face.bbox.size)


def test_each_axis_has_its_own_reduction_and_edges_become_centres(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each axis by its own reduction, and from edges of pixels to their centres, half a pixel less."""
    detector = create_detector("yunet", min_face=30)
    seen = []

    def finds(small: np.ndarray, _score: float) -> np.ndarray:
        seen.append(small.shape[:2])
        return np.array([[10, 5, 30, 25, 0.9, *np.linspace(10, 25, 10)]])

    monkeypatch.setattr(detector, "_network", finds)
    (face,) = detector.detect(np.zeros((47, 500, 3), np.uint8))
    assert seen == [(34, 367)]
    expected = [10 * 500 / 367 - 0.5, 5 * 47 / 34 - 0.5, 30 * 500 / 367 - 0.5, 25 * 47 / 34 - 0.5]
    np.testing.assert_allclose(face.bbox.xyxy, expected, rtol=1e-9)


def test_large_pictures_in_tiles_give_the_same_faces(
    detector: Detector, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = np.tile(cv2.resize(astronaut, (400, 400), interpolation=cv2.INTER_AREA), (3, 3, 1))
    monkeypatch.setattr(yunet, "TILE", 10_000)
    whole = sorted(d.bbox.xyxy for d in detector.detect(picture))
    assert len(whole) == 9
    monkeypatch.setattr(yunet, "TILE", 384)
    assert len(yunet.spans(round(1200 * 22 / 30))) == 4
    tiled = sorted(d.bbox.xyxy for d in detector.detect(picture))
    np.testing.assert_allclose(tiled, whole, atol=0.5)


@pytest.mark.parametrize("extent", [1, 100, 160, 1024])
def test_one_tile_does_for_a_small_picture(extent: int) -> None:
    assert yunet.spans(extent) == [yunet.Span(0, extent, -np.inf, np.inf)]


@pytest.mark.parametrize("extent", [1025, 1408, 1888, 1889, 6351, 48_000])
def test_tiles_cover_every_row_and_answer_for_each_once(extent: int) -> None:
    found = yunet.spans(extent)
    assert (found[0].begin, found[0].first) == (0, -np.inf)
    assert (found[-1].end, found[-1].last) == (extent, np.inf)
    for span, following in itertools.pairwise(found):
        assert span.end - following.begin == yunet.OVERLAP
        assert span.last == following.first == following.begin + yunet.OVERLAP / 2
    for span in found:
        assert span.begin % 32 == 0
        assert yunet.OVERLAP < span.end - span.begin <= yunet.TILE


def test_a_face_that_fills_the_picture_and_more(detector: Detector, astronaut: np.ndarray) -> None:
    for corner, size in ((FACE.x1 - 5, 110), (FACE.x1 + 4, 84)):
        x, y = round(corner), round(FACE.y1 + 8)
        face = cv2.resize(astronaut[y : y + size, x : x + size], (1500, 1500), interpolation=cv2.INTER_CUBIC)
        best = detector.detect(face)[0]
        assert best.bbox.size > 1100


def test_looks_go_on_until_no_face_is_too_large() -> None:
    assert yunet.look_scales(100, 12) == [1.0]  # never enlarged
    assert yunet.look_scales(400, 30) == [22 / 30]
    scales = yunet.look_scales(4000, 30)
    assert scales == pytest.approx([22 / 30 * 0.35**look for look in range(3)])
    assert 4000 * scales[-2] > yunet.LARGEST >= 4000 * scales[-1]


def test_min_face_bounds_the_search(astronaut: np.ndarray) -> None:
    small = cv2.resize(astronaut, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA)  # the face is 23 px high
    assert create_detector("yunet", min_face=40).detect(small) == []
    (face,) = create_detector("yunet", min_face=20).detect(small)
    assert FACE.iou(BBox(*(np.array(face.bbox.xyxy) * 5))) > 0.7


def test_faces_at_both_ends_of_a_strip(detector: Detector, astronaut: np.ndarray) -> None:
    """Sixty times as wide as high: each end has a tile of its own, and both faces fill the height."""
    face = cv2.resize(astronaut[0:240, 90:330], (100, 100), interpolation=cv2.INTER_AREA)
    strip = np.zeros((100, 6000, 3), np.uint8)
    strip[:, :100], strip[:, -100:] = face, face
    (alone,) = detector.detect(face)
    boxes = sorted(found.bbox.xyxy for found in detector.detect(strip))
    np.testing.assert_allclose(boxes, np.add(alone.bbox.xyxy, [[0, 0, 0, 0], [5900, 0, 5900, 0]]), atol=2)


def test_hundreds_of_faces_are_found_each_in_its_place(detector: Detector, astronaut: np.ndarray) -> None:
    face = cv2.resize(astronaut[0:256, 90:346], (72, 72), interpolation=cv2.INTER_AREA)
    found = detector.detect(np.tile(face, (15, 20, 1)))
    middles = np.array([[(d.bbox.x1 + d.bbox.x2) / 2, (d.bbox.y1 + d.bbox.y2) / 2] for d in found])
    assert len({(x // 72, y // 72) for x, y in middles}) == len(found) == 300
    assert np.ptp(middles % 72, axis=0).max() < 4


@pytest.mark.parametrize(("side", "share"), [("left", 0.4), ("top", 0.4), ("bottom", 0.3)])
def test_a_face_at_the_edge_that_is_cut_off(detector: Detector, astronaut: np.ndarray, side: str, share: float) -> None:
    x, y = round(FACE.x1 + share * FACE.width), round(FACE.y1 + share * FACE.height)
    cut = {"left": astronaut[:, x:], "top": astronaut[y:], "bottom": astronaut[: round(FACE.y2 - share * FACE.height)]}
    (face,) = detector.detect(np.ascontiguousarray(cut[side]))
    moved = BBox(
        face.bbox.x1 + x * (side == "left"), face.bbox.y1 + y * (side == "top"),
        face.bbox.x2 + x * (side == "left"), face.bbox.y2 + y * (side == "top"),
    )  # fmt: skip
    assert FACE.iou(moved) > 0.55


def test_score_is_the_threshold(astronaut: np.ndarray) -> None:
    assert create_detector("yunet", score=0.99).detect(astronaut) == []


def cell(x: float, y: float, size: float, score: float) -> list[float]:
    return [x, y, x + size, y + size, score, *[0.0] * 10]


CELLS = np.array([cell(10, 10, 60, 0.9), cell(13, 10, 60, 0.66), cell(10, 16, 60, 0.6), cell(200, 10, 80, 0.55)])
"""A face, another cell of it, one that says it less surely, and a place that is hardly a face."""


def looking_at(cells: np.ndarray, monkeypatch: pytest.MonkeyPatch, **options: float) -> yunet.YunetDetector:
    """A detector whose network finds these cells."""
    detector = create_detector("yunet", **options)
    assert isinstance(detector, yunet.YunetDetector)
    monkeypatch.setattr(detector, "_network", lambda _bgr, score: cells[cells[:, 4] >= score])
    return detector


def test_what_it_is_unsure_of_is_told_apart_and_moves_no_sure_face(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.zeros((200, 300, 3), np.uint8)
    detector = looking_at(CELLS, monkeypatch, min_face=20)
    sure, other = detect_faces(detector, picture)
    assert [(found.score, found.unsure) for found in (sure, other)] == [(0.9, False), (0.55, True)]
    assert sure.bbox.x1 == pytest.approx((0.9 * 10 + 0.66 * 13) / (0.9 + 0.66) - 0.5) and sure.bbox.y1 == 9.5
    assert other.bbox.xyxy == (199.5, 9.5, 279.5, 89.5)
    assert detector.detect(picture) == [sure]
    assert detect_faces(looking_at(CELLS, monkeypatch, min_face=20, max_faces=1), picture) == [sure]  # the smaller one
    assert detect_faces(looking_at(CELLS[3:], monkeypatch, min_face=20, max_faces=1), picture) == [other]


def test_of_a_score_that_is_asked_for_it_is_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.zeros((200, 300, 3), np.uint8)
    found = [detect_faces(looking_at(CELLS, monkeypatch, min_face=20, score=s), picture) for s in (0.5, 0.6)]
    assert [[(d.score, d.unsure) for d in each] for each in found] == [[(0.9, False), (0.55, False)], [(0.9, False)]]


@pytest.mark.parametrize("shape", [(1, 1, 3), (10, 10), (1, 500, 3), (500, 1), (39, 39, 3), (200, 300)])
def test_tiny_and_plain_pictures_hold_no_face(detector: Detector, shape: tuple[int, ...]) -> None:
    assert detector.detect(np.full(shape, 128, np.uint8)) == []


def test_decode_agrees_with_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    stride, columns, rows = 16, 5, 3
    n = columns * rows
    outputs = {
        "cls_16": rng.uniform(0, 1.1, (1, n, 1)), "obj_16": rng.uniform(-0.1, 1, (1, n, 1)),
        "bbox_16": rng.normal(0, 1, (1, n, 4)), "kps_16": rng.normal(0, 2, (1, n, 10)),
    }  # fmt: skip
    expected = []
    for row in range(rows):
        for column in range(columns):
            k = row * columns + column
            cls, obj = (min(max(float(outputs[f"{kind}_16"][0, k, 0]), 0.0), 1.0) for kind in ("cls", "obj"))
            score = (cls * obj) ** 0.5
            if score < 0.5:
                continue
            dx, dy, w, h = outputs["bbox_16"][0, k]
            x, y, width, height = (column + dx) * stride, (row + dy) * stride, np.exp(w) * stride, np.exp(h) * stride
            face = [x - width / 2, y - height / 2, x + width / 2, y + height / 2, score]
            for point in range(5):
                px, py = outputs["kps_16"][0, k, 2 * point : 2 * point + 2]
                face += [(column + px) * stride, (row + py) * stride]
            expected.append(face)
    assert 3 < len(expected) < n
    np.testing.assert_allclose(yunet.decode(outputs, stride, columns, 0.5), expected, rtol=1e-6)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return BBox(*one[:4]).iou(BBox(*other[:4]))


def test_a_face_is_the_mean_of_the_cells_that_agree_by_their_scores() -> None:
    """Against a plain loop: a cell that lies between two heads, and has something of both, is outvoted."""
    rng = np.random.default_rng(2)
    corners = np.array([[10, 20, 50, 70], [200, 20, 240, 80]])
    faces = np.vstack([np.hstack([c + rng.normal(0, 4, (12, 4)), rng.uniform(0.65, 1, (12, 11))]) for c in corners])
    kept = yunet.nms(faces, yunet.NMS_OVERLAP)
    assert len(kept) == 2
    for mean, index in zip(yunet.averaged(faces, kept), kept, strict=True):
        total, weights = np.zeros(15), 0.0
        for face in faces:
            if overlap(faces[index], face) >= yunet.AGREES:
                total += face[4] * face
                weights += face[4]
        expected = total / weights
        expected[4] = faces[index, 4]
        np.testing.assert_allclose(mean, expected)
    alone = faces[kept]
    np.testing.assert_allclose(yunet.averaged(alone, np.arange(2)), alone)


def test_boxes_that_are_empty_stay_as_they_are() -> None:
    faces = np.full((1, 15), np.nan)
    np.testing.assert_array_equal(yunet.averaged(faces, np.array([0])), faces)


@pytest.mark.parametrize("angle", [-120, -20, 0, 35, 90, 170])
def test_roll_is_that_of_the_five_points(angle: float) -> None:
    turned = SimilarityTransform.from_parts(3.0, angle, (40, 7)).apply(MEAN_SHAPE)
    points = np.array([turned[36:42].mean(axis=0), turned[42:48].mean(axis=0), turned[30], turned[48], turned[54]])
    assert yunet.roll_of(points) == pytest.approx(angle)
    assert yunet.roll_of(np.zeros((5, 2))) == 0


@pytest.mark.parametrize("factor", [1.0, 1.5, 2.0, 3.7])
def test_reduced_keeps_places(factor: float) -> None:
    """A ramp's values tell where the pixels were: edges stay on edges."""
    ramp = np.tile(np.arange(240, dtype=np.uint8), (240, 1))
    side = round(240 / factor)
    small = yunet.reduced(ramp, side, side).astype(float)
    expected = (np.arange(side) + 0.5) * 240 / side - 0.5
    np.testing.assert_allclose(small[side // 2, 2:-2], expected[2:-2], atol=1.0)


def test_input_is_filled_up_to_whole_cells_with_black() -> None:
    batch = yunet.network_input(np.full((33, 70, 3), 7, np.uint8))
    assert batch.shape == (1, 1, 64, 3 * 96)
    assert (batch[0, 0, :33, : 3 * 70] == 7).all()
    assert not batch[0, 0, 33:].any()
    assert not batch[0, 0, :, 3 * 70 :].any()
