"""A face followed over time, and how well a place or a shape fits it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.boxes import BBox, BoxCalibration
from facealign_cli.geometry import SimilarityTransform
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.records import Face

SHAPE_UNIT = float(np.ptp(MEAN_SHAPE, axis=0).mean())


@dataclass(eq=False)
class Track:
    """A face over time. velocity: (2,) pixels a second. shape: (68, 2), normalised, a running mean."""

    track_id: int
    landmarks: Floats
    confidence: float
    seen_s: float
    shape: Floats
    score: float | None = None
    sigma: Floats | None = None
    velocity: Floats = field(default_factory=lambda: np.zeros(2))
    look: Floats | None = None
    lost: bool = False

    @property
    def center(self) -> Floats:
        return np.asarray(self.landmarks.mean(axis=0))

    @property
    def size(self) -> float:
        return size_of(self.landmarks)

    def expected(self, time_s: float) -> Floats:
        """(68, 2) where the face would be, had it moved on as it did."""
        return self.landmarks + self.velocity * min(max(time_s - self.seen_s, 0.0), 1.0)

    def move(
        self,
        landmarks: Floats,
        confidence: float,
        time_s: float,
        score: float | None = None,
        sigma: Floats | None = None,
    ) -> None:
        """Take the landmarks of a frame."""
        step = time_s - self.seen_s
        if 0 < step < 0.5 and not self.lost:
            share = min(1.0, step / 0.1)
            self.velocity = self.velocity + share * ((landmarks.mean(axis=0) - self.center) / step - self.velocity)
        self.shape = self.shape + 0.1 * (normalised(landmarks) - self.shape)
        self.landmarks, self.confidence, self.seen_s, self.score = landmarks, confidence, time_s, score
        self.sigma = sigma
        self.lost = False

    def face(self, index: int, calibration: BoxCalibration) -> Face:
        bbox = detector_box(BBox.around(self.landmarks), calibration)
        return Face(index, bbox, self.landmarks, self.confidence, self.score, self.track_id, sigma=self.sigma)


def normalised(landmarks: Floats) -> Floats:
    """(68, 2) landmarks laid onto the mean shape by a similarity; unit: the mean shape's size."""
    return SimilarityTransform.estimate(landmarks, MEAN_SHAPE).apply(landmarks) / SHAPE_UNIT


def cost_of(track: Track, face: Face, time_s: float) -> float:
    """How unlikely it is that a face goes on with a track: by where it is expected, and by shape; inf: it cannot."""
    expected, size = track.expected(time_s), track.size
    nearest = min(distance(shape, face.landmarks) for shape in (expected, track.landmarks)) / size
    scale = max(size, size_of(face.landmarks)) / min(size, size_of(face.landmarks))
    if nearest > 1.0 + 1.0 * min(time_s - track.seen_s, 1.0) or scale > 1.8:
        return float(np.inf)
    away = distance(expected, face.landmarks) / size
    return away + 6.0 * _shape_distance(track, face.landmarks)


def is_beside(track: Track, other: Track) -> bool:
    """Whether somebody else is so close that a face may be hidden by that one rather than gone."""
    return other is not track and not other.lost and distance(track.landmarks, other.landmarks) < track.size


def strangeness(track: Track, landmarks: Floats, time_s: float) -> float:
    """How unlike a track's own past its new landmarks are, in face sizes: tells who stays when two fall on one face."""
    away = distance(track.expected(time_s), landmarks) / track.size
    return away + 2.0 * _shape_distance(track, landmarks)


def _shape_distance(track: Track, landmarks: Floats) -> float:
    return float(np.linalg.norm(normalised(landmarks) - track.shape, axis=1).mean())


def distance(a: Floats, b: Floats) -> float:
    """Between the middles of two sets of landmarks, (68, 2) each, in pixels."""
    return float(np.linalg.norm(a.mean(axis=0) - b.mean(axis=0)))


def size_of(landmarks: Floats) -> float:
    """The mean of the width and the height of (68, 2) landmarks, in pixels."""
    return max(1e-6, float(np.ptp(landmarks, axis=0).mean()))


def is_same_place(a: Floats, b: Floats) -> bool:
    """Whether two sets of landmarks lie on one face."""
    return float(np.linalg.norm(a - b, axis=1).mean()) < 0.3 * min(size_of(a), size_of(b))


def covers(track: Track, box: BBox) -> bool:
    """Whether a box is about the face that the track follows."""
    return BBox.around(track.landmarks).iou(box) > 0.4


def detector_box(box: BBox, calibration: BoxCalibration) -> BBox:
    """The box whose `landmarks_bbox` is `box`."""
    width = box.width / (1 + calibration.right - calibration.left)
    height = box.height / (1 + calibration.bottom - calibration.top)
    x1, y1 = box.x1 - calibration.left * width, box.y1 - calibration.top * height
    return BBox(x1, y1, x1 + width, y1 + height)
