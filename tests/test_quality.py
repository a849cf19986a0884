"""The quality of a face's picture: what blur, scale, light and the picture's edge make of the numbers."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from facealign_cli.aligner import Aligner
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.quality import EXTENT, face_quality, with_quality
from facealign_cli.records import Face, Quality


@pytest.fixture(scope="module")
def face(astronaut: np.ndarray) -> Face:
    """Her landmarks reach over 94 pixels."""
    (face,) = Aligner().align(astronaut)
    return face


def quality(image: np.ndarray, landmarks: np.ndarray) -> Quality:
    found = face_quality(np.ascontiguousarray(image), landmarks)
    assert found is not None
    return found


def sharpness(image: np.ndarray, landmarks: np.ndarray) -> float:
    value = quality(image, landmarks).sharpness
    assert value is not None
    return value


def test_blur_takes_sharpness_away_monotonically(astronaut: np.ndarray, face: Face) -> None:
    extent = float(np.ptp(face.landmarks, axis=0).max())
    blurred = [cv2.GaussianBlur(astronaut, (0, 0), share * extent) for share in (0.005, 0.01, 0.02, 0.04, 0.08)]
    values = [sharpness(image, face.landmarks) for image in (astronaut, *blurred)]
    assert all(before > after for before, after in itertools.pairwise(values)), values
    assert values[3] < 0.7 * values[0] and values[5] < 0.25 * values[0]


def test_motion_takes_sharpness_away(astronaut: np.ndarray, face: Face) -> None:
    values = [sharpness(cv2.blur(astronaut, (length, 1)), face.landmarks) for length in (1, 5, 11, 21)]
    assert all(before > after for before, after in itertools.pairwise(values)), values


def test_scale_makes_little_difference_where_there_is_detail_enough(astronaut: np.ndarray, face: Face) -> None:
    """docs/confidence.md has the figures of photos."""
    values = {}
    for scale in (8.0, 5.0, 3.0, 2.0, 0.5, 0.3):
        image = cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else 1)
        values[scale] = sharpness(image, (face.landmarks + 0.5) * scale - 0.5)
    assert 2 * np.ptp(face.landmarks, axis=0).max() > 2.5 * EXTENT
    assert [values[scale] for scale in (5.0, 3.0, 2.0)] == pytest.approx([values[8.0]] * 3, rel=0.1)
    assert values[0.3] < values[0.5] < values[2.0]  # 47 pixels: less detail than the scale could show


def test_turn_and_light_leave_sharpness_as_it_is(astronaut: np.ndarray, face: Face) -> None:
    whole = quality(astronaut, face.landmarks)
    height = astronaut.shape[0]
    turned = np.stack([face.landmarks[:, 1], height - 1 - face.landmarks[:, 0]], axis=1)
    assert sharpness(np.rot90(astronaut), turned) == pytest.approx(whole.sharpness, rel=0.02)
    dark = quality((astronaut * 0.5).astype(np.uint8), face.landmarks)
    assert dark.sharpness == pytest.approx(whole.sharpness, rel=0.02)
    assert dark.brightness == pytest.approx(whole.brightness / 2, abs=1)
    assert dark.contrast == pytest.approx(whole.contrast / 2, abs=1)
    grey = cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY)
    assert quality(grey, face.landmarks).brightness == pytest.approx(whole.brightness, abs=0.5)


def test_the_background_does_not_count(astronaut: np.ndarray, face: Face) -> None:
    hull = cv2.convexHull(np.rint(face.landmarks).astype(np.int32))
    mask = cv2.dilate(cv2.fillConvexPoly(np.zeros(astronaut.shape[:2], np.uint8), hull, 1), np.ones((25, 25)))
    other = np.where(mask[..., None] > 0, astronaut, np.random.default_rng(0).integers(0, 256, astronaut.shape))
    assert quality(other.astype(np.uint8), face.landmarks) == quality(astronaut, face.landmarks)


def test_brightness_and_contrast_are_those_of_the_pixels() -> None:
    """Stripes of 60 and 100: the mean is 80, the standard deviation 20; there is no colour in it."""
    landmarks = 150 + MEAN_SHAPE * 200 / np.ptp(MEAN_SHAPE, axis=0).max()
    image = np.full((300, 300, 3), 60, np.uint8)
    image[(np.arange(300) // 30 % 2).astype(bool)] = 100
    found = quality(image, landmarks)
    assert found.brightness == pytest.approx(80, abs=1.5) and found.contrast == pytest.approx(20, abs=1)
    flat = quality(np.full((300, 300, 3), 77, np.uint8), landmarks)
    assert (flat.sharpness, flat.brightness, flat.contrast) == (None, 77.0, 0.0)


@pytest.mark.parametrize(("left", "share"), [(0.0, 0.0), (-100.0, 0.5), (-200.0, 1.0), (-50.0, 0.19550)])
def test_the_share_beyond_the_edge_is_that_of_the_area(left: float, share: float) -> None:
    """A disc of radius 100 whose left side lies at x = `left` - 0.5; its segments are known in closed form."""
    theta = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    landmarks = np.stack([left - 0.5 + 100 + 100 * np.cos(theta), 150 + 100 * np.sin(theta)], axis=1)
    found = quality(np.full((300, 400, 3), 9, np.uint8), landmarks)
    assert found.cut_off == pytest.approx(share, abs=2e-3)
    if share == 1.0:
        assert found == Quality(None, None, None, 1.0)


def test_the_edge_itself_is_no_sharpness(astronaut: np.ndarray, face: Face) -> None:
    """Half of the face is cut off: black lies beyond, and its edge is no detail of the face."""
    middle = int(face.landmarks[30, 0])
    half, shifted = astronaut[:, middle:], face.landmarks - (middle, 0)
    found = quality(half, shifted)
    assert 0.3 < found.cut_off < 0.7
    assert found.sharpness == pytest.approx(sharpness(astronaut, face.landmarks), rel=0.4)
    assert found.brightness is not None and found.brightness > 60


def test_landmarks_without_an_area() -> None:
    assert face_quality(np.zeros((50, 50, 3), np.uint8), np.full((68, 2), 20.0)) is None


def test_faces_get_their_quality(astronaut: np.ndarray, face: Face) -> None:
    (got,) = with_quality(astronaut, [face])
    assert got.quality == quality(astronaut, face.landmarks)
    assert got.landmarks is not face.landmarks and (got.landmarks == face.landmarks).all()


def test_a_quality_checks_itself() -> None:
    for values in ((-0.1, 1.0, 1.0, 0.0), (0.1, 256.0, 1.0, 0.0), (0.1, 1.0, float("nan"), 0.0), (0.1, 1.0, 1.0, None)):
        with pytest.raises(ValueError, match="expected 0 to"):
            Quality(*values)  # type: ignore[arg-type]
