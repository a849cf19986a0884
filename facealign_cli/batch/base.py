"""What the parts of a batch share: a picture's outcome, its row's own columns, and its line in the journal."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from typing import Any, Protocol

from facealign_cli.batch.keys import key_of
from facealign_cli.errors import FormatError
from facealign_cli.files.documents import parse_json, structured
from facealign_cli.formats import jsonl
from facealign_cli.formats.codec import from_dict
from facealign_cli.records import FrameResult

STAGES = ("read", "decode", "detect", "align", "write")
"""What a picture goes through. `align` is crop and network, `write` the crops, overlays and .pts files."""

EXTRA: dict[str, str] = {"bytes": "int64", "sha256": "string", "left_out": "int64"} | {
    f"{stage}_ms": "double" for stage in STAGES
}
"""Columns besides a record's own → type, in the names that `formats.parquet` takes.

bytes, sha256: of the file's content. left_out: faces of too little confidence, which have no row. …_ms: wall time of
each stage; a batch's network time is shared by its faces.
"""

SHARD_SUFFIXES = {"parquet": ".parquet", "jsonl": ".jsonl", "csv": ".csv", "pts": ".jsonl"}
"""Format → suffix of its shards. The .pts files lie in a tree of their own; their index is JSON lines."""

RAY_FILE = re.compile(r"part-ray(\d{3,})-\d{6,}\.parquet")
"""A file of rows that a Ray job made; the group is the number of its run."""


RAY_FOLDER = "_ray"
"""Below OUT: where Ray writes; emptied when a run begins and ends."""

FATAL = "fatal"
"""Status of rows that end a Ray job; no file that counts has it."""


_PYTHON_TYPES = {"int64": int | None, "string": str | None, "double": float | None}
_Extra: Any = make_dataclass("_Extra", [(name, _PYTHON_TYPES[kind]) for name, kind in EXTRA.items()])


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
            extra = vars(structured(values, _Extra))
        except ValueError as error:
            raise FormatError(f"not a line of a batch: {error}") from error
        return cls(from_dict({name: value for name, value in values.items() if name not in extra}), extra)


@dataclass(frozen=True)
class JournalLine:
    """An outcome as it goes to the journal: its JSON line, and what the job needs to know of it without parsing it.

    key: of its path. n_doubtful: faces whose landmarks may be wrong. left_out: faces of too little confidence.
    milliseconds: of all stages together.
    """

    line: bytes
    path: str
    key: int
    n_faces: int
    n_doubtful: int
    left_out: int
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
        left_out = int(outcome.extra.get("left_out") or 0)
        key = key_of(record.source)
        n_faces, n_doubtful = len(record.faces), sum(face.doubtful for face in record.faces)
        return cls(line, record.source, key, n_faces, n_doubtful, left_out, record.error, float(sum(times)))

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

    def __post_init__(self) -> None:
        if min(vars(self).values()) < 0:
            raise ValueError(f"expected no negative counts, got {vars(self)}")

    @classmethod
    def of(cls, lines: Iterable[JournalLine]) -> Counts:
        """Of some outcomes."""
        lines = tuple(lines)
        faces, failed = [line.n_faces for line in lines], [bool(line.error) for line in lines]
        no_face = sum(not n and not error for n, error in zip(faces, failed, strict=True))
        return cls(len(lines), sum(line.n_rows for line in lines), sum(faces), no_face, sum(failed))

    def __add__(self, other: Counts) -> Counts:
        return Counts(*map(operator.add, vars(self).values(), vars(other).values()))


class Work(Protocol):
    """What a worker does; `work.PictureWork` is one. cpu_s: seconds of processor time by stage so far."""

    @property
    def cpu_s(self) -> Mapping[str, float]: ...

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
