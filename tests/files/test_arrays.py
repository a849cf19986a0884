"""NumPy's files: what they claim is held against what is there before anything is laid out."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from facealign_cli.errors import FormatError, InputError
from facealign_cli.files.arrays import read_npz


def write(path: Path, header: dict[str, object] | None = None, body: bytes = b"\0" * 24) -> Path:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f8", "fortran_order": False, "shape": (3,), **(header or {})}
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", stream.getvalue() + body)
    return path


def test_what_numpy_writes_is_read(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "b": np.asfortranarray(np.eye(3)),
        "c": np.array("text"),
        "d": np.empty(0),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        found = read_npz(tmp_path / "a.npz")
        assert found.keys() == arrays.keys()
        for name, values in arrays.items():
            np.testing.assert_array_equal(found[name], values)
        assert read_npz(tmp_path / "a.npz", lambda name: name == "b").keys() == {"b"}


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ({"shape": (10**12,)}, "24 bytes are no array of shape"),
        ({"shape": (-3,)}, "no array of shape"),
        ({"shape": (2,)}, "no array of shape"),
        ({"descr": "|O"}, "is pickled; nothing is ever unpickled"),
        ({"descr": "<i99"}, "damaged"),
    ],
)
def test_lies(tmp_path: Path, header: dict[str, object], match: str) -> None:
    with pytest.raises(FormatError, match=match):
        read_npz(write(tmp_path / "a.npz", header))


def test_damage(tmp_path: Path) -> None:
    file = write(tmp_path / "a.npz")
    data = bytearray(file.read_bytes())
    for change, match in ((b"\1", "encrypted"), (b"", "damaged")):
        content = bytearray(data)
        if change:
            content[content.index(b"PK\1\2") + 8] |= 1
        else:
            content[60] ^= 255
        file.write_bytes(content)
        with pytest.raises(FormatError, match=match):
            read_npz(file)
    with pytest.raises(InputError, match="no such file"):
        read_npz(tmp_path / "none.npz")
