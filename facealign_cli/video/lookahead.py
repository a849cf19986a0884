"""Smoothing that sees a little ahead: a still face stands still, and no change comes late or loses its height.

A clip in a file can wait for the frames that follow. Each point of a face is fitted by a straight line through its
neighbours in time, before and after, at several widths: the widest, `LookAhead.lag_s` to each side, is the calmest,
and each narrower one, down to the frame alone, adds a detail. A detail counts as far as it stands out from the noise,
so that noise is averaged away, while a blink of three frames keeps its depth and a slow smile has no delay. As lines
are fitted to both sides, steady motion does not lag at any width.

What counts as a detail is told together for what moves together: the head's own motion (shift, turn and scale of the
points that no expression moves) by all of these points, and what is left by each part of the face and by each point.
The noise is measured on the face itself, by the finest details of the last second. Widths are seconds, and thresholds
are multiples of the noise, so that resolution and frame rate make no difference.
Source of the principle: shrinkage of wavelet coefficients (Donoho and Johnstone, Biometrika 1994), here with local
lines (Fan and Gijbels, 1996) in place of wavelets, since frames need not be evenly apart.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facealign_cli.arguments import check_number
from facealign_cli.arrays import Floats
from facealign_cli.landmarks import GROUPS
from facealign_cli.records import Face
from facealign_cli.video.smoothing import MAX_GAP_S, RIGID, Smoothing, moved_to

_SAME_S = 1e-6  # times that differ by less are the same

NOISE_S = 1.0
"""Seconds over which the noise is measured."""

HEAD_TIMES, POINT_TIMES = 5.5, 6.0
"""Details of the head, and of one point, that are less than so many times the noise do not count."""

ALL_TIMES = 1.35
"""Details of so many thresholds count in full. Set on three photos of 300-W as still faces, and on changes drawn into
one of them: the lowest at which a still face is no less calm than with the share 1 - times^-4, which let a blink lose
more of its depth."""

_PARTS: tuple[tuple[tuple[int, ...], float], ...] = (
    (GROUPS["jaw"], 3.3),
    (GROUPS["left_brow"], 2.1),
    (GROUPS["right_brow"], 2.1),
    (GROUPS["nose"], 1.7),
    (GROUPS["left_eye"], 1.8),
    (GROUPS["right_eye"], 1.8),
    (GROUPS["mouth"], 2.65),
    ((68, 69), 3.7),  # corners of the box
)
"""The parts of a face, and the same for each. The values are 1.15 times those below which 98 % of the details lie on
still faces with camera noise (photos other than those of the benchmark): points that a network places near one another
share a part of their noise, so that it is larger than that of independent points."""

_PART_OF = np.array([next(i for i, (part, _) in enumerate(_PARTS) if point in part) for point in range(70)])
_PART_TIMES = np.array([times for _, times in _PARTS])
_PART_MEANS = np.array([[(point in part) / len(part) for part, _ in _PARTS] for point in range(70)])


@dataclass(frozen=True)
class LookAhead:
    """How landmarks are smoothed where the frames that follow can be waited for, as in files.

    lag_s: how many seconds the smoothing looks to each side, and by how much its results come later; up to 0.5. Raises
    InputError for a number out of range.
    """

    lag_s: float = 0.25

    def __post_init__(self) -> None:
        check_number("smoothing: lag_s", self.lag_s, 1e-6, MAX_GAP_S)


def parse_smoothing(text: str) -> LookAhead | Smoothing | None:
    """From "on" (`LookAhead`), "off", or what `Smoothing.parse` takes. Raises InputError."""
    return LookAhead() if text == "on" else None if text == "off" else Smoothing.parse(text)


class LookAheadSmoother:
    """Takes the faces of one frame after another, and gives those of a frame once it has seen what follows it."""

    def __init__(self, options: LookAhead | None = None) -> None:
        self._lag_s = (options or LookAhead()).lag_s
        self._waiting: list[tuple[float, Sequence[Face]]] = []
        self._tracks: dict[int, _Track] = {}

    def push(self, faces: Sequence[Face], timestamp_s: float) -> list[list[Face]]:
        """Take a frame. Returns the faces of the frames that are ready, in the order in which they came.

        Those without a track_id stay as they are.
        """
        given: list[list[Face]] = []
        if self._waiting and timestamp_s <= self._waiting[-1][0]:  # the clip jumps back: what follows is another part
            given, self._tracks = self.flush(), {}
        self._waiting.append((timestamp_s, faces))
        for face in faces:
            if face.track_id is not None:
                self._tracks.setdefault(face.track_id, _Track(self._lag_s)).add(timestamp_s, face)
        ready = sum(timestamp_s - time >= self._lag_s - _SAME_S for time, _ in self._waiting)
        return given + self._give(ready)

    def give_first(self) -> list[list[Face]]:
        """The faces of the frame that waits longest, though not all has come yet that it is to see."""
        return self._give(1)

    def flush(self) -> list[list[Face]]:
        """The faces of the frames that still wait: nothing follows."""
        return self._give(len(self._waiting))

    def _give(self, count: int) -> list[list[Face]]:
        given, self._waiting = self._waiting[:count], self._waiting[count:]
        smoothed = [[self._face(face, time) for face in faces] for time, faces in given]
        if given:
            last = given[-1][0]
            self._tracks = {k: track for k, track in self._tracks.items() if track.is_alive(last)}
        return smoothed

    def _face(self, face: Face, time_s: float) -> Face:
        if face.track_id is None:
            return face
        return moved_to(face, self._tracks[face.track_id].smoothed(time_s))


class _Track:
    """The points of one face over time: 68 landmarks and two corners of the box."""

    def __init__(self, lag_s: float) -> None:
        self._lag_s = lag_s
        self._times: list[float] = []
        self._points: list[Floats] = []  # (70, 2) each
        self._noises: list[tuple[float, float]] = []  # time, pixels

    def add(self, time_s: float, face: Face) -> None:
        """Take the next frame's."""
        box = face.bbox
        self._times.append(time_s)
        self._points.append(np.concatenate([face.landmarks, [[box.x1, box.y1], [box.x2, box.y2]]]))

    def is_alive(self, time_s: float) -> bool:
        """Whether something that follows may still need it; forgets what nothing needs."""
        old = sum(time < time_s - self._lag_s - _SAME_S for time in self._times)
        del self._times[:old], self._points[:old]
        return bool(self._times) and self._times[-1] >= time_s - self._lag_s

    def smoothed(self, time_s: float) -> Floats:
        """(70, 2) the points at a time that was added."""
        near = [i for i, time in enumerate(self._times) if abs(time - time_s) <= self._lag_s + _SAME_S]
        away = tuple(round(self._times[i] - time_s, 6) for i in near)
        kernels, spreads = _kernels(away, self._lag_s)
        own = self._points[self._times.index(time_s)]
        if not len(spreads):
            return own
        fits = np.tensordot(kernels, np.array([self._points[i] for i in near]), 1)
        details = np.diff(fits, axis=0)
        heads = _head_parts(own, details)
        rest = details - heads
        noise = self._noise(time_s, rest[-1] / spreads[-1])
        calmest: Floats = fits[0]
        return calmest + _standing_out(heads, rest, noise * spreads)

    def _noise(self, time_s: float, finest: Floats) -> float:
        """Pixels, of one coordinate: the median over the last second of what the points of a frame have in common."""
        self._noises = [(time, value) for time, value in self._noises if 0 <= time_s - time <= NOISE_S]
        self._noises.append((time_s, 1.4826 * float(np.median(np.abs(finest[:68])))))
        return float(np.median([value for _, value in self._noises]))


