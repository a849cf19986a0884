"""Files behind paths and URLs: each storage keeps the same promises."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from facealign_cli.errors import InputError, OutputError
from facealign_cli.files.base import password_hidden
from facealign_cli.files.storage import arrow_folder, is_url, join, storage_for


@pytest.fixture(params=["local", "file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An odd name, in each storage."""
    if request.param != "local":
        pytest.importorskip("fsspec", reason="URLs need fsspec: pip install 'facealign[cloud]'")
    yield {
        "local": f"{tmp_path}/a folder",
        "file": f"file://{tmp_path}/a folder",
        "memory": f"memory://{uuid.uuid4()}/a folder",
    }[request.param]


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("s3://bucket/a", True),
        ("memory://x", True),
        ("zip::s3://a", True),
        ("/a", False),
        ("c:/a", False),
        ("a:b", False),
    ],
)
def test_what_is_a_url(path: str, answer: bool) -> None:
    assert is_url(path) is answer


def test_write_read_list_move_remove(folder: str) -> None:
    storage, path, inner = storage_for(folder), join(folder, "a.txt"), join(join(folder, "in"), "b.txt")
    assert storage.names(folder) == []
    assert storage.kind(path) == ""
    storage.write(path, b"one")
    storage.write(path, b"two")
    storage.write(inner, b"three")
    assert storage.read(path) == b"two"
    assert storage.names(folder) == ["a.txt", "in"]
    assert (storage.kind(path), storage.kind(folder)) == ("file", "folder")
    assert {(entry.path, entry.is_folder) for entry in storage.scan(folder)} == {
        (path, False),
        (join(folder, "in"), True),
    }
    storage.move(inner, path)
    assert storage.read(path) == b"three"
    assert storage.kind(inner) == ""
    storage.remove(path)
    storage.remove(path)
    assert storage.kind(path) == ""


def test_what_cannot_be_read(folder: str) -> None:
    storage = storage_for(folder)
    storage.write(join(folder, "a"), bytes(2 << 20))
    with pytest.raises(InputError, match="missing: no such file"):
        storage.read(join(folder, "missing"))
    with pytest.raises(InputError, match="more than 1 MiB"):
        storage.read(join(folder, "a"), 1 << 20)
    with pytest.raises(InputError, match="a folder"):
        storage.read(folder)
    with pytest.raises(InputError, match="missing: no such file"):
        list(storage.scan(join(folder, "missing")))
    with pytest.raises(OutputError, match="missing"):
        storage.move(join(folder, "missing"), join(folder, "b"))


def test_arrow_sees_the_same(folder: str) -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'facealign[parquet]'")
    storage_for(folder).write(join(folder, "x/#1?.txt"), b"seen")
    with arrow_folder(folder).open_input_file("x/#1?.txt") as stream:
        assert stream.read() == b"seen"


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes in folders")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="a device or a pipe"):
        storage_for(str(tmp_path)).read(str(tmp_path / "pipe"))


def test_an_unknown_scheme() -> None:
    pytest.importorskip("fsspec", reason="URLs need fsspec: pip install 'facealign[cloud]'")
    with pytest.raises(InputError, match="nosuch"):
        storage_for("nosuch://a/b")


@pytest.mark.parametrize(
    "url", ["s3://user:hunter2@bucket/a", "sftp://:hunter2@host/a", "zip::ftp://u:hunter2@host/a.zip"]
)
def test_a_password_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InputError, match=r"a password in a URL .* fsspec's configuration") as refused:
        storage_for(url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("path", ["s3://bucket/user:a@b.jpg", "sftp://user@host/a", "C:/a:b@c", "a:b@c"])
def test_what_is_no_password(path: str) -> None:
    assert password_hidden(path) is None


def test_of_many_that_create_a_file_at_once_one_does(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in memory, where fsspec looks and then writes; here time passes between the two."""
    memory = pytest.importorskip("fsspec.implementations.memory")
    plain_open = memory.MemoryFileSystem.open

    def slow_open(self: object, path: str, *arguments: object, **options: object) -> object:
        there = memory.MemoryFileSystem.exists(self, path)
        time.sleep(0.02)
        if there:
            raise FileExistsError(path)
        return plain_open(self, path, *arguments, **options | {"mode": "wb"})

    monkeypatch.setattr(memory.MemoryFileSystem, "open", slow_open)
    storage, path = storage_for(folder), join(folder, "a.txt")
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda number: storage.create(path, str(number).encode()), range(4)))
    assert sorted(done) == [False, False, False, True]
    monkeypatch.undo()
    assert storage.read(path) == str(done.index(True)).encode()
