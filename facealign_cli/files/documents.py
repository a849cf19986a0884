"""Text files that say what somebody else wrote: JSON, CSV and XML, each read by one function that lets nothing through.

Whatever is wrong with a file becomes one error that names it: bytes that are no text, nesting without end, numbers that
no float can hold, keys named twice, values of another type than the one that belongs there. No file is read beyond
`MAX_BYTES`, and no pattern runs over a file that could go back over what it has read.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from facealign_cli.errors import ArgumentError, FacealignError, FormatError, InputError
from facealign_cli.files.base import read_at_most, without_waiting

PathLike = str | os.PathLike[str]
T = TypeVar("T")

MAX_BYTES = 1 << 30
"""The most that is read of a document: 1 GiB."""

MAX_DEPTH = 64
"""The most lists and objects that may stand inside one another in JSON."""

_LARGEST_INTEGER = (1 << 63) - 1
_LONG_NUMBER = re.compile(rb"[0-9]{18}|[eE]\+?[0-9]{3}")
"""What a number that no float or 64-bit integer can hold must contain. It may also stand in a text."""


@contextlib.contextmanager
def reading(path: PathLike) -> Iterator[None]:
    """What the system says when a file is read, as InputError."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder, not a file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_bytes(path: PathLike, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a file. Raises InputError if it cannot be read, FormatError if it is longer than `max_bytes`."""
    try:
        with reading(path), open(path, "rb", opener=without_waiting) as stream:
            data = read_at_most(stream, max_bytes + 1)
    except ValueError as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if len(data) > max_bytes:
        raise FormatError(f"{path}: longer than {max_bytes} bytes")
    return data


@contextlib.contextmanager
def parsing(path: PathLike, what: str, kind: type[FacealignError] = FormatError) -> Iterator[None]:
    """Around somebody else's parser at work on a file: whatever it raises becomes one error that names the file.

    what: what the file should be, such as "an ONNX model". To be laid around the parser's call alone. A list of the
    exceptions that a parser may raise on damaged bytes is never complete, so none is kept.
    """
    try:
        yield
    except FacealignError as error:
        if not isinstance(error, ArgumentError):
            raise
        raise kind(damaged(path, what, error)) from error
    except Exception as error:
        raise kind(damaged(path, what, error)) from error


def damaged(path: PathLike, what: str, error: Exception) -> str:
    """Words for the error about a file that is not what it should be."""
    with contextlib.suppress(OSError, ValueError):
        if os.path.isfile(path) and not os.path.getsize(path):
            return f"{path}: the file is empty"
    said = "it asks for more memory than there is" if isinstance(error, MemoryError) else reason(error)
    return f"{path}: not {what}, or damaged: {said}"


def reason(error: BaseException) -> str:
    """What an error says, in one short line."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return said[:200] if said else type(error).__name__


UTF16 = (b"\xff\xfe", b"\xfe\xff")
"""What a text in UTF-16 begins with: PowerShell's `>` writes such files."""


def as_utf8(data: bytes) -> bytes:
    """A text's bytes as UTF-8, if they begin as UTF-16 does; others as they are. Raises ValueError for a torn text."""
    return data.decode("utf-16").encode("utf-8", "surrogatepass") if data.startswith(UTF16) else data


def parse_json(text: str | bytes, *, nan: bool = False) -> Any:
    """The value of a JSON text: every number in it is finite, every integer has 64 bits, no key stands twice.

    nan: take NaN and Infinity, which Python's own writer makes though they are no JSON.
    Raises ValueError, which says what is wrong, also for bytes that are no UTF-8 and for nesting too deep.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else as_utf8(text)
    numbers: dict[str, Any] = {}
    if _LONG_NUMBER.search(data):  # looking at each number takes twice as long: only where one may be too large
        numbers = {"parse_int": _integer, "parse_float": _number}
    decoded = (text if isinstance(text, str) else data.decode("utf-8-sig")).removeprefix("\ufeff")
    try:
        value = json.loads(decoded, parse_constant=float if nan else _refuse, object_pairs_hook=_unique, **numbers)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if _could_be_deep(data):
        _check_depth(value)
    return value


_STEPS = np.zeros(256, np.int8)
_STEPS[[ord("["), ord("{")]], _STEPS[[ord("]"), ord("}")]] = 1, -1
_BLOCK = 1 << 20


def _could_be_deep(data: bytes) -> bool:
    """Whether more brackets than `MAX_DEPTH` are open anywhere, those in texts counted too."""
    depth = 0
    for start in range(0, len(data), _BLOCK):
        depths = np.cumsum(_STEPS[np.frombuffer(data[start : start + _BLOCK], np.uint8)], dtype=np.int32)
        if depth + int(depths.max()) > MAX_DEPTH:
            return True
        depth += int(depths[-1])
    return False


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [item for items in inner for item in items]
    if level:
        raise ValueError(f"nested too deeply: more than {MAX_DEPTH} lists and objects inside one another")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON value")


def _integer(digits: str) -> int:
    if len(digits) > 20 or abs(value := int(digits)) > _LARGEST_INTEGER:
        raise ValueError(f"a number of {len(digits)} digits, {digits[:12]}…, is too large")
    return value


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:24]} is too large")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r:.60} stands there twice")
    return table


def read_json(path: PathLike, max_bytes: int = MAX_BYTES, *, nan: bool = False) -> Any:
    """The value of a JSON file; see `parse_json`. Raises InputError if it cannot be read, FormatError if it is none."""
    data = read_bytes(path, max_bytes)
    with parsing(path, "JSON"):
        return parse_json(data, nan=nan)


def structured(value: Any, kind: type[T]) -> T:
    """A JSON value as a dataclass (or another type), if every part has the type that is declared.

    Keys that the dataclass does not know are passed over. Raises ValueError, which says where another type stands, also
    for what the dataclass itself refuses.
    """
    import msgspec

    try:
        return msgspec.convert(value, kind)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except msgspec.ValidationError as error:  # a ValueError from msgspec 0.21 on
        raise ValueError(str(error)) from error


def csv_rows(path: PathLike, text: Iterable[str], **dialect: Any) -> Iterator[tuple[int, list[str]]]:
    """(number of the line, cells) of each row of a table that is not empty, the header among them.

    text: its lines, with their line ends (`newline=""`). Raises FormatError, which names the line.
    """
    reader = csv.reader(text, **dialect)
    while True:
        try:
            cells = next(reader, None)
        except (csv.Error, ValueError) as error:
            raise FormatError(f"{path}: line {reader.line_num}: {reason(error)}") from error
        if cells is None:
            return
        if cells:
            yield reader.line_num, cells


def read_csv(path: PathLike, **dialect: Any) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file; see `csv_rows`. Bytes that are no UTF-8 stay as Python keeps them in file names."""
    return csv_rows(path, io.StringIO(_csv_text(path), newline=""), **dialect)


