"""Supervised worker processes. One that dies or hangs is replaced; its pictures are tried again, each on its own.

A worker is started by spawn, talks over a pipe, and has up to `IN_FLIGHT` chunks, so that it can read ahead. When it
dies the parent cannot know which picture did it: each goes to a worker that has nothing else, and the one that kills
this one too is given up. A worker ends by itself when the parent does, however that ended.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait

from facealign_cli.batch.base import ChunkFeed, JournalLine, Outcome, Work
from facealign_cli.errors import FacealignError, OutputError
from facealign_cli.main_guard import GUARD_HINT
from facealign_cli.records import FrameResult

IN_FLIGHT = 2
"""Chunks that a worker has at a time: the one in work, and the next one to read ahead."""

_STARTS = 3
"""Workers that may die one after the other before one is ready."""


@dataclass(frozen=True)
class WorkerUsage:
    """What a worker has used since it was ready. cpu_s: in all, by_stage: in its stages, seconds of processor time.

    memory_bytes: resident now; 0: unknown.
    """

    cpu_s: float
    by_stage: dict[str, float]
    memory_bytes: int


@dataclass
class PoolUsage:
    """workers: each process's latest usage, by its id. deaths: of workers so far."""

    workers: dict[int, WorkerUsage] = field(default_factory=dict)
    deaths: int = 0


def usage_of(work: Work, begin_s: float) -> WorkerUsage:
    """The usage of this process, its processor time since `begin_s` of it."""
    return WorkerUsage(time.process_time() - begin_s, dict(work.cpu_s), _memory_bytes())


def run_here(
    feed: ChunkFeed, make_work: Callable[[], Work], usage: PoolUsage, stop: threading.Event
) -> Iterator[list[JournalLine]]:
    """The outcomes of the feed's chunks, without worker processes: nothing protects from a picture that kills."""
    work = make_work()
    begin_s = time.process_time()

    def chunks() -> Iterator[Sequence[str]]:
        while not stop.is_set():
            chunk = feed.take()
            if chunk is not None:
                yield chunk
            elif feed.ended:
                return
            else:
                time.sleep(0.01)

    for outcomes in work.process_chunks(chunks()):
        usage.workers[os.getpid()] = usage_of(work, begin_s)
        yield [JournalLine.of(outcome) for outcome in outcomes]


class Pool:
    """Worker processes.

    make_work: called in each worker; it has to be picklable. timeout_s: a worker that finishes no picture for so
    long is taken for hung and killed; None: wait for ever. Use as a context: leaving it ends the workers.
    """

    def __init__(
        self, make_work: Callable[[], Work], workers: int, usage: PoolUsage, timeout_s: float | None = None
    ) -> None:
        self.usage = usage
        self._make_work, self._timeout_s = make_work, timeout_s
        self._target = workers
        self._workers: list[_Worker] = []
        self._again: deque[list[str]] = deque()
        self._failed_starts = 0

    def __enter__(self) -> Pool:
        self._workers = [_Worker(self._make_work) for _ in range(self._target)]
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()
        self._workers = []

    def outcomes(self, feed: ChunkFeed, stop: threading.Event) -> Iterator[list[JournalLine]]:
        """The outcomes of the feed's chunks, in the order in which they are done.

        stop: no more chunks are given out; those in work are still finished. Raises what `make_work` raised in a
        worker (as FacealignError), OutputError where a worker cannot write.
        """
        while True:
            if not stop.is_set():
                self._give_out(feed)
            busy = any(worker.tasks for worker in self._workers)
            if not busy and (stop.is_set() or (feed.ended and not self._again)):
                return
            yield from self._listen(0.2 if feed.ended or busy else 0.02)

    def _give_out(self, feed: ChunkFeed) -> None:
        for worker in sorted(self._workers, key=lambda w: len(w.tasks)):
            if not worker.ready:
                continue
            if self._again and not worker.tasks:
                worker.give(self._again.popleft(), alone=True)
            while len(worker.tasks) < IN_FLIGHT and not worker.alone and not self._again:
                chunk = feed.take()
                if chunk is None:
                    return
                worker.give(chunk)

    def _listen(self, timeout_s: float) -> Iterator[list[JournalLine]]:
        heard = wait([worker.pipe for worker in self._workers], timeout_s)
        for worker in list(self._workers):
            if worker.pipe in heard:
                yield from self._hear(worker)
            elif self._timeout_s is not None and worker.tasks and worker.silent_s() > self._timeout_s:
                worker.kill()
                yield from self._bury(worker, f"no answer for {self._timeout_s:g} s")

    def _hear(self, worker: _Worker) -> Iterator[list[JournalLine]]:
        try:
            while worker.pipe.poll():
                kind, value = worker.pipe.recv()
                worker.heard_at = time.monotonic()
                if kind == "ready":
                    worker.ready, self._failed_starts = True, 0
                elif kind == "done":
                    worker.tasks.popleft()
                    worker.alone = False
                    outcomes, self.usage.workers[worker.pid] = value
                    yield outcomes
                elif kind in _ENDS:
                    raise _ENDS[kind](value)
        except (EOFError, ConnectionResetError):
            yield from self._bury(worker, None)

    def _bury(self, worker: _Worker, reason: str | None) -> Iterator[list[JournalLine]]:
        """Replace a dead worker. Its pictures are tried again, or the one that it had to itself is given up."""
        reason = reason or worker.cause_of_death()
        self._workers.remove(worker)
        self.usage.deaths += 1
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS:
                raise FacealignError(
                    f"worker processes die as they start ({reason}): try fewer --workers. {GUARD_HINT}"
                )
        if worker.alone:
            ((path,),) = worker.tasks
            error = f"{path}: a worker process died on it, and again when it was alone ({reason})"
            yield [JournalLine.of(Outcome(FrameResult.of_error(path, error)))]
        else:
            self._again.extend([path] for chunk in worker.tasks for path in chunk)
        self._workers.append(_Worker(self._make_work))


