"""A shard's file: made of the journal's lines, in each format, and without its failed pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from facealign_cli.batch.base import EXTRA, SHARD_SUFFIXES, JournalLine, Outcome
from facealign_cli.formats import csv as csv_format
from facealign_cli.formats import parquet


def encode_shard(lines: Sequence[bytes], fmt: str, *, sigma: bool = False) -> bytes:
    """A shard's file from the journal's lines. sigma: see `RowStore`."""
    if SHARD_SUFFIXES[fmt] == ".jsonl":
        return b"".join(lines)
    outcomes = [Outcome.from_line(line) for line in lines]
    records, extra, stream = [o.record for o in outcomes], [o.extra for o in outcomes], io.BytesIO()
    if fmt == "csv":
        csv_format.dump(records, stream, tuple(EXTRA), extra, sigma=sigma)
        return stream.getvalue()
    writer = parquet.open_writer(stream, parquet.table_schema(EXTRA))
    for start in range(0, len(records), parquet.ROWS_PER_GROUP):
        part = slice(start, start + parquet.ROWS_PER_GROUP)
        writer.write_table(parquet.to_table(records[part], EXTRA, extra[part]))
    writer.close()
    return stream.getvalue()


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
    return out.getvalue().encode("utf-8", "surrogateescape")
