"""Small pictures with faces, without, and with five kinds of damage; a list of made-up names; a store in memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

GOOD, EMPTY, DAMAGED = 6, 2, 5


@pytest.fixture(scope="session")
def picture_folder(astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    face = astronaut[:220, 110:330]
    for i in range(GOOD):
        cv2.imwrite(str(folder / ("more" if i % 2 else ".") / f"face{i}.jpg"), np.roll(face, 3 * i, axis=1))
    cv2.imwrite(str(folder / "pair.png"), np.hstack([face, face[:, ::-1]]))
    cv2.imwrite(str(folder / "grey.png"), np.full((90, 120), 127, np.uint8))
    data = (folder / "face0.jpg").read_bytes()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.jpg").write_bytes(data[: len(data) // 2])
    (folder / "text.jpg").write_text("no picture")
    (folder / "head.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    (folder / "noise.jpg").write_bytes(data[:300] + bytes(range(256)) * 4 + b"\xff\xd9")
    return folder


@pytest.fixture
def pictures(picture_folder: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change: 8 with faces or none, 5 damaged."""
    return Path(shutil.copytree(picture_folder, tmp_path / "pictures"))


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A list of 60 pictures for FakeWork."""
    (tmp_path / "list").write_text("\n".join(f"{i}-{k}" for i in range(15) for k in ("one", "two", "bad", "none")))
    return tmp_path / "list"


@pytest.fixture
def memory() -> Iterator[Any]:
    files = pytest.importorskip("fsspec").filesystem("memory")
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]
