"""What the parts of the report share: figures as text, escaping, tables that become cards on a narrow screen."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A table's column. unit: what its numbers are in, or the normaliser of them, set small below the name."""

    name: str
    unit: str = ""

    @property
    def label(self) -> str:
        """Name and unit in one line, for the cards."""
        return f"{self.name}, {self.unit}" if self.unit else self.name


def escape(text: object) -> str:
    """Text for HTML, within elements and attributes; what UTF-8 cannot hold becomes a question mark."""
    return html.escape(str(text).encode("utf-8", "replace").decode("utf-8"))


def percent(fraction: float, digits: int = 2) -> str:
    """A fraction in percent, without the sign: "∞" where it is infinite, "–" where it has no value."""
    if math.isnan(fraction):
        return "–"
    return "∞" if math.isinf(fraction) else f"{100 * fraction:.{digits}f}"


def plural(count: int, noun: str) -> str:
    """ "1 face", "2 faces"."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, emphasised: int = 0, text_last: bool = False
) -> str:
    """An HTML table whose first column heads its rows.

    rows: plain text, escaped here. emphasised: so many rows from the top stand out.
    text_last: the last column is prose.
    """
    head = "".join(_head(c, text_last and i == len(columns) - 1) for i, c in enumerate(columns))
    body = "".join(_row(columns, row, i < emphasised, text_last) for i, row in enumerate(rows))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _head(column: Column, prose: bool) -> str:
    name = escape(column.name).replace(" %", "&nbsp;%")
    unit = f"<small>{escape(column.unit)}</small>" if column.unit else ""
    return f'<th scope="col"{" class=prose" if prose else ""}>{name}{unit}</th>'


def _row(columns: Sequence[Column], row: Sequence[str], emphasised: bool, text_last: bool) -> str:
    cells = [f'<th scope="row">{escape(row[0])}</th>']
    for i, (column, value) in enumerate(zip(columns[1:], row[1:], strict=True), start=1):
        kind = ' class="none"' if value == "–" else ""
        kind = ' class="prose"' if text_last and i == len(row) - 1 else kind
        cells.append(f'<td{kind} data-label="{escape(column.label)}">{escape(value)}</td>')
    return f"<tr{' class=ours' if emphasised else ''}>{''.join(cells)}</tr>"
