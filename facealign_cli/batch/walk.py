"""Looking through folders for pictures or clips: what is found, as it is found, and what is passed over.

Nothing is gathered first: `os.scandir` goes on while pictures are at work. A folder that cannot be read, or a link that
leads back to a folder above it, is told and passed over.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from facealign_cli.errors import InputError
from facealign_cli.files.storage import Storage, is_url, join

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

MAGIC = re.compile(r"[*?\[]")
"""What makes a place a glob."""

Tell = Callable[[str], None]


class Walk:
    """Looks through folders. tell, recursive, glob, skip, clips: as `sources.Sources` has them."""

    def __init__(self, tell: Tell, *, recursive: bool, glob: str | None, skip: Iterable[str], clips: bool) -> None:
        self._tell, self._recursive, self._glob, self._clips = tell, recursive, glob, clips
        self._skipped = {place_of(folder) for folder in skip}
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
        other = "of another name" if self._glob else "of another kind"
        return f"{files} {other} passed over ({named}{more}){_advice(self.passed_over)}"

    def folder(self, storage: Storage, folder: str) -> Iterator[str]:
        """Pictures in a folder, or those that its `glob` names. Hidden files (.name) are left out."""
        glob, inner, found = self._glob, 0, False
        wanted, what = (CLIP_SUFFIXES, "clips") if self._clips else (PICTURE_SUFFIXES, "pictures")
        for path, name, is_folder in self._entries(storage, folder, deep=self._recursive):
            if is_folder:
                inner += 1
            elif fnmatch.fnmatchcase(name, glob) if glob else _has_suffix(name, wanted):
                found = True
                yield path
            else:
                self.passed_over[_kind(name)] += 1
        if not found and inner and not self._recursive:
            self._tell(f"{folder}: no {what} in it, but {inner} folders; --recursive looks into them")

    def pattern(self, storage: Storage, pattern: str) -> Iterator[str]:
        """Files whose paths match a glob; "**" stands for any folders."""
        base, rest = pattern_parts(pattern)
        if is_url(pattern) and not is_url(join(base, "")):
            raise InputError(f"{pattern}: name at least the bucket or host before the first *")
        parts, prefix = rest.split("/"), len(join(base, ""))
        if storage.kind(base) != "folder":
            return
        for path, _, is_folder in self._entries(storage, base, deep=is_deep(rest)):
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
                    if not entry.is_folder or not deep or place_of(entry.path) in self._skipped:
                        continue
                    if entry.identity is not None and entry.identity in above:
                        self._tell(f"{entry.path}: a link that leads back to a folder above it: not followed")
                        continue
                    stack.append((entry.path, (*above, entry.identity) if entry.identity else above))
            except InputError as error:
                self._tell(f"{error}: nothing in this folder was read")


def place_of(folder: str) -> str:
    """A folder's path in a form that can be compared."""
    return folder.rstrip("/") if is_url(folder) else os.path.realpath(folder)


def is_inside(place: str, folder: str) -> bool:
    """Whether a place is a folder or lies in it; both as `_place` gives them."""
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)


def pattern_parts(pattern: str) -> tuple[str, str]:
    """The folder in which a glob's matches lie, and what follows it."""
    pattern = pattern if is_url(pattern) else pattern.replace(os.sep, "/")
    fixed = MAGIC.split(pattern, maxsplit=1)[0].rpartition("/")[0]
    rest = pattern[len(fixed) + 1 :] if fixed or pattern.startswith("/") else pattern
    return fixed or ("/" if pattern.startswith("/") else "."), rest


def is_deep(rest: str) -> bool:
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
