"""A run's log.csv: a row for each evaluation."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from facealign_cli.errors import FormatError


def read_log(log: Path) -> list[dict[str, float]]:
    """The rows of a log. Raises FormatError."""
    with log.open(newline="", encoding="utf-8") as file:
        try:
            rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        except (ValueError, TypeError) as error:
            raise FormatError(f"{log}: not a training log: {error}") from error
    if not rows:
        raise FormatError(f"{log}: no rows in it yet")
    return rows


def drop_rows_after(path: Path, step: int) -> None:
    """Forget log rows that a killed run wrote after its last checkpoint; they will be written again."""
    if path.exists():
        rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = rows[:1] + [row for row in rows[1:] if row.endswith("\n") and int(row.split(",")[0] or 0) <= step]
        path.write_text("".join(kept), encoding="utf-8")


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row, and a header where the file is new."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)
