"""Which pictures: folders, globs, single files, lists and URLs become a stream of paths, found as it is read.

How folders are looked through: `walk`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from facealign_cli.arguments import check_flags, check_kind
from facealign_cli.batch.lists import csv_paths, line_paths, parquet_paths
from facealign_cli.batch.walk import MAGIC, Tell, Walk, is_deep, is_inside, pattern_parts, place_of
from facealign_cli.errors import InputError
from facealign_cli.files.base import password_hidden, without_waiting
from facealign_cli.files.output import safe_tree
from facealign_cli.files.pictures import STDIN, standard_input
from facealign_cli.files.storage import LocalStorage, is_url, local_place, storage_for
from facealign_cli.formats.parquet import import_pyarrow


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
        check_flags(recursive=self.recursive, null=self.null, clips=self.clips)
        for name in ("glob", "column"):
            check_kind(name, getattr(self, name), str, None)

    @property
    def what(self) -> str:
        """The word for what is looked for, as messages use it."""
        return "clips" if self.clips else "pictures"

    def check(self) -> None:
        """Raise InputError for a place or list that is not there, MissingDependency if one needs a package."""
        if not self.places and not self.lists:
            raise InputError(f"sources: expected one or more {self.what}, folders or lists of them, got none")
        for place in (*self.places, *self.lists):
            if place == STDIN:
                continue
            storage = storage_for(place)
            if not storage.kind(place) and (place in self.lists or not MAGIC.search(place)):
                raise InputError(f"{place}: no such file or folder")
        if any(path.lower().endswith(".parquet") for path in self.lists):
            import_pyarrow()
        if [*self.places, *self.lists].count(STDIN) > 1:
            raise InputError('standard input ("-") can be read once only')

    def check_apart(self, folders: Iterable[str]) -> None:
        """Raise InputError if pictures that are written to these folders would be among those that are read."""
        for place in self.places:
            base, rest = (place, "") if not MAGIC.search(place) or os.path.isdir(place) else pattern_parts(place)
            deep = is_deep(rest) if rest else self.recursive
            if place == STDIN or is_url(place) or not os.path.isdir(base):
                continue
            read = place_of(base)
            for folder in folders:
                made = place_of(os.path.dirname(os.path.join(folder, safe_tree(os.path.join(base, "x")))))
                is_passed_over = place_of(folder) != read and is_inside(place_of(folder), read)
                if not is_url(folder) and (made == read or (deep and is_inside(made, read) and not is_passed_over)):
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
        walk = Walk(tell, recursive=self.recursive, glob=self.glob, skip=self.skip, clips=self.clips)
        for place in self.places:
            if place == STDIN:
                yield from _without_passwords(_listed(STDIN, self), tell)
                continue
            storage = storage_for(place)
            kind = storage.kind(place)
            if kind == "folder":
                yield from walk.folder(storage, place)
            elif kind == "file" or not MAGIC.search(place):
                yield place
            else:
                yield from walk.pattern(storage, place)
        for text in walk.notes():
            note(text)
        for path in self.lists:
            yield from _without_passwords(_listed(path, self), tell)

    def folder_gone(self, path: str) -> str | None:
        """The folder in which a picture was found, if nothing is in it any more: it was unmounted, moved or emptied.

        None if the folder holds something, if the picture came by a list, or if it does not lie on this machine.
        """
        place = local_place(path)
        if place is None:
            return None
        folder = os.path.dirname(place) or "."
        bases = (place if not MAGIC.search(place) else pattern_parts(place)[0] for place in self.places)
        looked_through = [local_place(base) for base in bases if base != STDIN]
        if not any(base and is_inside(os.path.abspath(folder), os.path.abspath(base)) for base in looked_through):
            return None
        try:
            with os.scandir(folder) as entries:
                return None if any(entries) else folder
        except OSError:  # not there, or its file system is gone
            return folder


def _without_passwords(paths: Iterator[str], tell: Tell) -> Iterator[str]:
    for path in paths:
        if (shown := password_hidden(path)) is None:
            yield path
        else:
            tell(f"{shown}: left out: a password in a URL would be written into the rows")


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
