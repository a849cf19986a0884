"""HDF5 files by somebody else: what in them would read other files or lay out more than they hold is refused first.

HDF5 can keep a data set's bytes in any file of the system (external storage, virtual data sets), or in another HDF5
file (external links), and can claim any size: what was never written reads as zeros.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facealign_cli.errors import FormatError, InputError, MissingDependency
from facealign_cli.files.base import without_waiting
from facealign_cli.files.documents import parsing, reading

_RATIO = 1032
"""The most bytes that a byte of deflate unfolds to."""
_REFERENCE = np.dtype([("length", "<u4"), ("place", "<u8"), ("number", "<u4")])
"""A reference to a value of varying length; the value itself lies elsewhere in the file."""


def import_h5py() -> Any:
    """The package. Raises MissingDependency."""
    try:
        import h5py
    except ImportError as error:
        raise MissingDependency("the packed data set", "h5py", "train") from error
    return h5py


@contextlib.contextmanager
def open_hdf5(path: Path | str, names: Sequence[str]) -> Iterator[Any]:
    """The file, open for reading, whose data sets of these names have been looked at before any of their bytes is read.

    Raises InputError if it cannot be read; FormatError if it is no HDF5 file or is damaged, also for whatever goes
    wrong in the body; if a link leads elsewhere, if its bytes lie outside, if it claims more than it holds.
    """
    h5py = import_h5py()
    with reading(path), open(path, "rb", opener=without_waiting):
        pass  # in the system's own words
    if not os.path.isfile(path):  # HDF5 reads back and forth
        raise InputError(f"{path}: is a device or a pipe, not a file")
    with parsing(path, "an HDF5 file"), h5py.File(path, "r") as file:
        for name in file:
            if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                raise FormatError(f"{path}: {name} is a link to another place, which is never followed")
        for name in names:
            if name in file:
                _check(h5py, path, name, file[name])
        yield file


@contextlib.contextmanager
def new_hdf5(path: Path) -> Iterator[Any]:
    """A new file, open for writing. Raises OSError for what cannot be written, such as a full disk, at the end.

    HDF5 itself gets over no such error: it raises it once more while it closes the file, and then crashes Python.
    """
    with _Deaf(path, "w+") as stream:
        try:
            with import_h5py().File(stream, "w") as file:
                yield file
        except Exception as error:  # noqa: BLE001 - HDF5 may stumble in many ways over what was not written
            raise (stream.error or error) from None
        if stream.error is not None:
            raise stream.error


class _Deaf(io.FileIO):
    """A file that takes everything. error: the first one that it met; from then on nothing is written."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        try:
            while self.error is None and rest:
                rest = rest[super().write(rest) or 0 :]
        except OSError as error:
            self.error = error
        return len(data)


def _check(h5py: Any, path: Path | str, name: str, dataset: Any) -> None:
    if not isinstance(dataset, h5py.Dataset):
        raise FormatError(f"{path}: {name} is no data set")
    plan = dataset.id.get_create_plist()
    if plan.get_external_count() or plan.get_layout() == h5py.h5d.VIRTUAL:
        raise FormatError(f"{path}: {name} keeps its bytes in another file, which is never read")
    varying = dataset.dtype.kind == "O"
    size = math.prod(dataset.shape or (0,)) * (_REFERENCE.itemsize if varying else dataset.dtype.itemsize)
    if size > _RATIO * dataset.id.get_storage_size():
        raise FormatError(f"{path}: {name} claims {size} bytes, but holds {dataset.id.get_storage_size()}")
    if varying and size:
        _check_lengths(h5py, path, name, dataset, size)


def _check_lengths(h5py: Any, path: Path | str, name: str, dataset: Any, size: int) -> None:
    """Of values of varying length the lengths stand in the references: HDF5 lays out what they say and then reads."""
    if h5py.check_vlen_dtype(dataset.dtype) != np.uint8 and h5py.check_string_dtype(dataset.dtype) is None:
        raise FormatError(f"{path}: {name} holds neither bytes nor texts")
    start = dataset.id.get_offset()
    if start is None:
        raise FormatError(f"{path}: {name} is laid out in another way than a pack's columns are")
    with open(path, "rb") as stream:
        stream.seek(start)
        references = np.frombuffer(stream.read(size), _REFERENCE)
    claimed = int(references["length"].sum(dtype=np.uint64))
    if claimed > os.path.getsize(path):
        raise FormatError(f"{path}: {name} claims {claimed} bytes, more than the file has")
