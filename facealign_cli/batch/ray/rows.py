"""The rows of a job on Ray: the files that Ray writes, on their way to their place.

Ray writes a file straight to its place (in 2.60, by pyarrow's `write_dataset`), so a kill leaves a part of a file
there. Therefore Ray writes into `OUT/_ray`, and the driver moves whole files to `OUT/part-rayRRR-NNNNNN.parquet`, where
RRR is the number of the run. A file of such a name is whole and counts; no other file does. What lies in `OUT/_ray`
when a run begins is removed, since a worker of the last run may have written it after this run looked.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from facealign_cli.arrays import Keys
from facealign_cli.batch.base import (
    EXTRA,
    FATAL,
    RAY_FILE,
    RAY_FOLDER,
    STAGES,
    Counts,
    JournalLine,
    Outcome,
)
from facealign_cli.batch.keys import key_of
from facealign_cli.batch.shard_files import parquet_without_failed
from facealign_cli.errors import FacealignError, OutputError
from facealign_cli.files.names import text_to_name
from facealign_cli.files.storage import Storage, arrow_folder, join
from facealign_cli.formats import parquet
from facealign_cli.records import DOUBTFUL

if TYPE_CHECKING:
    import pyarrow as pa

_STOP = "stop"
_OF_FACES = ("face_id", "confidence", "left_out")
_COLUMNS = ("source", "status", "error", "warning", *_OF_FACES, *(f"{stage}_ms" for stage in STAGES))


class RayRows:
    """The rows of a Ray job in its folder: it moves the files there, and knows what they hold."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage, self.folder = storage, folder
        self._arrow = arrow_folder(folder)
        self._temporary = join(folder, RAY_FOLDER)
        self.stop_file = join(self._temporary, _STOP)
        self._moved: set[str] = set()
        self._keys: list[Keys] = []
        self._run = 0
        self.counts = Counts()
        self.n_shards = 0

    def take_done_keys(self) -> list[Keys]:
        """The keys of all pictures that `recover` found; several (N,) uint64. They are not kept, so this works once."""
        found, self._keys = self._keys, []
        return found

    def recover(self, known_shards: int = 0) -> None:
        """Read which pictures the files hold. A file that was removed is no error: its pictures are done again."""
        self._forget()
        for name in self._files():
            lines = self._enter(_lines_of(_read(self._arrow, name, join(self.folder, name))))
            self._keys.append(np.array([line.key for line in lines], np.uint64))

    def drop_failed(self) -> int:
        """Take the failed pictures out of the files, and return how many there were. Raises OutputError."""
        failed = self.counts.failed
        for name in self._files() if failed else ():
            path = join(self.folder, name)
            if any(line.error for line in _lines_of(_read(self._arrow, name, path))):
                self._storage.write(path, parquet_without_failed(self._storage.read(path)))
        self.recover()
        return failed

    def check_whole(self) -> None:
        """Raise OutputError unless every file of rows is in the folder."""
        missing = self.n_shards - len(self._files())
        if missing > 0:
            raise OutputError(f"{self.folder}: {missing} files of rows are gone; the same command does them again")

    def clear(self) -> None:
        """Remove what Ray wrote and what was not moved to its place."""
        for name in self._storage.names(self._temporary):
            self._storage.remove(join(self._temporary, name))

    def tell_workers_to_stop(self) -> None:
        """Write the file that makes workers begin nothing new. Raises OutputError."""
        self._storage.write(self.stop_file, b"")

    def collect(self, *, ended: bool) -> list[JournalLine]:
        """Move the files that Ray has finished to their place, and return their pictures, without their lines.

        ended: whether Ray has stopped writing, so that each file has to be whole. Raises OutputError, and
        FacealignError for an error that ends the job.
        """
        lines: list[JournalLine] = []
        for name in self._storage.names(self._temporary):
            path = join(self._temporary, name)
            if not name.endswith(".parquet"):
                continue
            if name in self._moved:  # written once more, by a task that Ray repeated
                if ended:
                    self._storage.remove(path)
                continue
            table = _read_if_whole(self._arrow, f"{RAY_FOLDER}/{name}")
            if table is None and ended:
                raise OutputError(f"{path}: Ray left a file that is not whole")
            if table is not None:
                _raise_fatal(table)
                self._storage.move(path, self._new_name())
                self._moved.add(name)
                lines += self._enter(_lines_of(table))
        return lines

    def put(self, outcomes: Sequence[Outcome]) -> list[JournalLine]:
        """Write some rows as a file of their own. Raises OutputError."""
        stream = io.BytesIO()
        with parquet.open_writer(stream, parquet.table_schema(EXTRA)) as writer:
            writer.write_table(parquet.to_table([o.record for o in outcomes], EXTRA, [o.extra for o in outcomes]))
        self._storage.write(self._new_name(), stream.getvalue())
        return self._enter([JournalLine.of(outcome) for outcome in outcomes])

    def add(self, lines: Iterable[JournalLine]) -> None:
        """Do nothing: what comes out of Ray is in a file already."""

    def flush(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    def _files(self) -> list[str]:
        return [name for name in self._storage.names(self.folder) if RAY_FILE.fullmatch(name)]

    def _forget(self) -> None:
        runs = [int(match[1]) for name in self._files() if (match := RAY_FILE.fullmatch(name))]
        self._run = max([self._run, *(run + 1 for run in runs)])
        self._keys, self.counts, self.n_shards = [], Counts(), 0

    def _new_name(self) -> str:
        return join(self.folder, f"part-ray{self._run:03d}-{self.n_shards:06d}.parquet")

    def _enter(self, lines: list[JournalLine]) -> list[JournalLine]:
        self.counts += Counts.of(lines)
        self.n_shards += 1
        return lines


def _raise_fatal(table: pa.Table) -> None:
    for status, error in zip(table["status"].to_pylist(), table["error"].to_pylist(), strict=True):
        if status == FATAL:
            kind, _, message = error.partition(": ")
            raise (OutputError if kind == OutputError.__name__ else FacealignError)(message)


def _read(arrow: Any, name: str, path: str) -> pa.Table:
    table = _read_if_whole(arrow, name)
    if table is None:
        raise OutputError(f"{path}: damaged; remove it to have its pictures done again")
    return table


def _read_if_whole(arrow: Any, name: str) -> pa.Table | None:
    """The columns of a file that a job needs; None if the file is not whole, or not yet."""
    pa, pq = parquet.import_pyarrow()
    try:
        with arrow.open_input_file(name) as stream:
            return pq.read_table(stream, columns=list(_COLUMNS))
    except pa.ArrowInvalid:
        return None
    except OSError as error:
        raise OutputError(f"{name}: cannot be read again: {error}") from error


def _lines_of(table: pa.Table) -> list[JournalLine]:
    """A `JournalLine` for each picture of a file, without the line's text."""
    pictures: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        pictures.setdefault(text_to_name(row["source"]), []).append(row)
    return [_line(path, rows) for path, rows in pictures.items()]


def _line(path: str, rows: list[dict[str, Any]]) -> JournalLine:
    first = rows[0]
    faces = len(rows) if first["status"] == "ok" else 0
    milliseconds = sum(first[f"{stage}_ms"] or 0.0 for stage in STAGES)
    doubtful = sum(row["confidence"] is not None and row["confidence"] < DOUBTFUL for row in rows)
    told = first["error"], first["warning"]
    return JournalLine(b"", path, key_of(path), faces, doubtful, first["left_out"] or 0, *told, milliseconds)
