"""The registry of shipped models: found by name, refused when damaged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from facealign_cli.errors import InputError, ModelError
from facealign_cli.models import registry
from facealign_cli.models.registry import ModelEntry, load_model, read_registry

CONTENT = b"weights"
ENTRY = {
    "file": "tiny.onnx",
    "sha256": hashlib.sha256(CONTENT).hexdigest(),
    "licence": "research only",
    "summary": "a small one",
    "figures": {"held-out inter-pupil NME": 0.05},
    "multiply_adds": 1000,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.onnx").write_bytes(CONTENT)
    return write_index(tmp_path)


def write_index(folder: Path, **changes: Any) -> Path:
    index = {"default": "tiny", "models": {"tiny": ENTRY, "other": {**ENTRY, "file": "other.onnx"}}, **changes}
    (folder / "models.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def test_entries(folder: Path) -> None:
    registry = read_registry(folder)
    assert registry.default == "tiny"
    assert list(registry.models) == ["tiny", "other"]
    entry = registry.get("tiny")
    assert entry == ModelEntry(
        "tiny",
        folder / "tiny.onnx",
        str(ENTRY["sha256"]),
        "research only",
        "a small one",
        "ibug-68",
        1000,
        {"held-out inter-pupil NME": 0.05},
    )
    assert entry.card == folder / "tiny.md"
    entry.verify()


def test_unknown_name_lists_the_known(folder: Path) -> None:
    with pytest.raises(InputError, match=r"unknown model 'big'; known: tiny, other; or give an \.onnx file"):
        read_registry(folder).get("big")


def test_damaged_file(folder: Path) -> None:
    (folder / "tiny.onnx").write_bytes(CONTENT + b"!")
    with pytest.raises(
        ModelError, match=r"model tiny: .*tiny\.onnx is damaged: its sha256 is \w{12}…, expected \w{12}…"
    ):
        read_registry(folder).get("tiny").verify()


def test_missing_file(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"model other: .*other\.onnx: No such file"):
        read_registry(folder).get("other").verify()


@pytest.mark.parametrize(
    "changes",
    [
        {"models": []},
        {"models": None},
        {"models": {"tiny": "tiny.onnx"}},
        {"models": {"tiny": {"file": "tiny.onnx"}}},
        {"models": {"tiny": {k: v for k, v in ENTRY.items() if k != "file"}}},
        {"models": {"tiny": {**ENTRY, "file": 3}}},
        {"default": "big"},
        {"default": None},
        {"default": ["tiny"]},
        {"models": {}},
    ],
)
def test_broken_index(folder: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"models\.json: "):
        read_registry(write_index(folder, **changes))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"null", b"{", b"\xff\xfe\x00", b'{"default": "tiny"}'])
def test_index_that_is_none(folder: Path, content: bytes) -> None:
    (folder / "models.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"models\.json: (no|the file is empty)"):
        read_registry(folder)


def test_no_index(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"models\.json: no"):
        read_registry(tmp_path)


class TestFolder:
    @pytest.fixture
    def package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An empty package in a folder of its own."""
        (tmp_path / "facealign_cli").mkdir()
        monkeypatch.setattr(registry, "__file__", str(tmp_path / "facealign_cli" / "models" / "registry.py"))
        return tmp_path / "facealign_cli"

    def test_checkout(self, package: Path) -> None:
        (package.parent / "models").mkdir()
        write_index(package.parent / "models")
        assert registry.models_folder() == package.parent / "models"

    def test_installed_comes_first(self, package: Path) -> None:
        for folder in (package.parent / "models", package / "weights"):
            folder.mkdir()
            write_index(folder)
        assert registry.models_folder() == package / "weights"

    def test_neither(self, package: Path) -> None:
        with pytest.raises(ModelError, match=r"no models\.json beside .*install facealign again"):
            registry.models_folder()


class TestLoadModel:
    @pytest.fixture(autouse=True)
    def shipped(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registry, "models_folder", lambda: folder)

    def test_unknown_name(self) -> None:
        with pytest.raises(InputError, match="unknown model 'big'"):
            load_model("big")

    def test_hash_is_checked_before_loading(self, folder: Path) -> None:
        (folder / "tiny.onnx").write_bytes(b"changed")
        for name in (None, "tiny"):
            with pytest.raises(ModelError, match="is damaged"):
                load_model(name)

    def test_right_hash_goes_to_the_loader(self) -> None:
        with pytest.raises(ModelError, match=r"tiny\.onnx: not an ONNX model"):
            load_model()

    @pytest.mark.parametrize("kind", [str, Path])
    def test_a_file_needs_no_entry(self, kind: type, folder: Path) -> None:
        (folder / "own.ONNX").write_bytes(b"nothing")
        with pytest.raises(ModelError, match=r"own\.ONNX: not an ONNX model"):
            load_model(kind(folder / "own.ONNX"))


def test_shipped_models_are_whole() -> None:
    """What lies in models/ fits its index, and every model has its card."""
    try:
        registry = read_registry()
    except ModelError:
        pytest.skip("no weights are shipped yet")
    for entry in registry.models.values():
        entry.verify()
        assert entry.card.is_file()
        assert entry.licence
        assert entry.summary
        model = load_model(entry.name)
        assert model.metadata.scheme == entry.scheme


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "abc"}, "sha256: expected 64 hexadecimal digits"),
        ({"file": "\ud800.onnx"}, "file: expected a path"),
        ({"multiply_adds": -1}, "multiply_adds: expected 0 or more"),
    ],
)
def test_an_entry_that_is_none(folder: Path, change: dict[str, Any], message: str) -> None:
    write_index(folder, models={"tiny": {**ENTRY, **change}})
    with pytest.raises(ModelError, match=rf"models\.json: .*{message}"):
        read_registry(folder)


@pytest.mark.parametrize("name", ["", "a\nb", "\ud800"])
def test_a_name_that_is_none(folder: Path, name: str) -> None:
    write_index(folder, models={"tiny": ENTRY, name: ENTRY})
    with pytest.raises(ModelError, match="is no name of a model"):
        read_registry(folder)


def test_a_hash_in_capitals(folder: Path) -> None:
    write_index(folder, models={"tiny": {**ENTRY, "sha256": str(ENTRY["sha256"]).upper()}})
    entry = read_registry(folder).get("tiny")
    entry.verify()
    assert entry.sha256 == str(ENTRY["sha256"]).upper()


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no /dev/zero")
def test_a_file_without_an_end(folder: Path) -> None:
    write_index(folder, models={"tiny": {**ENTRY, "file": "/dev/zero"}})
    with pytest.raises(ModelError, match="is a device or a pipe, not a file"):
        read_registry(folder).get("tiny").verify()
