"""Workers that die, hang or cannot start; the feed is a list."""

from __future__ import annotations

import io
import multiprocessing
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from batch_works import BrokenWork, DyingWork, FakeWork, KilledWork, UnwritableWork

from facealign_cli.batch import pool as pool_module
from facealign_cli.batch.base import JournalLine
from facealign_cli.batch.pool import Pool, PoolUsage, _Worker, run_here
from facealign_cli.errors import FacealignError, OutputError

Ran = tuple[dict[str, JournalLine], PoolUsage]


class ListFeed:
    def __init__(self, paths: list[str], size: int = 4) -> None:
        self.chunks = [paths[i : i + size] for i in range(0, len(paths), size)]

    @property
    def ended(self) -> bool:
        return not self.chunks

    def take(self) -> list[str] | None:
        return self.chunks.pop(0) if self.chunks else None


def run(paths: list[str], *, workers: int = 2, timeout_s: float | None = None, make_work: type = FakeWork) -> Ran:
    usage = PoolUsage()
    with Pool(make_work, workers, usage, timeout_s) as pool:
        chunks = list(pool.outcomes(ListFeed(paths), threading.Event()))
    lines: dict[str, JournalLine] = {line.path: line for chunk in chunks for line in chunk}
    assert len(lines) == sum(map(len, chunks))
    return lines, usage


@pytest.mark.long
def test_one_picture_that_kills_is_the_only_failure(tmp_path: Path) -> None:
    names = ["once-poison", *map(str, range(9)), "twice-poison", *map(str, range(10, 30)), "poison", "last"]
    paths = [str(tmp_path / name) for name in names]
    lines, usage = run(paths)
    assert sorted(lines) == sorted(paths)
    failed = {path: line.error for path, line in lines.items() if line.error}
    assert list(failed) == [str(tmp_path / "poison")]
    assert "twice more when it was alone (SIGKILL, perhaps for want of memory)" in str(failed)
    assert 5 <= usage.deaths <= 6  # 3 by the poison, 2 and 1 by the others, of which two may have been one


@pytest.mark.long
def test_what_was_put_off_is_tried_when_all_else_is_done(tmp_path: Path) -> None:
    paths = [str(tmp_path / "twice-poison"), *(f"slow-{i}" for i in range(20))]
    with Pool(FakeWork, 2, PoolUsage()) as pool:
        done = [line.path for chunk in pool.outcomes(ListFeed(paths), threading.Event()) for line in chunk]
    assert sorted(done) == sorted(paths)
    assert done[-1] == paths[0]


