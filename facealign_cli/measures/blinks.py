"""Blinks: short dips of a tracked person's eye opening, judged by how open the same person's eyes usually are.

How far the eyes are closed at a time is 1 - opening / open level. The open level is the median of the opening within
`LEVEL_S` around, so narrow eyes and wide ones are judged by their own. A blink is a dip of at least `MIN_DEPTH`, and of
at least `NOISE_TIMES` the noise, that begins and ends within the clip and lasts no longer than `MAX_DURATION_S`, half
of that to each side of its deepest moment; what lasts longer is a look down, or closed eyes. Begin and end are where
the dip crosses a fifth of its depth, interpolated between two frames, or where the eyes stop if they do not open fully.
Two dips are two blinks if the eyes open between them by a quarter of the deeper one's depth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from facealign_cli.arguments import checked_items
from facealign_cli.arrays import Floats
from facealign_cli.measures.base import MeasuredFace

LEVEL_S = 2.0
"""Seconds to each side over which the open level is the median."""

MIN_DEPTH = 0.25
"""Least share by which the eyes close. The landmarks of closed eyes still show a part of the opening, so
that whole blinks have a depth of 0.5 to 0.8; and frames that are far apart miss the deepest moment of a fast one."""

NOISE_TIMES = 5.0
MAX_DURATION_S = 0.8
MAX_GAP_S = 0.25
"""Where the opening is unknown for longer, the series is cut in two."""

LEAST_FRAMES = 3
"""In fewer frames no dip can be seen: whether there was a blink is not known."""

MAX_STEP_S = 0.085
"""Where frames are further apart than that, in the median, blinks fall between them: nothing is found or counted."""

_EDGE, _REOPENED = 0.2, 0.25


@dataclass(frozen=True)
class Blink:
    """One blink of one person.

    source: the clip. face_id: the person's. start_s, peak_s, end_s: seconds of the clip. depth: by what share the eyes
    close at most, 0 to 1.
    """

    source: str
    face_id: int
    start_s: float
    peak_s: float
    end_s: float
    depth: float

    @property
    def duration_s(self) -> float:
        """From begin to end."""
        return self.end_s - self.start_s


def find_blinks(faces: Iterable[MeasuredFace]) -> list[Blink]:
    """The blinks of every person of every clip, by clip, person and time.

    faces: what `measure_results` gives. Faces without a time have none, and nobody has any whose frames are more than
    0.085 s apart. Raises InputError for what are no such faces.
    """
    blinks = []
    for (source, face_id), (times, openings) in _series(checked_items("faces", faces, MeasuredFace)).items():
        for start, peak, end, depth in dips(times, openings) if are_told(times) else ():
            blinks.append(Blink(source, face_id, start, peak, end, depth))
    return blinks


def _series(faces: Iterable[MeasuredFace]) -> dict[tuple[str, int], tuple[Floats, Floats]]:
    """Of each person of each clip whose eyes were measured, the times, (N,) rising seconds, and the openings, (N,)."""
    samples: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for face in faces:
        opening = face.measures.eye_opening
        if face.timestamp_s is not None and opening is not None:
            samples.setdefault((face.source, face.face_id), []).append((face.timestamp_s, opening))
    return {person: tuple(np.array(sorted(own)).T) for person, own in samples.items()}


def are_told(times_s: Floats) -> bool:
    """Whether frames at these times, (N,) rising, are enough, and near enough to one another, to tell blinks."""
    return len(times_s) >= LEAST_FRAMES and float(np.median(np.diff(times_s))) <= MAX_STEP_S


def why_untold(faces: Iterable[MeasuredFace]) -> str | None:
    """Why the blinks of nobody among the faces can be told, as the end of a sentence; None if somebody's can."""
    faces = list(faces)
    series = _series(faces)
    if any(are_told(times) for times, _ in series.values()):
        return None
    if not faces:
        return "there is no face"
    if all(face.measures.eye_opening is None for face in faces):
        return _why_unmeasured(faces)
    if not series:
        return "the rows have no times"
    if all(len(times) < LEAST_FRAMES for times, _ in series.values()):
        return f"nobody's eyes were measured in {LEAST_FRAMES} frames or more"
    return "the frames are too far apart"


def _why_unmeasured(faces: Sequence[MeasuredFace]) -> str:
    """Why there is no eye opening of any of the faces."""
    if any(face.pose is not None for face in faces):
        return "the heads are turned too far"
    if any(face.sized for face in faces):
        return "no head pose fits the landmarks, without which no eye is measured"
    return "the rows do not say how large the pictures are"


