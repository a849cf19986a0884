"""CSV: one row per face, and one for a picture without a face or with an error; UTF-8, comma, a header line.

Columns: source, status, error, warning, width, height, frame, timestamp_s, face_id, track_id, x1, y1, x2, y2,
detector_score, confidence, scheme, model, provider, detector, x_0 … x_67, y_0 … y_67, pose_Tx … pose_Rz (OpenFace's
names: mm and radians), sharpness, brightness, contrast, cut_off (quality); where they are wanted s_0 … s_67, how far
each point may be off in pixels. What is not there is an empty cell. Tables of version 0.1 end before the pose.

A text cell that begins with = + - @ or a tab or line break would run as a formula in a spreadsheet (CSV injection), so
it gets an apostrophe in front, as does one that begins with an apostrophe; reading takes it away again.
"""

from __future__ import annotations

import csv
import functools
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, TextIO

from facealign_cli.errors import FormatError
from facealign_cli.files.documents import MAY_BE_CUT, PathLike, other_separator, read_grown_csv, reason
from facealign_cli.files.names import name_to_text
from facealign_cli.formats.base import Format, register_format, strict, write_file
from facealign_cli.formats.codec import (
    FACE_COLUMNS,
    POSE_COLUMNS,
    QUALITY_COLUMNS,
    RESULT_COLUMNS,
    RUN_COLUMNS,
    from_dict,
    from_rows,
    guarded,
    to_dict,
    to_rows,
    unguarded,
)
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.records import FrameResult, LeftOut

_X = tuple(f"x_{i}" for i in range(N_LANDMARKS))
_Y = tuple(f"y_{i}" for i in range(N_LANDMARKS))
COLUMNS: tuple[str, ...] = RESULT_COLUMNS + FACE_COLUMNS + RUN_COLUMNS + _X + _Y
"""The header line, up to the pose."""
SIGMA_COLUMNS: tuple[str, ...] = tuple(f"s_{i}" for i in range(N_LANDMARKS))
"""What follows pose and quality where sigma is wanted."""

_COLUMNS_1 = tuple(column for column in COLUMNS if column != "warning")
"""That of version 0.1.0."""

_KNOWN = {*COLUMNS, *POSE_COLUMNS, *QUALITY_COLUMNS, *SIGMA_COLUMNS}
_TEXT = {"source", "status", "error", "warning", *RUN_COLUMNS}
_LISTED = {*_X, *_Y, *SIGMA_COLUMNS}
_FEW = 7
"""A table of so few of these names may be another one, such as of boxes: image, x1, y1, x2, y2, score."""
_INTEGERS = {"width", "height", "frame", "face_id", "track_id"}


_BESIDE = ": of batch videos NAME.csv beside it, or the whole folder of the run"
_OTHERS: dict[tuple[str, ...], str] = {
    ("source", "status", "error", "frames"): "the summary of clips that batch videos writes; the rows of each clip are "
    "in the folder clips beside it, and measure and convert take the whole folder in which it stands",
    (
        "source",
        "frame",
        "timestamp_s",
        "face_id",
        "confidence",
    ): f"a table of measures; give the rows that were measured{_BESIDE}",
    ("source", "face_id", "start_s", "peak_s"): f"a table of blinks; give the rows in which they were found{_BESIDE}",
    ("source", "face_id", "faces", "first_s"): "a summary of persons; give the rows that were measured",
}
"""The tables without landmarks that facealign writes, by their first columns: what they are, and what to give."""


class UnixLines:
    """Ends rows by a line feed alone; the writer quotes a lone carriage return only while its own end has one."""

    def __init__(self, text: TextIO) -> None:
        self.text = text

    def write(self, row: str) -> None:
        self.text.write(row.removesuffix("\r\n") + "\n")


def dump(
    results: Iterable[FrameResult],
    stream: BinaryIO,
    extra: Sequence[str] = (),
    values: Iterable[Mapping[str, Any]] | None = None,
    *,
    sigma: bool = False,
) -> None:
    """Write the table into a binary stream, result by result. Names that are no UTF-8: see `files.names`.

    extra: columns behind the own ones. values: for each result, what stands in them, in each of its rows.
    sigma: whether `SIGMA_COLUMNS` follow the own columns.
    """
    dump_records(map(to_dict, results), stream, extra, values, sigma=sigma)


def dump_records(
    records: Iterable[dict[str, Any]],
    stream: BinaryIO,
    extra: Sequence[str] = (),
    values: Iterable[Mapping[str, Any]] | None = None,
    *,
    sigma: bool = False,
) -> None:
    """The same of records as plain values, as `codec.to_dict` makes them and JSON gives them back."""
    columns = (*COLUMNS, *POSE_COLUMNS, *QUALITY_COLUMNS, *(SIGMA_COLUMNS if sigma else ()))
    own = itertools.repeat(dict[str, Any]()) if values is None else values
    _write(stream, [*columns, *extra], _cells(records, own, columns, extra))


def write_cells(stream: BinaryIO, header: Sequence[str] | None, rows: Iterable[Sequence[object]]) -> None:
    """Write any table into a binary stream as CSV, row by row: None is an empty cell, no text runs as a formula.

    header: None where it stands there already. Names that are no UTF-8 become texts by `files.names`.
    """
    _write(stream, header, ([name_to_text(c) if isinstance(c, str) else c for c in row] for row in rows))


