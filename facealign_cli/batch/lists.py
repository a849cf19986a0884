"""Lists of paths: what stands in a text, a table or a Parquet file, path by path."""

from __future__ import annotations

import io
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from facealign_cli.batch.walk import CLIP_SUFFIXES, PICTURE_SUFFIXES
from facealign_cli.errors import FormatError
from facealign_cli.files.documents import UTF16, csv_rows, parsing
from facealign_cli.files.names import text_to_name
from facealign_cli.files.storage import is_url
from facealign_cli.formats.codec import RESULT_COLUMNS, unguarded
from facealign_cli.formats.parquet import import_pyarrow

PATH_COLUMNS = ("path", "source", "file", "filename", "image", "url")
"""Columns of a list that are taken for its paths, the first that is there."""

_BLOCK = 1 << 16


def line_paths(stream: BinaryIO, null: bool) -> Iterator[str]:
    """Paths in a stream of bytes; those that are no UTF-8 keep their bytes as Python does in file names."""
    rest, end = b"", b"\0" if null else b"\n"
    while block := getattr(stream, "read1", stream.read)(_BLOCK):
        *whole, rest = (rest + block).split(end)
        yield from _texts(whole, null)
    yield from _texts([rest], null)


def _texts(lines: Sequence[bytes], null: bool) -> Iterator[str]:
    for line in lines:
        text = line if null else line.removesuffix(b"\r").removeprefix(b"\xef\xbb\xbf")
        if text.startswith(UTF16):
            raise FormatError("the list is in UTF-16: save it as UTF-8 (in PowerShell: Out-File -Encoding utf8)")
        if b"\0" in text:
            raise FormatError("the list holds NUL bytes: if they end its paths, say --null")
        if text:
            yield os.fsdecode(text)


def csv_paths(stream: BinaryIO, name: str, column: str | None) -> Iterator[str]:
    """Paths in a column of a CSV stream; of a single column without a name, the first line is a path, too.

    Raises FormatError where there is no such column, or it cannot be told whether the first line is its name.
    """
    with io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="") as text:
        rows = csv_rows(name, text)
        _, header = next(rows, (0, []))
        if column is None and len(header) == 1 and _is_path(name, header[0]):
            yield header[0]
            header = [PATH_COLUMNS[0]]
        chosen = _column(header, name, column)
        index, own = header.index(chosen), chosen == "source" and set(RESULT_COLUMNS[:3]) <= set(header)
        for _, row in rows:
            if len(row) > index and row[index]:
                yield text_to_name(unguarded(row[index])) if own else row[index]


def parquet_paths(stream: BinaryIO, name: str, column: str | None) -> Iterator[str]:
    """Paths in a column of a Parquet stream. Raises FormatError where there is no such column."""
    _, pq = import_pyarrow()
    with parsing(name, "a Parquet file with a column of paths"):
        file = pq.ParquetFile(stream)
        chosen = _column(file.schema_arrow.names, name, column)
        own = chosen == "source" and b"facealign.schema" in (file.schema_arrow.metadata or {})
        batches = file.iter_batches(columns=[chosen])
    while True:
        with parsing(name, "a Parquet file with a column of paths"):
            batch = next(batches, None)
            paths = [os.fsdecode(value) for value in batch.column(0).to_pylist() if value] if batch is not None else []
        if batch is None:
            return
        yield from map(text_to_name, paths) if own else paths


def _is_path(list_name: str, first: str) -> bool:
    """Whether a single column's first line is a path rather than its name. Raises FormatError if it may be either."""
    if first.strip().lower() in PATH_COLUMNS or (re.search("[;\t]", first) and not os.path.isfile(first)):
        return False
    suffix = os.path.splitext(first)[1].lower()
    if is_url(first) or suffix in PICTURE_SUFFIXES | CLIP_SUFFIXES or os.path.isfile(first):
        return True
    if suffix or re.search(r"[/\\]", first):
        raise FormatError(
            f"{list_name}: its first line {first!r:.80} may be the column's name or a path: if it is the name, say "
            f"--column {shlex.quote(first):.80}; if it is a path, put a line {PATH_COLUMNS[0]!r} above it"
        )
    return False


def _column(names: Sequence[str], list_name: str, wanted: str | None) -> str:
    if not names:
        raise FormatError(f"{list_name}: the list is empty")
    if wanted is None and len(names) == 1 and re.search("[;\t]", names[0]):
        raise FormatError(f"{list_name}: its cells are separated by semicolons or tabs; save it with commas")
    candidates = [wanted] if wanted is not None else [*PATH_COLUMNS, *(names if len(names) == 1 else ())]
    for candidate in candidates:
        for name in names:
            if name.strip().lower() == candidate.strip().lower():
                return name
    raise FormatError(
        f"{list_name}: no column {' or '.join(candidates)}; it has {', '.join(names)[:200] or 'none'}: "
        "name one by --column"
    )
