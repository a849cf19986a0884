"""Which pictures: folders, globs, single files, lists and URLs become a stream of paths, found as it is read.

Nothing is gathered first: `os.scandir` goes on while pictures are at work. A folder that cannot be read, or a link that
leads back to a folder above it, is told and passed over.
"""

from __future__ import annotations

import fnmatch
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from facealign_cli.arguments import check_kind
from facealign_cli.batch.lists import csv_paths, line_paths, parquet_paths
from facealign_cli.errors import InputError
from facealign_cli.files.base import password_hidden, without_waiting
from facealign_cli.files.output import safe_tree
from facealign_cli.files.pictures import STDIN, standard_input
from facealign_cli.files.storage import LocalStorage, Storage, is_url, join, storage_for
from facealign_cli.formats.parquet import import_pyarrow

PICTURE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".avif", ".jp2", ".j2k",
    ".pbm", ".pgm", ".ppm", ".pnm", ".pfm", ".pam", ".hdr", ".pic", ".ras", ".sr",
})  # fmt: skip
"""What a picture's name in a folder ends with, if no pattern is given; capitals do not matter."""

CLIP_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp",
    ".ogv", ".mxf", ".vob",
})  # fmt: skip
"""The same for clips."""

_MAGIC = re.compile(r"[*?\[]")

Tell = Callable[[str], None]


