"""A head turned in depth: the picture and the landmarks go together, and the pose is the one that was asked for."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facealign_cli.landmarks import GROUPS, MIRROR_ORDER
from facealign_cli.pose import camera_matrix, estimate_pose, mean_face, rotation_matrix
from facealign_cli.training.head import Head

SIDE, SCALE, CENTER = 320, 0.7, np.array([160.0, 155.0])
JAW = np.array(GROUPS["jaw"])
INNER = np.setdiff1d(np.arange(68), JAW)


def landmarks_of(yaw_deg: float = 0.0, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> np.ndarray:
    """Of the mean face, seen by parallel rays."""
    turned = mean_face() @ rotation_matrix(np.radians([pitch_deg, yaw_deg, roll_deg])).T
    return CENTER + SCALE * turned[:, :2]


def picture() -> np.ndarray:
    """Smooth noise, in which no place looks like another."""
    noise = np.random.default_rng(0).integers(0, 256, (SIDE // 8, SIDE // 8), np.uint8)
    return cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def estimated_yaw(landmarks: np.ndarray) -> float:
    pose = estimate_pose(landmarks, camera_matrix(SIDE, SIDE, 10.0 * SIDE))
    assert pose is not None
    return float(np.degrees(pose.rotation_rad[1]))


@pytest.mark.parametrize("yaw", [0.0, 30.0, -30.0])
def test_turn_by_nothing_changes_nothing(yaw: float) -> None:
    image, landmarks = picture(), landmarks_of(yaw, 5.0, -8.0)
    turned = Head(image, landmarks).turned(0.0)
    np.testing.assert_allclose(turned.landmarks, landmarks, atol=1e-6)
    assert np.abs(turned.image.astype(int) - image).max() <= 12  # drawn finer, then averaged
    assert np.abs(turned.image.astype(int) - image).mean() < 1.5
    assert turned.visible[INNER].mean() > 0.9
    assert turned.yaw_deg == pytest.approx(yaw, abs=1.0)  # the pose is fitted with nearly parallel rays


@pytest.mark.parametrize(("yaw", "angle"), [(0.0, 25.0), (0.0, -50.0), (20.0, 40.0), (-30.0, -20.0), (15.0, -30.0)])
def test_yaw_grows_by_the_angle(yaw: float, angle: float) -> None:
    turned = Head(picture(), landmarks_of(yaw)).turned(angle)
    assert turned.yaw_deg == pytest.approx(yaw + angle, abs=1.0)
    assert estimated_yaw(turned.landmarks) == pytest.approx(yaw + angle, abs=2.5)


def test_head_that_leans_is_turned_about_its_own_axis() -> None:
    before = landmarks_of(0.0, roll_deg=30.0)
    after = Head(picture(), before).turned(40.0).landmarks
    down = before[8] - before[27]
    across = np.array([down[1], -down[0]]) / np.linalg.norm(down)
    moved = (after - before)[INNER]
    assert np.abs(moved @ (down / np.linalg.norm(down))).max() < 2.0
    assert np.abs(moved @ across).max() > 15.0


@pytest.mark.parametrize("angle", [20.0, 45.0, -45.0])
@pytest.mark.parametrize("landmark", [30, 36, 45, 48, 54, 8])
def test_landmark_stays_on_what_it_marks(angle: float, landmark: int) -> None:
    """A bright blob is painted onto the landmark and found again in the turned picture."""
    landmarks = landmarks_of()
    y, x = np.mgrid[:SIDE, :SIDE]
    squared = (x - landmarks[landmark, 0]) ** 2 + (y - landmarks[landmark, 1]) ** 2
    turned = Head((40 + 200 * np.exp(-squared / 8)).astype(np.uint8), landmarks).turned(angle)
    if not turned.visible[landmark]:
        pytest.skip("hidden by this turn")
    brightest = np.unravel_index(cv2.GaussianBlur(turned.image, (0, 0), 1.0).argmax(), turned.image.shape)[::-1]
    assert np.linalg.norm(turned.landmarks[landmark] - brightest) < 2.5


def test_jaw_follows_the_outline() -> None:
    """A white face before black surroundings: the averted jaw lies where white ends, not where its own place went."""
    landmarks = landmarks_of()
    head = Head(picture(), landmarks)
    angles, radii = head.outline
    outline = head.center + radii[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
    image = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(image, [np.round(outline).astype(np.int32)], 255)
    turned = Head(image, landmarks).turned(40.0)  # the nose to the left: the left side is averted
    own = CENTER + SCALE * (mean_face()[JAW] @ rotation_matrix((0.0, np.radians(40.0), 0.0)).T)[:, :2]
    for i in range(1, 6):
        x, y = turned.landmarks[i]
        first = int(np.flatnonzero(turned.image[round(y)] > 127)[0])
        assert abs(x - first) < 3.0
    assert (turned.landmarks[1:5, 0] < own[1:5, 0] - 2.0).all()
    near = slice(10, 17)
    np.testing.assert_allclose(turned.landmarks[near], own[near], atol=4.0)


def test_what_the_nose_hides_is_not_visible() -> None:
    head = Head(picture(), landmarks_of())
    turned = head.turned(65.0)
    assert not turned.visible[[39, 40]].all()  # the inner corner of the averted eye
    assert turned.visible[[45, 46, 54, 30]].all()
    assert head.turned(10.0).visible[INNER].all()


def test_mirror_image() -> None:
    image, landmarks = picture(), landmarks_of(12.0)
    mirrored = landmarks[list(MIRROR_ORDER)] * [-1, 1] + [SIDE - 1, 0]
    one, other = Head(image, landmarks).turned(35.0), Head(image[:, ::-1].copy(), mirrored).turned(-35.0)
    back = other.landmarks[list(MIRROR_ORDER)] * [-1, 1] + [SIDE - 1, 0]
    np.testing.assert_allclose(back, one.landmarks, atol=2.5)  # the mesh's cells are not the mirror image's


def test_surroundings_stand_still() -> None:
    image = picture()
    turned = Head(image, landmarks_of()).turned(50.0)
    for corner in (np.s_[:20, :20], np.s_[-20:, :20], np.s_[:20, -20:], np.s_[-20:, -20:]):
        assert np.abs(turned.image[corner].astype(int) - image[corner]).max() <= 12
    assert np.abs(turned.image[130:180, 130:190].astype(int) - image[130:180, 130:190]).mean() > 20


def test_no_pose() -> None:
    with pytest.raises(ValueError, match="no pose of the mean face fits"):
        Head(picture(), np.full((68, 2), 100.0))
