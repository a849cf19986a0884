"""Head pose: recovered from projections of a turned model, with signs told by what the picture shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from facealign_cli.boxes import BBox
from facealign_cli.errors import InputError
from facealign_cli.landmarks import MIRROR_ORDER
from facealign_cli.pose import (
    RIGID,
    PoseEstimator,
    _fitted,
    camera_matrix,
    default_focal,
    estimate_pose,
    estimate_poses,
    mean_face,
    project,
    rotation_angles,
    rotation_matrix,
)
from facealign_cli.records import Face, HeadPose

CAMERA = camera_matrix(640, 480)
AHEAD = (0.0, 0.0, 700.0)


def seen(degrees: tuple[float, float, float], place: tuple[float, float, float] = AHEAD) -> np.ndarray:
    """(68, 2) where the camera sees the mean face."""
    return project(mean_face(), HeadPose(place, tuple(np.radians(degrees))), CAMERA)


def estimated(landmarks: np.ndarray, sigma: np.ndarray | None = None) -> HeadPose:
    pose = estimate_pose(landmarks, CAMERA, sigma)
    assert pose is not None
    return pose


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("degrees", range(-60, 61, 15))
def test_a_turn_about_each_axis_is_recovered(axis: int, degrees: int) -> None:
    turn = [0.0, 0.0, 0.0]
    turn[axis] = float(degrees)
    place = (-60.0, 40.0, 550.0)
    pose = estimated(seen(tuple(turn), place))
    assert np.degrees(pose.rotation_rad) == pytest.approx(turn, abs=0.01)  # the issue asks for 1 degree
    assert pose.translation_mm == pytest.approx(place, abs=0.1)


def test_turns_about_all_axes_at_once_are_recovered() -> None:
    rng = np.random.default_rng(0)
    for turn in rng.uniform(-50, 50, (40, 3)):
        pose = estimated(seen(tuple(turn), (80.0, -30.0, 900.0)))
        assert np.degrees(pose.rotation_rad) == pytest.approx(turn, abs=0.01)


def test_what_positive_angles_look_like() -> None:
    straight = seen((0, 0, 0))
    nose, brow = 30, 27
    assert seen((20, 0, 0))[nose, 1] > straight[nose, 1] + 5  # pitch: the nose goes down
    assert seen((0, 20, 0))[nose, 0] < straight[nose, 0] - 5  # yaw: the nose goes to the left in the picture
    leaning = seen((0, 0, 20))
    assert leaning[brow, 0] > leaning[8, 0] + 5  # roll: the top leans to the right in the picture
    aside = seen((0, 0, 0), (100.0, 50.0, 700.0)) - straight  # x: to the right in the picture, y: down
    assert (aside[:, 0] > 50).all() and (aside[:, 1] > 25).all()
    assert np.ptp(seen((0, 0, 0), (0.0, 0.0, 1400.0))[:, 0]) < 0.6 * np.ptp(straight[:, 0])  # z: away is smaller


def test_rotations_are_openfaces_euler_angles() -> None:
    """The elements of R = Rx · Ry · Rz, multiplied out by hand, and back."""
    angles = np.radians([10.0, -35.0, 25.0])
    x, y, z = angles
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    assert rotation_matrix(angles) == pytest.approx(about_x @ about_y @ about_z)
    assert rotation_angles(rotation_matrix(angles)) == pytest.approx(angles)


def test_a_mirrored_picture_has_the_mirrored_pose() -> None:
    points = seen((12, 30, -8), (50.0, 20.0, 800.0))
    mirrored = points[list(MIRROR_ORDER)] * [-1, 1] + [639, 0]
    pose = estimated(mirrored)
    assert np.degrees(pose.rotation_rad) == pytest.approx((12, -30, 8), abs=0.2)
    assert pose.translation_mm[0] == pytest.approx(-50, abs=1)


def test_no_half_turns_from_noisy_or_expressive_faces() -> None:
    """The pose of a real face never comes out upside down or seen from behind, however poor its landmarks are."""
    rng = np.random.default_rng(1)
    for i in range(300):
        turn = tuple(rng.uniform(-1, 1, 3) * [40, 75, 60])
        exact = seen(turn, (rng.uniform(-200, 200), rng.uniform(-150, 150), rng.uniform(400, 3000)))
        noisy = exact + rng.normal(0, 0.03 * np.ptp(exact, axis=0).mean(), exact.shape)
        pose = estimated(noisy)
        off = rotation_matrix(pose.rotation_rad) @ rotation_matrix(np.radians(turn)).T
        angle = np.degrees(np.arccos(np.clip((np.trace(off) - 1) / 2, -1, 1)))
        assert angle < 45, f"face {i}: {angle:.0f} degrees off"


def test_mouth_jaw_and_lids_do_not_count() -> None:
    points = seen((5, 15, 0))
    others = [i for i in range(68) if i not in RIGID]
    moved = points.copy()
    moved[others] += 25.0
    assert estimated(moved) == estimated(points)


def test_raised_brows_count_little() -> None:
    face = mean_face().copy()
    face[17:27, 1] -= 6.0
    pose = estimated(project(face, HeadPose(AHEAD, (0, 0, 0)), CAMERA))
    assert 0.2 < abs(np.degrees(pose.rotation_rad[0])) < 2.0


def test_uncertain_landmarks_count_less() -> None:
    """Far landmarks that are displaced, and known to be uncertain, harm less than if they were trusted."""
    points = seen((0, 40, 0))
    sigma = np.full(68, 1.0)
    far = [17, 18, 19, 36, 39]
    points[far] += 8.0
    sigma[far] = 20.0
    yaw = np.radians(40)
    trusted, weighed = (abs(estimated(points, s).rotation_rad[1] - yaw) for s in (None, sigma))
    assert weighed < trusted / 3


def test_focal_length_changes_distance_and_is_openfaces_by_default() -> None:
    assert default_focal(640, 480) == 500 and default_focal(1280, 960) == 1000
    points = seen((0, 0, 0))
    long = estimate_pose(points, camera_matrix(640, 480, 1000.0))
    assert long is not None and long.translation_mm[2] == pytest.approx(1400, rel=0.1)
    for focal in (0.0, -1.0, float("nan"), float("inf"), "long", True):
        with pytest.raises(InputError, match="focal"):
            camera_matrix(640, 480, focal)  # type: ignore[arg-type]
    for wrong in (0, -3, 2.5, "640", None, True):
        with pytest.raises(InputError, match="width: expected a whole number, 1 or more"):
            camera_matrix(wrong, 480)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="height: expected a whole number, 1 or more"):
            camera_matrix(640, wrong)  # type: ignore[arg-type]


def test_what_is_no_face_has_no_pose() -> None:
    assert estimate_pose(np.full((68, 2), 100.0), CAMERA) is None
    points = seen((0, 0, 0))
    for landmarks in (np.zeros((5, 2)), points + np.nan, np.ma.masked_less(points, points.mean()), None, "face"):
        with pytest.raises(InputError, match="landmarks: expected"):
            estimate_pose(landmarks, CAMERA)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="camera: expected"):
        estimate_pose(points, np.eye(4))
    for sigma in (np.ones(5), -np.ones(68)):
        with pytest.raises(InputError, match="sigma: expected"):
            estimate_pose(points, CAMERA, sigma)


def test_the_mean_face_is_symmetric_where_the_pose_is_told() -> None:
    mirrored = mean_face()[list(MIRROR_ORDER)] * [-1, 1, 1]
    rigid = list(RIGID)
    assert mirrored[rigid] == pytest.approx(mean_face()[rigid], abs=0.01)
    assert mean_face().shape == (68, 3) and not mean_face().flags.writeable


@pytest.mark.parametrize(
    "values",
    [(1.0, 2.0), (1.0, 2.0, float("nan")), (1.0, 2.0, 3.0, 4.0), (1, 2, "3"), None, 3.0, np.eye(3), "123", [0, [1], 0]],
)
def test_a_pose_checks_itself(values: Any) -> None:
    with pytest.raises(InputError, match="translation_mm: expected three finite numbers"):
        HeadPose(values, (0, 0, 0))
    with pytest.raises(InputError, match="rotation_rad: expected three finite numbers"):
        HeadPose((0, 0, 0), values)


def test_a_pose_takes_arrays() -> None:
    pose = HeadPose(np.array([1, 2, 3]), np.zeros(3, np.float32))  # type: ignore[arg-type]
    assert pose == HeadPose((1.0, 2.0, 3.0), (0.0, 0.0, 0.0))
    assert type(pose.translation_mm[0]) is float


def test_the_estimator_gives_every_face_its_pose() -> None:
    face = Face(0, BBox(0, 0, 9, 9), seen((5, -20, 3)), 0.9)
    (found,) = PoseEstimator()([face], 640, 480)
    assert found.pose == estimated(face.landmarks) and found.landmarks is not None
    (far,) = PoseEstimator(1000.0)([face], 640, 480)
    assert far.pose is not None and found.pose is not None
    assert far.pose.translation_mm[2] > 1.8 * found.pose.translation_mm[2]
    with pytest.raises(InputError, match="focal"):
        PoseEstimator(-5.0)
    with pytest.raises(InputError, match="faces: expected a list of Face"):
        PoseEstimator()([face.landmarks], 640, 480)  # type: ignore[list-item]


def test_many_at_once_are_the_poses_of_each() -> None:
    rng, shapes = np.random.default_rng(3), []
    for _ in range(40):
        angles = tuple(rng.uniform((-0.6, -1.2, -3), (0.6, 1.2, 3)).tolist())
        pose = HeadPose((*rng.uniform(-300, 300, 2).tolist(), float(rng.uniform(300, 3000))), angles)
        shapes.append(project(mean_face() + rng.normal(0, 3, (68, 3)), pose, CAMERA))
    assert _fitted(np.array(shapes)[:, RIGID], CAMERA)[2].all(), "none of these needs another start"
    odd = [np.full((68, 2), 100.0), np.zeros((68, 2)), project(mean_face(), HeadPose((0, 0, 500), (0, 3, 0)), CAMERA)]
    found = estimate_poses(np.array([*shapes, *odd]), CAMERA)
    for shape, many in zip([*shapes, *odd], found, strict=True):
        one = estimate_pose(shape, CAMERA)
        assert (one is None) == (many is None)
        if one is not None and many is not None:
            np.testing.assert_allclose(many.rotation_rad, one.rotation_rad, atol=2e-4)
            np.testing.assert_allclose(many.translation_mm, one.translation_mm, rtol=1e-4, atol=0.05)
    assert sum(pose is not None for pose in found) >= 40 and found[40] is None
    assert estimate_poses(np.zeros((0, 68, 2)), CAMERA) == []
    with pytest.raises(ValueError, match="shape"):
        estimate_poses(shapes[0], CAMERA)
