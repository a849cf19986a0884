"""Parquet: one row per face, and one for a picture without a face or with an error. Needs pyarrow (extra `parquet`).

Columns: those of CSV but for the coordinates, which stand in one column `landmarks`, a list of 136 float64: x_0, y_0,
x_1, y_1, … x_67, y_67, a (68, 2) array row by row; NaN where there is no face, since pyarrow up to 23 cannot read a
list of fixed size that is null. `sigma` is a list of 68 float64, NaN where there is no face or the model does not say
how far its landmarks may be off; tables of facealign/1 have none and are read too. `source_bytes` is null unless the
path is no UTF-8, so that `source` has escapes (see `files.names`): then it holds the path's bytes. Reading needs
`source` alone. The columns of pose and quality come last, null where there are none; tables of earlier versions lack
them.
Values have the decimals of JSON. The schema's metadata hold `facealign.schema` (facealign/2) and `facealign.version`.

A caller may add columns of its own, such as file sizes or timings: `extra` maps their names to pyarrow's names of types
("int64", "string", "double", …). Reading passes over columns that it does not know.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.errors import FormatError, MissingDependency
from facealign_cli.files.base import without_waiting
from facealign_cli.files.documents import PathLike, damaged, reading
from facealign_cli.files.names import text_to_name
from facealign_cli.formats.base import register_format, write_file
from facealign_cli.formats.codec import (
    FACE_COLUMNS,
    POSE_COLUMNS,
    QUALITY_COLUMNS,
    READABLE,
    RESULT_COLUMNS,
    RUN_COLUMNS,
    SCHEMA,
    from_dict,
    from_rows,
    to_dict,
    to_rows,
)
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.records import FrameResult
from facealign_cli.version import __version__

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS_PER_GROUP = 1000
"""Rows that `dump` gathers before it writes them as a row group."""

COLUMNS: tuple[str, ...] = (
    *RESULT_COLUMNS,
    *FACE_COLUMNS,
    *RUN_COLUMNS,
    "landmarks",
    "sigma",
    "source_bytes",
    *POSE_COLUMNS,
    *QUALITY_COLUMNS,
)
"""The columns' names, in their order."""

_LISTS = {"landmarks": 2 * N_LANDMARKS, "sigma": N_LANDMARKS}
"""Columns of lists, with how many numbers each has."""
_INTEGERS = {"width": "int32", "height": "int32", "frame": "int64", "face_id": "int64", "track_id": "int64"}
_NUMBERS = ("timestamp_s", "x1", "y1", "x2", "y2", "detector_score", "confidence", *POSE_COLUMNS, *QUALITY_COLUMNS)
_TYPES = _INTEGERS | dict.fromkeys(_NUMBERS, "double") | {"source_bytes": "binary"}  # the others are texts
_NEVER_NULL = ("source", "status", "width", "height", "scheme")
_ORDER = {
    "landmarks": {"order": "x_0, y_0, x_1, y_1, ... x_67, y_67: 68 points of ibug-68, pixels"},
    "sigma": {"order": "how far each of the 68 points may be off, pixels: a radius that holds 68 of 100"},
}


def import_pyarrow() -> tuple[ModuleType, ModuleType]:
    """pyarrow and pyarrow.parquet. Raises MissingDependency."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependency("Parquet (the formats csv and jsonl need nothing)", "pyarrow", "parquet") from error
    return pyarrow, pyarrow.parquet


def table_schema(extra: Mapping[str, str] | None = None) -> pa.Schema:
    """The columns, those of `extra` last. Raises MissingDependency; ValueError for an unknown type or a taken name."""
    pa, _ = import_pyarrow()
    taken = (extra or {}).keys() & set(COLUMNS)
    if taken:
        raise ValueError(f"extra: columns that are there already: {', '.join(sorted(taken))}")
    fields = [
        pa.field(name, pa.list_(pa.float64(), _LISTS[name]), metadata=_ORDER[name])
        if name in _LISTS
        else pa.field(name, pa.type_for_alias(_TYPES.get(name, "string")), nullable=name not in _NEVER_NULL)
        for name in COLUMNS
    ]
    fields += [pa.field(name, pa.type_for_alias(kind)) for name, kind in (extra or {}).items()]
    return pa.schema(fields, metadata={"facealign.schema": SCHEMA, "facealign.version": __version__})


def to_table(
    results: Sequence[FrameResult],
    extra: Mapping[str, str] | None = None,
    values: Sequence[Mapping[str, Any]] | None = None,
) -> pa.Table:
    """The rows of some results, in memory.

    extra: columns besides the own ones. values: for each result, what stands in them, in each of its rows; a name that
    is missing is null. Raises MissingDependency, and ValueError for values that do not fit their types.
    """
    own = values if values is not None else [{}] * len(results)
    rows = [
        {**row, **{name: more.get(name) for name in extra or ()}}
        for result, more in zip(results, own, strict=True)
        for row in to_rows(to_dict(result))
    ]
    return rows_to_table(rows, extra)


def rows_to_table(rows: Iterable[dict[str, Any]], extra: Mapping[str, str] | None = None) -> pa.Table:
    """The same of rows as `codec.to_rows` makes them, in which the columns of `extra` stand, too."""
    pa, _ = import_pyarrow()
    schema, rows = table_schema(extra), list(map(_texts, rows))
    try:
        arrays = [
            _lists(pa, rows, field.name)
            if field.name in _LISTS
            else pa.array([r.get(field.name) for r in rows], field.type)
            for field in schema
        ]
    except (pa.ArrowException, OverflowError) as error:
        raise ValueError(f"a value that does not fit its column: {error}") from error
    return pa.Table.from_arrays(arrays, schema=schema)


def _texts(row: dict[str, Any]) -> dict[str, Any]:
    """The row with `source_bytes`, and with escapes where a journal of an earlier version has lone surrogates."""
    source = _path_bytes(row["source"])
    texts = {
        k: v.encode("utf-8", "backslashreplace").decode()
        for k, v in row.items()
        if isinstance(v, str) and not v.isascii()
    }
    return {**row, **texts, "source_bytes": source}


def _path_bytes(text: str) -> bytes | None:
    """The bytes of a path that does not stand in its text as it is; None where it does."""
    try:
        data = text_to_name(text).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None  # no path of a Linux file: the text has to do
    return None if data == text.encode("utf-8", "replace") else data


def _lists(pa: ModuleType, rows: list[dict[str, Any]], name: str) -> pa.FixedSizeListArray:
    """(rows, 136) landmarks or (rows, 68) sigma, NaN where a row has none."""
    values = np.full((len(rows), _LISTS[name]), np.nan)
    for place, row in zip(values, rows, strict=True):
        if row.get(name) is not None:
            place[:] = np.ravel(row[name])
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), _LISTS[name])


def open_writer(stream: BinaryIO | PathLike, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of tables with this schema, each as row groups, compressed as suits landmarks. It has to be closed."""
    _, pq = import_pyarrow()
    return pq.ParquetWriter(stream, schema, **writer_options(schema))