def one_or_several(places: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> tuple[str, ...]:
    """The places as a tuple of texts; a single place makes a tuple of one."""
    if isinstance(places, str | os.PathLike):
        return (os.fspath(places),)
    check_kind("sources", places, Iterable, hint="give a path, several, or Sources")
    given = tuple(places)
    for place in given:
        check_kind("sources", place, str, os.PathLike)
    return tuple(os.fspath(place) for place in given)


@dataclass(frozen=True)
class Sources:
    """Where the pictures are. A single place or list need not stand in a tuple, and each may be a Path.

    places: folders, files, globs or URLs, or "-" for a list of paths on standard input. lists: files with one path a
    line, or .csv and .parquet files with a column of paths; relative paths start from the working directory. recursive:
    also look into folders in folders. glob: which names in folders count; None means those of pictures. null: the paths
    of a list end with NUL bytes instead of line feeds. column: the column of paths; None means the first one of
    `PATH_COLUMNS`. skip: folders that are not looked into. clips: whether clips are meant instead of pictures.
    """

    places: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    recursive: bool = False
    glob: str | None = None
    null: bool = False
    column: str | None = None
    skip: tuple[str, ...] = ()
    clips: bool = False

    def __post_init__(self) -> None:
        for name in ("places", "lists", "skip"):
            object.__setattr__(self, name, one_or_several(getattr(self, name)))

    @property
    def what(self) -> str:
        """The word for what is looked for, as messages use it."""
        return "clips" if self.clips else "pictures"

    def check(self) -> None:
        """Raise InputError for a place or list that is not there, MissingDependency if one needs a package."""
        for place in (*self.places, *self.lists):
            if place == STDIN:
                continue
            storage = storage_for(place)
            if not storage.kind(place) and (place in self.lists or not _MAGIC.search(place)):
                raise InputError(f"{place}: no such file or folder")
        if any(path.lower().endswith(".parquet") for path in self.lists):
            import_pyarrow()
        if [*self.places, *self.lists].count(STDIN) > 1:
            raise InputError('standard input ("-") can be read once only')

    def check_apart(self, folders: Iterable[str]) -> None:
        """Raise InputError if pictures that are written to these folders would be among those that are read."""
        for place in self.places:
            base, rest = (place, "") if not _MAGIC.search(place) or os.path.isdir(place) else _parts(place)
            deep = _is_deep(rest) if rest else self.recursive
            if place == STDIN or is_url(place) or not os.path.isdir(base):
                continue
            read = _place(base)
            for folder in folders:
                made = _place(os.path.dirname(os.path.join(folder, safe_tree(os.path.join(base, "x")))))
                is_passed_over = _place(folder) != read and _is_inside(_place(folder), read)
                if not is_url(folder) and (made == read or (deep and _is_inside(made, read) and not is_passed_over)):
                    raise InputError(
                        f"{folder}: what is written there would lie in {base}, among the {self.what} that are read, "
                        "and be read by the next run; name a folder apart from it"
                    )

    def paths(self, tell: Tell, note: Tell = lambda text: None) -> Iterator[str]:
        """The paths, as they are found; one may come several times.

        tell: is given each problem, in words; note: what is no problem, but should be known, such as how many files of
        a folder are no pictures.

        Raises InputError, FormatError (a kind of it) for a list that cannot be read.
        """
        walk = _Walk(self, tell)
        for place in self.places:
            if place == STDIN:
                yield from _without_passwords(_listed(STDIN, self), tell)
                continue
            storage = storage_for(place)
            kind = storage.kind(place)
            if kind == "folder":
                yield from walk.folder(storage, place)
            elif kind == "file" or not _MAGIC.search(place):
                yield place
            else:
                yield from walk.pattern(storage, place)
        if text := walk.passed_over_text():
            note(text)
        for path in self.lists:
            yield from _without_passwords(_listed(path, self), tell)


def _without_passwords(paths: Iterator[str], tell: Tell) -> Iterator[str]:
    for path in paths:
        if (shown := password_hidden(path)) is None:
            yield path
        else:
            tell(f"{shown}: left out: a password in a URL would be written into the rows")


class _Walk:
    """Looks through folders."""

    def __init__(self, sources: Sources, tell: Tell) -> None:
        self._sources, self._tell = sources, tell
        self._skipped = {_place(folder) for folder in sources.skip}
        self.passed_over: Counter[str] = Counter()

    def passed_over_text(self) -> str:
        """How many files of which kinds stand in the folders and were not meant; "" if there are none."""
        count = self.passed_over.total()
        if not count:
            return ""
        kinds = self.passed_over.most_common(6)
        named = ", ".join(f"{number:,} {kind}" if len(kinds) > 1 else kind for kind, number in kinds)
        more = ", …" if len(self.passed_over) > len(kinds) else ""
        files = "1 file" if count == 1 else f"{count:,} files"
        other = "of another name" if self._sources.glob else "of another kind"
        return f"{files} {other} passed over ({named}{more}){_advice(self.passed_over)}"

    def folder(self, storage: Storage, folder: str) -> Iterator[str]:
        """Pictures in a folder, or those that its `glob` names. Hidden files (.name) are left out."""
        glob, inner, found = self._sources.glob, 0, False
        wanted = CLIP_SUFFIXES if self._sources.clips else PICTURE_SUFFIXES
        for path, name, is_folder in self._entries(storage, folder, deep=self._sources.recursive):
            if is_folder:
                inner += 1
            elif fnmatch.fnmatchcase(name, glob) if glob else _has_suffix(name, wanted):
                found = True
                yield path
            else:
                self.passed_over[_kind(name)] += 1
        if not found and inner and not self._sources.recursive:
            self._tell(f"{folder}: no {self._sources.what} in it, but {inner} folders; --recursive looks into them")

    def pattern(self, storage: Storage, pattern: str) -> Iterator[str]:
        """Files whose paths match a glob; "**" stands for any folders."""
        base, rest = _parts(pattern)
        if is_url(pattern) and not is_url(join(base, "")):
            raise InputError(f"{pattern}: name at least the bucket or host before the first *")
        parts, prefix = rest.split("/"), len(join(base, ""))
        if storage.kind(base) != "folder":
            return
        for path, _, is_folder in self._entries(storage, base, deep=_is_deep(rest)):
            if not is_folder and _matches(parts, path[prefix:].replace(os.sep, "/").split("/")):
                yield path[2:] if base == "." and not pattern.startswith(".") else path

    def _entries(self, storage: Storage, folder: str, *, deep: bool) -> Iterator[tuple[str, str, bool]]:
        """(path, name, is it a folder) of all below a folder; each chain of folders remembers those it came through."""
        own = storage.identity(folder)
        stack = [(folder, (own,) if own else ())]
        while stack:
            current, above = stack.pop()
            try:
                for entry in storage.scan(current):
                    name = re.split(r"/|\\" if os.sep == "\\" else "/", entry.path)[-1]
                    if name.startswith("."):
                        continue
                    yield entry.path, name, entry.is_folder
                    if not entry.is_folder or not deep or _place(entry.path) in self._skipped:
                        continue
                    if entry.identity is not None and entry.identity in above:
                        self._tell(f"{entry.path}: a link that leads back to a folder above it: not followed")
                        continue
                    stack.append((entry.path, (*above, entry.identity) if entry.identity else above))
            except InputError as error:
                self._tell(f"{error}: nothing in this folder was read")


def _place(folder: str) -> str:
    """A folder's path in a form that can be compared."""
    return folder.rstrip("/") if is_url(folder) else os.path.realpath(folder)


def _is_inside(place: str, folder: str) -> bool:
    """Whether a place is a folder or lies in it; both as `_place` gives them."""
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)


