"""Evaluations as files: JSON that can be read again, and a table of the faces for a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from facealign_cli.errors import FormatError
from facealign_cli.evaluation import Evaluation, FaceRow, from_dict, to_dict
from facealign_cli.files.output import write_bytes
from facealign_cli.formats.base import read_bytes
from facealign_cli.metrics import NORMALISERS


def write_json(path: Path, evaluation: Evaluation, overwrite: bool = False) -> None:
    """Write the document that `to_dict` gives. Raises OutputError."""
    text = json.dumps(to_dict(evaluation), allow_nan=False)
    write_bytes(path, text.encode() + b"\n", overwrite)


def read_json(path: Path) -> Evaluation:
    """Read such a document. Raises InputError if it cannot be read, FormatError if it is none."""
    try:
        return from_dict(json.loads(read_bytes(path).decode("utf-8-sig")))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not JSON: {error}") from error
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error


def write_csv(path: Path, evaluation: Evaluation, overwrite: bool = False) -> None:
    """Write one row a face: its status, normalisers in pixels, and NMEs as fractions, each column with its normaliser.

    A face without a prediction has empty cells for its errors. Raises OutputError.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    columns = [(name, points) for name in NORMALISERS for points in evaluation.points]
    lengths = [f"{name} px" for name in NORMALISERS]
    errors = [f"NME {points} {name}" for name, points in columns]
    writer.writerow(["name", "folder", "status", "detail", "confidence", *lengths, *errors])
    for row in evaluation.rows:
        writer.writerow([*_texts(row), row.confidence, *row.scales_px.values(), *_errors(row, columns)])
    write_bytes(path, text.getvalue().encode("utf-8", "surrogateescape"), overwrite)


def _texts(row: FaceRow) -> list[str]:
    """An apostrophe keeps a spreadsheet from running a name as a formula, as in `formats.csv`."""
    texts = [row.name, row.folder, row.status, row.detail]
    return [f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "'")) else text for text in texts]


def _errors(row: FaceRow, columns: list[tuple[str, str]]) -> list[float | str]:
    return [row.nme(name, points) if row.status == "ok" else "" for name, points in columns]
