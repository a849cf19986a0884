"""What the tests of batches share: work that needs no network, and the rows that stand in a job's folder."""

from __future__ import annotations

import csv
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from facealign_cli.batch.base import Outcome
from facealign_cli.batch.keys import key_of
from facealign_cli.boxes import BBox
from facealign_cli.errors import InputError, OutputError
from facealign_cli.files.documents import parse_json
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.records import Face, FrameResult


def fake_outcome(path: str) -> Outcome:
    """Of any path: names with "bad" fail, with "none" have no face, with "two" have two; numbers follow from it."""
    if "bad" in path:
        return Outcome(FrameResult.of_error(path, f"{path}: bad"), {"bytes": 1})
    count = 0 if "none" in path else 2 if "two" in path else 1
    shape = MEAN_SHAPE + key_of(path) % 1000
    faces = [Face(i, BBox(0, 0, 10 + i, 10), shape + i, 0.5, 0.9) for i in range(count)]
    return Outcome(FrameResult.of_faces(path, faces, width=10, height=20, model="fake 1"), {"bytes": len(path)})


@dataclass
class FakeWork:
    """Dies, hangs or dawdles where a name says so; "once" and "twice": so often, by the size of a marker file."""

    cpu_s: dict[str, float] = field(default_factory=dict)

    def process_chunks(
        self, chunks: Iterator[Sequence[str]], on_picture: Callable[[], None] = lambda: None
    ) -> Iterator[list[Outcome]]:
        for paths in chunks:
            outcomes = []
            for path in paths:
                _misbehave(path)
                outcomes.append(fake_outcome(path))
                on_picture()
            yield outcomes


class BrokenWork(FakeWork):
    """Cannot be made."""

    def __init__(self) -> None:
        raise InputError("no such model")


class DyingWork(FakeWork):
    """Ends its process as it is made."""

    def __init__(self) -> None:
        os._exit(7)


class KilledWork(FakeWork):
    """Its process is killed as it is made, as if for want of memory."""

    def __init__(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class UnwritableWork(FakeWork):
    """Has nowhere to write its crops."""

    def process_chunks(
        self, chunks: Iterator[Sequence[str]], on_picture: Callable[[], None] = lambda: None
    ) -> Iterator[list[Outcome]]:
        for _ in chunks:
            raise OutputError("cannot write crops: the disk is full")
        yield []


def _misbehave(path: str) -> None:
    times = 1 if "once" in path else 2 if "twice" in path else 0
    if times:
        marker = Path(f"{path}.marker")
        before = marker.stat().st_size if marker.exists() else 0
        if before >= times:
            return
        marker.write_bytes(bytes(before + 1))
    if "poison" in path:
        os.kill(os.getpid(), signal.SIGKILL)
    if "hang" in path:
        time.sleep(1000)
    if "stuck" in path:  # and never lets go of the interpreter, so no other thread of Python runs
        re.fullmatch("(a+)+", "a" * 64 + "b")
    if "long" in path:  # longer than the parent waits for news at a time
        time.sleep(0.6)
    if "slow" in path:
        time.sleep(0.05)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """All rows in a job's shards but for timings, sorted; JSON lines give one row per face, too."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("part-*")):
        if path.suffix == ".parquet":
            rows += pq.read_table(path).to_pylist()
        elif path.suffix == ".csv":
            with open(path, encoding="utf-8", newline="") as stream:
                rows += csv.DictReader(stream)
        else:
            for line in path.read_bytes().splitlines():
                record = parse_json(line)
                rows += [{**record, **face, "faces": None} for face in record["faces"]] or [record]
    timeless = [{k: v for k, v in row.items() if not k.endswith("_ms")} for row in rows]
    return sorted(timeless, key=lambda row: (row["source"], str(row.get("face_id"))))


def same_rows(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    """Equal to the bit; NaN equals NaN."""
    if [row.keys() for row in one] != [row.keys() for row in other]:
        return False
    return all(
        np.array_equal(a[k], b[k], equal_nan=True) if k in ("landmarks", "sigma") and a[k] is not None else a[k] == b[k]
        for a, b in zip(one, other, strict=True)
        for k in a
    )
