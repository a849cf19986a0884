"""Looking through folders for pictures or clips: what is found, as it is found, and what is passed over.

Nothing is gathered first: `os.scandir` goes on while pictures are at work. A folder that cannot be read is told.

A link to a folder elsewhere is followed, after the folders that are no links, so that a folder has the same name in
every run. Of folders each is read once, and none above the place that is looked through is read: a link to such a one
is noted. So is a link to a picture that is found by its own name.
"""

from __future__ import annotations

import fnmatch
import heapq
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from facealign_cli.errors import InputError
from facealign_cli.files.base import Entry
from facealign_cli.files.storage import LocalStorage, Storage, is_url, join, local_place

PICTURE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".avif", ".jp2", ".j2k",
    ".pbm", ".pgm", ".ppm", ".pnm", ".pfm", ".pam", ".hdr", ".pic", ".ras", ".sr",
})  # fmt: skip
"""What a picture's name in a folder ends with, if no pattern is given; capitals do not matter."""

CLIP_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp",
    ".ogv", ".mxf", ".vob", ".mjpeg", ".mjpg",
})  # fmt: skip
"""The same for clips."""

BESIDE_CLIPS = frozenset({
    ".txt", ".md", ".rst", ".log", ".nfo", ".pdf", ".html", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml",
    ".toml", ".ini", ".xlsx", ".parquet", ".pts", ".srt", ".vtt", ".ass", ".sha256", ".md5",
})  # fmt: skip
"""Texts and tables that lie beside clips. Nobody takes them for clips, so they are passed over without a note; whatever
else is no clip by its name, such as GIFs, sound and pictures, is noted."""

MAGIC = re.compile(r"[*?\[]")
"""What makes a place a glob."""

Tell = Callable[[str], None]


class Walk:
    """Looks through folders. tell, recursive, glob, skip, clips: as `sources.Sources` has them."""

    def __init__(self, tell: Tell, *, recursive: bool, glob: str | None, skip: Iterable[str], clips: bool) -> None:
        self._tell, self._recursive, self._glob, self._clips = tell, recursive, glob, clips
        self._skipped = {place_of(folder) for folder in skip}
        self._passed_over: Counter[str] = Counter()
        self._names = Names()
        self._folder_links, self._file_links = Names(), Names()

    def notes(self) -> list[str]:
        """What is no problem, but should be known: files that were not meant, and links that were not followed."""
        found = []
        if self._passed_over:
            found.append(self._passed_over_text())
        if self._folder_links.count:
            links = f"{self._folder_links.counted('link')} to folders not followed"
            found.append(f"{links}, since what they lead to is read anyway, or lies above: {self._folder_links}")
        if self._file_links.count:
            links = f"{self._file_links.counted('link')} passed over"
            found.append(f"{links}, since the files that they lead to are taken: {self._file_links}")
        return found

    def _passed_over_text(self) -> str:
        """How many files of which kinds stand in the folders and were not meant."""
        kinds = self._passed_over.most_common(6)
        named = ", ".join(f"{number:,} {kind}" if len(kinds) > 1 else kind for kind, number in kinds)
        more = ", …" if len(self._passed_over) > len(kinds) else ""
        other = "of another name" if self._glob else "of another kind"
        advice = _advice_on_clips(self._passed_over) if self._clips else _advice(self._passed_over)
        return f"{self._names.counted('file')} {other} passed over ({named}{more}): {self._names}{advice}"

    def _pass_over(self, path: str) -> None:
        kind = _kind(_name(path))
        if not (self._clips and kind in BESIDE_CLIPS):
            self._passed_over[kind] += 1
            self._names.add(path)

    def folder(self, storage: Storage, folder: str) -> Iterator[str]:
        """Pictures in a folder, or those that its `glob` names. Hidden files (.name) are left out."""
        glob, inner, found = self._glob, 0, False
        wanted, what = (CLIP_SUFFIXES, "clips") if self._clips else (PICTURE_SUFFIXES, "pictures")

        def is_wanted(path: str) -> bool:
            name = _name(path)
            return fnmatch.fnmatchcase(name, glob) if glob else _has_suffix(name, wanted)

        for entry in self._entries(storage, folder, deep=self._recursive):
            if entry.is_folder:
                inner += 1
            elif not is_wanted(entry.path):
                self._pass_over(entry.path)
            elif self._is_found_besides(entry, folder, is_wanted, deep=self._recursive):
                self._file_links.add(entry.path)
            else:
                found = True
                yield entry.path
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

        def is_wanted(path: str) -> bool:
            return _matches(parts, path[prefix:].replace(os.sep, "/").split("/"))

        for entry in self._entries(storage, base, deep=is_deep(rest)):
            if entry.is_folder or not is_wanted(entry.path):
                continue
            if self._is_found_besides(entry, base, is_wanted, deep=is_deep(rest)):
                self._file_links.add(entry.path)
            else:
                yield entry.path[2:] if base == "." and not pattern.startswith(".") else entry.path

    def _entries(self, storage: Storage, folder: str, *, deep: bool) -> Iterator[Entry]:
        """All that stands below a folder but for hidden names, each folder once."""
        read = _with_those_above(storage, folder)
        stack, links = [folder], list[tuple[str, Entry]]()  # links: a heap, those of the first name first
        while stack or links:
            if not stack:
                _, link = heapq.heappop(links)
                if link.identity in read:
                    self._folder_links.add(link.path)
                    continue
                read.add(link.identity)
                stack.append(link.path)
            try:
                for entry in storage.scan(stack.pop()):
                    if _name(entry.path).startswith("."):
                        continue
                    yield entry
                    if not entry.is_folder or not deep or place_of(entry.path) in self._skipped:
                        continue
                    if entry.is_link:
                        heapq.heappush(links, (entry.path, entry))
                    elif entry.identity is None or entry.identity not in read:
                        read.add(entry.identity)
                        stack.append(entry.path)
            except InputError as error:
                self._tell(f"{error}: nothing in this folder was read")

    def _is_found_besides(self, entry: Entry, folder: str, is_wanted: Callable[[str], bool], *, deep: bool) -> bool:
        """Whether an entry is a link to a file below the folder that is found by its own name."""
        if not entry.is_link:
            return False
        file, root = place_of(entry.path), place_of(folder)
        if not is_inside(file, root) or not os.path.isfile(file):
            return False
        inner = os.path.relpath(file, root)
        parts = inner.split(os.sep)
        hidden = any(part.startswith(".") for part in parts) or any(is_inside(file, place) for place in self._skipped)
        return not hidden and (deep or len(parts) == 1) and is_wanted(join(folder, inner))


