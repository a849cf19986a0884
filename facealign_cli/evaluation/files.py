"""Evaluations as files: JSON that can be read again, and a table of the faces for a spreadsheet."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facealign_cli.errors import FormatError
from facealign_cli.evaluation.base import Irregularity, Status
from facealign_cli.evaluation.figures import Distribution, Evaluation, FaceRow, summarise
from facealign_cli.files.documents import read_json as read_document
from facealign_cli.files.documents import structured
from facealign_cli.files.names import names_to_texts, texts_to_names
from facealign_cli.files.output import write_bytes
from facealign_cli.formats.csv import write_cells
from facealign_cli.landmarks import LARGEST_COORDINATE, N_LANDMARKS
from facealign_cli.metrics import NORMALISERS

SCHEMA = "facealign-evaluation/1"
LARGEST_THRESHOLD = 1e6


def write_json(path: Path, evaluation: Evaluation, overwrite: bool = False) -> None:
    """Write the document that `to_dict` gives. Raises OutputError."""
    write_bytes(path, encode_json(evaluation), overwrite)


def encode_json(evaluation: Evaluation) -> bytes:
    """The content of that file."""
    return json.dumps(to_dict(evaluation), allow_nan=False).encode() + b"\n"


def read_json(path: Path) -> Evaluation:
    """Read such a document. Raises InputError if it cannot be read, FormatError if it is none."""
    document = read_document(path)
    try:
        return from_dict(document)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error


def to_dict(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as plain JSON values; what is infinite or has no value is null; landmarks have 3 decimals.

    `sets` and each face's `nme` follow from the other values: they are there to be read, and `from_dict` derives them.
    """
    return {
        "schema": SCHEMA,
        "about": dict(evaluation.about),
        "split": evaluation.split,
        "normaliser": evaluation.normaliser,
        "threshold": evaluation.threshold,
        "sets": [_plain(vars(summary)) for summary in evaluation.summaries],
        "irregularities": [names_to_texts(vars(item)) for item in evaluation.irregularities],
        "faces": [_row_to_dict(row) for row in evaluation.rows],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Distribution):
        return _plain(vars(value))
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _row_to_dict(row: FaceRow) -> dict[str, Any]:
    landmarks = None if row.landmarks is None else np.round(row.landmarks, 3).tolist()
    nme = {key: _plain(row.nme(key)) for key in row.scales_px}
    return {**names_to_texts(vars(row)), "nme": nme, "truth": np.round(row.truth, 3).tolist(), "landmarks": landmarks}


@dataclass(frozen=True)
class _Face:
    """A `FaceRow` as it stands in the document."""

    name: str
    folder: str
    status: Status
    truth: list[tuple[float, float]]
    scales_px: dict[str, float]
    errors_px: dict[str, float]
    landmarks: list[tuple[float, float]] | None
    confidence: float | None
    image_path: str | None
    detail: str


@dataclass(frozen=True)
class _Document:
    """What `to_dict` writes, but for what follows from the rest."""

    schema: str
    about: dict[str, str]
    split: str
    normaliser: str
    threshold: float
    irregularities: list[Irregularity]
    faces: list[_Face]

    def __post_init__(self) -> None:
        if self.normaliser not in NORMALISERS or not 0 < self.threshold <= LARGEST_THRESHOLD:
            raise ValueError(
                f"expected a normaliser of {', '.join(NORMALISERS)} and a threshold of 0 to {LARGEST_THRESHOLD:g}, got "
                f"{self.normaliser!r:.40} and {self.threshold:g}"
            )
        if not self.faces:
            raise ValueError("no faces in it")


def from_dict(document: Any) -> Evaluation:
    """The evaluation of such values; its summaries are computed anew. Raises FormatError, which says what is wrong."""
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise FormatError(f"not an evaluation by facealign: expected schema {SCHEMA}")
    try:
        values = structured(document, _Document)
        rows = tuple(_row(face) for face in values.faces)
    except ValueError as error:
        raise FormatError(f"not a valid evaluation: {error}") from error
    if len({tuple(row.errors_px) for row in rows if row.errors_px}) > 1:
        raise FormatError("not a valid evaluation: its faces have errors of unlike points")
    summaries = summarise(rows, values.normaliser, values.threshold, values.split)
    about, odd = values.about, tuple(Irregularity(**texts_to_names(vars(item))) for item in values.irregularities)
    return Evaluation(about, values.normaliser, values.threshold, rows, summaries, odd, values.split)


def _row(face: _Face) -> FaceRow:
    shapes = {key: np.array(getattr(face, key)) for key in ("truth", "landmarks") if getattr(face, key) is not None}
    for key, shape in shapes.items():
        if shape.shape != (N_LANDMARKS, 2) or not np.abs(shape).max() <= LARGEST_COORDINATE:
            raise ValueError(f"{face.name:.80}: expected {N_LANDMARKS} points of a picture as {key}")
    return FaceRow(**{**texts_to_names(vars(face)), **shapes})


def write_csv(path: Path, evaluation: Evaluation, overwrite: bool = False) -> None:
    """Write the table that `encode_csv` gives. Raises OutputError."""
    write_bytes(path, encode_csv(evaluation), overwrite)


def encode_csv(evaluation: Evaluation) -> bytes:
    """A table: one row a face, with its status, normalisers in pixels, and NMEs as fractions.

    Each column names its normaliser. A face without a prediction has empty cells for its errors.
    """
    columns = [(name, points) for name in NORMALISERS for points in evaluation.points]
    lengths = [f"{name} px" for name in NORMALISERS]
    errors = [f"NME {points} {name}" for name, points in columns]
    stream = io.BytesIO()
    write_cells(
        stream,
        ["name", "folder", "status", "detail", "confidence", *lengths, *errors],
        (
            [
                row.name,
                row.folder,
                row.status,
                row.detail,
                row.confidence,
                *row.scales_px.values(),
                *_errors(row, columns),
            ]
            for row in evaluation.rows
        ),
    )
    return stream.getvalue()


def _errors(row: FaceRow, columns: list[tuple[str, str]]) -> list[float | str]:
    return [row.nme(name, points) if row.status == "ok" else "" for name, points in columns]
