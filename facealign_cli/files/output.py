"""The one place where files are written: beside their place, flushed to the disk, then renamed.

A reader sees the old file or the whole new one, never a part; nothing is replaced unless `overwrite` says so. A device
or a pipe (`/dev/stdout`, `/dev/null`, a FIFO) cannot be renamed over: it is written directly. A link is followed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from facealign_cli.arguments import check_flags
from facealign_cli.errors import OutputError, in_python

_DISK_ERRORS = {errno.ENOSPC, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NO_LINK_ERRORS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EXDEV, errno.EACCES}


UNFINISHED = ".facealign-"
"""What the name of a file begins with while it is written; only a process that was killed leaves one."""


def exists_already(path: str | os.PathLike[str]) -> OutputError:
    """The error for a file that stands where one is to be written."""
    return OutputError(f"{os.fspath(path)} exists already; --overwrite{in_python('overwrite=True')} replaces it")


def check_output(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Raise OutputError if a file could not be written to `path`: to be asked before long work, not after it.

    InputError unless overwrite is True or False.
    """
    check_flags(overwrite=overwrite)
    path = Path(path)
    if _ON_WINDOWS and _is_device(path.name):
        raise OutputError(f"cannot write {path}: on Windows {path.name} is the name of a device; name another file")
    if _is_special(path):
        return
    try:
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder")
        if os.path.lexists(path) and not overwrite:
            raise exists_already(path)
        folder = _real(path).parent
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise OutputError(f"cannot write {path}: the folder {folder} {what}")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"cannot write {path}: no permission to write in the folder {folder}")
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {path}: {write_reason(error)}") from error