class Names:
    """Counts paths, and as text names the first few of them."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, path: str) -> None:
        """Count one."""
        self.count += 1
        if len(self._first) < _NAMED:
            self._first.append(path)

    def counted(self, noun: str) -> str:
        """The number, with its noun."""
        return f"{self.count:,} {noun}{'' if self.count == 1 else 's'}"

    def __str__(self) -> str:
        return ", ".join(self._first) + ", …" * (self.count > _NAMED)


_NAMED = 3


def _name(path: str) -> str:
    return re.split(r"/|\\" if os.sep == "\\" else "/", path)[-1]


def _with_those_above(storage: Storage, folder: str) -> set[tuple[int, int] | None]:
    """The identities of a folder and of all folders in which it lies; none where there are no links."""
    local, found = storage.local_path(folder), set[tuple[int, int] | None]()
    place = None if local is None else os.path.realpath(local)
    while place is not None:
        found.add(LocalStorage().identity(place))
        upper = os.path.dirname(place)
        place = None if upper == place else upper
    return found


def place_of(folder: str) -> str:
    """A folder's path in a form that can be compared: of a local one, be it named by a URL, the path without links."""
    local = local_place(folder)
    return folder.rstrip("/") if local is None else os.path.realpath(local)


def is_inside(place: str, folder: str) -> bool:
    """Whether a place is a folder or lies in it; both as `place_of` gives them."""
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)


def pattern_parts(pattern: str) -> tuple[str, str]:
    """The folder in which a glob's matches lie, and what follows it."""
    pattern = pattern if is_url(pattern) else pattern.replace(os.sep, "/")
    fixed = MAGIC.split(pattern, maxsplit=1)[0].rpartition("/")[0]
    rest = pattern[len(fixed) + 1 :] if fixed or pattern.startswith("/") else pattern
    return fixed or ("/" if pattern.startswith("/") else "."), rest


def is_deep(rest: str) -> bool:
    """Whether the end of a glob, see `pattern_parts`, goes down into folders."""
    return "/" in rest or "**" in rest


def _kind(name: str) -> str:
    return os.path.splitext(name)[1].lower()[:12] or "no suffix"


def _advice(kinds: Iterable[str]) -> str:
    """What to do about pictures that are not read."""
    heic = sorted({".heic", ".heif", ".hif"}.intersection(kinds))
    convert = f"; {' and '.join(heic)} are pictures that are not read here: convert them to JPEG first" if heic else ""
    clips = "; facealign batch videos is for clips" if CLIP_SUFFIXES.intersection(kinds) else ""
    return convert + clips


def _advice_on_clips(kinds: Iterable[str]) -> str:
    """What to do about files that are no clips by their names."""
    gifs = "; --glob '*.gif' takes GIFs as clips" if ".gif" in kinds else ""
    pictures = PICTURE_SUFFIXES.difference({".gif"}).intersection(kinds)
    return gifs + ("; facealign batch folder is for pictures" if pictures else "")


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
