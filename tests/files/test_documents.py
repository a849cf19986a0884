"""The guarded readers: what a text file says is what was declared, or one error says where it is not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from facealign_cli.batch.sources import Sources
from facealign_cli.convert import read_faces
from facealign_cli.detectors.boxes import read_boxes
from facealign_cli.errors import FacealignError, FormatError, InputError
from facealign_cli.files.documents import (
    MAX_DEPTH,
    parse_json,
    parsing,
    read_bytes,
    read_csv,
    read_json,
    read_xml,
    structured,
)
from facealign_cli.formats.base import read_results
from facealign_cli.formats.pts import read_points
from facealign_cli.models.registry import load_model


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2), "nested too deeply"),
        ('{"a": ' * 70 + "1" + "}" * 70, "nested too deeply"),
        ("1" * 401, "too large"),
        (str(2**63), "too large"),
        (str(-(2**63) - 1), "too large"),
        ("[1e999]", "1e999 is too large"),
        ("[" + "9" * 400 + ".5]", "too large"),
        ("[NaN]", "NaN is no JSON value"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands there twice"),
        (b'"\xff"', "utf-8"),
        ("", "Expecting value"),
    ],
)
def test_json_that_is_refused(text: str | bytes, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        parse_json(text)


def test_json_that_is_read() -> None:
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(parse_json(deep)) == deep
    assert parse_json(str(2**63 - 1)) == 2**63 - 1
    assert parse_json('\ufeff{"' + "9" * 30 + '": "' + "[" * 100 + '"}') == {"9" * 30: "[" * 100}
    assert parse_json('"\\udcff"') == "\udcff"  # a path's byte that is no UTF-8
    assert parse_json("[0.1234567890123456789, 1e-400]") == [0.1234567890123456789, 0.0]
    assert str(parse_json("[NaN, -Infinity]", nan=True)) == "[nan, -inf]"


def test_names_given_twice_are_found_in_linear_time() -> None:
    names = [f'"{i}.jpg": [1, 2, 3, 4]' for i in range(60_000)]
    begin = time.process_time()
    with pytest.raises(ValueError, match=r"'59999\.jpg' stands there twice"):
        parse_json("{" + ",".join([*names, names[-1]]) + "}")
    assert time.process_time() - begin < 5


@dataclass(frozen=True)
class Inner:
    x: float


@dataclass(frozen=True)
class Outer:
    name: str
    inner: list[Inner]

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name: expected a text")


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({"name": 5, "inner": []}, r"Expected `str`, got `int` - at `\$\.name`"),
        ({"name": "a", "inner": [{"x": "1"}]}, r"\$\.inner\[0\]\.x"),
        ({"name": "a", "inner": [{}]}, "missing required field `x`"),
        ({"name": "a", "inner": [{"x": True}]}, "got `bool`"),
        ({"name": "", "inner": []}, "name: expected a text"),
        ([], "Expected `object`, got `array`"),
    ],
)
def test_another_type_is_named_with_its_place(value: object, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        structured(value, Outer)


def test_whatever_a_parser_raises_becomes_one_error() -> None:
    for error in (
        KeyError("x"),
        RecursionError(),
        MemoryError(),
        UnicodeDecodeError("utf-8", b"", 0, 1, "y"),
        OSError(5),
    ):
        with pytest.raises(FormatError, match=r"^f\.x: not a thing, or damaged: ."), parsing("f.x", "a thing"):
            raise error
    with pytest.raises(InputError, match=r"^own$"), parsing("f.x", "a thing"):
        raise InputError("own")
    with pytest.raises(KeyboardInterrupt), parsing("f.x", "a thing"):
        raise KeyboardInterrupt


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"[1]")
    assert read_json(file) == [1]
    with pytest.raises(FormatError, match="longer than 2 bytes"):
        read_bytes(file, 2)
    for odd, match in (
        ("none", "no such file"),
        (".", "is a folder"),
        ("a\0b", "cannot be read"),
        ("x" * 300, "too long"),
    ):
        with pytest.raises(InputError, match=match):
            read_bytes(tmp_path / odd)


def test_csv(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(b'\xef\xbb\xbfa,b\n\n"1\n",\xff\n')
    assert list(read_csv(file)) == [(1, ["a", "b"]), (4, ["1\n", "\udcff"])]
    file.write_text("a\n" + "x" * 200_000 + "\n")
    with pytest.raises(FormatError, match=r"a\.csv: line 2: field larger than field limit"):
        list(read_csv(file))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_texts_as_windows_writes_them(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.json").write_text('{"é.jpg":\r\n[1]}', encoding=encoding, newline="")
    assert read_json(tmp_path / "a.json") == {"é.jpg": [1]}
    (tmp_path / "a.csv").write_text("a,b\r\né,2\r\n", encoding=encoding, newline="")
    assert [cells for _, cells in read_csv(tmp_path / "a.csv")] == [["a", "b"], ["é", "2"]]
    (tmp_path / "torn").write_bytes(b"\xff\xfea")
    for read in (read_json, lambda path: list(read_csv(path))):
        with pytest.raises(FormatError, match=r"torn: not .*, or damaged"):
            read(tmp_path / "torn")


def test_xml(tmp_path: Path) -> None:
    file = tmp_path / "a.xml"
    file.write_bytes("<?xml version='1.0' encoding='ISO-8859-1'?><a n='é日'/>".encode())
    assert read_xml(file).get("n") == "é日"  # UTF-8 in truth, as imglab writes it
    file.write_bytes("<?xml version='1.0' encoding='ISO-8859-1'?><a n='é'/>".encode("latin-1"))
    assert read_xml(file).get("n") == "é"
    with pytest.raises(FormatError, match="its root is <a>, not <b>"):
        read_xml(file, "b", "a thing")
    for content in (
        b"<!DOCTYPE a [<!ENTITY x 'y'>]><a/>",
        "<!DOCTYPE a [<!ENTITY x 'y'>]><a/>".encode("utf-16"),
        b"<a>",
        b"\xff<a/>",
    ):
        file.write_bytes(content)
        with pytest.raises(FormatError, match=r"a\.xml: "):
            read_xml(file)


@pytest.mark.parametrize(
    ("read", "suffix"),
    [
        (read_json, ".json"),
        (read_xml, ".xml"),
        (read_results, ".parquet"),
        (read_boxes, ".csv"),
        (read_boxes, ".mat"),
        (read_points, ".pts"),
        (load_model, ".onnx"),
        (lambda path: list(read_faces(path)), ".csv"),
        (lambda path: list(Sources(lists=(str(path),)).paths(print)), ".csv"),
    ],
)
def test_an_empty_file_is_said_to_be_empty(tmp_path: Path, read: Callable[[Path], object], suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.touch()
    with pytest.raises(FacealignError, match=rf"a\{suffix}: the (file|list) is empty$"):
        read(path)
