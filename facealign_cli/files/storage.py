"""Local paths and URLs behind one small interface: list, read, write whole files, remove.

A URL is what begins with a scheme (`s3://`, `gs://`, `memory://`); fsspec, the extra `cloud`, is imported only for one.
A file is written as a whole or not at all: locally beside its place and renamed, in an object store by its own put.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from facealign_cli.errors import InputError, MissingDependency, OutputError
from facealign_cli.files.base import Entry, Storage, check_length, is_url, join, password_hidden, reason_of
from facealign_cli.files.local import LocalStorage

__all__ = [
    "Entry",
    "LocalStorage",
    "Storage",
    "UrlStorage",
    "arrow_folder",
    "is_url",
    "join",
    "local_place",
    "storage_for",
]

_creating = threading.Lock()


def storage_for(path: str) -> Storage:
    """The storage that a path or URL lies in. Raises MissingDependency, InputError for a scheme nobody knows."""
    return UrlStorage(path) if is_url(path) else LocalStorage()


_LOCAL_SCHEMES = ("file", "local")


def local_place(path: str) -> str | None:
    """The path on this machine of a path, or of a URL such as file://; None for a URL that leads elsewhere.

    Raises as `storage_for` does.
    """
    if is_url(path) and path.partition("://")[0] not in _LOCAL_SCHEMES:
        return None
    return storage_for(path).local_path(path)


def arrow_folder(folder: str) -> Any:
    """A folder or URL as a pyarrow file system whose paths count from it, whatever characters the folder's has.

    Raises as `storage_for` does. pyarrow has to be there.
    """
    from pyarrow import fs

    if not is_url(folder):
        return fs.SubTreeFileSystem(os.path.abspath(folder), fs.LocalFileSystem())
    inner, path = _file_system(folder)
    return fs.SubTreeFileSystem(path, fs.PyFileSystem(fs.FSSpecHandler(inner)))


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
        """See `Storage.scan`. Where the scheme stands for local files their links are known."""
        if (local := self.local_path(folder)) is not None:
            for entry in self._local.scan(local):
                yield replace(entry, path=join(folder, os.path.basename(entry.path)))
            return
        with _url_errors(folder, InputError):
            found = self._fs.ls(folder, detail=True)
        for info in found:
            name = str(info["name"]).rstrip("/").rpartition("/")[2]
            if name and join(folder, name) != folder.rstrip("/"):
                yield Entry(join(folder, name), info["type"] == "directory")

    def identity(self, folder: str) -> tuple[int, int] | None:
        """See `Storage.identity`."""
        local = self.local_path(folder)
        return None if local is None else self._local.identity(local)

    def read(self, path: str, max_bytes: int | None = None) -> bytes:
        """See `Storage.read`."""
        with _url_errors(path, InputError), self._fs.open(path, "rb") as stream:
            data = stream.read() if max_bytes is None else stream.read(max_bytes + 1)
        check_length(path, len(data), max_bytes)
        return bytes(data)

    def fetch(self, path: str, local_file: str | os.PathLike[str]) -> None:
        """Copy a file of any length to a local one, in parts. Raises InputError, which names the first."""
        with _url_errors(path, InputError):
            self._fs.get_file(path, os.fspath(local_file))

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
        """See `Storage.create`. By the conditional put that fsspec's file systems of object stores have.

        The one in memory, which threads of one process share, first looks and then writes: hence the lock.
        """
        local = self.local_path(path)
        if local is not None:
            return self._local.create(local, data)
        with _creating, _url_errors(path, OutputError):
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
        return str(self._fs._strip_protocol(path)) if self._protocol in _LOCAL_SCHEMES else None

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
        return sorted(_last_part(entry["name"]) for entry in self._listed(folder))

    def sizes(self, folder: str) -> dict[str, int]:
        """See `Storage.sizes`."""
        entries = [entry for entry in self._listed(folder) if entry.get("type") == "file"]
        return {_last_part(entry["name"]): entry["size"] for entry in entries if entry.get("size") is not None}

    def _listed(self, folder: str) -> list[dict[str, Any]]:
        with _url_errors(folder, InputError):
            self._fs.invalidate_cache()
            try:
                return list(self._fs.ls(folder, detail=True))
            except FileNotFoundError:
                return []


def _last_part(name: object) -> str:
    return str(name).rstrip("/").rpartition("/")[2]


def _file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it."""
    if (shown := password_hidden(url)) is not None:
        raise InputError(
            f"{shown}: a password in a URL would be written into rows and messages; give it in fsspec's configuration "
            "(~/.config/fsspec) or in the environment"
        )
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
        raise kind(f"{what}: {reason_of(error)}") from error
