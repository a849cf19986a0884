"""Rows stand in the file as soon as they are known: whatever ends the run, the file can be read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from facealign_cli.boxes import BBox
from facealign_cli.errors import InputError, OutputError
from facealign_cli.formats.base import get_format
from facealign_cli.formats.growing import check_rows, partial_path, stream_rows, write_rows
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.records import Face, FrameResult


def results(count: int = 5) -> list[FrameResult]:
    box = [10.0, 20.0, 110.0, 120.0]
    face = Face(0, BBox(*box), init_shape_from_bbox(box), 0.9, track_id=0)
    return [
        FrameResult.of_faces("a.mp4", [face] if i % 2 else [], frame=i, timestamp_s=i / 25, width=200, height=200)
        for i in range(count)
    ]


@pytest.mark.parametrize("name", ["csv", "json", "jsonl", "openface"])
def test_after_every_frame_the_file_is_whole(tmp_path: Path, name: str) -> None:
    path, fmt, seen = tmp_path / "rows", get_format(name), []

    def watched() -> Iterator[FrameResult]:
        for result in results():
            seen.append([r.frame for r in fmt.read(path)])
            yield result

    write_rows(path, watched(), fmt)
    assert seen == [list(range(i)) for i in range(5)]
    assert [r.frame for r in fmt.read(path)] == list(range(5))


@pytest.mark.parametrize("name", ["csv", "json", "jsonl", "openface", "parquet"])
def test_the_end_is_what_the_format_writes_itself(tmp_path: Path, name: str) -> None:
    fmt, stream = get_format(name), io.BytesIO()
    write_rows(tmp_path / "a", iter(results()), fmt)
    fmt.write(tmp_path / "b", results())
    stream_rows(stream, iter(results()), fmt)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == stream.getvalue()


@pytest.mark.parametrize("name", ["csv", "json", "parquet"])
def test_an_error_keeps_the_rows_so_far(tmp_path: Path, name: str) -> None:
    def broken() -> Iterator[FrameResult]:
        yield from results(3)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_rows(tmp_path / "rows", broken(), get_format(name))
    assert len(get_format(name).read(tmp_path / "rows")) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    path, fmt = tmp_path / "rows.csv", get_format("csv")
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write_rows(path, results(), fmt)
    assert path.read_text() == "mine"
    write_rows(path, results(), fmt, overwrite=True)
    assert len(fmt.read(path)) == 5


def test_a_format_of_one_file_per_face_does_not_go(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a file for each face; these can: csv, dlc, json, jsonl, openface, parquet$"):
        write_rows(tmp_path / "rows", results(), get_format("pts"))


def test_what_can_be_read_only_at_the_end_stands_beside_until_then(tmp_path: Path) -> None:
    path, fmt, seen = tmp_path / "rows.parquet", get_format("parquet"), []
    partial = partial_path(fmt, path)
    assert partial == tmp_path / "rows.parquet.partial.jsonl"

    def watched() -> Iterator[FrameResult]:
        for result in results():
            seen.append([r.frame for r in get_format("jsonl").read(partial)])
            yield result

    write_rows(path, watched(), fmt)
    assert seen == [list(range(i)) for i in range(5)]
    assert [r.frame for r in fmt.read(path)] == list(range(5))
    assert [file.name for file in tmp_path.iterdir()] == ["rows.parquet"]


def test_the_rows_of_a_killed_run_are_not_written_over_unasked(tmp_path: Path) -> None:
    path, fmt, partial = tmp_path / "a.parquet", get_format("parquet"), tmp_path / "a.parquet.partial.jsonl"
    get_format("jsonl").write(partial, results(3))
    with pytest.raises(OutputError, match=r"a\.parquet\.partial\.jsonl holds the rows of a run that did not end"):
        check_rows(fmt, path)
    assert len(get_format("jsonl").read(partial)) == 3
    write_rows(path, results(), fmt, overwrite=True)
    assert len(fmt.read(path)) == 5 and not partial.exists()


def test_rows_that_cannot_be_moved_over_stay_where_they_are(tmp_path: Path) -> None:
    """The place is taken while the clip runs."""
    path, partial = tmp_path / "a.parquet", tmp_path / "a.parquet.partial.jsonl"

    def meanwhile() -> Iterator[FrameResult]:
        path.write_text("mine")
        yield from results()

    with pytest.raises(OutputError, match=r"exists already.*the rows are in .*partial\.jsonl"):
        write_rows(path, meanwhile(), get_format("parquet"))
    assert path.read_text() == "mine" and len(get_format("jsonl").read(partial)) == 5


def test_a_file_that_another_run_has_begun_since_it_was_asked_for_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.csv").write_text("another run's")
    monkeypatch.setattr("facealign_cli.formats.growing.check_output", lambda path, overwrite: None)
    with pytest.raises(OutputError, match="exists already"):
        write_rows(tmp_path / "rows.csv", results(), get_format("csv"))
    assert (tmp_path / "rows.csv").read_text() == "another run's"
