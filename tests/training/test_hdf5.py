"""HDF5 files that would read other files, or lay out more than they hold, are refused before their data is read."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from facealign_cli.errors import FormatError, InputError
from facealign_cli.training.hdf5 import new_hdf5, open_hdf5


def write(path: Path, fill: Callable[[Any], object]) -> Path:
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def varying(file: Any) -> None:
    column = file.create_dataset("a", (3,), dtype=h5py.vlen_dtype(np.uint8))
    for i in range(3):
        column[i] = np.arange(50, dtype=np.uint8)


def test_what_is_sound_is_read(tmp_path: Path) -> None:
    with open_hdf5(write(tmp_path / "a.h5", varying), ("a",)) as file:
        np.testing.assert_array_equal(file["a"][2], np.arange(50))


@pytest.mark.parametrize(
    ("fill", "match"),
    [
        (lambda f: f.create_dataset("a", (9,), "u1", external=[("/etc/passwd", 0, 9)]), "bytes in another file"),
        (lambda f: f.__setitem__("a", h5py.SoftLink("/b")), "a is a link to another place"),
        (lambda f: f.__setitem__("a", h5py.ExternalLink("other.h5", "/a")), "a is a link to another place"),
        (lambda f: f.create_virtual_dataset("a", h5py.VirtualLayout((9,), "u1")), "bytes in another file"),
        (lambda f: f.create_dataset("a", (10**9, 10**3), "f8", chunks=(1, 10)), "claims 8000000000000 bytes"),
        (lambda f: f.create_group("a"), "a is no data set"),
    ],
)
def test_refused(tmp_path: Path, fill: Callable[[Any], object], match: str) -> None:
    file = write(tmp_path / "a.h5", fill)
    with pytest.raises(FormatError, match=match), open_hdf5(file, ("a",)):
        pass


def test_a_length_that_lies(tmp_path: Path) -> None:
    """HDF5 would lay out what the reference says: 4 GB."""
    file = write(tmp_path / "a.h5", varying)
    with h5py.File(file) as content:
        start = content["a"].id.get_offset()
    data = bytearray(file.read_bytes())
    assert struct.unpack_from("<I", data, start) == (50,)
    data[start : start + 4] = struct.pack("<I", 2**32 - 1)
    file.write_bytes(data)
    with pytest.raises(FormatError, match="claims 4294967395 bytes, more than the file has"), open_hdf5(file, ("a",)):
        pass


def test_no_such_file_and_no_hdf5(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"), open_hdf5(tmp_path / "none.h5", ()):
        pass
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(FormatError, match="not an HDF5 file, or damaged"), open_hdf5(tmp_path / "text.h5", ()):
        pass


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_told_and_leaves_python_alive() -> None:
    for size in (1, 100_000):  # so little that only closing writes it, and more than HDF5 keeps back
        with pytest.raises(OSError, match="No space left"), new_hdf5(Path("/dev/full")) as file:
            file["a"] = np.arange(size)


def test_what_is_written_is_all_there(tmp_path: Path) -> None:
    with new_hdf5(tmp_path / "a.h5") as file:
        varying(file)
        file["b"] = np.arange(100_000)
    with open_hdf5(tmp_path / "a.h5", ("a", "b")) as file:
        np.testing.assert_array_equal(file["a"][2], np.arange(50))
        np.testing.assert_array_equal(file["b"][:], np.arange(100_000))