def _parts(pattern: str) -> tuple[str, str]:
    """The folder in which a glob's matches lie, and what follows it."""
    pattern = pattern if is_url(pattern) else pattern.replace(os.sep, "/")
    fixed = _MAGIC.split(pattern, maxsplit=1)[0].rpartition("/")[0]
    rest = pattern[len(fixed) + 1 :] if fixed or pattern.startswith("/") else pattern
    return fixed or ("/" if pattern.startswith("/") else "."), rest


def _is_deep(rest: str) -> bool:
    """Whether the end of a glob, see `_parts`, goes down into folders."""
    return "/" in rest or "**" in rest


def _kind(name: str) -> str:
    return os.path.splitext(name)[1].lower()[:12] or "no suffix"


def _advice(kinds: Iterable[str]) -> str:
    """What to do about pictures that are not read."""
    heic = sorted({".heic", ".heif", ".hif"}.intersection(kinds))
    convert = f"; {' and '.join(heic)} are pictures that are not read here: convert them to JPEG first" if heic else ""
    clips = "; facealign batch videos is for clips" if CLIP_SUFFIXES.intersection(kinds) else ""
    return convert + clips


def _has_suffix(name: str, suffixes: frozenset[str]) -> bool:
    return os.path.splitext(name)[1].lower() in suffixes


def _matches(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Whether the parts of a path match those of a glob; "**" stands for any folders, and by itself for all below.

    Each part is matched by `fnmatch`, whose patterns do not go back over a name; the parts by what each may reach.
    """
    pattern = [*pattern, "*"] if pattern[-1] == "**" else pattern  # below a folder, not the folder itself
    reached = {0}
    for name in (*path, None):
        open_ = set(reached)
        for place in range(len(pattern)):
            if place in open_ and pattern[place] == "**":  # no folder at all
                open_.add(place + 1)
        if name is None:
            return len(pattern) in open_
        reached = {place for place in open_ if place < len(pattern) and pattern[place] == "**"}
        steps = (place for place in open_ if place < len(pattern) and pattern[place] != "**")
        reached |= {place + 1 for place in steps if fnmatch.fnmatchcase(name, pattern[place])}
    return False


def _listed(path: str, sources: Sources) -> Iterator[str]:
    suffix = os.path.splitext(path)[1].lower()
    read = {".csv": csv_paths, ".parquet": parquet_paths}.get(suffix)
    try:
        if path == STDIN:
            yield from line_paths(standard_input(), sources.null)
            return
        with _open(path) as stream:
            yield from read(stream, path, sources.column) if read else line_paths(stream, sources.null)
    except OSError as error:
        name = "standard input" if path == STDIN else path
        raise InputError(f"{name}: cannot be read: {error.strerror or error}") from error


def _open(path: str) -> BinaryIO:
    storage = storage_for(path)
    return (
        open(path, "rb", opener=without_waiting)
        if isinstance(storage, LocalStorage)
        else io.BytesIO(storage.read(path))
    )