def writer_options(schema: pa.Schema) -> dict[str, Any]:
    """How pyarrow's writers are to compress tables with this schema."""
    texts = [field.name for field in schema if field.type == "string"]
    return {"compression": "zstd", "compression_level": 5, "use_dictionary": texts}


def dump(results: Iterable[FrameResult], stream: BinaryIO) -> None:
    """Write the table into a binary stream, a row group at a time: memory does not grow with the number of results."""
    left = iter(results)
    with open_writer(stream, table_schema()) as writer:
        while group := list(itertools.islice(left, ROWS_PER_GROUP)):
            writer.write_table(to_table(group))


def write(path: PathLike, results: Iterable[FrameResult], overwrite: bool = False) -> None:
    """Write the table to a file, atomically. Raises OutputError, MissingDependency."""
    import_pyarrow()
    write_file(path, results, dump, overwrite)


def read(path: PathLike) -> list[FrameResult]:
    """The results of a table. Raises InputError if it cannot be read, FormatError if it breaks the rules.

    Rows that follow one another, of the same picture and with rising face_id, make one result. MissingDependency:
    pyarrow.
    """
    return [_result(path, number, record) for number, record in from_rows(_read_rows(path))]


def _read_rows(path: PathLike) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number from 1, values) of each row."""
    pa, pq = import_pyarrow()
    number = 0
    with reading(path), open(path, "rb", opener=without_waiting) as stream:
        try:
            with pq.ParquetFile(stream) as file:
                _check(path, file.schema_arrow)
                present = [name for name in COLUMNS if name in file.schema_arrow.names]
                for batch in file.iter_batches(ROWS_PER_GROUP, columns=present):
                    for row in _rows_of(path, batch):
                        number += 1
                        yield number, row
        except pa.ArrowException as error:
            raise FormatError(damaged(path, "Parquet", error)) from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise FormatError(f"{path}: damaged: {error}") from error  # Arrow's word for pages that cannot be unpacked


def _check(path: PathLike, schema: pa.Schema) -> None:
    """Raise FormatError unless the own columns are there, with their types."""
    layout = (schema.metadata or {}).get(b"facealign.schema", SCHEMA.encode()).decode("utf-8", "replace")
    if layout not in READABLE:
        raise FormatError(f"{path}: schema {layout!r:.40}, this version reads {' and '.join(READABLE)}")
    for field in table_schema():
        late = ("warning", *POSE_COLUMNS, *QUALITY_COLUMNS, *(("sigma",) if layout != SCHEMA else ()))
        if field.name in late and field.name not in schema.names:
            continue  # a file of version 0.1.0
        if schema.get_field_index(field.name) < 0:
            raise FormatError(f"{path}: not a facealign table: no column {field.name}, or several")
        found = schema.field(field.name).type
        if found != field.type:
            raise FormatError(f"{path}: column {field.name}: expected {field.type}, got {found}")


def _rows_of(path: PathLike, batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    names = [name for name in COLUMNS if name not in _LISTS and name in batch.schema.names]
    shapes = _numbers_of(path, batch, "landmarks").reshape(-1, N_LANDMARKS, 2).tolist()
    if "sigma" in batch.schema.names:
        radii = [None if np.isnan(row).all() else row.tolist() for row in _numbers_of(path, batch, "sigma")]
    else:
        radii = [None] * len(shapes)
    for row, shape, sigma in zip(batch.select(names).to_pylist(), shapes, radii, strict=True):
        del row["source_bytes"]
        yield {"warning": None} | row | {"landmarks": shape, "sigma": sigma}


def _numbers_of(path: PathLike, batch: pa.RecordBatch, name: str) -> Floats:
    """(rows, numbers) of a column of lists."""
    column = batch.column(batch.schema.get_field_index(name))
    if column.null_count:
        raise FormatError(f"{path}: column {name}: expected numbers, got null")
    numbers: Floats = column.flatten().to_numpy(zero_copy_only=False)
    return numbers.reshape(-1, _LISTS[name])


def _result(path: PathLike, number: int, record: dict[str, Any]) -> FrameResult:
    try:
        return from_dict(record)
    except FormatError as error:
        raise FormatError(f"{path}: row {number}: {error}") from error


register_format(
    "parquet",
    [".parquet"],
    write=write,
    read=read,
    dump=dump,
    require=import_pyarrow,
    loses="points that cannot be seen",
    grows=False,
)
