"""CSV: round trip, spreadsheet safety, refusals."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facealign_cli.boxes import BBox
from facealign_cli.errors import FormatError
from facealign_cli.formats.base import get_format, read_results
from facealign_cli.formats.codec import POSE_COLUMNS, QUALITY_COLUMNS
from facealign_cli.formats.csv import (
    COLUMNS,
    SIGMA_COLUMNS,
    dump,
    dump_records,
    read,
    scan,
    with_sigma,
    write,
    write_cells,
)
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.records import Face, FrameResult, LeftOut
from tests.formats.conftest import assert_same


def test_round_trip(results, write_read) -> None:
    assert_same(write_read("csv", results), results, sigma=False)


def test_with_sigma(results, tmp_path: Path) -> None:
    """The columns s_0 to s_67 stand between the own and the extra ones, empty where the model does not say."""
    fmt = with_sigma(get_format("csv"))
    fmt.write(tmp_path / "a.csv", results)
    assert_same(read(tmp_path / "a.csv"), results)
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == COLUMNS + POSE_COLUMNS + QUALITY_COLUMNS + SIGMA_COLUMNS
    (with_it,) = (row for row in rows if row["s_67"])
    assert [float(with_it[name]) for name in SIGMA_COLUMNS] == results[1].faces[0].sigma.tolist()
    with open(tmp_path / "b.csv", "wb") as stream:
        dump(results, stream, ["mine"], [{"mine": 7}] * len(results), sigma=True)
    assert_same(read(tmp_path / "b.csv"), results)
    assert (tmp_path / "b.csv").read_text("utf-8").splitlines()[0].endswith("s_66,s_67,mine")


def test_a_sigma_that_is_not_whole(results, tmp_path: Path) -> None:
    with_sigma(get_format("csv")).write(tmp_path / "a.csv", [results[1]])
    text = (tmp_path / "a.csv").read_text("utf-8")
    (tmp_path / "a.csv").write_text(text.removesuffix("9.0\n") + "\n", "utf-8")
    with pytest.raises(FormatError, match=r"line 2: faces\[0\]: sigma"):
        read(tmp_path / "a.csv")


def test_tables_of_earlier_versions_end_before_the_pose(results, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", results)
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as stream:
        rows = [row[: len(COLUMNS)] for row in csv.reader(stream)]
    with open(tmp_path / "b.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    without = [replace(r, faces=tuple(replace(face, pose=None, quality=None) for face in r.faces)) for r in results]
    assert_same(read(tmp_path / "b.csv"), without, sigma=False)


def test_a_broken_pose_is_refused(results, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", results[-1:])
    text = (tmp_path / "a.csv").read_text()
    for broken in (text.replace("710.125", ""), text.replace("710.125", "nan")):
        (tmp_path / "a.csv").write_text(broken)
        with pytest.raises(FormatError, match=r"line 2.*translation_mm"):
            read(tmp_path / "a.csv")


def test_a_broken_quality_is_refused(results, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", results[-1:])
    text = (tmp_path / "a.csv").read_text()
    for broken in (text.replace("131.5", "-1"), text.replace("0.2512", "nan")):
        (tmp_path / "a.csv").write_text(broken)
        with pytest.raises(FormatError, match=r"line 2.*(brightness|sharpness)"):
            read(tmp_path / "a.csv")


def test_another_reader_finds_the_columns(results, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", results)
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == (*COLUMNS, *POSE_COLUMNS, *QUALITY_COLUMNS)
    assert len(rows) == 9
    point = results[0].faces[1].landmarks[67]
    assert (float(rows[1]["x_67"]), float(rows[1]["y_67"])) == tuple(point)
    assert rows[3]["status"] == "no_face"
    assert rows[3]["x_0"] == ""
    for row in rows:
        assert not any(row[name].startswith(("=", "+", "-", "@", "\t", "\r")) for name in ("source", "error", "model"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(source=st.text(st.characters(exclude_categories=["Cs"])), error=st.text("='\t\r\n+-@a\",", min_size=1))
def test_any_text_comes_back(tmp_path: Path, source: str, error: str) -> None:
    sent = FrameResult.of_error(source, error)
    write(tmp_path / "a.csv", [sent], overwrite=True)
    assert read(tmp_path / "a.csv") == [sent]


def test_header_only(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [])
    assert read(tmp_path / "a.csv") == []
    data = (tmp_path / "a.csv").read_bytes()
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"))  # as Excel saves it
    assert read(tmp_path / "b.csv") == []


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("x_67", "x_68", "no column x_67"),
        ("640", "wide", r"line 2: width: expected a number, got 'wide'"),
        ("0.9875", "7", "confidence"),
        ("0.9875", "nan", "confidence"),
        (",ibug-68,", ",", r"line 2"),
        ("a.jpg,ok", '"a.jpg,ok', "line"),
    ],
)
def test_refuses(results, tmp_path: Path, old: str, new: str, match: str) -> None:
    write(tmp_path / "a.csv", results[:1])
    text = (tmp_path / "a.csv").read_text()
    assert old in text
    (tmp_path / "a.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(FormatError, match=match):
        read(tmp_path / "a.csv")


def own_lines(results, path: Path) -> list[bytes]:
    with path.open("wb") as stream:
        dump(results, stream, sigma=True)
    return path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("kept", [1, 8, 300, -100, -2, -1])
def test_a_last_line_that_was_cut_is_left_out_and_named(results, tmp_path: Path, kept: int) -> None:
    """Also one that lost its line feed alone, -1: a number cut in its middle, -2, looks like any other."""
    path, sent = tmp_path / "a.csv", [replace(results[1], source='a "b", c.jpg'), results[4], results[0]]
    lines = own_lines(sent, path)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:kept])
    *whole, left_out = scan(path)
    assert [len(result.faces) for result in whole] == [len(sent[0].faces), len(sent[1].faces), 1]
    assert left_out.name == str(path) and left_out.reason.startswith(f"line {len(lines)}: it may not have been written")
    with pytest.raises(FormatError, match=rf"a\.csv: line {len(lines)}: it may not .*; put one there if it is whole"):
        read(path)


def test_a_last_line_that_was_cut_within_quotes(results, tmp_path: Path) -> None:
    lines = own_lines([results[0], replace(results[0], source="a, b.jpg")], tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes(b"".join(lines[:-1]) + lines[-1][:4])
    assert [isinstance(item, LeftOut) for item in scan(tmp_path / "a.csv")] == [False, False, True]


def test_the_last_line_of_another_program_needs_no_line_end(results, tmp_path: Path) -> None:
    lines = own_lines(results[:1], tmp_path / "a.csv")
    data = b"".join(lines).replace(b"\n", b"\r\n")[:-2]
    for suffix in (b"", b"\r"):
        (tmp_path / "a.csv").write_bytes(data + suffix)
        assert_same(read(tmp_path / "a.csv"), results[:1])
    (tmp_path / "a.csv").write_bytes(data[:-300])
    assert [isinstance(item, LeftOut) for item in scan(tmp_path / "a.csv")] == [False, True]


@pytest.mark.parametrize(("line", "cut"), [(1, 1), (2, 300)])
def test_lines_in_the_middle_have_to_be_whole(results, tmp_path: Path, line: int, cut: int) -> None:
    """Also a quotation mark that nothing closes: it would take all rows after it for a part of the last one."""
    lines = own_lines(results[:3], tmp_path / "a.csv")
    lines[line] = b'"' + lines[line] if cut == 1 else lines[line][:cut] + b"\n"
    (tmp_path / "a.csv").write_bytes(b"".join(lines)[:-1])
    with pytest.raises(FormatError, match=r"a\.csv: line"):
        list(scan(tmp_path / "a.csv"))


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    with pytest.raises(FormatError, match="it is empty"):
        read(tmp_path / "a.csv")


def test_rows_of_one_face_number_are_two_records(tmp_path: Path) -> None:
    """The same picture named twice: its second record's first face has the number of the first one's."""
    record = FrameResult.of_faces("a.jpg", [Face(0, BBox(0, 0, 9, 9), MEAN_SHAPE, 0.5)], width=10, height=10)
    write(tmp_path / "a.csv", [record, record])
    assert [len(r.faces) for r in read(tmp_path / "a.csv")] == [1, 1]


def test_rows_in_any_order_make_the_same_records(results, write_read, tmp_path: Path) -> None:
    """Somebody sorted the table by its confidence, say: the faces of a picture still belong together."""
    pictures = [FrameResult.of_faces(name, results[0].faces, width=9, height=9) for name in ("a.jpg", "b.jpg")]
    write(tmp_path / "a.csv", pictures)
    header, a0, a1, b0, b1 = (tmp_path / "a.csv").read_text("utf-8").splitlines()
    (tmp_path / "b.csv").write_text("\n".join([header, a1, b0, a0, b1, ""]), "utf-8")
    assert_same(read(tmp_path / "b.csv"), pictures)


def test_the_same_picture_twice_stays_two_records(results, write_read) -> None:
    twice = [results[0], results[2], results[0], replace(results[0], faces=results[0].faces[1:])]
    assert_same(write_read("csv", twice), twice)
    if find_spec("pyarrow"):
        assert_same(write_read("parquet", twice, "out.parquet"), twice)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda text: text.replace(",", ";").replace(".", ","), "separated by semicolons; save it with commas"),
        (lambda text: text.replace(",", "\t"), "separated by tabs"),
        (lambda text: text.replace("source,status", "status,source"), "its columns are in another order"),
        (lambda text: text.replace("y_67", "other"), "no column y_67"),
    ],
)
def test_a_table_that_was_saved_anew_says_how_it_differs(results, tmp_path: Path, change, match: str) -> None:
    write(tmp_path / "a.csv", results[:1])
    changed = change((tmp_path / "a.csv").read_text("utf-8"))
    (tmp_path / "b.csv").write_text(changed, "utf-8")
    with pytest.raises(FormatError, match=match):
        read_results(tmp_path / "b.csv")


def test_any_table_is_utf_8_whatever_names_are_in_it() -> None:
    stream = io.BytesIO()
    write_cells(stream, ["source", "frames"], [["Jos\udce9.mp4", 3], [r"=\udce9", None]])
    assert stream.getvalue().decode("utf-8") == "source,frames\nJos\\udce9.mp4,3\n'=\\u005cudce9,\n"


def test_a_journal_of_an_earlier_version_becomes_utf_8_too() -> None:
    """It has lone surrogates where this version has escapes."""
    stream, record = io.BytesIO(), FrameResult("a.jpg", "no_face").to_dict()
    dump_records([{**record, "source": "Jos\udce9.jpg"}], stream)
    assert "\nJos\\udce9.jpg,no_face," in stream.getvalue().decode("utf-8")
