"""Predictions by any tool, read face by face from a folder of .pts files or from facealign's JSON or CSV.

The other formats that facealign reads (COCO, CVAT, …) are read as `formats` does.

A face with the wrong number of points, or with NaN, spoils neither its file nor its neighbours, as it would in
`formats`, but is counted and named. Only what is needed has to be there: in JSON each result's `source` and `faces`
with `landmarks`; in CSV the columns `source`, `x_0` …, `y_0` …; `confidence` if any.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from facealign_cli.errors import FormatError, InputError
from facealign_cli.evaluation.base import Status
from facealign_cli.formats.base import find_format, read_bytes
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.records import FrameResult, LeftOut
from facealign_cli.schemes import KNOWN_NUMBERS, to_68


@dataclass(frozen=True, eq=False)
class PredictedFace:
    """One face as a file has it, unchecked. landmarks: (K, 2) pixels, K and values as they are.

    n_given: K of the file, where its points were of another scheme and were taken to 68 (`schemes.to_68`).
    """

    landmarks: np.ndarray
    confidence: float | None = None
    n_given: int = N_LANDMARKS

    @property
    def status(self) -> Status:
        """Whether it can be used."""
        if self.landmarks.shape != (N_LANDMARKS, 2):
            return "wrong_points"
        return "ok" if np.isfinite(self.landmarks).all() else "nan"


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
        pictures = [_picture_of(item) for item in fmt.scan(path)]
    elif path.is_dir():
        pictures = [_read_pts(path, file) for file in sorted(path.rglob("*.pts"))]
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


def _picture_of(item: FrameResult | LeftOut) -> PredictedPicture:
    if isinstance(item, LeftOut):
        return PredictedPicture(re.sub(r"#\d+$", "", item.name), (), item.reason)
    faces = (PredictedFace(face.landmarks, face.confidence) for face in item.faces)
    return PredictedPicture(item.source, tuple(faces), item.error)


def _read_pts(root: Path, file: Path) -> PredictedPicture:
    name = file.relative_to(root).as_posix()
    text = read_bytes(file, 1 << 20).decode("utf-8", "replace")
    body = re.search(r"\{(.*?)\}", text, re.DOTALL)
    if body is None:
        return PredictedPicture(name, (), "not a .pts file: no points between braces")
    try:
        points = np.array([[float(word) for word in line.split()] for line in body[1].splitlines() if line.strip()])
    except ValueError:  # a word that is no number, or lines of unequal length
        return PredictedPicture(name, (), "not a .pts file: its points are no pairs of numbers")
    return PredictedPicture(name, (PredictedFace(np.round(points - 1, 9)),))  # the format counts from 1


def _read_json(path: Path) -> list[PredictedPicture]:
    try:
        document = json.loads(read_bytes(path).decode("utf-8-sig"))
        results = document["results"]
        return [_picture_from_json(record) for record in results]
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not JSON: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(
            f"{path}: not facealign's JSON: expected results with source and faces ({error!r})"
        ) from error


def _picture_from_json(record: dict[str, Any]) -> PredictedPicture:
    faces = [PredictedFace(_points(face["landmarks"]), _number(face.get("confidence"))) for face in record["faces"]]
    return PredictedPicture(str(record["source"]), tuple(faces), record.get("error") and str(record["error"]))


def _points(values: Any) -> np.ndarray:
    try:
        return np.array(values, float)
    except (ValueError, TypeError):  # lists of unequal length, texts
        return np.empty(0)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def _read_csv(path: Path) -> list[PredictedPicture]:
    reader = csv.DictReader(io.StringIO(read_bytes(path).decode("utf-8-sig", "surrogateescape"), newline=""))
    header = reader.fieldnames or ()
    count = sum(bool(re.fullmatch(r"x_\d+", name)) for name in header)
    columns = [(f"x_{i}", f"y_{i}") for i in range(count)]
    missing = [name for name in ("source", "x_0", *(y for _, y in columns)) if name not in header]
    if missing:
        raise FormatError(f"{path}: not facealign's table: no column {missing[0]}")
    try:
        return [_picture_from_row(row, columns) for row in reader]
    except csv.Error as error:
        raise FormatError(f"{path}: line {reader.line_num}: {error}") from error


def _picture_from_row(row: dict[str, Any], columns: list[tuple[str, str]]) -> PredictedPicture:
    source = re.sub(r"^'(?=[=+\-@\t\r\n'])", "", row["source"] or "")  # the guard that formats.csv sets
    values = [(_cell(row[x]), _cell(row[y])) for x, y in columns if row[x] or row[y]]
    if not values:
        return PredictedPicture(source, (), row.get("error") or None)
    return PredictedPicture(source, (PredictedFace(np.array(values), _number(_cell(row.get("confidence")))),))


def _cell(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
