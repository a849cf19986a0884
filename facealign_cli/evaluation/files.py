"""Evaluations as files: JSON that can be read again, and a table of the faces for a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facealign_cli.errors import FormatError
from facealign_cli.evaluation.base import Irregularity
from facealign_cli.evaluation.figures import Distribution, Evaluation, FaceRow, summarise
from facealign_cli.files.output import write_bytes
from facealign_cli.formats.base import read_bytes
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.metrics import NORMALISERS

SCHEMA = "facealign-evaluation/1"


def write_json(path: Path, evaluation: Evaluation, overwrite: bool = False) -> None:
    """Write the document that `to_dict` gives. Raises OutputError."""
    write_bytes(path, encode_json(evaluation), overwrite)


def encode_json(evaluation: Evaluation) -> bytes:
    """The content of that file."""
    return json.dumps(to_dict(evaluation), allow_nan=False).encode() + b"\n"


def read_json(path: Path) -> Evaluation:
    """Read such a document. Raises InputError if it cannot be read, FormatError if it is none."""
    try:
        return from_dict(json.loads(read_bytes(path).decode("utf-8-sig")))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not JSON: {error}") from error
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
        "irregularities": [vars(item) for item in evaluation.irregularities],
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
    return {**vars(row), "nme": nme, "truth": np.round(row.truth, 3).tolist(), "landmarks": landmarks}


def from_dict(document: Any) -> Evaluation:
    """The evaluation of such values; its summaries are computed anew. Raises FormatError, which says what is wrong."""
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise FormatError(f"not an evaluation by facealign: expected schema {SCHEMA}")
    try:
        rows = tuple(_row_from_dict(values) for values in document["faces"])
        irregularities = tuple(Irregularity(**values) for values in document["irregularities"])
        about, split = dict(document["about"]), str(document["split"])
        normaliser, threshold = document["normaliser"], float(document["threshold"])
        summaries = summarise(rows, normaliser, threshold, split)
    except (KeyError, ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise FormatError(f"not a valid evaluation: {error!r}") from error
    return Evaluation(about, normaliser, threshold, rows, summaries, irregularities, split)


def _row_from_dict(values: dict[str, Any]) -> FaceRow:
    fields = {key: value for key, value in values.items() if key != "nme"}
    shapes = {key: np.array(fields[key], float) for key in ("truth", "landmarks") if fields[key] is not None}
    if any(shape.shape != (N_LANDMARKS, 2) for shape in shapes.values()):
        raise ValueError(f"{fields['name']}: landmarks of another shape")
    return FaceRow(**{**fields, **shapes})


def write_csv(path: Path, evaluation: Evaluation, overwrite: bool = False) -> None:
    """Write the table that `encode_csv` gives. Raises OutputError."""
    write_bytes(path, encode_csv(evaluation), overwrite)


def encode_csv(evaluation: Evaluation) -> bytes:
    """A table: one row a face, with its status, normalisers in pixels, and NMEs as fractions.

    Each column names its normaliser. A face without a prediction has empty cells for its errors.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    columns = [(name, points) for name in NORMALISERS for points in evaluation.points]
    lengths = [f"{name} px" for name in NORMALISERS]
    errors = [f"NME {points} {name}" for name, points in columns]
    writer.writerow(["name", "folder", "status", "detail", "confidence", *lengths, *errors])
    for row in evaluation.rows:
        writer.writerow([*_texts(row), row.confidence, *row.scales_px.values(), *_errors(row, columns)])
    return text.getvalue().encode("utf-8", "surrogateescape")


def _texts(row: FaceRow) -> list[str]:
    """An apostrophe keeps a spreadsheet from running a name as a formula, as in `formats.csv`."""
    texts = [row.name, row.folder, row.status, row.detail]
    return [f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "'")) else text for text in texts]


def _errors(row: FaceRow, columns: list[tuple[str, str]]) -> list[float | str]:
    return [row.nme(name, points) if row.status == "ok" else "" for name, points in columns]
