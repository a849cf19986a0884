"""Rows survive a kill between any two steps: none is lost that was flushed, none stands twice."""

from __future__ import annotations

import io
import json
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from batch_works import fake_outcome, rows_of, same_rows

from facealign_cli.batch import shard_files
from facealign_cli.batch.base import EXTRA, JournalLine, Outcome
from facealign_cli.batch.keys import KeySet, key_of
from facealign_cli.batch.shard_files import encode_shard
from facealign_cli.batch.shards import SHARD_SUFFIXES, Counts, RowStore
from facealign_cli.errors import FormatError, OutputError
from facealign_cli.files.storage import LocalStorage
from facealign_cli.formats import csv as csv_format
from facealign_cli.formats import parquet
from facealign_cli.records import HeadPose, Quality

PATHS = [f"{i}-{kind}" for i in range(8) for kind in ("one", "two", "bad", "none")]


class Killed(Exception):
    """The moment at which the process is gone."""


class DyingStorage(LocalStorage):
    """Dies instead of its `last`-th write or removal."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.left = last

    def write(self, path: str, data: bytes) -> None:
        self._live()
        super().write(path, data)

    def remove(self, path: str) -> None:
        self._live()
        super().remove(path)

    def _live(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


def lines(paths: list[str]) -> list[JournalLine]:
    return [JournalLine.of(fake_outcome(path)) for path in paths]


def run_job(storage: LocalStorage, folder: Path, fmt: str, *, retry: bool = False) -> None:
    """What a run does with its store: recover, do what is not done, flush every three pictures."""
    store = RowStore(storage, str(folder), fmt, shard_rows=7)
    store.recover()
    if retry:
        store.drop_failed()
    done = KeySet(store.take_done_keys())
    todo = [line for line in lines(PATHS) if done.missing(_keys([line.path]))[0]]
    for i in range(0, len(todo), 3):
        store.add(todo[i : i + 3])
        store.flush()
    store.close()


def _keys(paths: list[str]) -> np.ndarray:
    return np.array([key_of(path) for path in paths], np.uint64)


@pytest.mark.long
@pytest.mark.parametrize("fmt", ["jsonl", "parquet", "csv"])
def test_a_kill_before_any_write_loses_nothing(tmp_path: Path, fmt: str) -> None:
    run_job(LocalStorage(), tmp_path / "whole", fmt)
    expected = rows_of(tmp_path / "whole")
    assert len(expected) == 8 * 5
    for last in range(0, 60, 1 if fmt == "jsonl" else 7):
        folder = tmp_path / f"killed-{last}"
        try:
            run_job(DyingStorage(last), folder, fmt)
        except Killed:
            run_job(LocalStorage(), folder, fmt)
        assert same_rows(rows_of(folder), expected), last


@pytest.mark.long
@pytest.mark.parametrize("fmt", ["jsonl", "parquet", "csv"])
def test_a_kill_while_failed_ones_are_taken_out(tmp_path: Path, fmt: str) -> None:
    run_job(LocalStorage(), tmp_path / "whole", fmt)
    expected = rows_of(tmp_path / "whole")
    for last in range(0, 40, 1 if fmt == "jsonl" else 5):
        folder = tmp_path / f"killed-{last}"
        run_job(LocalStorage(), folder, fmt)
        try:
            run_job(DyingStorage(last), folder, fmt, retry=True)
        except Killed:
            run_job(LocalStorage(), folder, fmt)
        assert same_rows(rows_of(folder), expected), last


@pytest.mark.parametrize("fmt", SHARD_SUFFIXES)
def test_a_shard_has_at_most_its_rows(tmp_path: Path, fmt: str) -> None:
    run_job(LocalStorage(), tmp_path, fmt)
    store = RowStore(LocalStorage(), str(tmp_path), fmt, 7)
    store.recover(known_shards=6)
    assert store.counts == Counts(pictures=32, rows=40, faces=24, no_face=8, failed=8)
    assert store.n_shards == 6
    assert sum(len(keys) for keys in store.take_done_keys()) == 32
    assert sorted(path.name for path in (tmp_path / "_journal").iterdir()) == [f"part-{i:06d}.json" for i in range(6)]


def test_a_picture_with_more_faces_than_a_shard_has_rows(tmp_path: Path) -> None:
    store = RowStore(LocalStorage(), str(tmp_path), "jsonl", 1)
    store.add(lines(["a-two", "b-two", "c"]))
    store.close()
    assert store.n_shards == 3


@pytest.mark.parametrize("victim", ["part-000001.jsonl", "_journal/part-000001.json"])
def test_files_that_are_gone_are_told(tmp_path: Path, victim: str) -> None:
    run_job(LocalStorage(), tmp_path, "jsonl")
    (tmp_path / victim).unlink()
    with pytest.raises(OutputError, match="--restart"):
        RowStore(LocalStorage(), str(tmp_path), "jsonl", 7).recover(known_shards=6)


@pytest.mark.parametrize("change", [lambda data: b"", lambda data: data[:-9], lambda data: data + b" "])
@pytest.mark.parametrize("fmt", SHARD_SUFFIXES)
def test_a_shard_that_was_changed_is_told(tmp_path: Path, fmt: str, change: Callable[[bytes], bytes]) -> None:
    run_job(LocalStorage(), tmp_path, fmt)
    (shard,) = tmp_path.glob("part-000001.*")
    shard.write_bytes(change(shard.read_bytes()))
    with pytest.raises(OutputError, match=r"part-000001\.\w+: has \d+ bytes, and had \d+ when it was written"):
        RowStore(LocalStorage(), str(tmp_path), fmt, 7).recover()


def test_an_index_of_an_earlier_version_says_no_size(tmp_path: Path) -> None:
    run_job(LocalStorage(), tmp_path, "jsonl")
    for path in (tmp_path / "_journal").glob("part-*.json"):
        values = json.loads(path.read_bytes())
        del values["size"], values["checksum"]
        path.write_text(json.dumps(values))
    store = RowStore(LocalStorage(), str(tmp_path), "jsonl", 7)
    store.recover()
    assert store.n_shards == 6


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda values: values["counts"].update(rows=99), "its checksum is that of another content"),
        (
            lambda values: values.update(checksum=None) or values["counts"].update(failed=3),
            "its counts contradict one another",
        ),
    ],
)
def test_an_index_that_lies_is_told(tmp_path: Path, change: Callable[[Any], object], told: str) -> None:
    run_job(LocalStorage(), tmp_path, "jsonl")
    path = tmp_path / "_journal" / "part-000001.json"
    values = json.loads(path.read_bytes())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(OutputError, match=rf"part-000001\.json: damaged \({told}"):
        RowStore(LocalStorage(), str(tmp_path), "jsonl", 7).recover()


def test_a_lost_journal_does_not_cost_the_shards(tmp_path: Path) -> None:
    run_job(LocalStorage(), tmp_path, "jsonl")
    for path in (tmp_path / "_journal").iterdir():
        path.unlink()
    with pytest.raises(OutputError, match="--restart"):
        RowStore(LocalStorage(), str(tmp_path), "jsonl", 7).recover(known_shards=0)
    assert len(list(tmp_path.glob("part-*"))) == 6


@pytest.mark.parametrize("name", ["part-000000.json", "000000.jsonl"])
def test_a_damaged_journal_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "_journal").mkdir()
    (tmp_path / "part-000000.jsonl").touch()
    (tmp_path / "_journal" / name).write_bytes(b"{}\n")
    with pytest.raises(OutputError, match="damaged"):
        RowStore(LocalStorage(), str(tmp_path), "jsonl", 7).recover()


def test_memory_does_not_grow_with_the_rows_of_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines stand in the journal, and are unpacked a row group at a time."""
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 5)
    unpacked: list[int] = []
    groups: list[tuple[int, int]] = []
    unpack, to_table = shard_files._unpacked, parquet.rows_to_table

    def counted_line(line: bytes) -> dict[str, Any]:
        unpacked.append(len(line))
        return unpack(line)

    def counted_table(rows: Iterable[dict[str, Any]], *rest: Any) -> Any:
        rows = list(rows)
        groups.append((len(rows), len(unpacked)))
        return to_table(rows, *rest)

    monkeypatch.setattr(shard_files, "_unpacked", counted_line)
    monkeypatch.setattr(parquet, "rows_to_table", counted_table)
    store = RowStore(LocalStorage(), str(tmp_path), "parquet", 100)
    waiting = lines([f"{i}" for i in range(12)])
    held = [weakref.ref(line) for line in waiting]
    store.add(waiting)
    store.flush()
    del waiting
    assert [ref() for ref in held] == [None] * 12
    store.close()
    assert groups == [(5, 5), (5, 10), (2, 12)]
    assert len(rows_of(tmp_path)) == 12


