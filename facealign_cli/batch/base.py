"""What the parts of a batch share: a picture's outcome, its row's own columns, and its line in the journal."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from facealign_cli.errors import FormatError
from facealign_cli.files.storage import is_url
from facealign_cli.formats import jsonl, parquet
from facealign_cli.formats.base import from_dict, parse_json
from facealign_cli.records import FrameResult

STAGES = ("read", "decode", "detect", "align", "write")
"""What a picture goes through. `align` is crop and network, `write` the crops, overlays and .pts files."""

EXTRA: dict[str, str] = {"bytes": "int64", "sha256": "string"} | {f"{stage}_ms": "double" for stage in STAGES}
"""Columns besides a record's own → type, in the names that `formats.parquet` takes.

bytes, sha256: of the file's content. …_ms: wall time of each stage; a batch's network time is shared by its faces.
"""

SHARD_SUFFIXES = {"parquet": ".parquet", "jsonl": ".jsonl", "csv": ".csv", "pts": ".jsonl"}
"""Format → suffix of its shards. The .pts files lie in a tree of their own; their index is JSON lines."""

RAY_FILE = re.compile(r"part-ray(\d{3,})-\d{6,}\.parquet")
"""A file of rows that a Ray job made; the group is the number of its run."""


RAY_FOLDER = "_ray"
"""Below OUT: where Ray writes; emptied when a run begins and ends."""

FATAL = "fatal"
"""Status of rows that end a Ray job; no file that counts has it."""


@dataclass(frozen=True)
class Outcome:
    """What came of one picture. extra: values of the columns `EXTRA`; a missing one is null."""

    record: FrameResult
    extra: dict[str, Any] = field(default_factory=dict)

    def to_line(self) -> bytes:
        """The line of JSON, with its line feed."""
        return jsonl.line(self.record, {name: self.extra.get(name) for name in EXTRA})

    @classmethod
    def from_line(cls, line: bytes) -> Outcome:
        """Raises FormatError."""
        try:
            values = parse_json(line)
            extra = {name: values.pop(name) for name in EXTRA}
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise FormatError(f"not a line of a batch: {error}") from error
        return cls(from_dict(values), extra)


@dataclass(frozen=True)
class JournalLine:
    """An outcome as it goes to the journal: its JSON line, and what the job needs to know of it without parsing it.

    key: of its path. milliseconds: of all stages together.
    """

    line: bytes
    path: str
    key: int
    n_faces: int
    error: str | None
    milliseconds: float

    @classmethod
    def of(cls, outcome: Outcome) -> JournalLine:
        """Of a fresh outcome."""
        return cls._with(outcome, outcome.to_line())

    @classmethod
    def parse(cls, line: bytes) -> JournalLine:
        """Of a line as it stands in a journal, with its line feed. Raises FormatError."""
        return cls._with(Outcome.from_line(line), line)

    @classmethod
    def _with(cls, outcome: Outcome, line: bytes) -> JournalLine:
        record, times = outcome.record, [outcome.extra.get(f"{stage}_ms") or 0.0 for stage in STAGES]
        return cls(line, record.source, key_of(record.source), len(record.faces), record.error, float(sum(times)))

    @property
    def n_rows(self) -> int:
        """One per face, or one."""
        return max(1, self.n_faces)


@dataclass(frozen=True)
class Counts:
    """Of what stands in the rows. no_face: pictures without one. failed: pictures with an error."""

    pictures: int = 0
    rows: int = 0
    faces: int = 0
    no_face: int = 0
    failed: int = 0

    @classmethod
    def of(cls, lines: Iterable[JournalLine]) -> Counts:
        """Of some outcomes."""
        total = cls()
        for line in lines:
            total += cls(1, line.n_rows, line.n_faces, int(not line.n_faces and not line.error), int(bool(line.error)))
        return total

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))


class Work(Protocol):
    """What a worker does; `work.PictureWork` is one. cpu_s: seconds of processor time by stage so far."""

    cpu_s: Any

    def process_chunks(
        self, chunks: Iterator[Sequence[str]], on_picture: Callable[[], None] = ...
    ) -> Iterator[list[Outcome]]: ...


class ChunkFeed(Protocol):
    """Where chunks of paths come from."""

    @property
    def ended(self) -> bool:
        """Whether `take` will never give a chunk again."""
        ...

    def take(self) -> list[str] | None:
        """The next chunk; None if there is none yet, or, when `ended` is true, none any more. Does not wait."""
        ...


def key_of(path: str) -> int:
    """64 bits that stand for a picture in memory: of its path, without what does not change where that leads.

    Two of a million paths share theirs with a probability of 3e-8, two of 1000 million with 3 %.
    """
    plain = path if is_url(path) or ".." in path else os.path.normpath(path)
    return int.from_bytes(hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class KeySet:
    """A set of `key_of` numbers that takes about 8 bytes each: sorted arrays, merged when they are of a size."""

    def __init__(self, arrays: Iterable[np.ndarray] = ()) -> None:
        keys = np.concatenate([np.zeros(0, np.uint64), *arrays])
        self._sorted = [np.unique(keys)] if len(keys) else []

    def __len__(self) -> int:
        return sum(len(keys) for keys in self._sorted)

    def add(self, keys: np.ndarray) -> np.ndarray:
        """(N,) bool: which of (N,) keys are new; they are in the set from now on. Of equal ones the first is new."""
        new = self.missing(keys)
        first = np.zeros(len(keys), bool)
        first[np.unique(keys, return_index=True)[1]] = True
        new &= first
        self._insert(np.sort(keys[new]))
        return new

    def missing(self, keys: np.ndarray) -> np.ndarray:
        """(N,) bool: which of (N,) keys are not in the set."""
        absent = np.ones(len(keys), bool)
        for known in self._sorted:
            places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            absent &= known[places] != keys
        return absent

    def _insert(self, keys: np.ndarray) -> None:
        if not len(keys):
            return
        while self._sorted and len(self._sorted[-1]) <= 2 * len(keys):
            keys = np.sort(np.concatenate([self._sorted.pop(), keys]), kind="stable")
        self._sorted.append(keys)


def parquet_without_failed(shard: bytes) -> bytes:
    """The bytes of a Parquet file of rows, without the rows of failed pictures."""
    pa, pq = parquet.import_pyarrow()
    table, stream = pq.read_table(pa.BufferReader(shard)), io.BytesIO()
    writer = parquet.open_writer(stream, table.schema)
    writer.write_table(table.filter(pa.array([status != "error" for status in table["status"].to_pylist()])))
    writer.close()
    return stream.getvalue()