def test_workers_that_are_killed_as_they_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Somebody kills every new worker for a while: the job goes on, as that may end."""
    start, victims = _Worker.__init__, iter([True, True, True, False, True, True, True, True, False])

    def start_and_kill(self: _Worker, make_work: Any) -> None:
        start(self, make_work)
        if next(victims, False):
            self._process.kill()

    monkeypatch.setattr(_Worker, "__init__", start_and_kill)
    lines, usage = run([str(tmp_path / "once-poison"), "a"], workers=1)
    assert not any(line.error for line in lines.values())
    assert usage.deaths == 8


@pytest.mark.long
def test_workers_that_do_not_end_are_killed_together() -> None:
    feed = ListFeed(["hang"] * 4, 1)
    with Pool(FakeWork, 4, PoolUsage()) as pool:
        while feed.chunks:
            pool._give_out(feed)
            assert list(pool._listen(0.1)) == []
        processes = [worker._process for worker in pool._workers]
        begin = time.monotonic()
    assert time.monotonic() - begin < 3
    assert not any(process.is_alive() for process in processes)


def test_a_single_poisoned_picture(tmp_path: Path) -> None:
    lines, usage = run(["poison"], workers=1)
    assert lines["poison"].error
    assert usage.deaths == 3


def test_a_hung_worker_is_killed() -> None:
    lines, _ = run(["a", "hang", "b"], workers=1, timeout_s=0.5)
    assert {path: bool(line.error) for path, line in lines.items()} == {"a": False, "hang": True, "b": False}
    assert "no answer for 0.5 s" in str(lines["hang"].error)


def test_a_sign_of_life_is_not_sent_for_every_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = multiprocessing.Pipe()
    now = 100.0
    monkeypatch.setattr(pool_module, "time", SimpleNamespace(monotonic=lambda: now))  # the pipe keeps its own clock
    with ours, theirs:
        tell = pool_module._Teller(theirs)
        for step, told in ((0.0, True), (0.05, False), (0.06, True), (0.0, False)):
            now += step
            tell.alive()
            assert ours.poll() == told, step
            if told:
                assert ours.recv() == ("picture", None)
        now += 0.2
        tell("done", 1)
        tell.alive()
        assert ours.recv() == ("done", 1)
        assert not ours.poll()


def test_a_worker_that_only_takes_its_time_is_left_alone() -> None:
    lines, usage = run(["a", "long", "b"], workers=1, timeout_s=30)
    assert not any(line.error for line in lines.values())
    assert usage.deaths == 0


def test_after_a_picture_tried_alone_the_worker_goes_on_with_the_rest(tmp_path: Path) -> None:
    """A worker that were taken for one with a dangerous picture for ever would never get another chunk."""
    paths = [str(tmp_path / name) for name in ["once-poison", *map(str, range(40))]]
    stop, done = threading.Event(), []

    def work() -> None:
        with Pool(FakeWork, 1, PoolUsage()) as pool:
            done.extend(line.path for chunk in pool.outcomes(ListFeed(paths), stop) for line in chunk)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    stop.set()
    thread.join(60)
    assert sorted(done) == sorted(paths)


@pytest.mark.long
@pytest.mark.parametrize(
    ("make_work", "kind", "words"),
    [
        (BrokenWork, FacealignError, "no such model"),
        (DyingWork, FacealignError, r"die as they start \(exit code 7\)"),
        (KilledWork, FacealignError, r"die as they start \(SIGKILL, perhaps for want of memory\)"),
        (UnwritableWork, OutputError, "disk is full"),
    ],
)
def test_what_ends_the_job(make_work: type, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        run(["a", "b"], workers=1, make_work=make_work)


def test_a_chunk_larger_than_a_pipe() -> None:
    paths = [f"{i:05d}-{'x' * 3000}" for i in range(300)]
    usage = PoolUsage()
    with Pool(FakeWork, 1, usage) as pool:
        done = [line.path for chunk in pool.outcomes(ListFeed(paths, 100), threading.Event()) for line in chunk]
    assert done == paths
    assert usage.workers


class ReadyWorker:
    """A worker without a process: it takes chunks and does nothing."""

    def __init__(self, _make_work: type) -> None:
        self.ready, self.alone, self.tasks, self.pipe = True, False, [], io.BytesIO()

    def give(self, chunk: list[str]) -> None:
        self.tasks.append(chunk)

    def end(self, _until: float) -> None:
        """Nothing to end."""


@pytest.mark.parametrize(("chunks", "in_flight", "held"), [(5, 2, [2, 2, 1]), (5, 1, [1, 1, 1]), (2, 2, [1, 1, 0])])
def test_nobody_holds_a_second_chunk_while_somebody_has_none(
    monkeypatch: pytest.MonkeyPatch, chunks: int, in_flight: int, held: list[int]
) -> None:
    monkeypatch.setattr("facealign_cli.batch.pool._Worker", ReadyWorker)
    with Pool(FakeWork, 3, PoolUsage(), in_flight=in_flight) as pool:
        pool._give_out(ListFeed([str(i) for i in range(chunks)], 1))
        assert [len(worker.tasks) for worker in pool._workers] == held


def test_stop_finishes_what_is_in_work() -> None:
    stop, feed = threading.Event(), ListFeed([f"slow-{i}" for i in range(400)])
    with Pool(FakeWork, 1, PoolUsage()) as pool:
        outcomes = pool.outcomes(feed, stop)
        next(outcomes)
        stop.set()
        rest = list(outcomes)
    assert sum(map(len, rest)) <= 12
    assert feed.chunks


def test_without_processes() -> None:
    usage = PoolUsage()
    chunks = list(run_here(ListFeed(["a", "bad", "c"], 2), FakeWork, usage, threading.Event()))
    assert [[line.path for line in chunk] for chunk in chunks] == [["a", "bad"], ["c"]]
    (own,) = usage.workers.values()
    assert own.memory_bytes > 0