@dataclass(frozen=True)
class BlinkCount:
    """How many blinks there are. As text: the number in words, or why there is none.

    number: of those whose blinks can be told; None if there is nobody. why: what `why_untold` gives then. untold: how
    many persons are not among them.
    """

    number: int | None
    why: str | None
    untold: int

    def __str__(self) -> str:
        if self.number is None:
            return f"blinks cannot be told, since {self.why}"
        but = (
            f" (of {self.untold:,} person{'' if self.untold == 1 else 's'} they cannot be told)" if self.untold else ""
        )
        return f"{self.number:,} blink{'' if self.number == 1 else 's'}{but}"


def count_blinks(faces: Iterable[MeasuredFace], blinks: Sequence[Blink]) -> BlinkCount:
    """The number of blinks that were found in faces, and what is not known of it."""
    faces = list(faces)
    told = {person for person, (times, _) in _series(faces).items() if are_told(times)}
    untold = len({(face.source, face.face_id) for face in faces} - told)
    return BlinkCount(len(blinks) if told else None, why_untold(faces), untold)


def counted_s(faces: Iterable[MeasuredFace]) -> float:
    """Over how many seconds the blinks of one person were counted: between frames in which its eyes were measured."""
    return sum(float(steps[steps <= MAX_GAP_S].sum()) for steps in (np.diff(t) for t, _ in _series(faces).values()))


def dips(times_s: Floats, openings: Floats) -> list[tuple[float, float, float, float]]:
    """Begin, deepest moment, end (seconds) and depth of each blink in a series, in the order of time.

    times_s: (N,) rising. openings: (N,) of any unit, above 0.
    """
    found: list[tuple[float, float, float, float]] = []
    cuts = np.flatnonzero(np.diff(times_s) > MAX_GAP_S) + 1
    for times, values in zip(np.split(times_s, cuts), np.split(openings, cuts), strict=True):
        if len(times) >= LEAST_FRAMES:
            found += _dips_of_part(times, _closed_shares(times, values))
    return sorted(found)


def _closed_shares(times: Floats, openings: Floats) -> Floats:
    """(N,) how far the eyes are closed: 0 at the person's open level."""
    first, last = np.searchsorted(times, times - LEVEL_S), np.searchsorted(times, times + LEVEL_S, side="right")
    levels: Floats = np.array([np.median(openings[i:j]) for i, j in zip(first, last, strict=True)])
    return 1 - openings / np.maximum(levels, 1e-9)


def _dips_of_part(times: Floats, closed: Floats) -> Iterator[tuple[float, float, float, float]]:
    noise = 1.4826 * float(np.median(np.abs(np.diff(closed)))) / np.sqrt(2)
    least = max(MIN_DEPTH, NOISE_TIMES * noise)
    left = closed.copy()
    while (depth := float(left[peak := int(np.argmax(left))])) >= least:
        before = _edge(times[peak] - times[peak::-1], closed[peak::-1], depth)
        after = _edge(times[peak:] - times[peak], closed[peak:], depth)
        left[max(peak - int(before or len(closed)), 0) : peak + int(after or len(closed)) + 1] = -1.0
        if before is not None and after is not None:
            yield _time(times, peak - before), float(times[peak]), _time(times, peak + after), depth


def _edge(away_s: Floats, closed: Floats, depth: float) -> float | None:
    """How many samples after the first, which is the deepest, a dip ends.

    away_s: (N,) seconds from the first sample. Eyes that open most of the way and stay there end it where they stop.
    None if the series ends before the dip does, or if the eyes stay closed.
    """
    lowest = 0
    for i in range(1, len(closed)):
        if away_s[i] > MAX_DURATION_S / 2:
            stopped = int(np.argmax(closed <= closed[lowest] + _EDGE / 2 * depth))
            return float(stopped) if closed[stopped] <= depth / 2 else None
        if closed[i] <= _EDGE * depth:
            return i - float((_EDGE * depth - closed[i]) / (closed[i - 1] - closed[i]))
        if closed[i] > closed[lowest] + _REOPENED * depth:  # another dip begins
            return float(lowest)
        lowest = i if closed[i] < closed[lowest] else lowest
    return None


def _time(times: Floats, position: float) -> float:
    return float(np.interp(position, np.arange(len(times)), times))
