"""Local paths and URLs behind one small interface: list, read, write whole files, remove.

A URL is what begins with a scheme (`s3://`, `gs://`, `memory://`); fsspec, the extra `cloud`, is imported only for one.
A file is written as a whole or not at all: locally beside its place and renamed, in an object store by its own put.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from facealign_cli.errors import InputError, MissingDependency, OutputError
from facealign_cli.files.output import make_folder, write_bytes

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)(::|://)")


def is_url(path: str) -> bool:
    """Whether a path is a URL rather than a local path."""
    return _SCHEME.match(path) is not None


@dataclass(frozen=True)
class Entry:
    """What stands in a folder. path: the folder's path with the name. identity: tells a local folder from others."""

    path: str
    is_folder: bool
    identity: tuple[int, int] | None = None


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


def storage_for(path: str) -> Storage:
    """The storage that a path or URL lies in. Raises MissingDependency, InputError for a scheme nobody knows."""
    return UrlStorage(path) if is_url(path) else LocalStorage()


def join(folder: str, name: str) -> str:
    """The path of a name in a folder, also where the folder is a URL."""
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else os.path.join(folder, name)


def arrow_folder(folder: str) -> Any:
    """A folder or URL as a pyarrow file system whose paths count from it, whatever characters the folder's has.

    Raises as `storage_for` does. pyarrow has to be there.
    """
    from pyarrow import fs

    if not is_url(folder):
        return fs.SubTreeFileSystem(os.path.abspath(folder), fs.LocalFileSystem())
    inner, path = _file_system(folder)
    return fs.SubTreeFileSystem(path, fs.PyFileSystem(fs.FSSpecHandler(inner)))


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
            raise InputError(f"{path}: {_reason(error)}") from error
        return "folder" if stat.S_ISDIR(mode) else "file"

    def scan(self, folder: str) -> Iterator[Entry]:
        """See `Storage.scan`. A link that leads nowhere counts as a file: reading it says so."""
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    yield _entry(entry)
        except OSError as error:
            raise InputError(f"{folder}: {_reason(error)}") from error

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
            _check_length(path, status.st_size, max_bytes)
            with open(path, "rb") as stream:
                return stream.read()
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: {_reason(error)}") from error

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
            raise OutputError(f"cannot write {path}: {_reason(error)}") from error
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
            raise OutputError(f"cannot move {path} to {new_path}: {_reason(error)}") from error

    def remove(self, path: str) -> None:
        """See `Storage.remove`."""
        self._check(path)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        except OSError as error:
            raise OutputError(f"cannot remove {path}: {_reason(error)}") from error

    def names(self, folder: str) -> list[str]:
        """See `Storage.names`."""
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(f"{folder}: {_reason(error)}") from error


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


class UrlStorage:
    """Files behind a URL, by fsspec. Everything such a file system raises becomes our own error."""

    def __init__(self, url: str) -> None:
        self._fs, self._protocol = _file_system(url)[0], url.partition("://")[0]
        self.shared_between_processes = self._protocol != "memory"
        self._local = LocalStorage()

    def kind(self, path: str) -> str:
        """See `Storage.kind`."""
        with _url_errors(path, InputError):
            self._fs.invalidate_cache()
            if self._fs.isfile(path):
                return "file"
            return "folder" if self._fs.isdir(path) else ""

    def scan(self, folder: str) -> Iterator[Entry]:
        """See `Storage.scan`."""
        with _url_errors(folder, InputError):
            found = self._fs.ls(folder, detail=True)
        for info in found:
            name = str(info["name"]).rstrip("/").rpartition("/")[2]
            if name and join(folder, name) != folder.rstrip("/"):
                yield Entry(join(folder, name), info["type"] == "directory")

    def identity(self, folder: str) -> tuple[int, int] | None:
        """See `Storage.identity`."""
        return None

    def read(self, path: str, max_bytes: int | None = None) -> bytes:
        """See `Storage.read`."""
        with _url_errors(path, InputError), self._fs.open(path, "rb") as stream:
            data = stream.read() if max_bytes is None else stream.read(max_bytes + 1)
        _check_length(path, len(data), max_bytes)
        return bytes(data)

    def write(self, path: str, data: bytes) -> None:
        """See `Storage.write`. Where the scheme stands for local files it is done as there."""
        local = self.local_path(path)
        if local is not None:
            self._local.write(local, data)
            return
        with _url_errors(path, OutputError):
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(path, data)

    def create(self, path: str, data: bytes) -> bool:
        """See `Storage.create`. By the conditional put that fsspec's file systems of object stores have."""
        local = self.local_path(path)
        if local is not None:
            return self._local.create(local, data)
        with _url_errors(path, OutputError):
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            try:
                self._fs.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
        return True

    def hold(self, folder: str) -> None:
        """See `Storage.hold`. In an object store nothing can be moved away, and there are no links."""
        local = self.local_path(folder)
        if local is not None:
            self._local.hold(local)

    def check_held(self) -> None:
        """See `Storage.check_held`."""
        self._local.check_held()

    def local_path(self, path: str) -> str | None:
        """See `Storage.local_path`."""
        return str(self._fs._strip_protocol(path)) if self._protocol in ("file", "local") else None

    def move(self, path: str, new_path: str) -> None:
        """See `Storage.move`. An object store copies it, then removes the first."""
        with _url_errors(f"{new_path} (from {path})", OutputError):
            self._fs.mv(path, new_path)

    def remove(self, path: str) -> None:
        """See `Storage.remove`."""
        with _url_errors(path, OutputError), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(path)

    def names(self, folder: str) -> list[str]:
        """See `Storage.names`."""
        with _url_errors(folder, InputError):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(folder, detail=False)
            except FileNotFoundError:
                return []
        return sorted(str(name).rstrip("/").rpartition("/")[2] for name in found)


def _file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it."""
    try:
        import fsspec
    except ImportError as error:
        raise MissingDependency(f"{url.partition('://')[0]}://", "fsspec", "cloud") from error
    try:
        file_system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:  # fsspec says which package this scheme needs
        raise InputError(f"{url}: {error}") from error
    except (ValueError, TypeError, OSError) as error:
        raise InputError(f"{url}: cannot be used: {error}") from error
    return file_system, str(path)


@contextlib.contextmanager
def _url_errors(path: str, kind: type[InputError] | type[OutputError]) -> Iterator[None]:
    what = f"cannot write {path}" if kind is OutputError else path
    try:
        yield
    except (InputError, OutputError):
        raise
    except Exception as error:  # each file system has errors of its own; none is ours
        raise kind(f"{what}: {_reason(error)}") from error


def _entry(entry: os.DirEntry[str]) -> Entry:
    try:
        is_folder = entry.is_dir()
        identity = None
        if is_folder:
            status = entry.stat()
            identity = status.st_dev, status.st_ino
    except OSError:  # a loop of links, or no permission to follow one: reading it says so
        return Entry(entry.path, False)
    return Entry(entry.path, is_folder, identity)


def _check_length(path: str, length: int, max_bytes: int | None) -> None:
    if max_bytes is not None and length > max_bytes:
        raise InputError(f"{path}: more than {max_bytes >> 20} MiB, too large for a picture within the limit")


def _reason(error: Exception) -> str:
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
