"""A shard's file: made of the journal's lines, in each format, and without its failed pictures."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterable

from facealign_cli.batch.base import EXTRA, SHARD_SUFFIXES, JournalLine, Outcome
from facealign_cli.formats import csv as csv_format
from facealign_cli.formats import parquet


def encode_shard(lines: Iterable[bytes], fmt: str, *, sigma: bool = False) -> bytes:
    """A shard's file from the journal's lines, of which as many are unpacked at a time as make a row group.

    sigma: see `RowStore`.
    """
    if SHARD_SUFFIXES[fmt] == ".jsonl":
        return b"".join(lines)
    outcomes, stream = map(Outcome.from_line, lines), io.BytesIO()
    if fmt == "csv":
        for_records, for_extra = itertools.tee(outcomes)
        records, extra = (outcome.record for outcome in for_records), (outcome.extra for outcome in for_extra)
        csv_format.dump(records, stream, tuple(EXTRA), extra, sigma=sigma)
        return stream.getvalue()
    with parquet.open_writer(stream, parquet.table_schema(EXTRA)) as writer:
        while group := list(itertools.islice(outcomes, parquet.ROWS_PER_GROUP)):
            writer.write_table(parquet.to_table([o.record for o in group], EXTRA, [o.extra for o in group]))
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
