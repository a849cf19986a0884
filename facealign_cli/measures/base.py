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

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from facealign_cli.arguments import checked_items
from facealign_cli.arrays import Floats
from facealign_cli.errors import InputError
from facealign_cli.pose import camera_matrix, estimate_poses, mean_face, rotation_matrix
from facealign_cli.records import Face, FrameResult, HeadPose

NEAR_YAW_DEG, FAR_YAW_DEG, PITCH_DEG = 60.0, 45.0, 35.0
"""Where the head is turned further, measures are empty: beyond the first angle those of the side that faces the camera,
beyond the second those of the other side and of the mouth, and beyond the third, up or down, all of them."""


CHUNK = 256
"""Frames that are measured together, which takes a fraction of the time."""


@dataclass(frozen=True)
class FaceMeasures:
    """The measures of one face, with the turn of the head taken out; None where it is turned too far for them.

    eye_opening_left, eye_opening_right: the eye aspect ratio. mouth_opening, mouth_width, brow_left, brow_right: in
    distances of the outer corners of the eyes. roll_deg: degrees, positive where the top of the head leans to the
    right. inter_ocular_px: distance of these corners in the picture, pixels. Left and right are the picture's. The
    module `facealign_cli.measures.base` has the formulas and their sources.
    """

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
    """The measures of a face in a frame.

    source: the picture's or the clip's name. frame, timestamp_s: the frame and its time in seconds; None in pictures.
    face_id: the track's number where the face was tracked. confidence: of its landmarks. pose: the head's; None where
    no pose fits, or `sized` is False. sized: whether the size of the picture is known, without which there is no pose.
    """

    source: str
    frame: int | None
    timestamp_s: float | None
    face_id: int
    confidence: float
    pose: HeadPose | None
    measures: FaceMeasures
    sized: bool = True


def lay_back(landmarks: Floats, pose: HeadPose, camera: Floats) -> Floats:
    """(68, 2) the landmarks as if the head looked straight ahead: millimetres in its own axes, x to the right, y down.

    landmarks: (68, 2) picture pixels. Each is put where its camera ray meets the depth of its point on the mean face.
    """
    laid: Floats = _laid_back(landmarks[None], np.array([pose.rotation_rad]), np.array([pose.translation_mm]), camera)[
        0
    ]
    return laid


def _laid_back(landmarks: Floats, rotations_rad: Floats, translations_mm: Floats, camera: Floats) -> Floats:
    """`lay_back` of (N, 68, 2) landmarks; poses as (N, 3) angles and (N, 3) translations."""
    rotations, depths = rotation_matrix(rotations_rad), mean_face()[:, 2]
    directions = np.concatenate(
        [(landmarks - camera[:2, 2]) / camera[0, 0], np.ones((*landmarks.shape[:2], 1))], axis=2
    )
    rays = directions @ rotations  # R transposed, in rows
    origins = -(translations_mm[:, None] @ rotations)  # (N, 1, 3) where the camera stands
    along = (depths - origins[:, :, 2]) / np.where(np.abs(rays[:, :, 2]) > 1e-9, rays[:, :, 2], np.nan)
    straight: Floats = origins[:, :, :2] + along[:, :, None] * rays[:, :, :2]
    return straight


def measure_face(landmarks: Floats, camera: Floats, pose: HeadPose | None) -> FaceMeasures:
    """The measures of one face. landmarks: (68, 2) pixels. camera: the one with which `pose` was estimated.

    Without a pose only those that are measured in the picture itself are known.
    """
    return measure_faces(np.asarray(landmarks, float)[None], camera, [pose])[0]


def measure_faces(landmarks: Floats, camera: Floats, poses: Sequence[HeadPose | None]) -> list[FaceMeasures]:
    """`measure_face` of (N, 68, 2) landmarks of one camera, with their poses."""
    across = landmarks[:, 45] - landmarks[:, 36]
    rolls, apart = np.degrees(np.arctan2(across[:, 1], across[:, 0])), np.linalg.norm(across, axis=1)
    unknown = (math.nan,) * 3
    angles = np.array([unknown if pose is None else pose.rotation_rad for pose in poses], float).reshape(-1, 3)
    shifts = np.array([unknown if pose is None else pose.translation_mm for pose in poses], float).reshape(-1, 3)
    with np.errstate(all="ignore"):
        laid = _laid_back(landmarks, angles, shifts, camera)
        columns = _ratios(laid, *np.degrees(angles[:, :2]).T)
    rows = np.vstack([columns, rolls, apart]).T.tolist()
    known: list[list[Any]] = [[value if math.isfinite(value) else None for value in row] for row in rows]
    return [FaceMeasures(*values) for values in known]


