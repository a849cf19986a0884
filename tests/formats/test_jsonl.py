"""JSON Lines: round trip, lines that stand alone, what a killed run leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facealign_cli.errors import FormatError, InputError, OutputError
from facealign_cli.formats.base import format_for_path
from facealign_cli.formats.codec import to_dict
from facealign_cli.formats.jsonl import iterate, line, read, scan, write
from facealign_cli.records import FrameResult, LeftOut
from tests.formats.conftest import assert_same


def test_round_trip(results, write_read) -> None:
    assert_same(write_read("jsonl", results), results)


def test_by_suffix() -> None:
    assert {format_for_path(name).name for name in ("a.jsonl", "b.NDJSON")} == {"jsonl"}


def test_a_line_is_a_record(results, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", results)
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines(keepends=True)
    assert lines == [line(result) for result in results]
    assert [json.loads(text) for text in lines] == [to_dict(result) for result in results]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(source=st.text(), error=st.text(st.characters(), min_size=1))
def test_any_text_comes_back(tmp_path: Path, source: str, error: str) -> None:
    sent = [FrameResult.of_error(source, error), FrameResult.of_faces(source, [])]
    write(tmp_path / "a.jsonl", sent, overwrite=True)
    assert read(tmp_path / "a.jsonl") == sent


def test_lines_can_be_joined_and_read_one_by_one(results, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + line(results[0]) + b"\n\r\n" + line(results[1]) + line(results[2])[:-1])
    assert_same(list(iterate(path)), results[:3])
    path.write_bytes(b"")
    assert read(path) == []


@pytest.mark.parametrize("kept", [1, 30, 500])
@pytest.mark.parametrize("first", [True, False])
def test_a_last_line_that_was_cut_is_left_out_and_named(results, tmp_path: Path, kept: int, first: bool) -> None:
    path, whole = tmp_path / "a.jsonl", [] if first else results[:1]
    path.write_bytes(b"\xef\xbb\xbf" + b"".join(map(line, whole)) + line(results[1])[:kept])
    *read_so_far, left_out = scan(path)
    assert_same(read_so_far, whole)
    number = len(whole) + 1
    assert left_out == LeftOut(str(path), f"line {number}: it was not written to its end")
    assert_same(list(iterate(path)), whole)
    with pytest.raises(FormatError, match=rf"a\.jsonl: line {number}: it was not written to its end"):
        read(path)


def test_keys_of_others_are_passed_over(results, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(line(results[0], {"sha256": "ab", "read_ms": 1.5}))
    assert_same(read(tmp_path / "a.jsonl"), results[:1])
    with pytest.raises(ValueError, match="keys of the record: faces, source"):
        line(results[0], {"source": 1, "faces": 2, "bytes": 3})


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"source": "a"\n', "line 2: not JSON"),
        ("[1]\n", "line 2: expected a result"),
        ("nothing", "line 2: not JSON"),
        ('{"source": NaN}\n', "NaN"),
        ('{"source": "a"}\n', "line 2: a result lacks status, "),
        ("[" * 200_000 + "\n", "line 2: not JSON"),
        ("\xff\xfe\n", "line 2: not JSON"),
    ],
)
def test_refuses(results, tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(line(results[3]) + text.encode("latin-1"))
    with pytest.raises(FormatError, match=match) as caught:
        read(tmp_path / "a.jsonl")
    assert "a.jsonl" in str(caught.value)


@pytest.mark.parametrize(
    ("strange", "told"),
    [(["a b"], "'a b'"), (["x" * 9000], "'xx.*x"), (["a", "b", "c", "d", "e"], "'a', 'b', 'c' and 2 more")],
)
def test_keys_of_a_face_that_nobody_knows(results, tmp_path: Path, strange: list[str], told: str) -> None:
    """Their names come from the file, however long they are."""
    record = json.loads(line(results[0]))
    record["faces"][0] |= dict.fromkeys(strange, 1)
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(FormatError, match=f"a face has keys that are not known: {told}$") as caught:
        read(tmp_path / "a.jsonl")
    assert len(str(caught.value)) < 400


def test_missing_and_existing(tmp_path: Path, results) -> None:
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match="folder"):
        read(tmp_path)
    write(tmp_path / "a.jsonl", results)
    with pytest.raises(OutputError, match="exists already"):
        write(tmp_path / "a.jsonl", [])
