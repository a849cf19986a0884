"""Head pose: where a head stands before the camera, and how it is turned, from its 68 landmarks.

The pose is the one under which a rigid 3D mean face, projected by the camera, comes nearest to the landmarks of the
nose, the corners of the eyes and, with less weight, the brows. Lids, mouth and jaw are left out, since expressions move
them. The start is OpenCV's `solvePnP` with SQPNP (Terzakis and Lourakis, ECCV 2020), which needs no first guess;
Gauss-Newton steps on the weighted reprojection error follow.

Conventions, those of OpenFace 2: camera coordinates in millimetres, x to the right in the picture, y down, z away from
the camera; R = Rx · Ry · Rz. All angles are 0 where the face looks along the camera's axis; in the middle of the
picture that is straight at the camera. Positive Rx (pitch): the face looks down. Positive Ry (yaw): the nose turns to
the left in the picture. Positive Rz (roll): the top of the head leans to the right in the picture.
The mean face: `face3d.json`, made from MediaPipe's canonical face model (Apache License 2.0, `face3d.LICENSE`). Its
origin lies inside the head, 76 mm behind the tip of the nose.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from facealign_cli.arguments import check_number, checked_items
from facealign_cli.arrays import Floats, real_number
from facealign_cli.errors import InputError
from facealign_cli.geometry import bbox_of_shape
from facealign_cli.landmarks import GROUPS, checked_landmarks, checked_sigma, finite_numbers
from facealign_cli.records import Face, HeadPose

RIGID: tuple[int, ...] = (*GROUPS["left_brow"], *GROUPS["right_brow"], *GROUPS["nose"], 36, 39, 42, 45)
"""The landmarks that tell the pose."""

BROW_WEIGHT = 0.3
"""How much a brow's landmark counts beside one of the nose. Raising both brows by 6 mm tilts the estimated pitch by
1.3 degrees; with a weight of 1 it would be 2.8. With less weight the yaw gets worse; see benchmarks/pose.py."""

MISFIT = 0.02
"""How far a person's own face is from the mean face, as a share of the face's size: added to each landmark's sigma, so
that no landmark counts without limit."""

_STEPS, _STEADY_RAD = 10, 1e-5
_INDICES = np.array(RIGID)
_WEIGHTS = np.where(np.isin(RIGID, [*GROUPS["left_brow"], *GROUPS["right_brow"]]), BROW_WEIGHT, 1.0)


@functools.cache
def mean_face() -> Floats:
    """(68, 3) the mean face in mm, read-only: x to the right in the picture, y down, z away from the camera."""
    data = json.loads((Path(__file__).parent / "face3d.json").read_text(encoding="utf-8"))
    points = np.array(data["points"], dtype=np.float64)
    points.setflags(write=False)
    return points


def default_focal(width: int, height: int) -> float:
    """The focal length in pixels where none is known, as OpenFace has it: the mean of 500·w/640 and 500·h/480."""
    return (500 * width / 640 + 500 * height / 480) / 2


def camera_matrix(width: int, height: int, focal_px: float | None = None) -> Floats:
    """(3, 3) the camera of a picture: its axis goes through the picture's middle.

    width, height: of the picture, pixels. focal_px: the focal length in pixels; None: the mean of 500·w/640 and
    500·h/480, as OpenFace has it. Raises InputError for a size that no picture has, and for a focal length that is not
    a number above 0.
    """
    check_number("width", width, 1, whole=True)
    check_number("height", height, 1, whole=True)
    focal = default_focal(width, height) if focal_px is None else real_number(focal_px)
    if not (math.isfinite(focal) and focal > 0):
        raise InputError(f"focal length: expected a number of pixels above 0, got {focal_px!r:.40}")
    return np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class PoseEstimator:
    """Gives faces their poses: estimator(faces, width, height), or as `pose` of `align_pictures` and of options.

    focal_px: the camera's focal length in pixels. None means the mean of 500 · width / 640 and 500 · height / 480.
    Raises InputError for a focal length that is not a number above 0.
    """

    focal_px: float | None = None

    def __post_init__(self) -> None:
        camera_matrix(1, 1, self.focal_px)

    def __call__(self, faces: Iterable[Face], width: int, height: int) -> list[Face]:
        """The faces of a picture of that size in pixels, each with its pose; None where no head fits the landmarks."""
        camera = camera_matrix(width, height, self.focal_px)
        found = checked_items("faces", faces, Face)
        return [replace(face, pose=estimate_pose(face.landmarks, camera)) for face in found]


def estimate_pose(landmarks: Floats, camera: Floats, sigma: Floats | None = None) -> HeadPose | None:
    """The pose of one face; None where no head before the camera, facing it, fits the landmarks.

    landmarks: (68, 2) picture pixels. camera: (3, 3), see `camera_matrix`. sigma: (68,) pixels, how uncertain each
    landmark is; None: all are equally certain. Raises InputError for what are no such numbers.
    """
    import cv2

    points, camera = checked_landmarks("landmarks", landmarks), finite_numbers("camera", camera, (3, 3))
    places, weights = np.ascontiguousarray(points[_INDICES]), _weights(points, sigma)
    try:
        found, rotation, translation = cv2.solvePnP(_rigid_points(), places, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    except cv2.error:  # landmarks that coincide
        return None
    if not found:
        return None
    refined = _refined(places, camera, weights, (np.asarray(rotation, float), np.asarray(translation, float)))
    if refined is None:
        return None
    rotation, translation = refined
    matrix = np.asarray(cv2.Rodrigues(rotation)[0], float)
    if matrix[2, 2] <= 0 or translation[2, 0] <= 0:  # seen from behind, or behind the camera
        return None
    x, y, z = translation.ravel().tolist()
    return HeadPose((x, y, z), rotation_angles(matrix))


def estimate_poses(landmarks: Floats, camera: Floats) -> list[HeadPose | None]:
    """`estimate_pose` of many faces of one camera at once, (N, 68, 2): several times as fast, to 0.0001 rad the same.

    Raises ValueError for an array of another shape.
    """
    points = np.asarray(landmarks, float)
    if points.ndim != 3 or points.shape[1:] != (68, 2):
        raise ValueError(f"landmarks: expected shape (N, 68, 2), got {points.shape}")
    poses: list[HeadPose | None] = []
    for one, turn, translation, steady in zip(points, *_fitted(points[:, _INDICES], camera), strict=True):
        if steady and turn[2, 2] > 0 and translation[2] > 0:
            x, y, z = translation.tolist()
            poses.append(HeadPose((x, y, z), rotation_angles(turn)))
        else:  # this start does not bring every face to its end
            poses.append(estimate_pose(one, camera))
    return poses


def _fitted(places: Floats, camera: Floats) -> tuple[Floats, Floats, np.ndarray]:
    """(N, 3, 3) rotations and (N, 3) translations of the least error, and (N,) whether it was reached.

    places: (N, K, 2) the rigid landmarks, pixels. The start is the nearest scaled rotation to the affine map of the
    mean face onto them (weak perspective); Gauss-Newton steps in the axes of the camera follow.
    """
    model, focal = _rigid_points(), float(camera[0, 0])
    rays = (places - camera[:2, 2]) / focal
    affine = np.moveaxis(_affine_fit() @ rays, 1, 2)  # (N, 2, 4)
    with np.errstate(all="ignore"):
        left, scales, right = np.linalg.svd(np.nan_to_num(affine[:, :, :3]), full_matrices=False)
        two = left @ right
        turns = np.concatenate([two, np.cross(two[:, 0], two[:, 1])[:, None]], axis=1)
        away = 1 / np.maximum(scales.mean(axis=1), 1e-9)[:, None]
        translations = np.concatenate([affine[:, :, 3] * away, away], axis=1)
        going, steady = np.arange(len(places)), np.zeros(len(places), bool)
        for _ in range(_STEPS + 5):
            steps = _newton_steps(rays[going], turns[going] @ model.T, translations[going])
            translations[going] += steps[:, 3:]
            turns[going] = _turned(steps[:, :3]) @ turns[going]
            sizes = np.abs(steps[:, :3]).max(axis=1)
            steady[going] = sizes < _STEADY_RAD
            going = going[sizes >= _STEADY_RAD]
            if not len(going):
                break
    return turns, translations, steady & np.isfinite(translations).all(axis=1)


@functools.cache
def _affine_fit() -> Floats:
    """(4, K) from places to the affine map of the mean face that comes nearest to them, by the weights."""
    model, roots = _rigid_points(), np.sqrt(_WEIGHTS)
    fit: Floats = np.linalg.pinv(np.column_stack([model, np.ones(len(model))]) * roots[:, None]) * roots
    return fit


def _newton_steps(rays: Floats, turned: Floats, translations: Floats) -> Floats:
    """(N, 6) small rotations about the camera's axes, and shifts. turned: (N, 3, K) the mean face, not yet shifted.

    Zeros where the equations have no solution.
    """
    x, y, z = np.moveaxis(turned, 1, 0)
    per_z = 1 / (z + translations[:, 2:])
    u, v = (x + translations[:, :1]) * per_z, (y + translations[:, 1:2]) * per_z
    zero = np.zeros_like(u)
    slopes_u = np.stack([-y * u, z + x * u, -y, zero + 1, zero, -u], axis=1) * per_z[:, None]
    slopes_v = np.stack([-y * v - z, x * v, x, zero, zero + 1, -v], axis=1) * per_z[:, None]
    slopes = np.concatenate([slopes_u, slopes_v], axis=2)  # (N, 6, 2 K)
    weighted = slopes * np.tile(_WEIGHTS, 2)
    errors = np.concatenate([rays[:, :, 0] - u, rays[:, :, 1] - v], axis=1)
    squares = weighted @ np.swapaxes(slopes, 1, 2)
    known = np.isfinite(squares).all(axis=(1, 2))
    known[known] = np.linalg.det(squares[known]) != 0
    steps = np.full((len(rays), 6), np.nan)
    steps[known] = np.linalg.solve(squares[known], weighted[known] @ errors[known][:, :, None])[:, :, 0]
    return steps


def _turned(rotation_vectors: Floats) -> Floats:
    """(N, 3, 3) the rotations of (N, 3) vectors: Rodrigues' formula."""
    x, y, z = rotation_vectors.T
    zero = np.zeros_like(x)
    cross = np.moveaxis(np.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]]), 2, 0)
    angles = np.linalg.norm(rotation_vectors, axis=1)[:, None, None]
    first, second = np.sinc(angles / np.pi), np.sinc(angles / 2 / np.pi) ** 2 / 2
    matrices: Floats = np.eye(3) + first * cross + second * (cross @ cross)
    return matrices


