"""Measures, blinks and their statistics as CSV tables: UTF-8, comma, a header line; what is not known is empty."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence

import numpy as np

from facealign_cli.files.output import atomic_write
from facealign_cli.formats.codec import POSE_COLUMNS
from facealign_cli.formats.csv import write_cells
from facealign_cli.measures.base import MEASURES, MeasuredFace
from facealign_cli.measures.blinks import Blink, counted_s, why_untold

FACE_COLUMNS = ("source", "frame", "timestamp_s", "face_id", "confidence")
MEASURE_COLUMNS: tuple[str, ...] = (*FACE_COLUMNS, *MEASURES, *POSE_COLUMNS)
BLINK_COLUMNS = ("source", "face_id", "start_s", "peak_s", "end_s", "duration_s", "depth")

ANGLES = ("pitch_deg", "yaw_deg", "pose_roll_deg")
"""The pose's Rx, Ry and Rz in degrees, in the statistics."""

STATISTICS = ("mean", "sd", "p05", "p95")
SUMMARY_COLUMNS: tuple[str, ...] = (
    *("source", "face_id", "faces", "first_s", "last_s", "mean_confidence", "blinks", "blinks_per_minute"),
    *(f"{name}_{statistic}" for name in (*MEASURES, *ANGLES) for statistic in STATISTICS),
)
"""p05, p95: the values below which 5 and 95 % of the faces lie. Blinks are empty where they cannot be told, and their
rate counts the time in which the eyes were measured."""

PathLike = str | os.PathLike[str]


def write_measures(path: PathLike, faces: Iterable[MeasuredFace], overwrite: bool = False) -> None:
    """One row per face of a frame. Raises OutputError."""
    with atomic_write(path, overwrite) as stream:
        write_cells(stream, MEASURE_COLUMNS, map(_measure_row, faces))


def _measure_row(face: MeasuredFace) -> list[object]:
    measures = [_rounded(getattr(face.measures, name), 4) for name in MEASURES]
    pose: Sequence[float | None] = [None] * len(POSE_COLUMNS)
    if face.pose is not None:
        pose = [_rounded(v, 3) for v in face.pose.translation_mm] + [_rounded(v, 5) for v in face.pose.rotation_rad]
    confidence = _rounded(face.confidence, 4)
    return [face.source, face.frame, _rounded(face.timestamp_s, 6), face.face_id, confidence, *measures, *pose]


def write_blinks(path: PathLike, blinks: Iterable[Blink], overwrite: bool = False) -> None:
    """One row per blink. Raises OutputError."""
    with atomic_write(path, overwrite) as stream:
        write_cells(stream, BLINK_COLUMNS, map(_blink_row, blinks))


def _blink_row(blink: Blink) -> list[object]:
    times = [_rounded(value, 4) for value in (blink.start_s, blink.peak_s, blink.end_s, blink.duration_s)]
    return [blink.source, blink.face_id, *times, _rounded(blink.depth, 3)]


def write_summary(
    path: PathLike, faces: Iterable[MeasuredFace], blinks: Iterable[Blink], overwrite: bool = False
) -> None:
    """One row per person of a clip: how long it is seen, its blinks, and statistics of each measure and of the pose.

    Raises OutputError.
    """
    with atomic_write(path, overwrite) as stream:
        write_cells(stream, SUMMARY_COLUMNS, summary_rows(faces, blinks))


def summary_rows(faces: Iterable[MeasuredFace], blinks: Iterable[Blink]) -> list[list[object]]:
    """The rows of `write_summary`: values of `SUMMARY_COLUMNS`."""
    groups: dict[tuple[str, int], list[MeasuredFace]] = {}
    counts: dict[tuple[str, int], int] = {}
    for face in faces:
        groups.setdefault((face.source, face.face_id), []).append(face)
    for blink in blinks:
        counts[blink.source, blink.face_id] = counts.get((blink.source, blink.face_id), 0) + 1
    return [_summary_row(key, group, counts.get(key, 0)) for key, group in groups.items()]


def _summary_row(key: tuple[str, int], faces: list[MeasuredFace], blinks: int) -> list[object]:
    times = [face.timestamp_s for face in faces if face.timestamp_s is not None]
    told, seconds = why_untold(faces) is None, counted_s(faces)
    rate = _rounded(60 * blinks / seconds, 2) if seconds > 0 and told else None
    columns = [[getattr(face.measures, name) for face in faces] for name in MEASURES]
    angles = [face.pose.rotation_rad for face in faces if face.pose is not None]
    columns += [[math.degrees(angle[i]) for angle in angles] for i in range(len(ANGLES))]
    confidence = _rounded(float(np.mean([face.confidence for face in faces])), 4)
    first, last = (_rounded(min(times), 6), _rounded(max(times), 6)) if times else (None, None)
    statistics = [value for column in columns for value in _statistics(column)]
    return [*key, len(faces), first, last, confidence, blinks if told else None, rate, *statistics]


def _statistics(values: Iterable[float | None]) -> list[float | None]:
    known = [value for value in values if value is not None]
    if not known:
        return [None] * len(STATISTICS)
    low, high = np.percentile(known, [5, 95]).tolist()
    return [_rounded(value, 4) for value in (float(np.mean(known)), float(np.std(known)), low, high)]


def _rounded(value: float | None, decimals: int) -> float | None:
    return None if value is None else round(float(value), decimals) + 0.0  # + 0.0 turns -0.0 into 0.0
