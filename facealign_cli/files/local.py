"""Files of this machine."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from facealign_cli.errors import InputError, OutputError
from facealign_cli.files.base import Entry, check_length, reason_of
from facealign_cli.files.output import make_folder, write_bytes


class LocalStorage:
    """Files of this machine."""

    shared_between_processes = True

    def __init__(self) -> None:
        self._held: dict[str, tuple[int, int] | None] = {}

    def kind(self, path: str) -> str:
        """See `Storage.kind`."""
        try:
            mode = os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return ""
        except OSError as error:
            raise InputError(f"{path}: {reason_of(error)}") from error
        return "folder" if stat.S_ISDIR(mode) else "file"

    def scan(self, folder: str) -> Iterator[Entry]:
        """See `Storage.scan`. A link that leads nowhere counts as a file: reading it says so."""
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    yield _entry(entry)
        except OSError as error:
            raise InputError(f"{folder}: {reason_of(error)}") from error

    def identity(self, folder: str) -> tuple[int, int] | None:
        """See `Storage.identity`."""
        try:
            status = os.stat(folder)
        except (OSError, ValueError):
            return None
        return status.st_dev, status.st_ino

    def read(self, path: str, max_bytes: int | None = None) -> bytes:
        """See `Storage.read`. What is no regular file (a device, a pipe) is refused: it may have no end."""
        try:
            status = os.stat(path)
            if stat.S_ISDIR(status.st_mode):
                raise InputError(f"{path}: is a folder, not a file")
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path}: is a device or a pipe, not a file")
            check_length(path, status.st_size, max_bytes)
            with open(path, "rb") as stream:
                return stream.read()
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: {reason_of(error)}") from error

    def write(self, path: str, data: bytes) -> None:
        """See `Storage.write`."""
        self._check(path)
        make_folder(os.path.dirname(path) or ".")
        write_bytes(path, data, overwrite=True)

    def create(self, path: str, data: bytes) -> bool:
        """See `Storage.create`."""
        self._check(path)
        make_folder(os.path.dirname(path) or ".")
        try:
            with open(path, "xb") as stream:
                stream.write(data)
        except FileExistsError:
            return False
        except OSError as error:
            raise OutputError(f"cannot write {path}: {reason_of(error)}") from error
        return True

    def hold(self, folder: str) -> None:
        """See `Storage.hold`."""
        self._check(folder)
        make_folder(folder)
        self._held[folder] = self.identity(folder)

    def check_held(self) -> None:
        """See `Storage.check_held`."""
        for folder, identity in self._held.items():
            if self.identity(folder) != identity:
                raise OutputError(
                    f"{folder}: was moved or removed while it was written to, so nothing more is written; put it back "
                    "and run the same command again"
                )

    def local_path(self, path: str) -> str | None:
        """See `Storage.local_path`."""
        return path

    def _check(self, path: str) -> None:
        """Raise OutputError where a write to `path` would lead out of a folder that is held."""
        for folder in self._held:
            inner = os.path.relpath(path, folder) if path.startswith(folder) else os.pardir
            if inner in (os.curdir, os.pardir) or inner.startswith(os.path.join(os.pardir, "")):
                continue
            self.check_held()
            _check_way(path, folder, inner)

    def move(self, path: str, new_path: str) -> None:
        """See `Storage.move`. Nobody ever sees a part of it."""
        self._check(path)
        self._check(new_path)
        try:
            os.replace(path, new_path)
        except OSError as error:
            raise OutputError(f"cannot move {path} to {new_path}: {reason_of(error)}") from error

    def remove(self, path: str) -> None:
        """See `Storage.remove`."""
        self._check(path)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        except OSError as error:
            raise OutputError(f"cannot remove {path}: {reason_of(error)}") from error

    def names(self, folder: str) -> list[str]:
        """See `Storage.names`."""
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(f"{folder}: {reason_of(error)}") from error

    def sizes(self, folder: str) -> dict[str, int]:
        """See `Storage.sizes`."""
        try:
            with os.scandir(folder) as entries:
                return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise InputError(f"{folder}: {reason_of(error)}") from error


def _check_way(path: str, folder: str, inner: str) -> None:
    """Raise OutputError where a link, or something that is no file, stands on the way from a folder to a path in it."""
    place = folder
    for part in inner.split(os.sep):
        place = os.path.join(place, part)
        try:
            mode = os.lstat(place).st_mode
        except (OSError, ValueError):  # what is not there yet, or cannot be, is for the writing to tell
            return
        if stat.S_ISLNK(mode):
            raise OutputError(f"cannot write {path}: {place} is a link, and none is followed in {folder}; remove it")
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise OutputError(f"cannot write {path}: {place} is a device or a pipe; remove it")


def _entry(entry: os.DirEntry[str]) -> Entry:
    try:
        is_folder = entry.is_dir()
        identity = None
        if is_folder:
            status = entry.stat()
            identity = status.st_dev, status.st_ino
    except OSError:  # a loop of links, or no permission to follow one: reading it says so
        return Entry(entry.path, False, is_link=entry.is_symlink())
    return Entry(entry.path, is_folder, identity, entry.is_symlink())
