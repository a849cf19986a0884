"""Other schemes beside ibug-68, and the regions of a face."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign_cli.boxes import BBox
from facealign_cli.errors import FormatError
from facealign_cli.formats.base import get_format
from facealign_cli.formats.masks import VALUES, draw_mask
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.landmarks import MIRROR_ORDER, N_LANDMARKS, POINT_NAMES
from facealign_cli.records import Face, FrameResult
from facealign_cli.schemes import REGIONS, RESIDUALS, SUBSETS, regions, subset, to_68

SHAPE = init_shape_from_bbox((100, 50, 300, 250))


def test_names_of_points() -> None:
    assert len(set(POINT_NAMES)) == N_LANDMARKS
    assert (POINT_NAMES[0], POINT_NAMES[16], POINT_NAMES[30], POINT_NAMES[36], POINT_NAMES[67]) == (
        "jaw_1", "jaw_17", "nose_4", "left_eye_1", "mouth_20",
    )  # fmt: skip


def test_smaller_schemes() -> None:
    assert {name: len(points) for name, points in SUBSETS.items()} == {
        "ibug-68": 68, "ibug-51": 51, "ibug-49": 49, "5-points": 5,
    }  # fmt: skip
    np.testing.assert_array_equal(subset(SHAPE, "ibug-51"), SHAPE[17:])
    inner = subset(SHAPE, "ibug-49")
    np.testing.assert_array_equal(inner, np.delete(SHAPE[17:], [60 - 17, 64 - 17], axis=0))
    five = subset(SHAPE, "5-points")
    np.testing.assert_allclose(five[0], SHAPE[36:42].mean(axis=0))
    np.testing.assert_array_equal(five[2:], SHAPE[[30, 48, 54]])
    assert subset(np.stack([SHAPE, SHAPE]), "ibug-49").shape == (2, 49, 2)
    with pytest.raises(ValueError, match="known are ibug-68, ibug-51"):
        subset(SHAPE, "wflw")


def wflw_shape() -> np.ndarray:
    """WFLW's 98 points on the same face: contours as polylines, eyes on quarters of straight lids."""
    points = np.zeros((98, 2))
    points[0:33:2], points[1:32:2] = SHAPE[:17], (SHAPE[:16] + SHAPE[1:17]) / 2
    points[33:38], points[42:47] = SHAPE[17:22], SHAPE[22:27]
    points[51:60] = SHAPE[27:36]
    for first, other in ((36, 60), (42, 68)):
        left, right = SHAPE[first], SHAPE[first + 3]
        points[other], points[other + 4] = left, right
        for k in (1, 2, 3):
            points[other + k] = left + (right - left) * k / 4 + (0, -5)
            points[other + 8 - k] = left + (right - left) * k / 4 + (0, 5)
    points[76:96] = SHAPE[48:]
    return points


def test_wflw() -> None:
    got = to_68(wflw_shape())
    eyes = list(range(36, 48))
    np.testing.assert_allclose(np.delete(got, eyes, axis=0), np.delete(SHAPE, eyes, axis=0))
    for first in (36, 42):
        left, right = SHAPE[first], SHAPE[first + 3]
        for own, share, lid in ((1, 1 / 3, -5), (2, 2 / 3, -5), (4, 2 / 3, 5), (5, 1 / 3, 5)):
            np.testing.assert_allclose(got[first + own], left + (right - left) * share + (0, lid), atol=1e-9)


def test_mediapipes_mesh() -> None:
    """The vertices are taken, in their order; 478 has the irises behind the mesh. The list mirrors as the face does."""
    mesh = np.random.default_rng(0).normal(size=(478, 2))
    got = to_68(mesh)
    np.testing.assert_array_equal(got[[8, 30, 33, 57]], mesh[[152, 4, 2, 17]])  # on the face's middle line
    np.testing.assert_array_equal(to_68(mesh[:468]), got)
    assert to_68(np.stack([mesh, mesh])).shape == (2, 68, 2)
    assert RESIDUALS[468] == RESIDUALS[478] == 0.0536


def test_68_points_and_unknown_numbers() -> None:
    np.testing.assert_array_equal(to_68(SHAPE), SHAPE)
    for points in (np.zeros((67, 2)), np.zeros(68), np.zeros((0, 2))):
        with pytest.raises(ValueError, match="points: known are 68, 98"):
            to_68(points)


def test_regions_lie_where_they_are_called() -> None:
    polygons = regions(SHAPE)
    assert tuple(polygons) == REGIONS
    for name, points in (("left_eye", SHAPE[36:42]), ("nose", SHAPE[27:36]), ("inner_mouth", SHAPE[60:68])):
        assert cv2.pointPolygonTest(polygons[name].astype(np.float32), tuple(points.mean(axis=0)), False) > 0
    for name, first in (("left_brow", 17), ("right_brow", 22)):
        middle = tuple(SHAPE[first + 2].tolist())
        assert cv2.pointPolygonTest(polygons[name].astype(np.float32), middle, False) > 0
        heights = np.ptp(polygons[name][[2, 7]], axis=0)
        assert heights[1] == pytest.approx(0.1 * np.linalg.norm(SHAPE[45] - SHAPE[36]))
    with pytest.raises(ValueError, match="expected shape"):
        regions(SHAPE[:60])


def test_a_mask_is_mirrored_as_the_face_is() -> None:
    """So no region is swapped, and none is shifted by half a pixel."""
    shape = np.round(SHAPE * 4) / 4
    face = Face(0, BBox(100, 50, 300, 250), shape, 1)
    flipped = shape[list(MIRROR_ORDER)] * [-1, 1] + [400, 0]
    mask = draw_mask([face], 300, 401)
    other = draw_mask([Face(0, BBox(100, 50, 300, 250), flipped, 1)], 300, 401)
    swap = np.arange(9, dtype=np.uint8)
    swap[[VALUES["left_eye"], VALUES["right_eye"]]] = VALUES["right_eye"], VALUES["left_eye"]
    swap[[VALUES["left_brow"], VALUES["right_brow"]]] = VALUES["right_brow"], VALUES["left_brow"]
    assert set(np.unique(mask)) == set(range(9))
    assert (swap[other[:, ::-1]] != mask).mean() < 0.002  # pixels on an edge


def test_masks_are_written(tmp_path: Path) -> None:
    face = Face(0, BBox(100, 50, 300, 250), SHAPE, 1)
    results = [
        FrameResult.of_faces("a.jpg", [face], width=400, height=300),
        FrameResult.of_faces("b/none.jpg", [], width=40, height=30),
        FrameResult.of_error("x.jpg", "damaged"),
    ]
    get_format("masks").write(tmp_path / "out", results)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "none.png"]
    mask = cv2.imread(str(tmp_path / "out" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (300, 400) and mask.dtype == np.uint8
    x, y = np.round(SHAPE[36:42].mean(axis=0)).astype(int)
    assert mask[y, x] == VALUES["left_eye"] and mask[0, 0] == 0
    assert not cv2.imread(str(tmp_path / "out" / "none.png"), cv2.IMREAD_UNCHANGED).any()
    with pytest.raises(FormatError, match="cannot be read back"):
        get_format("masks").read(tmp_path / "out")