@functools.lru_cache(maxsize=1024)
def _kernels(away_s: tuple[float, ...], lag_s: float) -> tuple[Floats, Floats]:
    """(S + 1, N) weights of the frames at times around 0, from the calmest to the frame at 0 alone, and (S,) how much
    of a frame's noise the difference of one to the next has.

    The calmest is the mean, in place of a line, which matters where one side is missing: at the ends of a clip.
    """
    away = np.array(away_s)
    alone: Floats = (away == 0).astype(float)
    step = float(np.median(np.diff(away))) if len(away) > 2 else math.inf  # a line through two points is no smoothing
    kernels = []
    width = lag_s + step / 2
    if math.isfinite(width):
        near = np.maximum(0.0, 1 - (away / width) ** 2)
        kernels.append(near / near.sum())
    while math.isfinite(width) and width > 1.01 * step:
        kernels.append(line_weights(away, width))
        width /= 2
    stack = np.array([*kernels, alone])
    spreads = np.linalg.norm(np.diff(stack, axis=0), axis=1)
    different = np.concatenate([spreads > 1e-6, [True]])
    return stack[different], spreads[different[:-1]]


def line_weights(away_s: Floats, width_s: float) -> Floats:
    """(N,) the weights by which a straight line, fitted to values at times `away_s` around 0, gives its value at 0.

    Times further than `width_s` do not count; nearer ones count by 1 - (time / width)². Without a second time, the
    value at 0 is taken as it is.
    """
    u = away_s / width_s
    near: Floats = np.maximum(0.0, 1 - u**2)
    total, slope, square = near.sum(), (near * u).sum(), (near * u**2).sum()
    determinant = total * square - slope**2
    if determinant < 1e-12:
        return np.asarray(away_s == 0, float)
    weights: Floats = near * (square - slope * u) / determinant
    return weights


_RIGID = np.array(RIGID)


def _head_parts(points: Floats, vectors: Floats) -> Floats:
    """(S, K, 2) what motions of the head make of vectors at (K, 2) points: shift, growth, turn, by least squares."""
    arms = points - points[_RIGID].mean(axis=0)
    across = np.stack([-arms[:, 1], arms[:, 0]], axis=1)
    rigid = vectors[:, _RIGID]
    square = max(float((arms[_RIGID] ** 2).sum()), 1e-12)
    growth, turn = (np.tensordot(rigid, arm[_RIGID], 2)[:, None, None] / square for arm in (arms, across))
    parts: Floats = rigid.mean(axis=1, keepdims=True) + growth * arms + turn * across
    return parts


def _standing_out(heads: Floats, rest: Floats, noises: Floats) -> Floats:
    """(K, 2) the sum of what stands out from the noise in (S, K, 2) details, those of the head and what is left.

    noises: (S,) that of one coordinate in such a detail, pixels.
    """
    floors = np.maximum(noises, 1e-9)[:, None]
    head_times = np.sqrt((heads[:, _RIGID] ** 2).mean(axis=(1, 2)))[:, None] / floors / math.sqrt(2 / len(_RIGID))
    squares = (rest**2).sum(axis=2) / 2
    part_times = np.sqrt(squares @ _PART_MEANS) / floors / _PART_TIMES
    times = np.maximum(np.sqrt(squares) / floors / POINT_TIMES, part_times[:, _PART_OF])
    parts = _share(head_times / HEAD_TIMES)[:, :, None] * heads + _share(times)[:, :, None] * rest
    return np.asarray(parts.sum(axis=0))


def _share(times: Floats) -> Floats:
    """How much of a detail counts: nothing of it up to 1, all of it from `ALL_TIMES` on."""
    above = np.clip((times - 1) / (ALL_TIMES - 1), 0, 1)
    share: Floats = above**2 * (3 - 2 * above)
    return share
