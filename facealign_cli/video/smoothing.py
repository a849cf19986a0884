"""One Euro filters for landmarks: a still face stands still, a moving one is not held back.

As in One Euro, what comes in is low-passed with a cutoff that grows with the speed. But points that move together tell
more than each by itself: the head's motion (shift, turn and scale, fitted to the points that no expression moves) has
one speed and one cutoff, and is carried on by its own velocity, so that a steady motion does not lag at all; what each
point does besides, as in a blink or a word, has a speed and cutoff of its own. Below a knee the noise's own speed does
not open the filters. Speeds count in face sizes a second and times come with the points, so that the parameters mean
the same at every resolution and frame rate, a variable one too.
Source: Casiez, Roussel, Vogel, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive
Systems", CHI 2012.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from facealign_cli.arguments import check_kind, check_number, check_time, checked_items
from facealign_cli.arrays import Floats
from facealign_cli.boxes import BBox
from facealign_cli.errors import InputError
from facealign_cli.geometry import bbox_of_shape
from facealign_cli.records import Face

MAX_GAP_S = 0.5
"""After a longer gap in a track the filter begins anew."""

RIGID = (0, 1, 2, 14, 15, 16, *range(17, 36), 36, 39, 42, 45)
"""The points that tell the head's motion: upper jaw, brows, nose, corners of the eyes."""

_HEAD_KNEE, _POINT_KNEE = 0.06, 0.25
"""Face sizes a second, below which a speed may be the noise's. Chosen as the defaults of `Smoothing` were."""

_POINT_BETA = 4.0
"""A point's own motion is small and short: its cutoff grows so much faster than the head's."""


@dataclass(frozen=True)
class Smoothing:
    """The parameters of the causal filter.

    min_cutoff_hz: for a face at rest; a lower one is calmer. beta: Hz that the cutoff gains for each face size a second
    of speed; a higher one lags less. d_cutoff_hz: of the low-pass on the speeds; a higher one follows changes of the
    motion sooner, and takes in more noise.
    The defaults were chosen by `python benchmarks/video_smoothing.py`: a photo with camera noise, at rest and moved
    along known paths, and points without noise. Raises InputError for numbers out of range.
    """

    min_cutoff_hz: float = 0.2
    beta: float = 90.0
    d_cutoff_hz: float = 5.0

    def __post_init__(self) -> None:
        for name, least in (("min_cutoff_hz", 1e-6), ("beta", 0.0), ("d_cutoff_hz", 1e-6)):
            check_number(f"smoothing: {name}", getattr(self, name), least, 1e9)

    @classmethod
    def parse(cls, text: str) -> Smoothing:
        """Read "causal" (the defaults), or up to three numbers with commas between them, in the order of the fields."""
        check_kind("smoothing", text, str)
        if text == "causal":
            return cls()
        try:
            return cls(*(float(part) for part in text.split(",")))
        except (ValueError, TypeError) as error:
            wanted = "on, off, causal or MIN_CUTOFF[,BETA[,D_CUTOFF]]"
            raise InputError(f"smoothing: expected {wanted}, got {text!r}") from error