def _csv_text(path: PathLike) -> str:
    data = read_bytes(path)
    with parsing(path, "a table"):
        return as_utf8(data).decode("utf-8-sig", "surrogateescape")


MAY_BE_CUT = "it may not have been written to its end, since no line feed follows it; put one there if it is whole"
"""Why a row is left out that `read_grown_csv` does not give."""


def read_grown_csv(path: PathLike, **dialect: Any) -> Iterator[tuple[int, list[str] | None]]:
    """As `read_csv`, of a file that was written row by row, each with its line feed: None for a row that was cut.

    That is a last one without a line end, if it has fewer cells than the header; or any such one if the lines end with
    line feeds alone, as facealign writes them: a number in its last cell may be half of one.
    """
    text = _csv_text(path)
    rows = csv_rows(path, io.StringIO(text, newline=""), **dialect)
    header = next(rows, None)
    if header is None:
        return
    yield header
    if text.endswith(("\n", "\r")):
        yield from rows
        return
    last = sum(1 for _ in io.StringIO(text, newline=""))
    by_others, before = text.partition("\n")[0].endswith("\r"), header[0]
    while True:
        try:
            line, cells = next(rows, (0, list[str]()))
        except FormatError:
            if before != last - 1:
                raise
            line, cells = last, []  # within quotes
        if not line:
            return
        is_cut = line == last and not (by_others and len(cells) >= len(header[1]))
        yield line, None if is_cut else cells
        before = line


def read_table(path: PathLike) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """The header of a CSV file, empty where the file is, and its rows as (number of the line, column → cell).

    Raises InputError if it cannot be read, FormatError if its cells are separated by something else than commas, if a
    column is there twice, and, as the rows are taken, for one that has more or fewer cells than the header.
    """
    rows = read_csv(path)
    header = next(rows, (0, list[str]()))[1]
    if hint := other_separator(header):
        raise FormatError(f"{path}: {hint}")
    if twice := [name for i, name in enumerate(header) if name and name in header[:i]]:
        raise FormatError(f"{path}: the column {twice[0]!r:.60} is there twice")
    return header, _named_cells(path, header, rows)


def _named_cells(
    path: PathLike, header: list[str], rows: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, dict[str, str]]]:
    for line, cells in rows:
        if len(cells) != len(header):
            comma = "; are there decimal commas in it? numbers need points" if len(cells) > len(header) else ""
            raise FormatError(f"{path}: line {line}: expected {len(header)} cells, got {len(cells)}{comma}")
        yield line, dict(zip(header, cells, strict=True))


def other_separator(header: Sequence[str]) -> str | None:
    """What to do with a table whose header line, read with commas, shows another separator; None if it shows none."""
    text = ",".join(header)
    for character, name in ((";", "semicolons"), ("\t", "tabs")):
        if text.count(character) > len(header):
            return f"its cells are separated by {name}; save it with commas, and with points in its numbers"
    return None


def read_xml(path: PathLike, root: str | None = None, what: str = "") -> ET.Element:
    """The root element of an XML file. root: its tag; what: whose format that is, for the error about another one.

    The content is taken for UTF-8 where it is, whatever its first line says: dlib's imglab writes UTF-8 under
    ISO-8859-1. Definitions of entities are refused wherever they stand: they can unfold without end.
    Raises InputError if it cannot be read, FormatError if it is none.
    """
    data = read_bytes(path)
    with parsing(path, "XML"):
        text = _xml_text(data)
        if "<!ENTITY" in text:
            raise FormatError(f"{path}: entity definitions are not read")
        element = ET.fromstring(text)  # a str: what the first line says of its encoding counts no more
    if root is not None and element.tag != root:
        raise FormatError(f"{path}: not {what}: its root is <{element.tag!s:.40}>, not <{root}>")
    return element


_XML_ENCODING = re.compile(rb"<\?xml[^>]{0,200}?encoding\s{0,9}=\s{0,9}[\"']([A-Za-z0-9._-]{1,40})[\"']")


def _xml_text(data: bytes) -> str:
    """Raises ValueError, LookupError for an encoding that nobody knows or that the content does not have."""
    if data.startswith(UTF16):
        return data.decode("utf-16")
    with contextlib.suppress(UnicodeDecodeError):
        return data.decode("utf-8-sig")
    declared = _XML_ENCODING.match(data[:400])
    return data.decode(declared[1].decode("ascii") if declared else "utf-8")
