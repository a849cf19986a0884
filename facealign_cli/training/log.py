"""A run's log.csv: a row for each evaluation."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from facealign_cli.errors import FormatError
from facealign_cli.files.documents import read_bytes, read_csv
from facealign_cli.files.output import write_bytes


def read_log(log: Path) -> list[dict[str, float]]:
    """The rows of a log, NaN where one has no value.

    Raises InputError if it cannot be read, FormatError if it is no log or has no rows.
    """
    (_, header), *lines = list(read_csv(log)) or [(0, [])]
    if not {"step", "faces"} <= set(header):
        raise FormatError(f"{log}: not a training log: it has no columns step and faces")
    try:
        numbers = ([float(cell or "nan") for cell in cells] for _, cells in lines)
        rows = [dict(zip(header, cells, strict=True)) for cells in numbers]
    except ValueError as error:
        raise FormatError(f"{log}: not a training log: {error}") from error
    if not rows:
        raise FormatError(f"{log}: no rows in it yet")
    return rows


def drop_rows_after(path: Path, step: int) -> None:
    """Forget log rows that a killed run wrote after its last checkpoint; they will be written again.

    Raises FormatError for what is no log.
    """
    if not path.exists():
        return
    rows = read_bytes(path).splitlines(keepends=True)
    try:
        kept = rows[:1] + [row for row in rows[1:] if row.endswith(b"\n") and int(row.split(b",")[0] or 0) <= step]
    except ValueError as error:
        raise FormatError(
            f"{path}: not a training log: {error}; move it away, and the run goes on with a new one"
        ) from error
    write_bytes(path, b"".join(kept), overwrite=True)


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row, and a header where the file is new.

    A run that goes on with other packs may have other columns: each row then has the columns of all, and empty cells.
    Raises OutputError, and the rows that were there stay; FormatError for what is no table.
    """
    lines = [cells for _, cells in read_csv(path)] if path.exists() else []
    header = lines[0] if lines else []
    rows: list[dict[str, Any]] = [dict(zip(header, cells, strict=False)) for cells in lines[1:]]
    columns = dict.fromkeys((*header, *row))
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(columns), restval="")
    writer.writeheader()
    writer.writerows([*rows, row])
    write_bytes(path, stream.getvalue().encode(), overwrite=True)
