"""Entries in models.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from facealign_cli.errors import ModelError, OutputError
from facealign_cli.models.registry import check_entry, enter_model, enter_variant, read_registry, sha256_of


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "wide.onnx"
    path.write_bytes(b"graph")
    return path


def test_the_first_model_is_the_default(tmp_path: Path, graph: Path) -> None:
    index = tmp_path / "models.json"
    for name, error in (("wide", 5.0), ("narrow", 6.0), ("wide", 4.5)):
        enter_model(index, graph, name=name, figures={"NME": error}, licence="MIT", summary="net", multiply_adds=7)
    registry = read_registry(tmp_path)
    assert registry.default == "wide"
    assert list(registry.models) == ["wide", "narrow"]
    entry = registry.get("wide")
    assert (entry.figures, entry.licence, entry.multiply_adds) == ({"NME": 4.5}, "MIT", 7)
    entry.verify()


def test_a_name_that_is_taken(tmp_path: Path, graph: Path) -> None:
    index = tmp_path / "models.json"
    check_entry(index, "wide")
    enter_model(index, graph, name="wide", figures={}, licence="MIT", summary="net", multiply_adds=7)
    check_entry(index, "narrow")
    check_entry(index, "wide", overwrite=True)
    with pytest.raises(OutputError, match=r"models\.json has an entry wide already; --overwrite"):
        check_entry(index, "wide")
    index.write_text("{}")
    with pytest.raises(ModelError, match=r"not a models\.json"):
        check_entry(index, "narrow")
    with pytest.raises(OutputError, match="does not exist"):
        check_entry(tmp_path / "none" / "models.json", "wide")


def test_a_variant_takes_over_what_its_origin_says(tmp_path: Path, graph: Path) -> None:
    index = tmp_path / "models.json"
    enter_model(index, graph, name="wide", figures={}, licence="MIT", summary="net", multiply_adds=7)
    before = json.loads(index.read_text())["models"]["wide"]
    variant = tmp_path / "wide-int8.onnx"
    variant.write_bytes(b"small")
    enter_variant(index, variant, origin="wide", name="wide-int8", difference="int8", figures={"NME": 5.0})
    models = json.loads(index.read_text())["models"]
    assert models["wide"] == before
    assert models["wide-int8"] == {
        "file": "wide-int8.onnx",
        "sha256": sha256_of(variant),
        "licence": "MIT",
        "summary": "net; int8",
        "multiply_adds": 7,
        "figures": {"NME": 5.0},
    }


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"models": {}}', '{"models": {"wide": 3}}'])
def test_an_index_without_the_origin(content: str, tmp_path: Path, graph: Path) -> None:
    index = tmp_path / "models.json"
    index.write_text(content)
    with pytest.raises(ModelError, match=r"models\.json"):
        enter_variant(index, graph, origin="wide", name="wide-int8", difference="int8", figures={})
    assert index.read_text() == content