@functools.cache
def _rigid_points() -> Floats:
    return np.ascontiguousarray(mean_face()[_INDICES])


def _weights(landmarks: Floats, sigma: Floats | None) -> Floats:
    """(2K,) the weight of each rigid landmark's x and y."""
    if sigma is None:
        return np.repeat(_WEIGHTS, 2)
    uncertain = checked_sigma("sigma", sigma)
    box = bbox_of_shape(landmarks)
    misfit = MISFIT * float((box[2:] - box[:2]).mean())
    own = misfit**2 / (uncertain[_INDICES] ** 2 + misfit**2) if misfit > 0 else 1.0
    return np.repeat(_WEIGHTS * own, 2)


def _refined(
    places: Floats, camera: Floats, weights: Floats, start: tuple[Floats, Floats]
) -> tuple[Floats, Floats] | None:
    """The rotation vector and translation of the least weighted error near a start; None where there is none."""
    import cv2

    model, (rotation, translation) = _rigid_points(), start
    for _ in range(_STEPS):
        projected, jacobian = cv2.projectPoints(model, rotation, translation, camera, None)
        slopes = jacobian[:, :6]
        weighted = slopes.T * weights
        solved, step = cv2.solve(weighted @ slopes, weighted @ (places - projected[:, 0]).reshape(-1, 1))
        if not solved:
            return None
        rotation, translation = rotation + step[:3], translation + step[3:]
        if np.abs(step[:3]).max() < _STEADY_RAD:
            break
    return (rotation, translation) if np.isfinite(rotation).all() and np.isfinite(translation).all() else None