def check_outputs(
    paths: Iterable[str | os.PathLike[str] | None],
    overwrite: bool = False,
    *,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> None:
    """Raise OutputError as `check_output` does for any of several files, and where two of them are one.

    paths: None stands for one that is not wanted. inputs: files that are read, and must not be replaced by a result.
    """
    wanted = [path for path in paths if path is not None]
    taken: dict[str, str | os.PathLike[str]] = {}
    for path in wanted:
        check_output(path, overwrite)
        place = os.path.realpath(path)
        if place in taken and not _is_special(Path(path)):
            raise OutputError(f"{os.fspath(taken[place])} and {os.fspath(path)} are one file: name two for two results")
        taken[place] = path
    check_inputs_stay(wanted, inputs)


def check_inputs_stay(
    outputs: Iterable[str | os.PathLike[str]], inputs: Iterable[str | os.PathLike[str]], *, folders: bool = False
) -> None:
    """Raise OutputError where an output is a file that is read, so that a result cannot replace what it is made of.

    folders: also where an output is a folder that is read.
    """
    read = {place: path for path in inputs if (place := _identity(path, folders)) is not None}
    for path in outputs:
        place = _identity(path, folders)
        if place in read:
            raise OutputError(
                f"cannot write {os.fspath(path)}: it is {os.fspath(read[place])}, which is read; name another place"
            )


def _identity(path: str | os.PathLike[str], folders: bool) -> tuple[int, int] | None:
    """Device and inode of a file (of a folder with `folders`) that is there; None for anything else."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    is_kept = stat.S_ISREG(found.st_mode) or (folders and stat.S_ISDIR(found.st_mode))
    return (found.st_dev, found.st_ino) if is_kept else None


def names_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a path means a folder for several files: one that is there, a name without a suffix, or with / behind."""
    text = os.fspath(path)
    return os.path.isdir(text) or text.endswith(("/", os.sep)) or not Path(text).suffix


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """For writers that open a path themselves: yields a temporary path beside `path`, with its suffix.

    When the body ends well, what stands there is flushed to the disk and renamed to `path`; when it does not, it is
    removed. Raises OutputError: `path` exists, is a folder, its folder is missing or closed to writing, disk full.
    """
    path = Path(path)
    check_output(path, overwrite)
    if _is_special(path):
        with _disk_errors(path):
            yield path
        return
    target = _real(path)
    temporary = target.with_name(f"{UNFINISHED}{secrets.token_hex(6)}{target.suffix[-20:]}")
    try:
        with _disk_errors(path):
            yield temporary
        with _all_errors(path):
            _flush(temporary)
            _rename(temporary, target, path, overwrite)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[BinaryIO]:
    """For writers that fill a stream: yields a binary file that becomes `path` when the body ends well.

    Raises OutputError as `atomic_path` does.
    """
    with atomic_path(path, overwrite) as temporary:
        with _all_errors(Path(path)):
            stream = open(temporary, "wb")  # noqa: SIM115 - closed below, so that closing's own errors are told apart
        try:
            yield stream
        finally:
            with _all_errors(Path(path)):
                stream.close()


def write_bytes(path: str | os.PathLike[str], data: bytes, overwrite: bool = False) -> None:
    """Write a whole file. Raises OutputError as `atomic_path` does."""
    with atomic_write(path, overwrite) as stream:
        stream.write(data)


def make_folder(path: str | os.PathLike[str]) -> Path:
    """The folder `path`, made if it is missing (with its parents). Raises OutputError if it cannot be."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(f"cannot write into {path}: it is not a folder") from error
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot make the folder {path}: {write_reason(error)}") from error
    return path


def safe_stem(source: str) -> str:
    """A file name from a source: its last part without the suffix, without anything that could leave a folder."""
    last = "stdin" if source == "-" else re.split(r"[/\\]", source)[-1]
    stem = _cut(_UNSAFE.sub("_", os.path.splitext(last)[0]), 200)
    stem = f"_{stem}" if _is_device(stem) else stem
    return stem if stem.strip(". ") else "picture"


def safe_tree(source: str) -> str:
    """A relative path that mirrors a source's whole path, for what is made of it: it cannot leave a folder.

    Two sources never share one: where a part had to be changed, the last one begins with a hash of the source. An
    absolute path begins with `_root`, and then with `_drive_C` and the like on Windows.
    """
    raw = os.fsencode(source)
    parts = _parts(source)
    clean = [_safe_part(part) for part in parts]
    if clean == parts and all(parts) and len(raw) <= 900:
        return "/".join(clean)
    folders = [part for part in clean[:-1] if part] if len(raw) <= 900 else []
    return "/".join([*folders, f"{hashlib.sha256(raw).hexdigest()[:12]}-{_cut(clean[-1], 160, keep_end=True)}"])


def _parts(source: str) -> list[str]:
    """The folders of a path and its name. One that an absolute path could be taken for gets an empty part in front."""
    drive = re.match(r"([A-Za-z]):[/\\]", source) if _ON_WINDOWS else None
    path = source.replace("\\", "/") if _ON_WINDOWS else source
    if drive:
        return ["_root", f"_drive_{drive[1]}", *path[3:].split("/")]
    first, *rest = re.sub(r"^(?:\./+)+", "", path).split("/")
    if first == "":
        return ["_root", "", *rest] if rest and rest[0].startswith("_drive_") else ["_root", *rest]
    return ["", first, *rest] if first == "_root" else [first, *rest]


def picture_stems(sources: Sequence[str], root: str | os.PathLike[str] | None = None) -> list[str]:
    """For each picture what the files that are made of it are called, as a relative path without a suffix.

    NAME of a/NAME.jpg, or where several pictures have one NAME the whole path, "a/NAME.jpg". root: a folder of
    pictures: the path from there, without the suffix. The same source, twice, has the same stem.
    """
    trees = [safe_tree(source if root is None else os.path.relpath(source, root)) for source in sources]
    if root is None:
        shorts = [safe_stem(source) for source in sources]
    else:
        parts = [tree.rpartition("/") for tree in trees]
        shorts = [f"{folder}{slash}{safe_stem(name)}" for folder, slash, name in parts]
    meant: dict[str, set[str]] = defaultdict(set)
    for short, source in zip(shorts, sources, strict=True):
        meant[short.casefold()].add(source)
    return [tree if len(meant[s.casefold()]) > 1 else s for tree, s in zip(trees, shorts, strict=True)]


def _safe_part(part: str) -> str:
    """A name that is no way to another folder on any system, nor a device; "" where nothing of it is left."""
    part = _UNSAFE.sub("_", part).strip(" ")
    part = "_" * min(len(part), 8) if not part.strip(".") else part.rstrip(".")
    return _cut(f"_{part}" if _is_device(part) else part, 180, keep_end=True)


def _cut(name: str, most_bytes: int, *, keep_end: bool = False) -> str:
    """The name, so far as it has no more bytes; cut between characters, since half a character is no name on macOS."""
    name = name[-most_bytes:] if keep_end else name[:most_bytes]
    while len(os.fsencode(name)) > most_bytes:
        name = name[1:] if keep_end else name[:-1]
    return name


def _is_device(name: str) -> bool:
    """Whether Windows takes a name for a device, in any folder and with any suffix."""
    return _DEVICE.fullmatch(name.partition(".")[0].rstrip(" ")) is not None


_UNSAFE = re.compile(r'[\x00-\x1f\x7f:*?"<>|\\]')
_DEVICE = re.compile(r"CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³]", re.IGNORECASE)
_ON_WINDOWS = os.name == "nt"


class UniqueNames:
    """Gives out file names that are unlike one another, also where case is ignored: NAME, NAME-2, NAME-3 …"""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def claim(self, stem: str, suffixes: Sequence[str] = ("",)) -> list[str]:
        """A name for each suffix, all with the same free stem."""
        names, count = [f"{stem}{suffix}" for suffix in suffixes], 1
        while not self._taken.isdisjoint(name.casefold() for name in names):
            count += 1
            names = [f"{stem}-{count}{suffix}" for suffix in suffixes]
        self._taken.update(name.casefold() for name in names)
        return names


def _real(path: Path) -> Path:
    """Where a link leads, so that writing through it keeps the link."""
    return Path(os.path.realpath(path))


def _is_special(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _flush(temporary: Path) -> None:
    with open(temporary, "r+b") as stream:
        os.fsync(stream.fileno())


def _rename(temporary: Path, target: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        with contextlib.suppress(OSError):
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
    else:
        _rename_if_free(temporary, target, path)
    _flush_folder(target.parent)


def _rename_if_free(temporary: Path, target: Path, path: Path) -> None:
    """`rename` replaces silently and a check before it can be overtaken; a hard link fails if the name is taken."""
    try:
        os.link(temporary, target)
        return
    except FileExistsError as error:
        raise exists_already(path) from error
    except OSError as error:
        if error.errno not in _NO_LINK_ERRORS:
            raise
    check_output(path)  # a file system without hard links
    temporary.replace(target)


def _flush_folder(folder: Path) -> None:
    """Makes the new name itself last through a power cut, where the system lets a folder be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """In the caller's body only a full or failing disk is ours to explain; its other errors are its own."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise OutputError(f"cannot write {path}: {write_reason(error)}") from error


@contextlib.contextmanager
def _all_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {write_reason(error)}") from error


def write_reason(error: Exception) -> str:
    """Why something cannot be written, in plain words that end a sentence."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full"
    return (getattr(error, "strerror", None) or str(error)).lower()
