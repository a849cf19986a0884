"""The registry."""

from __future__ import annotations

import pytest

from facealign_cli.errors import InputError
from facealign_cli.formats.base import format_for_path, format_names, get_format


def test_knows_every_sibling() -> None:
    assert {"csv", "json", "openface", "pts"} <= set(format_names())
    assert get_format("json").dump is not None
    assert get_format("pts").dump is None


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown format 'yaml': known are coco, .*csv, .*json.*openface.*pts"):
        get_format("yaml")


@pytest.mark.parametrize(("path", "name"), [("a.json", "json"), ("b/A.CSV", "csv"), ("x.pts", "pts")])
def test_by_extension(path: str, name: str) -> None:
    assert format_for_path(path).name == name


@pytest.mark.parametrize("path", ["a", "a.txt", ".json"])
def test_unknown_extensions_list_the_known_ones(path: str) -> None:
    with pytest.raises(InputError, match=r"\.json \(json\)"):
        format_for_path(path)
