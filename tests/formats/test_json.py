"""JSON: round trip, schema, refusals."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facealign_cli.errors import FormatError, InputError, OutputError
from facealign_cli.formats.json import dump, json_schema, read, write
from tests.formats.conftest import assert_same


def document(results) -> dict:
    stream = io.BytesIO()
    dump(results, stream)
    return json.loads(stream.getvalue())


def validate(doc: dict) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator(json_schema()).validate(doc)


def test_round_trip(results, write_read) -> None:
    assert_same(write_read("json", results), results)


def test_follows_the_schema(results) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(json_schema())
    validate(document(results))
    validate(document([]))


def test_a_document_of_the_first_schema(results, tmp_path: Path) -> None:
    """Its faces have no sigma."""
    old = document(results)
    old["schema"] = "facealign/1"
    for result in old["results"]:
        for face in result["faces"]:
            del face["sigma"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert_same(read(tmp_path / "old.json"), results, sigma=False)


@pytest.mark.parametrize("sigma", [[1.0] * 67, [1.0] * 67 + [-1], "1", [[1.0]] * 68, [None] * 68])
def test_a_sigma_that_cannot_be(results, tmp_path: Path, sigma: object) -> None:
    doc = document(results)
    doc["results"][0]["faces"][1]["sigma"] = sigma
    (tmp_path / "a.json").write_text(json.dumps(doc))
    with pytest.raises(FormatError, match=r"results\[0\]: faces\[1\]: sigma"):
        read(tmp_path / "a.json")


def test_one_result_a_line_in_plain_unicode(results, tmp_path: Path) -> None:
    write(tmp_path / "a.json", results)
    lines = (tmp_path / "a.json").read_text("utf-8").splitlines()
    assert len(lines) == len(results) + 2
    assert "Bjørn" in lines[3]


def test_rounds(results, face) -> None:
    odd = face(landmarks=face().landmarks + 1 / 3000, confidence=np.float32(1 / 3), detector_score=np.float64(-1e-9))
    out = document([replace(results[0], faces=(odd,), width=np.int64(5))])["results"][0]
    assert out["width"] == 5
    assert out["faces"][0]["confidence"] == 0.3333
    assert str(out["faces"][0]["detector_score"]) == "0.0"
    assert all(round(v, 3) == v for point in out["faces"][0]["landmarks"] for v in point)


def spoil(doc: dict, how: str) -> object:  # noqa: PLR0912
    result, face = doc["results"][0], doc["results"][0]["faces"][0]
    if how == "extra key":
        result["extra"] = 1
    elif how == "missing key":
        del face["bbox"]
    elif how == "67 points":
        face["landmarks"].pop()
    elif how == "ragged":
        face["landmarks"][3] = [1.0]
    elif how == "text for a number":
        face["landmarks"][3] = ["1", "2"]
    elif how == "true for a number":
        face["confidence"] = True
    elif how == "confidence 2":
        face["confidence"] = 2
    elif how == "ok without faces":
        result["faces"] = []
    elif how == "faces no list":
        result["faces"] = None
    elif how == "result no object":
        doc["results"][0] = 3
    elif how == "status":
        result["status"] = "fine"
    elif how == "three corners":
        face["bbox"].pop()
    elif how == "scheme":
        result["scheme"] = "wflw-98"
    return doc


@pytest.mark.parametrize(
    "how",
    [
        "extra key", "missing key", "67 points", "ragged", "text for a number", "true for a number", "confidence 2",
        "ok without faces", "faces no list", "result no object", "status", "three corners",
    ],
)  # fmt: skip
def test_reader_and_schema_refuse_the_same(results, tmp_path: Path, how: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    bad = spoil(document(results), how)
    with pytest.raises(jsonschema.ValidationError):
        validate(bad)
    (tmp_path / "a.json").write_text(json.dumps(bad))
    with pytest.raises(FormatError, match=r"a\.json: results\[0\]"):
        read(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "the file is empty"),
        ("{", "not JSON"),
        ("[]", "no schema"),
        ('{"schema": "facealign/3", "version": "9", "results": []}', "facealign/3"),
        ('{"schema": "facealign/1", "version": "9"}', "list of results"),
        ('{"schema": "facealign/1", "version": NaN, "results": []}', "NaN"),
        ("[" * 200_000, "not JSON"),
        ("\xff\xfe", "not JSON"),
    ],
)
def test_refuses(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match=match):
        read(tmp_path / "a.json")


def test_missing_and_existing(tmp_path: Path, results) -> None:
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "a.json")
    with pytest.raises(InputError, match="folder"):
        read(tmp_path)
    write(tmp_path / "a.json", results)
    with pytest.raises(OutputError, match="exists already"):
        write(tmp_path / "a.json", [])
    write(tmp_path / "a.json", [], overwrite=True)
    assert read(tmp_path / "a.json") == []
