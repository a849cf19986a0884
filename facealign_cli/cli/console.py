"""Tables and progress for people: tables on stdout, the rest on stderr; plain where there is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")

SOME_FAILED, INTERRUPTED = 3, 130
"""Exit codes besides click's 0 (done), 1 (failed) and 2 (wrong usage)."""


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[str] = ()) -> None:
    """A small table on stdout; the columns named in `numbers` are aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=any(columns))
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_plain(cell) for cell in row))
    Console(soft_wrap=not sys.stdout.isatty(), highlight=False, emoji=False, markup=False).print(table)


def _plain(cell: object) -> str:
    """Text that can harm no terminal: control characters and undecodable bytes are shown, not sent."""
    text = str(cell).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


_bars: list[Progress] = []
"""The progress bar on the screen, if there is one: messages go above it."""


def message(text: str) -> None:
    """A line for the person at the terminal, on stderr."""
    if _bars:
        _bars[-1].console.print(_plain(text), markup=False, highlight=False, emoji=False, soft_wrap=True)
    else:
        click.echo(_plain(text), err=True)


def progress(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Pass the items through; with a terminal on stderr and more than one of them, a bar is shown meanwhile."""
    if total < 2 or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        _bars.append(bar)
        try:
            yield from bar.track(items, total, description=what)
        finally:
            _bars.remove(bar)
