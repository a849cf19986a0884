"""NumPy's .npz files by somebody else: read without unpickling, and without laying out more than the file holds."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from facealign_cli.errors import FormatError
from facealign_cli.files.base import without_waiting
from facealign_cli.files.documents import PathLike, parsing, reading

MAX_BYTES = 2 << 30
"""The most that the arrays of a file may hold together: 2 GiB."""

_RATIO = 1032
"""The most bytes that a byte of deflate unfolds to."""


def check_zip(archive: zipfile.ZipFile, max_bytes: int = MAX_BYTES) -> None:
    """Raise ValueError for members that are encrypted, packed in another way, or claim more than they can hold."""
    if sum(info.file_size for info in archive.infolist()) > max_bytes:
        raise ValueError(f"it claims to hold more than {max_bytes >> 20} MiB")
    for info in archive.infolist():
        if info.flag_bits & 1:
            raise ValueError(f"{info.filename:.60} is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{info.filename:.60} is packed by a method that is not read here ({info.compress_type})")
        if info.file_size > _RATIO * info.compress_size + _RATIO:
            raise ValueError(f"{info.filename:.60} claims {info.file_size} bytes out of {info.compress_size}")


def read_npz(path: PathLike, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, np.ndarray]:
    """Name → array, of the arrays that are wanted.

    Raises InputError if the file cannot be read; FormatError if it is no .npz file, is damaged or encrypted, holds
    pickled objects, or claims arrays of another size than their bytes.
    """
    with (
        reading(path),
        open(path, "rb", opener=without_waiting) as stream,
        parsing(path, "an .npz file"),
        zipfile.ZipFile(stream) as archive,
    ):
        check_zip(archive)
        names = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        return {name: _array(path, name, archive.read(info)) for name, info in names.items() if wanted(name)}


def _array(path: PathLike, name: str, data: bytes) -> np.ndarray:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    readers: dict[Any, Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"{name}: version {version} of NumPy's format is not read here")
    shape, by_columns, kind = readers[version](stream)
    if kind.hasobject:
        raise FormatError(f"{path}: {name} is pickled; nothing is ever unpickled")
    start = stream.tell()
    if math.prod(shape) * kind.itemsize != len(data) - start or min(shape, default=0) < 0:
        raise ValueError(f"{name}: {len(data) - start} bytes are no array of shape {shape} and type {kind}")
    if not kind.itemsize:
        return np.zeros(shape, kind)
    array = np.frombuffer(data, kind, offset=start).reshape(shape, order="F" if by_columns else "C")
    return array.copy()  # one's own and to be written to, which torch asks for
