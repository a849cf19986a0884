"""A clip's rows as arrays over time, for the page about it: who is seen when, and what each face does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from facealign_cli.arrays import Floats, Ints
from facealign_cli.errors import InputError
from facealign_cli.measures import Blink, MeasuredFace
from facealign_cli.measures.blinks import BlinkCount
from facealign_cli.measures.clip import ClipSummariser, ClipSummary
from facealign_cli.measures.tables import SUMMARY_COLUMNS, summary_rows
from facealign_cli.records import Face, FrameResult

VALUES = ("yaw", "pitch", "roll", "eyes", "mouth", "confidence")
"""What is followed of each person: degrees, degrees, degrees, then the measures `eye_opening` and `mouth_opening`."""

DECIMALS = (1, 1, 1, 3, 3, 3)
"""With how many decimals each is shown."""


@dataclass(frozen=True, eq=False)
class Person:
    """One id. rows: (N,) rising, in which of the clip's records it is seen. values: (N, 6) as `VALUES`, NaN: unknown.

    statistics: by the names of `measures.tables.SUMMARY_COLUMNS`.
    """

    number: int
    rows: Ints
    values: Floats
    blinks: tuple[Blink, ...]
    statistics: dict[str, Any]

    @property
    def lost(self) -> Ints:
        """(K,) after which of `rows` the person is out of sight for a while."""
        return np.flatnonzero(np.diff(self.rows) > 1)


@dataclass(frozen=True, eq=False)
class ClipSeries:
    """A clip. times: (R,) seconds, or frames where `timed` is False. frames: (R,). damaged: which records failed.

    persons: those that are seen in most frames first. records: with the times, sizes and ids that count here.
    """

    source: str
    times: Floats
    frames: Ints
    timed: bool
    damaged: Ints
    persons: tuple[Person, ...]
    summary: ClipSummary
    records: tuple[FrameResult, ...]
    blink_count: BlinkCount


def read_series(
    results: Iterable[FrameResult],
    *,
    focal_px: float | None = None,
    size: tuple[int, int] | None = None,
    rate: float | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
) -> ClipSeries:
    """From the records of one clip.

    focal_px: the camera's, for poses that the records lack. size, rate: width and height, and frames a second, where
    the records do not say them. start_s, end_s: only what lies between. Raises InputError for records of pictures, of
    several clips, or without anything between.
    """
    chosen = [_completed(result, size, rate) for result in results]
    _check(chosen)
    timed = all(result.timestamp_s is not None for result in chosen)
    chosen = [one for one in chosen if (start_s or 0) <= _time(one) < (math.inf if end_s is None else end_s)]
    chosen.sort(key=_time)
    if not chosen:
        raise InputError("no frame lies between these times")
    clip = ClipSummariser(chosen[0].source, focal_px, measured=True)
    for record in chosen:
        clip.add(record)
    return ClipSeries(
        clip.source,
        np.array([_time(record) for record in chosen]),
        np.array([record.frame for record in chosen], int),
        timed,
        np.flatnonzero([record.status == "error" for record in chosen]),
        _persons(chosen, clip),
        clip.summary(),
        tuple(chosen),
        clip.blink_count(),
    )


def _check(results: Sequence[FrameResult]) -> None:
    if not results:
        raise InputError("the table holds no rows: no frame of the clip was read")
    if any(result.frame is None for result in results):
        raise InputError("these are rows of pictures, not of a clip: they have no frame numbers")
    clips = list(dict.fromkeys(result.source for result in results))
    if len(clips) > 1:
        names = ", ".join(clips[:3]) + ", …" * (len(clips) > 3)
        raise InputError(
            f"these are rows of {len(clips)} clips ({names}), and a page shows one: give the table of one clip, as "
            "batch videos writes it into OUT/clips"
        )


def _time(result: FrameResult) -> float:
    return float(result.frame or 0) if result.timestamp_s is None else result.timestamp_s


def _completed(result: FrameResult, size: tuple[int, int] | None, rate: float | None) -> FrameResult:
    """The record with time, size and ids, as far as they are known."""
    own: dict[str, Any] = {}
    if result.timestamp_s is None and rate is not None and result.frame is not None:
        own["timestamp_s"] = result.frame / rate
    if not result.width and size is not None:
        own |= {"width": size[0], "height": size[1]}
    if any(face.track_id is None for face in result.faces):
        own["faces"] = tuple(replace(face, track_id=_number(face)) for face in result.faces)
    return replace(result, **own) if own else result


def _number(face: Face) -> int:
    return face.face_id if face.track_id is None else face.track_id


def _persons(records: Sequence[FrameResult], clip: ClipSummariser) -> tuple[Person, ...]:
    faces = [(row, face) for row, record in enumerate(records) for face in record.faces]
    measured = [
        one if face.pose is None else replace(one, pose=face.pose)
        for (_, face), one in zip(faces, clip.measures, strict=True)
    ]
    groups: dict[int, list[tuple[int, MeasuredFace]]] = {}
    for (row, _), one in zip(faces, measured, strict=True):
        groups.setdefault(one.face_id, []).append((row, one))
    blinks, found = clip.blinks(), []
    for cells in summary_rows(measured, blinks):
        facts: dict[str, Any] = dict(zip(SUMMARY_COLUMNS, cells, strict=True))
        own = groups[facts["face_id"]]
        rows, values = np.array([row for row, _ in own]), np.array([_values(one) for _, one in own], float)
        mine = tuple(blink for blink in blinks if blink.face_id == facts["face_id"])
        found.append(Person(facts["face_id"], rows, values, mine, facts))
    return tuple(sorted(found, key=lambda person: (-len(person.rows), person.number)))


def _values(one: MeasuredFace) -> list[float | None]:
    pitch, yaw, roll = (None,) * 3 if one.pose is None else map(math.degrees, one.pose.rotation_rad)
    return [yaw, pitch, roll, one.measures.eye_opening, one.measures.mouth_opening, one.confidence]
