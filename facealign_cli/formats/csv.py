"""CSV: one row per face, and one for a picture without a face or with an error; UTF-8, comma, a header line.

Columns: source, status, error, width, height, frame, timestamp_s, face_id, track_id, x1, y1, x2, y2, detector_score,
confidence, scheme, model, provider, detector, x_0 … x_67, y_0 … y_67. What is not there is an empty cell.

A text cell that begins with = + - @ or a tab or line break would run as a formula in a spreadsheet (CSV injection), so
it gets an apostrophe in front, as does one that begins with an apostrophe; reading takes it away again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, TextIO

from facealign_cli.errors import FormatError
from facealign_cli.formats.base import PathLike, from_dict, read_bytes, register_format, to_dict, write_file
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.records import FrameResult

_RESULT_COLUMNS = ("source", "status", "error", "width", "height", "frame", "timestamp_s")
_FACE_COLUMNS = ("face_id", "track_id", "x1", "y1", "x2", "y2", "detector_score", "confidence")
_RUN_COLUMNS = ("scheme", "model", "provider", "detector")
_X = tuple(f"x_{i}" for i in range(N_LANDMARKS))
_Y = tuple(f"y_{i}" for i in range(N_LANDMARKS))
COLUMNS: tuple[str, ...] = _RESULT_COLUMNS + _FACE_COLUMNS + _RUN_COLUMNS + _X + _Y
"""The header line."""

_TEXT = {"source", "status", "error", *_RUN_COLUMNS}
_INTEGERS = {"width", "height", "frame", "face_id", "track_id"}
_RISKY = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


class _UnixLines:
    """Ends rows by a line feed alone; the writer quotes a lone carriage return only while its own end has one."""

    def __init__(self, text: TextIO) -> None:
        self.text = text

    def write(self, row: str) -> None:
        self.text.write(row.removesuffix("\r\n") + "\n")


def dump(results: Iterable[FrameResult], stream: BinaryIO) -> None:
    """Write the table into a binary stream, result by result. A path's bytes that are no UTF-8 stay as they are."""
    text = io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="", write_through=True)
    try:
        writer = csv.writer(_UnixLines(text))
        writer.writerow(COLUMNS)
        for result in results:
            for row in _rows(to_dict(result)):
                writer.writerow([_cell(column, row.get(column)) for column in COLUMNS])
    finally:
        text.detach()  # the stream is the caller's: it stays open


def _rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not record["faces"]:
        yield record
    for face in record["faces"]:
        row = {**record, **face, **dict(zip(("x1", "y1", "x2", "y2"), face["bbox"], strict=True))}
        row |= {x: point[0] for x, point in zip(_X, face["landmarks"], strict=True)}
        row |= {y: point[1] for y, point in zip(_Y, face["landmarks"], strict=True)}
        yield row


def _cell(column: str, value: object) -> object:
    """None is an empty cell for the writer."""
    return f"'{value}" if column in _TEXT and str(value).startswith(_RISKY) else value


def write(path: PathLike, results: Iterable[FrameResult], overwrite: bool = False) -> None:
    """Write the table to a file, atomically. Raises OutputError."""
    write_file(path, results, dump, overwrite)


def read(path: PathLike) -> list[FrameResult]:
    """The results of a table. Raises InputError if it cannot be read, FormatError if it breaks the rules.

    Rows that follow one another, of the same picture and with rising face_id, make one result.
    """
    records: list[dict[str, Any]] = []
    for line, cells in _read_rows(path):
        if len(cells) != len(COLUMNS):
            raise FormatError(f"{path}: line {line}: expected {len(COLUMNS)} cells, got {len(cells)}")
        try:
            row = {column: _value(column, cell) for column, cell in zip(COLUMNS, cells, strict=True)}
        except ValueError as error:
            raise FormatError(f"{path}: line {line}: {error}") from error
        record = _record(row)
        if records and _continues(records[-1], record):
            records[-1]["faces"] += record["faces"]
        else:
            records.append(record | {"line": line})
    return [_result(path, record.pop("line"), record) for record in records]


def _read_rows(path: PathLike) -> Iterator[tuple[int, list[str]]]:
    text = read_bytes(path).decode("utf-8", errors="surrogateescape").removeprefix("\ufeff")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        if tuple(next(reader, ())) != COLUMNS:
            raise FormatError(f"{path}: not a facealign table: another header line")
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise FormatError(f"{path}: line {reader.line_num}: {error}") from error


def _value(column: str, cell: str) -> Any:
    if column in _TEXT:
        text = cell[1:] if cell[:1] == "'" and cell[1:].startswith(_RISKY) else cell
        return text if text or column == "source" else None
    if not cell:
        return None
    try:
        return int(cell) if column in _INTEGERS else float(cell)
    except ValueError:
        raise ValueError(f"{column}: expected a number, got {cell!r:.40}") from None


def _record(row: dict[str, Any]) -> dict[str, Any]:
    record = {column: row[column] for column in _RESULT_COLUMNS + _RUN_COLUMNS}
    if row["face_id"] is None:
        return {**record, "faces": []}
    face = {column: row[column] for column in ("face_id", "track_id", "detector_score", "confidence")}
    face["bbox"] = [row[column] for column in ("x1", "y1", "x2", "y2")]
    face["landmarks"] = [[row[x], row[y]] for x, y in zip(_X, _Y, strict=True)]
    return {**record, "faces": [face]}


def _continues(last: dict[str, Any], record: dict[str, Any]) -> bool:
    if not last["faces"] or not record["faces"]:
        return False
    same = all(last[column] == record[column] for column in _RESULT_COLUMNS + _RUN_COLUMNS)
    return same and record["faces"][0]["face_id"] > last["faces"][-1]["face_id"]


def _result(path: PathLike, line: int, record: dict[str, Any]) -> FrameResult:
    try:
        return from_dict(record)
    except FormatError as error:
        raise FormatError(f"{path}: line {line}: {error}") from error


register_format("csv", [".csv"], write=write, read=read, dump=dump)
