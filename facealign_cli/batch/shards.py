"""The rows on their way to their place, so that at no moment a kill can lose or double one.

Finished chunks go to the journal, small segments of JSON lines (`_journal/000017.jsonl`), each written whole. When they
hold enough rows they become a shard, in this order: the shard, its index, the segments' end.
- The index (`_journal/part-000003.json`) says which segments the shard holds, and the keys of its pictures. Once it
  stands, these segments count no more, whether they are still there or not.
- A shard without its index is one whose writing was interrupted: its segments are all there, and it is made again.
- To take failed pictures out of a shard, the index loses their keys first and says that the shard is to be cleaned.
The lines stand in the journal only, and are read again for their shard, so memory does not grow with a shard's rows.
Each of these steps can be done twice. Nothing is appended to, so it works in an object store, too.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from facealign_cli.arrays import Keys
from facealign_cli.batch.base import RAY_FILE, SHARD_SUFFIXES, Counts, JournalLine
from facealign_cli.batch.shard_files import encode_shard, without_failed
from facealign_cli.batch.shard_index import KEY_FIELDS, ShardIndex
from facealign_cli.errors import FormatError, InputError, OutputError
from facealign_cli.files.documents import parsing
from facealign_cli.files.storage import Storage, join

JOURNAL = "_journal"

_SEGMENT = re.compile(r"(\d{6,})\.jsonl")
_INDEX = re.compile(r"part-(\d{6,})\.json")
_SHARD = re.compile(r"part-(\d{6,})\.(?:parquet|jsonl|csv)")
_TEMPORARY = re.compile(r"\.facealign-[0-9a-f]{12}.*")


@dataclass(frozen=True, eq=False)
class _Segment:
    """What a segment holds: all that is kept of it in memory. keys, failed_keys: uint64. checksum: of its bytes."""

    counts: Counts
    keys: Keys
    failed_keys: Keys
    checksum: int

    @classmethod
    def of(cls, lines: Sequence[JournalLine]) -> _Segment:
        good, bad = (
            np.array([line.key for line in lines if bool(line.error) == failed], np.uint64) for failed in (False, True)
        )
        return cls(Counts.of(lines), good, bad, zlib.crc32(_joined(lines)))


def _joined(lines: Iterable[JournalLine]) -> bytes:
    return b"".join(line.line for line in lines)


class RowStore:
    """The rows of a job in its folder: shards, and the journal of what is not in one yet.

    fmt: one of `SHARD_SUFFIXES`. shard_rows: the most rows of a shard, but for a picture that has more by itself.
    sigma: whether CSV has the columns of sigma; the other formats always have it.
    """

    def __init__(self, storage: Storage, folder: str, fmt: str, shard_rows: int, *, sigma: bool = False) -> None:
        self._storage, self._folder, self._format, self._shard_rows = storage, folder, fmt, shard_rows
        self._sigma = sigma
        self._indexes: list[ShardIndex] = []
        self._in_shards = Counts()
        self._segments: dict[int, _Segment] = {}
        self._next_segment = 0
        self._fresh: list[JournalLine] = []

    @property
    def counts(self) -> Counts:
        """The counts of all rows that would survive if the process were killed now."""
        return self._in_shards + self._waiting()

    @property
    def n_shards(self) -> int:
        """How many shards are complete."""
        return len(self._indexes)

    def take_done_keys(self) -> list[Keys]:
        """The keys of all pictures that `recover` found; several (N,) uint64. They are not kept, so this works once."""
        parts: list[ShardIndex | _Segment] = [*self._indexes, *self._segments.values()]
        found = [keys for part in parts for keys in (part.keys, part.failed_keys)]
        self._indexes = [index.without_keys() for index in self._indexes]
        return found

    def recover(self, known_shards: int = 0) -> None:
        """Read what an earlier run left, and bring to an end what it was about to do.

        known_shards: shards that the manifest knows of. Raises OutputError where files are missing that were there.
        """
        self._read_indexes(known_shards)
        self._read_segments()
        for number, index in enumerate(self._indexes):
            if index.to_clean:
                self._clean(number, index)
        self._count_shards()

    def add(self, lines: Iterable[JournalLine]) -> None:
        """Take outcomes in; they are safe after the next `flush`."""
        self._fresh += lines

    def flush(self) -> None:
        """Write what was added as segments, and what makes a whole shard as one. Raises OutputError."""
        while self._fresh:
            room = self._shard_rows - self._waiting().rows
            count = _fitting(self._fresh, room)
            if not count and self._segments:
                self._make_shard()
                continue
            part, rest = self._fresh[: count or 1], self._fresh[count or 1 :]
            self._put_segment(self._next_segment, part)
            self._next_segment += 1
            self._fresh = rest
        if self._waiting().rows >= self._shard_rows:
            self._make_shard()

    def close(self) -> None:
        """Write all rows as shards, of which the last one may be smaller. Raises OutputError."""
        self.flush()
        if self._waiting().rows:
            self._make_shard()

    def check_whole(self) -> None:
        """Raise OutputError unless every shard stands in the folder, as long as it was when it was written."""
        there, sizes = set(self._storage.names(self._folder)), self._storage.sizes(self._folder)
        for number, index in enumerate(self._indexes):
            name = os.path.basename(self._shard(number))
            if name not in there:
                raise OutputError(f"{self._shard(number)}: is gone; put it back, or begin anew with --restart")
            if index.size is not None and sizes.get(name, index.size) != index.size:
                raise OutputError(
                    f"{self._shard(number)}: has {sizes[name]} bytes, and had {index.size} when it was written; put it "
                    "back as it was, or begin anew with --restart"
                )

    def drop_failed(self) -> int:
        """Remove the rows of failed pictures, as if these had not been done; return how many. Raises OutputError."""
        before = self.counts.failed
        for number, index in enumerate(self._indexes):
            if index.counts.failed:
                whole = self._read_index(number) if index.bare else index
                self._put_index(number, whole.without_failed())
                self._clean(number, self._indexes[number])
        for number, segment in list(self._segments.items()):
            if segment.counts.failed:
                lines = map(JournalLine.parse, self._lines(number))
                self._put_segment(number, [line for line in lines if not line.error])
        self._count_shards()
        return before

    def remove_all(self) -> None:
        """Remove every file of a job's rows, whichever engine's, and no other."""
        for folder, patterns in ((self._folder, [_SHARD, RAY_FILE]), (self._path(JOURNAL), [_SEGMENT, _INDEX])):
            for name in self._storage.names(folder):
                if any(pattern.fullmatch(name) for pattern in (*patterns, _TEMPORARY)):
                    self._storage.remove(join(folder, name))

    def holds_files(self) -> bool:
        """Whether the folder holds files that would be taken for those of a job."""
        journal = self._storage.names(self._path(JOURNAL))
        names = self._storage.names(self._folder)
        return bool(journal) or any(_SHARD.fullmatch(name) or RAY_FILE.fullmatch(name) for name in names)

    def _path(self, *parts: str) -> str:
        path = self._folder
        for part in parts:
            path = join(path, part)
        return path

    def _shard(self, number: int) -> str:
        return self._path(f"part-{number:06d}{SHARD_SUFFIXES[self._format]}")

    def _waiting(self) -> Counts:
        """Of what is in no shard yet."""
        return sum((segment.counts for segment in self._segments.values()), Counts())

    def _segment(self, number: int) -> str:
        return self._path(JOURNAL, f"{number:06d}.jsonl")

    def _put_segment(self, number: int, lines: list[JournalLine]) -> None:
        self._storage.write(self._segment(number), _joined(lines))
        self._segments[number] = _Segment.of(lines)

    def _put_index(self, number: int, index: ShardIndex) -> None:
        self._storage.write(self._index(number), index.to_json())
        self._indexes[number : number + 1] = [index]

    def _make_shard(self) -> None:
        waiting = [self._segments[number] for number in sorted(self._segments)]
        number, segments = len(self._indexes), (min(self._segments), max(self._segments) + 1)
        lines = (line for segment in sorted(self._segments) for line in self._lines(segment))
        content = encode_shard(lines, self._format, sigma=self._sigma)
        self._storage.write(self._shard(number), content)
        keys, failed_keys = (
            np.sort(np.concatenate([getattr(segment, name) for segment in waiting])) for name in KEY_FIELDS
        )
        self._put_index(number, ShardIndex(segments, self._waiting(), keys, failed_keys, len(content)))
        self._indexes[number] = self._indexes[number].without_keys()
        self._in_shards += self._indexes[number].counts
        self._remove_segments(range(*segments))

    def _count_shards(self) -> None:
        self._in_shards = sum((index.counts for index in self._indexes), Counts())

    def _remove_segments(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._storage.remove(self._segment(number))
            self._segments.pop(number, None)

    def _clean(self, number: int, index: ShardIndex) -> None:
        path = self._shard(number)
        with parsing(path, f"a shard of format {self._format}", OutputError):
            content = without_failed(self._storage.read(path), self._format)
        self._storage.write(path, content)
        self._put_index(number, replace(index, size=len(content), to_clean=False))

    def _read_indexes(self, known_shards: int) -> None:
        journal, outside = self._path(JOURNAL), self._storage.names(self._folder)
        numbers = sorted(int(m[1]) for name in self._storage.names(journal) if (m := _INDEX.fullmatch(name)))
        if numbers != list(range(len(numbers))) or known_shards > len(numbers):
            raise OutputError(f"{journal}: files are missing that the job had written; --restart begins anew")
        self._indexes = [self._read_index(number) for number in numbers]
        self.check_whole()
        shards = {int(m[1]) for name in outside if (m := _SHARD.fullmatch(name))}
        if shards - set(numbers) - {len(numbers)}:
            raise OutputError(f"{self._folder}: holds shards of which the journal knows nothing; --restart begins anew")
        if len(numbers) in shards:
            self._storage.remove(self._shard(len(numbers)))
        for folder, names in ((self._folder, outside), (journal, self._storage.names(journal))):
            for name in names:
                if _TEMPORARY.fullmatch(name):
                    self._storage.remove(join(folder, name))

    def _index(self, number: int) -> str:
        return self._path(JOURNAL, f"part-{number:06d}.json")

    def _read_index(self, number: int) -> ShardIndex:
        path = self._index(number)
        try:
            return ShardIndex.from_json(self._storage.read(path))
        except (InputError, ValueError) as error:
            raise OutputError(f"{path}: damaged ({error}); --restart begins anew") from error

    def _read_segments(self) -> None:
        journal = self._path(JOURNAL)
        first = max((index.segments[1] for index in self._indexes), default=0)
        numbers = sorted(int(m[1]) for name in self._storage.names(journal) if (m := _SEGMENT.fullmatch(name)))
        self._remove_segments([number for number in numbers if number < first])
        self._segments = {n: self._read_segment(n) for n in numbers if n >= first}
        self._next_segment = max([first, *(number + 1 for number in self._segments)])

    def _read_segment(self, number: int) -> _Segment:
        path = self._segment(number)
        try:
            return _Segment.of([JournalLine.parse(line) for line in _split(self._storage.read(path))])
        except FormatError as error:
            raise OutputError(f"{path}: damaged ({error}); remove it to have its pictures done again") from error

    def _lines(self, number: int) -> list[bytes]:
        """A segment's lines, from its file. Raises OutputError where that is not as it was."""
        path = self._segment(number)
        try:
            data = self._storage.read(path)
        except InputError as error:
            raise OutputError(f"{error}; start the command again, and its pictures are done again") from error
        if zlib.crc32(data) != self._segments[number].checksum:
            raise OutputError(f"{path}: was changed while the job ran; remove it to have its pictures done again")
        return _split(data)


def _split(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


def _fitting(lines: Sequence[JournalLine], room: int) -> int:
    """How many of the first lines have no more rows than there is room for."""
    total = np.cumsum([line.n_rows for line in lines])
    return int(np.searchsorted(total, room, side="right"))
