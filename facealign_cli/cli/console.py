"""The one place that prints: tables and progress for people, and what goes to standard output for programs.

Tables go to stdout, the rest to stderr, plain where there is no terminal. Names, metadata and errors come from files
and systems that nobody has checked: whatever in them would steer a terminal is shown, not sent.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import itertools
import json
import os
import re
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

import click

from facealign_cli.errors import for_shell
from facealign_cli.files.names import name_to_text

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress, ProgressColumn

    from facealign_cli.convert import Conversion
    from facealign_cli.formats.base import Format
    from facealign_cli.records import FrameResult, LeftOut

Item = TypeVar("Item")

SOME_FAILED, INTERRUPTED = 3, 130
"""Exit codes besides click's 0 (done), 1 (failed) and 2 (wrong usage)."""


def counted(number: int, noun: str) -> str:
    """The number and its noun: 1 face, 1,000 faces."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


_LEFT_OUT_SHOWN = 10


def conversion(done: Conversion, target: Format, output: Path, left_out: Path | None = None) -> int:
    """Say what was written, what was left out and what the format cannot hold; the exit code that goes with it.

    left_out: the file that lists all that was left out, if one was written.
    """
    tell_not_held(done.left_out, "" if left_out is not None else "; --left-out FILE.csv lists all")
    if left_out is not None:
        message(f"List of what was left out ({len(done.left_out):,}): {left_out}")
    tell_strange_names(done.strange_names)
    if target.loses:
        message(f"{target.name} does not hold: {target.loses}.")
    noun = "picture" if any(result.frame is None for result in done.results) else "frame"
    message(f"{counted(done.n_faces, 'face')} in {counted(len(done.results), noun)}: {output}")
    if again := len(done.results) - len(set(map(_same_faces, done.results))):
        message(f"{counted(again, noun)} had come before, with the same faces: the input holds them more than once.")
    return SOME_FAILED if done.left_out else 0


def _same_faces(result: FrameResult) -> int:
    """A number that is the same for results of one picture, or frame, with the same landmarks."""
    return hash((result.source, result.frame, *(face.landmarks.tobytes() for face in result.faces)))


def tell_not_held(left_out: Iterable[LeftOut], where: str = "") -> None:
    """Name the first ones of what was left out, and say how many more there are. where: that all of them are listed."""
    lost = Counter(map(str, left_out))  # what is of many frames of a clip is said once
    for text, times in itertools.islice(lost.items(), _LEFT_OUT_SHOWN):
        message(f"Left out: {text}{f' ({times:,} times)' if times > 1 else ''}")
    if len(lost) > _LEFT_OUT_SHOWN:
        message(f"… and {len(lost) - _LEFT_OUT_SHOWN:,} more left out{where}.")


def tell_strange_names(names: Sequence[str]) -> None:
    """Say that these names, which are no UTF-8 and of which no file is there, may come from a table's encoding."""
    if names:
        what = f"{counted(len(names), 'name')} {'is' if len(names) == 1 else 'are'} not in UTF-8, such as"
        message(
            f"{what} {name_to_text(names[0])}, and no such file is there. If the table was saved in another encoding, "
            "save it as UTF-8."
        )


def is_terminal() -> bool:
    """Whether standard output is a terminal, with a person before it."""
    return sys.stdout.isatty()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[str] = ()) -> None:
    """A small table on stdout; the columns named in `numbers` are aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=any(columns))
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(plain(cell) for cell in row))
    Console(soft_wrap=not sys.stdout.isatty(), highlight=False, emoji=False, markup=False).print(table)


def plain(cell: object, keep: str = "") -> str:
    """Text that can harm no terminal: control characters and undecodable bytes are shown, not sent.

    keep: control characters that stay, such as line ends.
    """
    text = str(cell).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def print_line(text: str = "") -> None:
    """A line on stdout."""
    click.echo(plain(text))


def print_json(value: Any) -> None:
    """A value as JSON on stdout: all in ASCII, so it steers no terminal."""
    click.echo(json.dumps(value, indent=1))


def stdout_stream() -> BinaryIO:
    """Where the bytes of results go; at a terminal, what would steer it is shown instead."""
    if sys.stdout.isatty():
        return cast(BinaryIO, _TerminalStream(sys.stdout.buffer))
    return sys.stdout.buffer


class _TerminalStream(io.RawIOBase):
    """Text in UTF-8 on its way to a terminal."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        text = self._decoder.decode(bytes(data))
        self._stream.write(plain(text, keep="\n\t").encode())
        self._stream.flush()
        return len(data)


_ERROR = "Error: "
"""What click writes before an error."""


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Around what may raise click's own errors: their texts hold what the user or a file has said."""
    try:
        yield
    except click.ClickException as error:
        said = fitted(f"{_ERROR}{plain(for_shell(error.message), keep=chr(10))}")
        vars(error)["message"] = said.removeprefix(_ERROR)  # click declares it final
        raise