class OneEuroFilter:
    """The filter of (K, 2) points that belong to one face. rigid: which of them tell its motion; None: all."""

    def __init__(self, smoothing: Smoothing, rigid: Sequence[int] | None = None) -> None:
        self._smoothing, self._rigid = smoothing, slice(None) if rigid is None else list(rigid)
        self._time_s: float | None = None
        self._raw: Floats = np.zeros((0, 2))
        self._smooth: Floats = self._raw
        self._own_velocity: Floats = self._raw
        self._head_velocity: Floats = np.zeros(4)
        self._head_speed = self._own_speed = np.zeros(())  # fall no faster than d_cutoff_hz: a turn is no rest

    def __call__(self, points: Floats, timestamp_s: float, size: float) -> Floats:
        """The points at this time, smoothed; unchanged where the last ones lie too far back, or ahead.

        points: (K, 2) pixels. size: of the face, pixels.
        """
        points = np.asarray(points, float)
        step = math.inf if self._time_s is None else timestamp_s - self._time_s
        if not 0 < step <= MAX_GAP_S or len(points) != len(self._raw):
            self._head_velocity, self._own_velocity, self._smooth = np.zeros(4), np.zeros_like(points), points
            self._head_speed = self._own_speed = np.zeros(())
        else:
            self._follow(points, step, max(size, 1e-6))
        self._raw, self._time_s = points, timestamp_s
        return self._smooth

    def _follow(self, points: Floats, step: float, size: float) -> None:
        share = _share(np.array(self._smoothing.d_cutoff_hz), step)
        velocity = (points - self._raw) / step
        head = self._motion(self._raw, velocity)
        own = velocity - self._moved(self._raw, head)
        self._head_velocity = self._head_velocity + share * (head - self._head_velocity)
        self._own_velocity = self._own_velocity + share * (own - self._own_velocity)

        moved = self._moved(self._smooth, self._head_velocity)
        head_speed = np.sqrt((moved**2).sum(axis=1).mean()) / size
        own_speed = np.linalg.norm(self._own_velocity, axis=1, keepdims=True) / size
        self._head_speed = np.maximum(head_speed, (1 - share) * self._head_speed)
        self._own_speed = np.maximum(own_speed, (1 - share) * self._own_speed)

        expected = self._smooth + _trust(head_speed, _HEAD_KNEE) * step * moved
        news = points - expected
        head_news = self._moved(expected, self._motion(expected, news))
        head_share = self._share_of(self._head_speed, _HEAD_KNEE, 1.0, step)
        own_share = self._share_of(self._own_speed, _POINT_KNEE, _POINT_BETA, step)
        self._smooth = expected + head_share * head_news + own_share * (news - head_news)

    def _share_of(self, speed: Floats, knee: float, gain: float, step: float) -> Floats:
        """How much of the news is taken over at a speed."""
        cutoff = self._smoothing.min_cutoff_hz + gain * self._smoothing.beta * _trust(speed, knee) * speed
        return _share(cutoff, step)

    def _motion(self, points: Floats, vectors: Floats) -> Floats:
        """(4,) the shift, growth and turn that come nearest to vectors at the rigid points, in least squares."""
        vectors, arms = vectors[self._rigid], self._arms(points)[self._rigid]
        square = max(float((arms**2).sum()), 1e-12)
        turn = (arms[:, 0] * vectors[:, 1] - arms[:, 1] * vectors[:, 0]).sum()
        return np.array([*vectors.mean(axis=0), (arms * vectors).sum() / square, turn / square])

    def _moved(self, points: Floats, motion: Floats) -> Floats:
        """(K, 2) vectors that such a motion has at the points."""
        arms = self._arms(points)
        across = np.stack([-arms[:, 1], arms[:, 0]], axis=1)
        vectors: Floats = motion[:2] + motion[2] * arms + motion[3] * across
        return vectors

    def _arms(self, points: Floats) -> Floats:
        centre: Floats = points[self._rigid].mean(axis=0)
        return points - centre


def _trust(speed: Floats, knee: float) -> Floats:
    """How far a speed is taken to be more than noise, 0 to 1."""
    return speed**2 / (speed**2 + knee**2)


def _share(cutoff_hz: Floats, step: float) -> Floats:
    """How much of a new value a first-order low-pass takes over: the paper's alpha."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * step))


def moved_to(face: Face, points: Floats) -> Face:
    """The face at (70, 2) points: its landmarks, then two corners of its box, which stays where these make no box."""
    try:
        bbox = BBox(*points[68:].ravel().tolist())
    except ValueError:  # a box of next to nothing, turned inside out by what it was before
        bbox = face.bbox
    return replace(face, landmarks=points[:68], bbox=bbox)


class FaceSmoother:
    """Smooths the faces of a clip, with one filter for each track; the corners of the box are smoothed as well.

    Make one for each clip, and call it with the faces of each frame and the frame's time in seconds. Raises InputError
    for what are no faces, and for a time that is none or does not come after the last one.
    """

    def __init__(self, smoothing: Smoothing) -> None:
        check_kind("smoothing", smoothing, Smoothing)
        self._smoothing = smoothing
        self._filters: dict[int, tuple[OneEuroFilter, float]] = {}
        self._last_s = -math.inf

    def __call__(self, faces: Sequence[Face], timestamp_s: float) -> list[Face]:
        """The faces of one frame, smoothed; those without a track_id as they are."""
        check_time("timestamp_s", timestamp_s, self._last_s, "make a FaceSmoother for each clip")
        faces, self._last_s = list(checked_items("faces", faces, Face)), timestamp_s
        smoothed = [self._face(face, timestamp_s) for face in faces]
        self._filters = {
            track: (one, last) for track, (one, last) in self._filters.items() if timestamp_s - last <= MAX_GAP_S
        }
        return smoothed

    def _face(self, face: Face, timestamp_s: float) -> Face:
        if face.track_id is None:
            return face
        one, _ = self._filters.get(face.track_id, (OneEuroFilter(self._smoothing, RIGID), 0.0))
        self._filters[face.track_id] = (one, timestamp_s)
        box, x = bbox_of_shape(face.landmarks), face.bbox
        points = np.concatenate([face.landmarks, [[x.x1, x.y1], [x.x2, x.y2]]])
        points = one(points, timestamp_s, float((box[2:] - box[:2]).mean()))
        return moved_to(face, points)
