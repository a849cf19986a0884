"""A shard's file: made of the journal's lines, in each format, and without its failed pictures."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterable
from typing import Any

from facealign_cli.batch.base import EXTRA, SHARD_SUFFIXES, JournalLine
from facealign_cli.formats import csv as csv_format
from facealign_cli.formats import parquet
from facealign_cli.formats.codec import to_rows


def encode_shard(lines: Iterable[bytes], fmt: str, *, sigma: bool = False) -> bytes:
    """A shard's file from the journal's lines, of which as many are unpacked at a time as make a row group.

    sigma: see `RowStore`.
    """
    if SHARD_SUFFIXES[fmt] == ".jsonl":
        return b"".join(lines)
    records, stream = map(_unpacked, lines), io.BytesIO()
    if fmt == "csv":
        own, extra = itertools.tee(records)
        csv_format.dump_records(own, stream, tuple(EXTRA), extra, sigma=sigma)
        return stream.getvalue()
    with parquet.open_writer(stream, parquet.table_schema(EXTRA)) as writer:
        while group := list(itertools.islice(records, parquet.ROWS_PER_GROUP)):
            writer.write_table(parquet.rows_to_table((row for record in group for row in to_rows(record)), EXTRA))
    return stream.getvalue()


def _unpacked(line: bytes) -> dict[str, Any]:
    """The record of a line and its extra values, side by side.

    They are not checked: the line was made by `Outcome.to_line`, or checked when an earlier run's journal was read. To
    check it again took two thirds of what the process that gives out the work spends on a picture.
    """
    values: dict[str, Any] = json.loads(line)
    return values


def without_failed(shard: bytes, fmt: str) -> bytes:
    """The same file without the rows of failed pictures."""
    clean: Callable[[bytes], bytes] = {".parquet": parquet_without_failed, ".csv": _clean_csv, ".jsonl": _clean_jsonl}[
        SHARD_SUFFIXES[fmt]
    ]
    return clean(shard)


def parquet_without_failed(shard: bytes) -> bytes:
    """The bytes of a Parquet file of rows, without the rows of failed pictures."""
    pa, pq = parquet.import_pyarrow()
    table, stream = pq.read_table(pa.BufferReader(shard)), io.BytesIO()
    writer = parquet.open_writer(stream, table.schema)
    writer.write_table(table.filter(pa.array([status != "error" for status in table["status"].to_pylist()])))
    writer.close()
    return stream.getvalue()


def _clean_jsonl(shard: bytes) -> bytes:
    return b"".join(line for line in shard.splitlines(keepends=True) if not JournalLine.parse(line).error)


def _clean_csv(shard: bytes) -> bytes:
    text = io.StringIO(shard.decode("utf-8", "surrogateescape"), newline="")
    rows, out = csv.reader(text, strict=True), io.StringIO(newline="")
    writer = csv.writer(csv_format.UnixLines(out))
    status = csv_format.COLUMNS.index("status")
    writer.writerows(row for row in rows if row[status] != "error")
    return out.getvalue().encode("utf-8", "backslashreplace")  # an earlier version wrote bytes that are no UTF-8
