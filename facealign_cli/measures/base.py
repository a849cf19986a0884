"""The measures of one face, in units of the face, with the turn of the head taken out.

Turning the head makes an eye look narrower and a brow look higher than it is. So the landmarks are first laid back: the
head pose is estimated (`facealign_cli.pose`), and each landmark is moved along the camera's ray to the depth that its
point has on the 3D mean face, in the head's own axes. There the head looks straight ahead. `laid` stands for these
points below, `d(i, j)` for the distance of two of them, `io` for d(36, 45), the outer corners of the eyes. Indices are
those of ibug-68, from 0; left and right are the picture's.

    eye_opening_left    (d(37, 41) + d(38, 40)) / (2 d(36, 39))     the eye aspect ratio, EAR
    eye_opening_right   (d(43, 47) + d(44, 46)) / (2 d(42, 45))
    mouth_opening       d(62, 66) / io                              between the inner edges of the lips
    mouth_width         d(48, 54) / io                              between the corners of the mouth
    brow_left           height of the mean of 17–21 over the mean of 36 and 39, in the head's axes, / io
    brow_right          height of the mean of 22–26 over the mean of 42 and 45, in the head's axes, / io
    roll_deg            angle of the line from 36 to 45 in the picture; positive: the top leans to the right
    inter_ocular_px     distance of 36 and 45 in the picture, pixels, nothing laid back

Sources: the eye aspect ratio is that of Soukupová and Čech, "Real-Time Eye Blink Detection using Facial Landmarks",
CVWW 2016; the inter-ocular distance is the normaliser of the 300-W challenge. `python benchmarks/measures.py` shows how
far laying back helps, and where the limits below come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.errors import InputError
from facealign_cli.pose import camera_matrix, estimate_pose, mean_face, rotation_matrix
from facealign_cli.records import Face, FrameResult, HeadPose

NEAR_YAW_DEG, FAR_YAW_DEG, PITCH_DEG = 60.0, 45.0, 35.0
"""Where the head is turned further, measures are empty: beyond the first angle those of the side that faces the camera,
beyond the second those of the other side and of the mouth, and beyond the third, up or down, all of them."""


@dataclass(frozen=True)
class FaceMeasures:
    """The measures of one face, see above; None where the head is turned too far for it."""

    eye_opening_left: float | None
    eye_opening_right: float | None
    mouth_opening: float | None
    mouth_width: float | None
    brow_left: float | None
    brow_right: float | None
    roll_deg: float
    inter_ocular_px: float

    @property
    def eye_opening(self) -> float | None:
        """The mean of both eyes, or that of the one that can be measured."""
        known = [value for value in (self.eye_opening_left, self.eye_opening_right) if value is not None]
        return sum(known) / len(known) if known else None


MEASURES: tuple[str, ...] = tuple(field.name for field in fields(FaceMeasures))
"""The names of the measures, in the order of columns."""


@dataclass(frozen=True)
class MeasuredFace:
    """The measures of a face in a frame. face_id: the track's number where the face was tracked. pose: None: no fit."""

    source: str
    frame: int | None
    timestamp_s: float | None
    face_id: int
    confidence: float
    pose: HeadPose | None
    measures: FaceMeasures


def lay_back(landmarks: Floats, pose: HeadPose, camera: Floats) -> Floats:
    """(68, 2) the landmarks as if the head looked straight ahead: millimetres in its own axes, x to the right, y down.

    landmarks: (68, 2) picture pixels. Each is put where its camera ray meets the depth of its point on the mean face.
    """
    rotation, depths = rotation_matrix(pose.rotation_rad), mean_face()[:, 2]
    directions = np.concatenate([(landmarks - camera[:2, 2]) / camera[0, 0], np.ones((len(landmarks), 1))], axis=1)
    rays = directions @ rotation  # R transposed, in rows
    origin = -(rotation.T @ np.array(pose.translation_mm))  # where the camera stands
    along = (depths - origin[2]) / np.where(np.abs(rays[:, 2]) > 1e-9, rays[:, 2], np.nan)
    straight: Floats = origin[:2] + along[:, None] * rays[:, :2]
    return straight


def measure_face(landmarks: Floats, camera: Floats, pose: HeadPose | None) -> FaceMeasures:
    """The measures of one face. landmarks: (68, 2) pixels. camera: the one with which `pose` was estimated.

    Without a pose only those that are measured in the picture itself are known.
    """
    points = np.asarray(landmarks, float)
    across = points[45] - points[36]
    roll, apart = math.degrees(math.atan2(across[1], across[0])), float(np.linalg.norm(across))
    pitch, yaw, _ = np.degrees(pose.rotation_rad) if pose is not None else (0.0, 0.0, 0.0)
    if pose is None or abs(pitch) > PITCH_DEG or abs(yaw) > NEAR_YAW_DEG:
        return FaceMeasures(None, None, None, None, None, None, roll, apart)
    laid = lay_back(points, pose, camera)
    left_seen, right_seen = yaw <= FAR_YAW_DEG, yaw >= -FAR_YAW_DEG  # the nose points to the left where yaw is positive
    both_seen, unit = left_seen and right_seen, _distance(laid, 36, 45)
    return FaceMeasures(
        _eye_opening(laid, 36) if left_seen else None,
        _eye_opening(laid, 42) if right_seen else None,
        _ratio(_distance(laid, 62, 66), unit) if both_seen else None,
        _ratio(_distance(laid, 48, 54), unit) if both_seen else None,
        _ratio(_height(laid, (36, 39), range(17, 22)), unit) if left_seen else None,
        _ratio(_height(laid, (42, 45), range(22, 27)), unit) if right_seen else None,
        roll,
        apart,
    )


def _distance(points: Floats, i: int, j: int) -> float:
    return float(np.linalg.norm(points[i] - points[j]))


def _eye_opening(points: Floats, first: int) -> float | None:
    lids = _distance(points, first + 1, first + 5) + _distance(points, first + 2, first + 4)
    return _ratio(lids, 2 * _distance(points, first, first + 3))


def _height(points: Floats, corners: tuple[int, int], brow: range) -> float:
    return float(points[list(corners), 1].mean() - points[list(brow), 1].mean())


def _ratio(value: float, unit: float) -> float | None:
    return value / unit if unit > 0 and math.isfinite(value / unit) else None


def measure_results(
    results: Iterable[FrameResult], *, focal_px: float | None = None, size: tuple[int, int] | None = None
) -> Iterator[MeasuredFace]:
    """The measures of every face of every result.

    focal_px: the camera's; None: `pose.default_focal`. size: width and height of the pictures, for results that do not
    say it. A face whose picture has no known size has the measures that need no camera. Raises InputError for a focal
    length that cannot be, and for a frame of a clip that comes twice, which would count twice.
    """
    seen: set[tuple[str, int]] = set()
    for result in results:
        if result.frame is not None:
            if (result.source, result.frame) in seen:
                raise InputError(
                    f"frame {result.frame} of {result.source} comes twice in the rows: measure the rows of one run at "
                    "a time (two clips of one name have to be named by their folders)"
                )
            seen.add((result.source, result.frame))
        width, height = (result.width, result.height) if result.width and result.height else size or (0, 0)
        camera = camera_matrix(width, height, focal_px) if width and height else np.eye(3)
        for face in result.faces:
            pose = estimate_pose(face.landmarks, camera) if width and height else None
            measures = measure_face(face.landmarks, camera, pose)
            yield MeasuredFace(
                result.source, result.frame, result.timestamp_s, _number(face), face.confidence, pose, measures
            )


def _number(face: Face) -> int:
    return face.face_id if face.track_id is None else face.track_id