@pytest.mark.parametrize(("change", "told"), [(Path.unlink, "no such file"), (lambda p: p.write_bytes(b""), "changed")])
def test_a_journal_that_somebody_touches_is_told(tmp_path: Path, change: Callable[[Path], object], told: str) -> None:
    store = RowStore(LocalStorage(), str(tmp_path), "jsonl", 100)
    store.add(lines(["a", "b"]))
    store.flush()
    change(tmp_path / "_journal" / "000000.jsonl")
    with pytest.raises(OutputError, match=told):
        store.close()
    assert not list(tmp_path.glob("part-*"))


def test_restart_removes_only_what_is_ours(tmp_path: Path) -> None:
    run_job(LocalStorage(), tmp_path, "jsonl")
    for name in ("part-1.jsonl", "mine.txt", "_journal/mine.txt"):
        (tmp_path / name).touch()
    RowStore(LocalStorage(), str(tmp_path), "jsonl", 7).remove_all()
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["mine.txt", "mine.txt", "part-1.jsonl"]


def test_csv_cells_stay_harmless_when_a_shard_is_cleaned(tmp_path: Path) -> None:
    store = RowStore(LocalStorage(), str(tmp_path), "csv", 100)
    store.add(lines(["=cmd()", "@x", "a\nb", "c\rd", "-bad", 'quo"te,', "n\udcff"]))
    store.close()
    before = rows_of(tmp_path)
    store.drop_failed()
    assert same_rows(rows_of(tmp_path), [row for row in before if row["status"] != "error"])
    assert {row["source"] for row in before} >= {"'=cmd()", "'@x", "'-bad", "a\nb", "c\rd", r"n\udcff"}