def _ratios(laid: Floats, pitch_deg: Floats, yaw_deg: Floats) -> Floats:
    """(6, N) openings, width and heights of (N, 68, 2) faces that were laid back; NaN where they are not to be told."""

    def distance(i: int, j: int) -> Floats:
        return np.asarray(np.linalg.norm(laid[:, i] - laid[:, j], axis=1))

    def eye_opening(first: int) -> Floats:
        lids = distance(first + 1, first + 5) + distance(first + 2, first + 4)
        return np.asarray(lids / (2 * distance(first, first + 3)))

    def height(corners: list[int], brow: slice) -> Floats:
        return np.asarray(laid[:, corners, 1].mean(axis=1) - laid[:, brow, 1].mean(axis=1))

    straight = (np.abs(pitch_deg) <= PITCH_DEG) & (np.abs(yaw_deg) <= NEAR_YAW_DEG)
    left = straight & (yaw_deg <= FAR_YAW_DEG)  # the nose points to the left where yaw is positive
    right, unit = straight & (yaw_deg >= -FAR_YAW_DEG), distance(36, 45)
    found = [
        (eye_opening(36), left),
        (eye_opening(42), right),
        (distance(62, 66) / unit, left & right),
        (distance(48, 54) / unit, left & right),
        (height([36, 39], slice(17, 22)) / unit, left),
        (height([42, 45], slice(22, 27)) / unit, right),
    ]
    return np.array([np.where(seen, values, np.nan) for values, seen in found])


def measure_results(
    results: Iterable[FrameResult], *, focal_px: float | None = None, size: tuple[int, int] | None = None
) -> Iterator[MeasuredFace]:
    """The measures of every face of every result, one after another.

    results: such as `track_video` and `read_results` give. focal_px: the camera's focal length in pixels; None: see
    `camera_matrix`. size: width and height of the pictures in pixels, for results that do not say it. A face whose
    picture has no known size has the measures that need no camera. Raises InputError for a focal length or a size that
    cannot be, for what is no result, and for a frame of a clip that comes twice, which would count twice.
    """
    if size is not None and (not isinstance(size, Sequence) or len(size) != 2):
        raise InputError(f"size: expected width and height in pixels, got {size!r:.40}")
    camera_matrix(*(size or (1, 1)), focal_px)
    seen: set[tuple[str, int]] = set()
    chunk: list[FrameResult] = []
    for result in checked_items("results", results, FrameResult):
        if result.frame is not None:
            if (result.source, result.frame) in seen:
                raise InputError(
                    f"frame {result.frame} of {result.source} comes twice in the rows: measure the rows of one run at "
                    "a time (two clips of one name have to be named by their folders)"
                )
            seen.add((result.source, result.frame))
        chunk.append(result)
        if len(chunk) == CHUNK:
            yield from measure_chunk(chunk, focal_px=focal_px, size=size)
            chunk = []
    yield from measure_chunk(chunk, focal_px=focal_px, size=size)


def measure_chunk(
    results: Sequence[FrameResult], *, focal_px: float | None = None, size: tuple[int, int] | None = None
) -> list[MeasuredFace]:
    """The measures of every face of some results, such as `CHUNK` of them; see `measure_results`."""
    found: list[MeasuredFace] = []

    def size_of(result: FrameResult) -> tuple[int, int] | None:
        return (result.width, result.height) if result.width and result.height else size

    for known, group in itertools.groupby(results, size_of):
        faces = [(result, face) for result in group for face in result.faces]
        landmarks = np.array([face.landmarks for _, face in faces], float).reshape(-1, 68, 2)
        camera = np.eye(3) if known is None else camera_matrix(known[0], known[1], focal_px)
        poses = [None] * len(faces) if known is None else estimate_poses(landmarks, camera)
        measures = measure_faces(landmarks, camera, poses)
        for (result, face), pose, own in zip(faces, poses, measures, strict=True):
            facts = (result.source, result.frame, result.timestamp_s, _number(face), face.confidence)
            found.append(MeasuredFace(*facts, pose, own, known is not None))
    return found


def _number(face: Face) -> int:
    return face.face_id if face.track_id is None else face.track_id