_bars: list[Progress] = []
"""The progress bar on the screen, if there is one: messages go above it."""


def message(text: str) -> None:
    """A line for the person at the terminal, on stderr."""
    text = fitted(plain(for_shell(text)))
    if _bars:
        _bars[-1].console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
    else:
        click.echo(text, err=True)


def fitted(text: str) -> str:
    """The text in lines that fit a terminal on stderr, broken between words alone; as it is where there is none.

    Commands in backticks, what stands in quotes, and paths with spaces in them stay in one piece, to be copied.
    """
    width = _error_width()
    return "\n".join(_wrapped(line, width) if 0 < width < _cells(line) else line for line in text.split("\n"))


def _error_width() -> int:
    """The columns of the terminal on stderr; 0 where there is none, or it does not say."""
    try:
        if not sys.stderr.isatty():
            return 0
        return int(os.environ.get("COLUMNS") or os.get_terminal_size(sys.stderr.fileno()).columns)
    except (OSError, ValueError):
        return 0


def _wrapped(line: str, width: int) -> str:
    lines, end = [""], 0
    for start, stop in _units(line):
        gap, unit = line[end:start], line[start:stop]
        if end and _cells(lines[-1]) + len(gap) + _cells(unit) > width:
            lines.append("  ")
            gap = ""
        lines[-1] += gap + unit
        end = stop
    return "\n".join(lines)


def _units(line: str) -> list[tuple[int, int]]:
    """Where in the line the parts begin and end that may stand in different lines."""
    units = [match.span() for match in _WORD.finditer(line)]
    first = 0
    while first < len(units):
        for last in range(min(first + _MOST_SPACES, len(units) - 1), first, -1):
            path = line[units[first][0] : units[last][1]].rstrip(":;,.")
            if path in sys.argv or os.path.lexists(path):
                units[first : last + 1] = [(units[first][0], units[last][1])]
                break
        first += 1
    return units


_WORD = re.compile(r"(?:`[^`]*`|(?<!\w)'[^']*'(?!\w)|\S)+")
_MOST_SPACES = 16
"""Paths with more spaces are not looked for in messages."""


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def messages(texts: Iterable[str]) -> None:
    """Several lines for the person at the terminal."""
    for text in texts:
        message(text)


LINE_EVERY_S = 30.0
"""Seconds between two lines of progress where there is no terminal."""


def progress(items: Iterable[Item], total: int, what: str, noun: str = "") -> Iterator[Item]:
    """Pass the items through; with a terminal on stderr and more than one of them, a bar is shown meanwhile.

    noun: what the items are, such as "pictures": without a terminal, a line every 30 s tells how many are done.
    """
    if total < 2 or not sys.stderr.isatty():
        yield from lines_of_progress(items, total, noun) if noun else items
        return
    bar = open_bar()
    try:
        yield from bar.track(items, total, description=what)
    finally:
        close_bar(bar)


def lines_of_progress(items: Iterable[Item], total: int | None, noun: str) -> Iterator[Item]:
    """Pass the items through; tell how far it is, every `LINE_EVERY_S` seconds. total: None where it is not known."""
    begin = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if (now := time.monotonic()) - last >= LINE_EVERY_S:
            last = now
            of = "" if total is None else f" of about {total:,}" if noun == "frames" else f" of {total:,}"
            message(f"{done:,}{of} {noun}, {done / (now - begin):.1f} a second")


def open_bar(*columns: ProgressColumn) -> Progress:
    """A progress bar on stderr, of rich's usual columns or of these; messages go above it until it is closed."""
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    bar.start()
    _bars.append(bar)
    return bar


def close_bar(bar: Progress) -> None:
    """Take a bar away, if it is still there."""
    if bar in _bars:
        _bars.remove(bar)
    bar.stop()


@contextlib.contextmanager
def bars_taken_away() -> Iterator[None]:
    """Around a command: no bar is left on the screen when an error ends it, and what is said of the error follows."""
    try:
        yield
    finally:
        while _bars:
            close_bar(_bars[-1])


def tell_left_out(faces: int, min_confidence: float) -> None:
    """Say that faces were left out for their confidence, if any were."""
    if faces:
        what = f"{counted(faces, 'face')} with a confidence below {min_confidence:g}"
        message(f"Left out: {what}; --min-confidence 0 shows all.")


def tell_no_face(pictures: int, what: str, *, any_roll: bool) -> None:
    """Say where no face is reported, if that is so, and what may help where it was not tried."""
    if pictures:
        hint = "" if any_roll else "; if heads lie on their side or stand upside down there, --any-roll may help"
        message(f"No face is reported in {what}{hint}.")
