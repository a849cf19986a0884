"""Predictions by any tool, read face by face from a folder of .pts files or from facealign's JSON or CSV.

The other formats that facealign reads (COCO, CVAT, …) are read as `formats` does.

A face with the wrong number of points, or with NaN, spoils neither its file nor its neighbours, as it would in
`formats`, but is counted and named. Only what is needed has to be there: in JSON each result's `source` and `faces`
with `landmarks`; in CSV the columns `source`, `x_0` …, `y_0` …; `confidence` if any.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.errors import FormatError, InputError
from facealign_cli.evaluation.base import Status
from facealign_cli.files.documents import read_json, read_table, structured
from facealign_cli.files.names import text_to_name
from facealign_cli.formats.base import find_format
from facealign_cli.formats.codec import unguarded
from facealign_cli.formats.pts import PTS_FILES, read_points
from facealign_cli.landmarks import LARGEST_COORDINATE, N_LANDMARKS
from facealign_cli.records import FrameResult, LeftOut
from facealign_cli.schemes import KNOWN_NUMBERS, to_68


@dataclass(frozen=True, eq=False)
class PredictedFace:
    """One face as a file has it, unchecked. landmarks: (K, 2) pixels, K and values as they are.

    n_given: K of the file, where its points were of another scheme and were taken to 68 (`schemes.to_68`).
    """

    landmarks: Floats
    confidence: float | None = None
    n_given: int = N_LANDMARKS

    @property
    def status(self) -> Status:
        """Whether it can be used."""
        if self.landmarks.shape != (N_LANDMARKS, 2):
            return "wrong_points"
        usable = np.abs(self.landmarks) <= LARGEST_COORDINATE  # False for NaN
        return "ok" if usable.all() else "nan"


@dataclass(frozen=True)
class PredictedPicture:
    """All faces that a file has for one picture; none where the tool found none, or failed (error)."""

    source: str
    faces: tuple[PredictedFace, ...]
    error: str | None = None


def read_predictions(path: Path) -> list[PredictedPicture]:
    """The pictures of a folder of .pts files, at any depth, or of a file in any format that facealign reads.

    Raises InputError if nothing is there that could be predictions, FormatError for a file without a usable structure.
    """
    readers: dict[str, Callable[[Path], list[PredictedPicture]]] = {".json": _read_json, ".csv": _read_csv}
    fmt = find_format(path)
    if fmt is not None and fmt.name not in ("pts", "json", "csv"):
        pictures = [_picture_of(path, item) for item in fmt.scan(path)]
    elif path.is_dir():
        pictures = [_read_pts(path, file) for file in sorted(path.rglob(PTS_FILES))]
    elif path.suffix.lower() in readers:
        pictures = readers[path.suffix.lower()](path)
    else:
        raise InputError(
            f"{path}: expected predictions: a folder of .pts files, or a file in a format that facealign reads"
        )
    if not pictures:
        raise InputError(f"{path}: no predictions in it")
    return [replace(p, faces=tuple(_in_ibug_68(face) for face in p.faces)) for p in pictures]


def _in_ibug_68(face: PredictedFace) -> PredictedFace:
    """The face with 68 points, if its points are of a scheme that is known by their number; else as it is."""
    shape = face.landmarks.shape
    if len(shape) != 2 or shape[1] != 2 or shape[0] not in KNOWN_NUMBERS:
        return face
    return PredictedFace(to_68(face.landmarks), face.confidence, shape[0])


def _picture_of(path: Path, item: FrameResult | LeftOut) -> PredictedPicture:
    """Raises FormatError where the file itself was cut: which picture lacks its prediction is not known."""
    if isinstance(item, LeftOut):
        if item.name == str(path) and path.is_file():
            raise FormatError(item.within(path))
        return PredictedPicture(re.sub(r"#\d+$", "", item.name), (), item.reason)
    faces = (PredictedFace(face.landmarks, face.confidence) for face in item.faces)
    return PredictedPicture(item.source, tuple(faces), item.error)


def _read_pts(root: Path, file: Path) -> PredictedPicture:
    name = file.relative_to(root).as_posix()
    try:
        return PredictedPicture(name, (PredictedFace(read_points(file)),))
    except FormatError as error:
        return PredictedPicture(name, (), str(error))


def _read_json(path: Path) -> list[PredictedPicture]:
    document = read_json(path, nan=True)  # a point that is NaN spoils its face only
    try:
        results = structured(document, _Document).results
    except ValueError as error:
        raise FormatError(
            f"{path}: not facealign's JSON: expected "
            f'{{"results": [{{"source": "a.jpg", "faces": [{{"landmarks": [[x, y], …]}}]}}]}} ({error})'
        ) from error
    return [
        PredictedPicture(
            text_to_name(result.source),
            tuple(PredictedFace(_points(face.landmarks), _number(face.confidence)) for face in result.faces),
            result.error or None,
        )
        for result in results
    ]


@dataclass(frozen=True)
class _Face:
    """What is read of a face; what cannot be used counts as such, so it may be anything."""

    landmarks: Any
    confidence: Any = None


@dataclass(frozen=True)
class _Result:
    """What is read of a picture."""

    source: str
    faces: list[_Face]
    error: str | None = None


@dataclass(frozen=True)
class _Document:
    """What is read of a document."""

    results: list[_Result]


def _points(values: Any) -> Floats:
    try:
        return np.array(values, float)
    except (ValueError, TypeError, OverflowError):  # lists of unequal length, texts
        return np.empty(0)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def _read_csv(path: Path) -> list[PredictedPicture]:
    header, rows = read_table(path)
    count = sum(re.fullmatch(r"x_[0-9]{1,6}", name) is not None for name in header)
    columns = [(f"x_{i}", f"y_{i}") for i in range(max(count, 1))]
    missing = [name for name in ("source", *itertools.chain(*columns)) if name not in header]
    if missing:
        raise FormatError(
            f"{path}: not facealign's table: expected the columns source, x_0, x_1, …, y_0, y_1, …; "
            f"no column {missing[0]}"
        )
    return [_picture_from_row(row, columns) for _, row in rows]


def _picture_from_row(row: dict[str, str], columns: list[tuple[str, str]]) -> PredictedPicture:
    source = text_to_name(unguarded(row["source"]))
    filled = [i for i, (x, y) in enumerate(columns) if row[x] or row[y]]
    if not filled:
        return PredictedPicture(source, (), row.get("error") or None)
    values = [(_cell(row[x]), _cell(row[y])) for x, y in columns[: filled[-1] + 1]]  # a point between is missing: NaN
    return PredictedPicture(source, (PredictedFace(np.array(values), _number(_cell(row.get("confidence")))),))


def _cell(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
