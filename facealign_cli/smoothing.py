"""One Euro filters for landmarks: a still face stands still, a moving one is not held back.

Every point is low-passed by itself, with a cutoff that grows with its speed: `min_cutoff_hz + beta · speed`. Speeds
count in face sizes a second and times come with the points, so that the parameters mean the same at every resolution
and frame rate, a variable one too.
Source: Casiez, Roussel, Vogel, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive
Systems", CHI 2012.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from facealign_cli.errors import InputError
from facealign_cli.geometry import bbox_of_shape
from facealign_cli.records import BBox, Face

MAX_GAP_S = 0.5
"""After a longer gap in a track the filter begins anew."""


@dataclass(frozen=True)
class Smoothing:
    """The filter's parameters.

    min_cutoff_hz: of a point at rest: lower is calmer. beta: Hz gained per face size a second: higher lags less, namely
    by no more than 1 / (2 pi beta) face sizes at any steady speed. d_cutoff_hz: of the low-pass on the speed itself.
    The defaults were chosen on a photo with camera noise, at rest and moved along known paths, as in
    tests/test_tracking.py. Raises InputError.
    """

    min_cutoff_hz: float = 0.2
    beta: float = 90.0
    d_cutoff_hz: float = 4.0

    def __post_init__(self) -> None:
        for name, least in (("min_cutoff_hz", 1e-6), ("beta", 0.0), ("d_cutoff_hz", 1e-6)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= least):
                raise InputError(f"smoothing: {name}: expected a number above 0, got {value}")

    @classmethod
    def parse(cls, text: str) -> Smoothing | None:
        """From "on", "off" or up to three numbers with commas between them, in the order of the fields."""
        if text in ("on", "off"):
            return cls() if text == "on" else None
        try:
            values = [float(part) for part in text.split(",")]
            return cls(*values)
        except (ValueError, TypeError) as error:
            raise InputError(f"smoothing: expected on, off or MIN_CUTOFF[,BETA[,D_CUTOFF]], got {text!r}") from error


class OneEuroFilter:
    """The filter of (K, 2) points that belong to one face."""

    def __init__(self, smoothing: Smoothing) -> None:
        self._smoothing = smoothing
        self._time_s: float | None = None
        self._raw = self._smooth = self._velocity = np.zeros((0, 2))

    def __call__(self, points: np.ndarray, timestamp_s: float, size: float) -> np.ndarray:
        """The points at this time, smoothed; unchanged where the last ones lie too far back, or ahead.

        points: (K, 2) pixels. size: of the face, pixels.
        """
        points = np.asarray(points, float)
        step = math.inf if self._time_s is None else timestamp_s - self._time_s
        if not 0 < step <= MAX_GAP_S or len(points) != len(self._raw):
            self._velocity, self._smooth = np.zeros_like(points), points
        else:
            self._follow(points, step, size)
        self._raw, self._time_s = points, timestamp_s
        return self._smooth

    def _follow(self, points: np.ndarray, step: float, size: float) -> None:
        velocity = (points - self._raw) / (step * max(size, 1e-6))
        share = _share(np.array(self._smoothing.d_cutoff_hz), step)
        self._velocity = self._velocity + share * (velocity - self._velocity)
        speed = np.linalg.norm(self._velocity, axis=1, keepdims=True)
        cutoff = self._smoothing.min_cutoff_hz + self._smoothing.beta * speed
        self._smooth = self._smooth + _share(cutoff, step) * (points - self._smooth)


def _share(cutoff_hz: np.ndarray, step: float) -> np.ndarray:
    """How much of a new value a first-order low-pass takes over: the paper's alpha."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * step))


class FaceSmoother:
    """One filter for each track; the box's corners are filtered with the landmarks."""

    def __init__(self, smoothing: Smoothing) -> None:
        self._smoothing = smoothing
        self._filters: dict[int, tuple[OneEuroFilter, float]] = {}

    def __call__(self, faces: Sequence[Face], timestamp_s: float) -> list[Face]:
        """The faces of one frame, smoothed; those without a track_id as they are."""
        smoothed = [self._face(face, timestamp_s) for face in faces]
        self._filters = {
            track: (one, last) for track, (one, last) in self._filters.items() if timestamp_s - last <= MAX_GAP_S
        }
        return smoothed

    def _face(self, face: Face, timestamp_s: float) -> Face:
        if face.track_id is None:
            return face
        one, _ = self._filters.get(face.track_id, (OneEuroFilter(self._smoothing), 0.0))
        self._filters[face.track_id] = (one, timestamp_s)
        box, x = bbox_of_shape(face.landmarks), face.bbox
        points = np.concatenate([face.landmarks, [[x.x1, x.y1], [x.x2, x.y2]]])
        points = one(points, timestamp_s, float((box[2:] - box[:2]).mean()))
        corners = points[68:].ravel().tolist()
        bbox = BBox(*corners) if corners[0] < corners[2] and corners[1] < corners[3] else face.bbox
        return replace(face, landmarks=points[:68], bbox=bbox)
