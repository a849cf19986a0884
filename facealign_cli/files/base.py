"""What every place of files offers: list, read, write whole files, remove; and how its paths are written."""

from __future__ import annotations

import errno
import glob
import os
import re
import shlex
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from facealign_cli.errors import InputError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)(::|://)")
_PASSWORD = re.compile(r"(://[^/?#@:]*):[^/?#@]*@")


def is_url(path: str) -> bool:
    """Whether a path is a URL rather than a local path."""
    return _SCHEME.match(path) is not None


def password_hidden(path: str) -> str | None:
    """A URL without the password that stands in it, for messages; None where there is none."""
    shown = _PASSWORD.sub(r"\1:***@", path) if "@" in path and is_url(path) else path
    return None if shown == path else shown


@dataclass(frozen=True)
class Entry:
    """What stands in a folder. path: the folder's path with the name. identity: tells a local folder from others.

    is_folder, identity: of a link those of what it leads to.
    """

    path: str
    is_folder: bool
    identity: tuple[int, int] | None = None
    is_link: bool = False


class Storage(Protocol):
    """Where files are. Paths are text; bytes of local names that are no UTF-8 stand in it as lone surrogates."""

    shared_between_processes: bool

    def kind(self, path: str) -> str:
        """ "file", "folder", or "" where nothing stands. Raises InputError without permission."""
        ...

    def scan(self, folder: str) -> Iterator[Entry]:
        """What stands in a folder, as it comes. Raises InputError."""
        ...

    def identity(self, folder: str) -> tuple[int, int] | None:
        """What tells a folder from others however it is reached; None where links do not exist."""
        ...

    def read(self, path: str, max_bytes: int | None = None) -> bytes:
        """A whole file. Raises InputError, which names it: missing, a folder, no permission, too long."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file, in place of an older one; its folders are made. Raises OutputError."""
        ...

    def move(self, path: str, new_path: str) -> None:
        """Give a file of this storage another place in it, over an older file there. Raises OutputError."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file, if it is there. Raises OutputError."""
        ...

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; none if there is no such folder. Raises InputError."""
        ...

    def sizes(self, folder: str) -> dict[str, int]:
        """Name in a folder → bytes, of the files whose length the system tells. Raises InputError."""
        ...

    def create(self, path: str, data: bytes) -> bool:
        """Write a whole new file; False if one is there already. Of two that try, one succeeds. Raises OutputError."""
        ...

    def hold(self, folder: str) -> None:
        """Make a folder if it is missing, and from now on write below it only while it stays where it is.

        No link inside it is followed then, and no device or pipe written to. Raises OutputError.
        """
        ...

    def check_held(self) -> None:
        """Raise OutputError if a folder that is held was moved away."""
        ...

    def local_path(self, path: str) -> str | None:
        """The path on this machine; None if it lies elsewhere."""
        ...


def join(folder: str, name: str) -> str:
    """The path of a name in a folder, also where the folder is a URL."""
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else os.path.join(folder, name)


def check_length(path: str, length: int, max_bytes: int | None) -> None:
    """Raise InputError where a file of `length` bytes is longer than `max_bytes`; None: any length is right."""
    if max_bytes is not None and length > max_bytes:
        raise InputError(f"{path}: more than {max_bytes >> 20} MiB, too large for a picture within the limit")


def read_at_most(stream: BinaryIO, max_bytes: int) -> bytes:
    """A stream's bytes up to its end, or the first so many.

    They are read in pieces: asked for all at once, Python lays out that much memory for the shortest file.
    """
    data = bytearray()
    while len(data) < max_bytes and (piece := stream.read(min(max_bytes - len(data), _PIECE))):
        data += piece
    return bytes(data)


_PIECE = 1 << 20


def reason_of(error: Exception) -> str:
    """What the system says, in plain words that end a sentence about a file."""
    number = getattr(error, "errno", None)
    if isinstance(error, FileNotFoundError) or number in (errno.ENOENT, errno.ENOTDIR):
        return "no such file"
    if isinstance(error, PermissionError):
        return "no permission"
    if number == errno.ELOOP:
        return "a link that leads back to itself"
    if number == errno.ENOSPC:
        return "the disk is full"
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(said)


def check_path(name: str, value: object) -> None:
    """Raise InputError unless the value is a path; an empty one, which Python takes for the working folder, is none."""
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{name}: expected a path, got {type(value).__name__}")
    if not os.fspath(value):
        raise InputError(f"{name}: expected a path, got an empty one")


_PATIENCE_S, _LOOKS = 1.0, 50
"""How long a pipe's writer may take to come, and how often it is looked for."""


def no_such_file(path: str, many: str) -> str:
    """Words for the error about a file that is not there. many: the command that takes patterns and folders."""
    if _PATTERN.search(path) is None:
        return "no such file"
    matches = next(glob.iglob(path), None) is not None
    taken = f"`{many} {shlex.quote(path)} -o rows` takes it as it is"
    if matches:
        return f"it is a pattern, not a file: without quotes the shell puts the files in its place, and {taken}"
    return "no such file, and none that this pattern matches"


_PATTERN = re.compile(r"[*?]|\[.+\]")


def without_waiting(path: str, flags: int) -> int:
    """Open a file, as `open` does (it is one of its `opener`s), but hardly wait: a descriptor.

    Opening a pipe waits until somebody writes to it, which may be for ever. Raises OSError for a pipe to which nobody
    does within a second, and what `os.open` raises.
    """
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    try:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode) and not _has_writer(descriptor, path):
            raise OSError(errno.ENXIO, "it is a pipe, and nobody writes to it", path)
        if hasattr(os, "O_NONBLOCK"):
            os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _has_writer(descriptor: int, path: str) -> bool:
    """Whether a pipe that is open for reading has a writer, or holds what one has left."""
    import select

    try:  # only a pipe that once had a writer says that there is none: it gets one that is gone at once
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:  # no permission to write: whoever has it may come yet
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    for _ in range(_LOOKS):
        events = poll.poll(0)
        if not events or events[0][1] & select.POLLIN:
            return True
        time.sleep(_PATIENCE_S / _LOOKS)  # one that was started together with us may need a moment
    return False