@pytest.mark.parametrize("name", ["a-two", "bad", "none", "\u00e4", "n\udcff"])
def test_rows_made_of_lines_are_those_of_the_records(name: str) -> None:
    """A shard is made of the lines without looking at records again; nothing may be lost or rounded on this way."""
    outcome = fake_outcome(name)
    pose, quality = HeadPose((1.5, -2.0, 600.12345), (0.1, -0.0, 0.3)), Quality(0.5, 100.25, 30, 0.123456)
    faces = [replace(face, pose=pose, quality=quality, sigma=np.arange(68) / 7) for face in outcome.record.faces]
    whole = replace(outcome.record, faces=tuple(faces), timestamp_s=1 / 3)
    outcomes = [Outcome(whole, {"bytes": 7, "sha256": "e\u00e9", "detect_ms": 0.125}), outcome]
    written = [one.to_line() for one in outcomes]
    expected = [one.record for one in outcomes], EXTRA, [one.extra for one in outcomes]
    found = pq.read_table(io.BytesIO(encode_shard(written, "parquet")))
    made = parquet.to_table(*expected)
    assert found.schema == made.schema
    assert same_rows(found.to_pylist(), made.to_pylist())
    stream = io.BytesIO()
    csv_format.dump(expected[0], stream, tuple(EXTRA), expected[2], sigma=True)
    assert encode_shard(written, "csv", sigma=True) == stream.getvalue()


def test_a_line_reads_back() -> None:
    outcome = fake_outcome("a-two")
    assert Outcome.from_line(outcome.to_line()).to_line() == outcome.to_line()
    for line in (b"{", b"[]", b'{"source": "a"}'):
        with pytest.raises(FormatError):
            Outcome.from_line(line)


def test_key_set_against_a_set() -> None:
    rng, known, keys = np.random.default_rng(0), set(), KeySet([np.array([3, 3, 1], np.uint64)])
    known = {1, 3}
    for _ in range(60):
        some = rng.integers(0, 400, 17).astype(np.uint64)
        expected = []
        for key in some.tolist():
            expected.append(key not in known)
            known.add(key)
        assert keys.add(some).tolist() == expected
    assert len(keys) == len(known)


def test_keys_of_the_same_place_are_the_same() -> None:
    assert key_of("a/b.jpg") == key_of("./a//b.jpg") != key_of("/a/b.jpg")
    assert key_of("a/../b.jpg") != key_of("b.jpg")  # a may be a link
    assert key_of("s3://a//b") != key_of("s3://a/b")
