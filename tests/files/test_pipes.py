"""Pipes are read, but nobody waits for one that nobody writes to."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from facealign_cli.errors import InputError, ModelError
from facealign_cli.files import base
from facealign_cli.files.base import without_waiting
from facealign_cli.files.documents import read_bytes
from facealign_cli.files.pictures import read_image
from facealign_cli.runtime import create_session
from facealign_cli.video.opening import open_container

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@pytest.fixture
def pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(base, "_PATIENCE_S", 0.05)
    path = tmp_path / "pipe.jpg"
    os.mkfifo(path)
    late = threading.Timer(20, lambda: os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK)))
    late.start()  # whoever waits nevertheless is let go
    yield path
    late.cancel()


@pytest.mark.parametrize("read", [read_image, read_bytes, open_container])
def test_a_pipe_without_a_writer_is_an_error(pipe: Path, read: Callable[[str], object]) -> None:
    with pytest.raises(InputError, match=r"pipe\.jpg"):
        read(str(pipe))


def test_a_model_is_no_pipe(pipe: Path) -> None:
    with pytest.raises(ModelError, match=r"pipe\.jpg: is a device or a pipe, not a file"):
        create_session(pipe, "cpu")


def test_a_pipe_with_a_writer_is_waited_for(pipe: Path) -> None:
    holder = os.open(pipe, os.O_RDWR)  # a writer that says nothing yet
    with open(pipe, "rb", opener=without_waiting) as stream:
        os.write(holder, b"some")
        os.close(holder)
        assert stream.read() == b"some"


def test_what_a_writer_has_left_is_read(pipe: Path) -> None:
    holder = os.open(pipe, os.O_RDWR)
    os.write(holder, b"some")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # keeps what was written
    os.close(holder)
    with open(pipe, "rb", opener=without_waiting) as stream:
        os.close(reader)
        assert stream.read() == b"some"


def test_files_are_opened_as_ever(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        without_waiting(str(tmp_path / "none"), os.O_RDONLY)
    (tmp_path / "file").write_bytes(b"content")
    with open(tmp_path / "file", "rb", opener=without_waiting) as stream:
        assert stream.read() == b"content"
