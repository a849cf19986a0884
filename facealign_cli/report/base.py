"""What the parts of the report share: figures as text, escaping, tables that become cards on a narrow screen."""

from __future__ import annotations

import base64
import hashlib
import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import Template

import numpy as np

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="$policy">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<h1>$title</h1>
$sections
</main>
$script</body>
</html>
""")


def page(title: str, sections: Iterable[str], style: str, script: str = "") -> str:
    """A page that stands alone: nothing is loaded from elsewhere, and no other script runs than this one.

    title: plain text. sections: HTML; empty ones are left out. script: without the element around it.
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy, script = f"{policy}; script-src 'sha256-{digest}'", f"<script>{script}</script>\n"
    shown = "\n".join(filter(None, sections))
    return _PAGE.substitute(title=escape(title), style=style, sections=shown, policy=policy, script=script)


def section(title: str, note: str, content: str) -> str:
    """A headed part of the page; nothing where it has no content. note: plain text."""
    if not content:
        return ""
    return f"<section><h2>{escape(title)}</h2>{f'<p>{escape(note)}</p>' if note else ''}{content}</section>"


def jpeg_data(image_bgr: np.ndarray, quality: int = 80) -> str:
    """A picture, (H, W, 3) uint8, as a data URI."""
    import cv2

    _good, data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def nice_ticks(top: float, count: int = 5) -> list[float]:
    """0 and rising multiples of 1, 2 or 5 times a power of ten, up to `top`: at most `count` + 1 of them."""
    if not top > 0:
        return [0.0]
    power = 10 ** np.floor(np.log10(top / count))
    step = next(power * factor for factor in (1, 2, 5, 10) if top / (power * factor) <= count + 1e-9)
    return [float(np.round(i * step, 12)) for i in range(int(top / step + 1e-9) + 1)]


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
