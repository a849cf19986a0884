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
"""The stages of a picture. `align` is the crop and the network; `write` makes crops, overlays and .pts files."""

EXTRA: dict[str, str] = {"bytes": "int64", "sha256": "string", "left_out": "int64"} | {
    f"{stage}_ms": "double" for stage in STAGES
}
"""The columns of a batch besides those of a record, and their types by the names that `formats.parquet` takes.

bytes, sha256: the size and the hash of the file. left_out: how many faces have no row, because their confidence is too
low. …_ms: the wall time of each stage; the network's time for a batch is shared out among its faces.
"""

SHARD_SUFFIXES = {"parquet": ".parquet", "jsonl": ".jsonl", "csv": ".csv", "pts": ".jsonl"}
"""The suffix of each format's shards. The .pts files lie in a tree of their own; their shards are JSON lines."""

RAY_FILE = re.compile(r"part-ray(\d{3,})-\d{6,}\.parquet")
"""The name of a file of rows that a Ray job made. The group is the number of its run."""

RAY_FOLDER = "_ray"
"""The folder below OUT into which Ray writes. It is emptied when a run begins and when it ends."""

FATAL = "fatal"
"""The status of rows that end a Ray job. No finished file holds such a row."""

_PYTHON_TYPES = {"int64": int | None, "string": str | None, "double": float | None}
_Extra: Any = make_dataclass("_Extra", [(name, _PYTHON_TYPES[kind]) for name, kind in EXTRA.items()])


@dataclass(frozen=True)
class Outcome:
    """What became of one picture. extra: the values of the columns `EXTRA`; one that is missing is null."""

    record: FrameResult
    extra: dict[str, Any] = field(default_factory=dict)

    def to_line(self) -> bytes:
        """This outcome as a line of JSON, with its line feed."""
        return jsonl.line(self.record, {name: self.extra.get(name) for name in EXTRA})

    @classmethod
    def from_line(cls, line: bytes) -> Outcome:
        """The outcome of a line that `to_line` made. Raises FormatError."""
        try:
            values = parse_json(line)
            extra = vars(structured(values, _Extra))
        except ValueError as error:
            raise FormatError(f"not a line of a batch: {error}") from error
        return cls(from_dict({name: value for name, value in values.items() if name not in extra}), extra)


@dataclass(frozen=True)
class JournalLine:
    """An outcome as it goes to the journal: its line of JSON, and what the job needs to know without parsing the line.

    key: stands for the path, see `keys`. n_doubtful: how many faces are doubtful. left_out: how many faces have too
    little confidence. milliseconds: the time of all stages together.
    """

    line: bytes
    path: str
    key: int
    n_faces: int
    n_doubtful: int
    left_out: int
    error: str | None
    warning: str | None
    milliseconds: float

    @classmethod
    def of(cls, outcome: Outcome) -> JournalLine:
        """The line of an outcome."""
        return cls._with(outcome, outcome.to_line())

    @classmethod
    def parse(cls, line: bytes) -> JournalLine:
        """The same of a line that was read from a journal, with its line feed. Raises FormatError."""
        return cls._with(Outcome.from_line(line), line)

    @classmethod
    def _with(cls, outcome: Outcome, line: bytes) -> JournalLine:
        record, times = outcome.record, [outcome.extra.get(f"{stage}_ms") or 0.0 for stage in STAGES]
        left_out = int(outcome.extra.get("left_out") or 0)
        key = key_of(record.source)
        n_faces, n_doubtful = len(record.faces), sum(face.doubtful for face in record.faces)
        told = record.error, record.warning
        return cls(line, record.source, key, n_faces, n_doubtful, left_out, *told, float(sum(times)))

    @property
    def n_rows(self) -> int:
        """How many rows it becomes: one for each face, and one if there is no face."""
        return max(1, self.n_faces)


@dataclass(frozen=True)
class Counts:
    """How much is in the rows. no_face: pictures without a face. failed: pictures with an error."""

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
        """The counts of some outcomes."""
        lines = tuple(lines)
        faces, failed = [line.n_faces for line in lines], [bool(line.error) for line in lines]
        no_face = sum(not n and not error for n, error in zip(faces, failed, strict=True))
        return cls(len(lines), sum(line.n_rows for line in lines), sum(faces), no_face, sum(failed))

    def __add__(self, other: Counts) -> Counts:
        return Counts(*map(operator.add, vars(self).values(), vars(other).values()))


class Work(Protocol):
    """What a worker does, such as `work.PictureWork`. cpu_s: seconds of processor time that each stage took so far."""

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
        """The next chunk, without waiting; None if there is none yet or, when `ended` is true, none will come."""
        ...