class _Worker:
    """The parent's side of a process. tasks: the chunks it has. alone: it has one picture, tried again."""

    def __init__(self, make_work: Callable[[], Work]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, make_work), name="facealign-worker", daemon=True)
        self._process.start()
        theirs.close()
        self.pid = int(self._process.pid or 0)
        self.tasks: deque[list[str]] = deque()
        self.alone = self.ready = False
        self.heard_at = time.monotonic()

    def give(self, chunk: list[str], *, alone: bool = False) -> None:
        """Hand a chunk over. If the process has just died, its pipe says so later."""
        if not self.tasks:
            self.heard_at = time.monotonic()
        self.tasks.append(chunk)
        self.alone = alone
        try:
            self.pipe.send(chunk)
        except (BrokenPipeError, ConnectionResetError):
            return

    def silent_s(self) -> float:
        """Seconds since the process last said something."""
        return time.monotonic() - self.heard_at

    def kill(self) -> None:
        """End the process by force."""
        self._process.kill()
        self.pipe.close()
        self._process.join()

    def cause_of_death(self) -> str:
        """In words. Waits for the process to be gone."""
        self._process.join(5)
        code = self._process.exitcode
        self.pipe.close()
        if code is None or code >= 0:
            return f"exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"{name}, perhaps for want of memory" if name == "SIGKILL" else name

    def end(self) -> None:
        """End the process: it sees the closed pipe; one that is still at work after a second is killed."""
        self.pipe.close()
        self._process.join(1)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


_ENDS: dict[str, type[FacealignError]] = {"failed": FacealignError, "output": OutputError}
"""What a worker says when it cannot go on → the error that ends the job."""


def _work(pipe: Connection, make_work: Callable[[], Work]) -> None:
    """A worker's life. Only text comes back of its errors: not every exception survives being pickled."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _quiet_codecs()
    tell = _Teller(pipe)
    try:
        work = make_work()
        begin_s = time.process_time()  # starting costs the same for ten pictures and for ten million
        tell("ready", None)
        for outcomes in work.process_chunks(iter(_receiver(pipe).get, None), lambda: tell("picture", None)):
            tell("done", ([JournalLine.of(outcome) for outcome in outcomes], usage_of(work, begin_s)))
    except OutputError as error:
        tell("output", str(error))
    except FacealignError as error:
        tell("failed", str(error))


class _Teller:
    """Sends to the parent; if it is gone, so is this process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def __call__(self, kind: str, value: object) -> None:
        try:
            self._pipe.send((kind, value))
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)


def _quiet_codecs() -> None:
    """libjpeg writes a line to stderr for every odd file; Python's own messages still arrive there."""
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _receiver(pipe: Connection) -> queue.SimpleQueue[list[str]]:
    """Chunks as they come in, so that the parent never waits to be heard. The pipe's end ends the process.

    The parent closes its end when the job is over, and the system does when the parent dies.
    """
    chunks: queue.SimpleQueue[list[str]] = queue.SimpleQueue()

    def receive() -> None:
        while True:
            try:
                chunks.put(pipe.recv())
            except (EOFError, OSError):
                os._exit(0)

    threading.Thread(target=receive, name="facealign-receive", daemon=True).start()
    return chunks


def _memory_bytes() -> int:
    """Resident memory of this process; 0 where the system has no /proc."""
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