def rotation_matrix(rotation_rad: tuple[float, float, float] | Floats) -> Floats:
    """(3, 3) R = Rx · Ry · Rz of the angles (Rx, Ry, Rz): camera = R · head. (N, 3, 3) of (N, 3) angles."""
    angles = np.moveaxis(np.asarray(rotation_rad, float), -1, 0)
    (sx, sy, sz), (cx, cy, cz) = np.sin(angles), np.cos(angles)
    matrix = np.array(
        [
            [cy * cz, -cy * sz, sy],
            [cx * sz + sx * sy * cz, cx * cz - sx * sy * sz, -sx * cy],
            [sx * sz - cx * sy * cz, sx * cz + cx * sy * sz, cx * cy],
        ]
    )
    return np.moveaxis(matrix, (0, 1), (-2, -1))


def rotation_angles(matrix: Floats) -> tuple[float, float, float]:
    """The angles Rx, Ry, Rz of R = Rx · Ry · Rz, radians; Ry lies between -90 and 90 degrees."""
    r = np.asarray(matrix, float)
    pitch, roll = math.atan2(-r[1, 2], r[2, 2]), math.atan2(-r[0, 1], r[0, 0])
    return pitch, math.asin(min(1.0, max(-1.0, r[0, 2]))), roll


def project(points: Floats, pose: HeadPose, camera: Floats) -> Floats:
    """(K, 2) the picture pixels at which points of the head, (K, 3) millimetres in its own axes, are seen."""
    seen = (np.asarray(points, float) @ rotation_matrix(pose.rotation_rad).T + pose.translation_mm) @ camera.T
    return seen[:, :2] / seen[:, 2:]
