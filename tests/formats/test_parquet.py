"""Parquet: round trip, columns that other readers find, memory, refusals."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facealign_cli import __version__
from facealign_cli.errors import FormatError, InputError, MissingDependency, OutputError
from facealign_cli.formats.base import get_format
from facealign_cli.formats.codec import from_dict, to_dict
from facealign_cli.records import FrameResult
from tests.formats.conftest import assert_same

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from facealign_cli.formats.parquet import (  # noqa: E402 - needs pyarrow
    COLUMNS,
    ROWS_PER_GROUP,
    dump,
    open_writer,
    read,
    table_schema,
    to_table,
    write,
)


def test_round_trip(results, write_read) -> None:
    assert_same(write_read("parquet", results), results)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_to_dict_keeps_comes_back(tmp_path: Path, face, data: st.DataObject) -> None:
    """Any coordinate up to the edge of the largest picture, any score, any text, any count of faces."""
    coordinates = st.floats(-99_999, 99_999, width=64)
    tracks = data.draw(st.lists(st.integers(0, 1 << 40), min_size=3, max_size=3, unique=True))
    faces = [
        face(
            i,
            landmarks=face().landmarks + np.array([data.draw(coordinates), data.draw(coordinates)]),
            confidence=data.draw(st.floats(0, 1)),
            detector_score=data.draw(st.none() | st.floats(-1e6, 1e6)),
            track_id=data.draw(st.none() | st.just(tracks[i])),
        )
        for i in range(data.draw(st.integers(0, 3)))
    ]
    fields = {"frame": data.draw(st.none() | st.integers(0, 1 << 40)), "model": data.draw(st.none() | st.text())}
    sent = [
        FrameResult.of_faces(
            data.draw(st.text()), faces, timestamp_s=data.draw(st.none() | st.floats(0, 1e6)), **fields
        ),
        FrameResult.of_error(os.fsdecode(data.draw(st.binary())), data.draw(st.text(min_size=1)), **fields),
    ]
    write(tmp_path / "a.parquet", sent, overwrite=True)
    assert_same(read(tmp_path / "a.parquet"), [from_dict(to_dict(result)) for result in sent])


def test_a_table_of_the_first_schema(results, tmp_path: Path) -> None:
    """It has no column sigma."""
    write(tmp_path / "new.parquet", results)
    table = pq.read_table(tmp_path / "new.parquet").drop_columns(["sigma"])
    pq.write_table(table.replace_schema_metadata({"facealign.schema": "facealign/1"}), tmp_path / "old.parquet")
    assert_same(read(tmp_path / "old.parquet"), results, sigma=False)


def test_sigma_stands_in_a_list(results, tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", results)
    column = pq.read_table(tmp_path / "a.parquet")["sigma"].to_pylist()
    assert column[2] == results[1].faces[0].sigma.tolist()
    assert all(np.isnan(row).all() for i, row in enumerate(column) if i != 2)


def test_another_reader_finds_the_columns(results, tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", results)
    table = pq.read_table(tmp_path / "a.parquet")
    assert tuple(table.column_names) == COLUMNS
    assert table.num_rows == 9
    landmarks = table["landmarks"]
    assert landmarks.type == pa.list_(pa.float64(), 136)
    assert np.isnan(landmarks[3].as_py()).all()
    shape = np.array(landmarks[1].as_py()).reshape(68, 2)
    np.testing.assert_array_equal(shape, results[0].faces[1].landmarks)
    assert table["x1"][1].as_py() == results[0].faces[1].bbox.x1
    assert table["face_id"].to_pylist() == [0, 1, 0, None, None, None, None, 0, 0]
    assert table.schema.metadata == {b"facealign.schema": b"facealign/2", b"facealign.version": __version__.encode()}
    assert b"x_0, y_0, x_1" in table.schema.field("landmarks").metadata[b"order"]


def test_a_path_that_is_no_unicode(results, write_read, tmp_path: Path) -> None:
    odd = [replace(results[0], source="caf\udce9.jpg"), FrameResult.of_error("b.jpg", "caf\udce9: no such file")]
    got = write_read("parquet", odd)
    assert_same(got[:1], odd[:1])
    assert got[1].error == odd[1].error
    table = pq.read_table(tmp_path / "out")
    assert table["source"][0].as_py() == "caf\\udce9.jpg"
    assert table["source_bytes"].to_pylist() == [b"caf\xe9.jpg", b"caf\xe9.jpg", None]


def test_columns_of_a_caller(results, tmp_path: Path) -> None:
    extra = {"bytes": "int64", "sha256": "string", "read_ms": "double"}
    values = [{"bytes": i, "sha256": f"{i:x}"} for i in range(len(results))]
    table = to_table(results, extra, values)
    assert table.schema == table_schema(extra)
    assert table["bytes"].to_pylist() == [0, 0, 1, 2, 3, 4, 5, 6, 7]
    assert table["read_ms"].null_count == 9
    with open_writer(tmp_path / "a.parquet", table.schema) as writer:
        writer.write_table(table)
    assert_same(read(tmp_path / "a.parquet"), results)
    with pytest.raises(ValueError, match="there already: frame, x1"):
        table_schema({"x1": "double", "frame": "int64", "more": "int64"})
    with pytest.raises(ValueError, match="does not fit"):
        to_table(results[:1], extra, [{"bytes": "many"}])
    assert to_table([]).schema == table_schema()


def test_it_is_written_by_row_groups(results, tmp_path: Path) -> None:
    """What was taken of the results stands in the stream before the rest is asked for."""
    stream, written = io.BytesIO(), []

    def many() -> Iterator[FrameResult]:
        for i in range(3 * ROWS_PER_GROUP):
            if i % ROWS_PER_GROUP == 0:
                written.append(stream.tell())
            yield results[3]

    dump(many(), stream)
    assert written[0] <= 4 < written[1] < written[2]
    assert pq.ParquetFile(io.BytesIO(stream.getvalue())).num_row_groups == 3


def test_a_face_takes_little_room(face, tmp_path: Path) -> None:
    """Random points are the worst case; plain float64 would take 1088 bytes."""
    rng = np.random.default_rng(0)
    results = [FrameResult.of_faces("a", [face(landmarks=rng.uniform(0, 500, (68, 2)))]) for _ in range(1000)]
    write(tmp_path / "a.parquet", results)
    assert (tmp_path / "a.parquet").stat().st_size < 1000 * 600


def spoil(table: pa.Table, how: str) -> pa.Table:
    if how == "no column":
        return table.drop_columns(["track_id"])
    if how == "another type":
        return table.set_column(0, "source", table["frame"])
    if how == "67 points":
        short = pa.array([[1.0] * 134] * table.num_rows, pa.list_(pa.float64(), 134))
        return table.set_column(table.column_names.index("landmarks"), "landmarks", short)
    if how == "a null":
        empty = pa.array([None] * table.num_rows, pa.list_(pa.float64(), 136))
        return table.set_column(table.column_names.index("landmarks"), "landmarks", empty)
    if how == "another schema":
        return table.replace_schema_metadata({"facealign.schema": "facealign/3"})
    status = pa.array(["fine"] * table.num_rows)
    return table.set_column(1, "status", status)


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ("no column", "no column track_id"),
        ("another type", "column source: expected string, got int64"),
        ("67 points", "column landmarks: expected"),
        ("another schema", "facealign/3"),
        ("status", "row 1: status"),
        ("a null", r"a\.parquet"),  # pyarrow up to 23 cannot read it at all
    ],
)
def test_refuses(results, tmp_path: Path, how: str, match: str) -> None:
    pq.write_table(spoil(to_table(results), how), tmp_path / "a.parquet")
    with pytest.raises(FormatError, match=match) as caught:
        read(tmp_path / "a.parquet")
    assert "a.parquet" in str(caught.value)


def test_refuses_what_is_damaged(results, tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", results)
    data = (tmp_path / "a.parquet").read_bytes()
    for damaged in (b"", b"PAR1", data[:-20], data[: len(data) // 2], b"\0" * 3000 + data[3000:]):
        (tmp_path / "b.parquet").write_bytes(damaged)
        with pytest.raises(FormatError, match=r"b\.parquet"):
            read(tmp_path / "b.parquet")


def test_missing_and_existing(tmp_path: Path, results) -> None:
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="folder"):
        read(tmp_path)
    write(tmp_path / "a.parquet", [])
    assert read(tmp_path / "a.parquet") == []
    with pytest.raises(OutputError, match="exists already"):
        write(tmp_path / "a.parquet", results)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for act in (get_format("parquet").require, lambda: write(tmp_path / "a", results), lambda: read(tmp_path / "a")):
        with pytest.raises(MissingDependency, match=r"facealign\[parquet\]"):
            act()
    assert not list(tmp_path.iterdir())


def test_formats_load_no_pyarrow() -> None:
    code = "import sys, facealign_cli.formats.base as base; base.format_names(); print('pyarrow' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60) == "False\n"