def _write(stream: BinaryIO, header: Sequence[str] | None, rows: Iterable[Sequence[object]]) -> None:
    """The same of rows that hold texts already, but for those of a journal that an earlier version has written."""
    text = io.TextIOWrapper(stream, "utf-8", errors="backslashreplace", newline="", write_through=True)
    try:
        writer = csv.writer(UnixLines(text))
        if header is not None:
            writer.writerow(header)
        for row in rows:
            writer.writerow([guarded(cell) if isinstance(cell, str) else cell for cell in row])
    finally:
        text.detach()  # the stream is the caller's: it stays open


def _cells(
    records: Iterable[dict[str, Any]],
    values: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    extra: Sequence[str],
) -> Iterator[list[object]]:
    for record, more in zip(records, values, strict=False):
        for row in map(_row, to_rows(record)):
            yield [*(row.get(column) for column in columns), *(more.get(column) for column in extra)]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """The row with a column for each coordinate."""
    points = row.get("landmarks", ())
    radii = dict(zip(SIGMA_COLUMNS, row.get("sigma") or (), strict=False))
    return row | radii | {name: value for i, (x, y) in enumerate(points) for name, value in ((_X[i], x), (_Y[i], y))}


def write(path: PathLike, results: Iterable[FrameResult], overwrite: bool = False) -> None:
    """Write the table to a file, atomically. Raises OutputError."""
    write_file(path, results, dump, overwrite)


def with_sigma(fmt: Format) -> Format:
    """This format with the columns `SIGMA_COLUMNS`."""
    dump_sigma = functools.partial(dump, sigma=True)

    def write(path: PathLike, results: Iterable[FrameResult], overwrite: bool = False, **own: Any) -> None:
        write_file(path, results, dump_sigma, overwrite)

    return replace(fmt, write=write, dump=dump_sigma)


def scan(path: PathLike) -> Iterator[FrameResult | LeftOut]:
    """The results of a table, and its last line where that was cut, as what is left out; see `read_grown_csv`.

    Rows of the same picture make one result, see `codec.from_rows`. Columns behind the own ones are passed over. Raises
    InputError if it cannot be read, FormatError if it breaks the rules.
    """
    cut: list[LeftOut] = []
    for line, record in from_rows(_rows(path, cut)):
        yield _result(path, line, record)
    yield from cut


read = strict(scan)


def _rows(path: PathLike, cut: list[LeftOut]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, values) of each row, its landmarks in pairs. cut: gets the last row if it was cut."""
    rows = read_grown_csv(path, strict=True)
    header = next(rows, (0, None))[1] or []
    if not any(tuple(header[: len(own)]) == own for own in (COLUMNS, _COLUMNS_1)):
        raise FormatError(f"{path}: not a table of faces: {_what_of_header(header)}")
    index = {column: i for i, column in enumerate(header) if column in _KNOWN}
    lists = [[(c, index[c]) for c in columns if c in index] for columns in (_X, _Y, SIGMA_COLUMNS)]
    single = [(c, i) for c, i in index.items() if c not in _LISTED]
    for line, cells in rows:
        if cells is None:
            cut.append(LeftOut(str(path), f"line {line}: {MAY_BE_CUT}"))
            continue
        if len(cells) != len(header):
            raise FormatError(f"{path}: line {line}: expected {len(header)} cells, got {len(cells)}")
        try:
            row = {"warning": None} | {column: _value(column, cells[i]) for column, i in single}
            x, y, sigma = (_values(columns, cells) for columns in lists)
        except ValueError as error:
            raise FormatError(f"{path}: line {line}: {reason(error)}") from error
        known = sigma if set(sigma) - {None} else None
        yield line, row | {"landmarks": list(map(list, zip(x, y, strict=True))), "sigma": known}


def _what_of_header(header: Sequence[str]) -> str:
    """What is wrong with a header line that is not ours."""
    if not any(header):
        return "it is empty"
    for columns, what in _OTHERS.items():
        if tuple(header[: len(columns)]) == columns:
            return f"it is {what}"
    if hint := other_separator(header):
        return hint
    missing = [column for column in _COLUMNS_1 if column not in header]
    if len(missing) > len(_COLUMNS_1) // 2:
        return "another header line"
    return (
        f"no column {', '.join(missing[:5])}" if missing else "its columns are in another order, or one was put between"
    )


def _values(columns: Sequence[tuple[str, int]], cells: Sequence[str]) -> list[float | None]:
    """The numbers of these columns, each with its place; None for empty cells."""
    try:
        return [float(cell) if (cell := cells[i]) else None for _, i in columns]
    except ValueError:
        return [_value(column, cells[i]) for column, i in columns]  # says which one it is


def _value(column: str, cell: str) -> Any:
    if column in _TEXT:
        text = unguarded(cell)
        return text if text or column == "source" else None
    if not cell:
        return None
    try:
        return int(cell) if column in _INTEGERS else float(cell)
    except ValueError:
        raise ValueError(f"{column}: expected a number, got {cell!r:.40}") from None


def _result(path: PathLike, line: int, record: dict[str, Any]) -> FrameResult:
    try:
        return from_dict(record)
    except FormatError as error:
        raise FormatError(f"{path}: line {line}: {reason(error)}") from error


def _recognises(start: Any) -> bool:
    """A table of ours, also one that `read` refuses with its reason: with other separators or another order."""
    if not isinstance(start, str):
        return False
    names = re.split(r"[,;\t]", start.partition("\n")[0])
    return names[:4] == list(COLUMNS[:4]) or (len(set(names) - _KNOWN) <= 1 and len(names) > _FEW)


register_format(
    "csv",
    [".csv"],
    write=write,
    scan=scan,
    dump=dump,
    recognises=_recognises,
    loses="points that cannot be seen, sigma",
)
