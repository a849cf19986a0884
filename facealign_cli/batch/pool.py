"""Supervised worker processes. One that dies or hangs is replaced; its pictures are tried again, each on its own.

Workers are started by spawn and talk over a pipe. A worker has up to `in_flight` chunks of pictures, so that it can
read ahead. It gets a second chunk only when every worker has a first one.

When a worker dies, the parent cannot know which picture killed it, or whether a picture did: somebody may have killed
it, or memory was short. So each of its pictures is given to a worker that has nothing else. If that worker dies, too,
the picture is put off until everything else is done, and is then tried once more, while no other worker has anything to
do. If that fails as well, the picture is recorded as failed. When the parent ends, in whatever way, its workers end.
"""

from __future__ import annotations

import contextlib
import gc
import math
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait

from facealign_cli.batch.base import ChunkFeed, JournalLine, Outcome, Work
from facealign_cli.errors import FacealignError, OutputError
from facealign_cli.processes import GUARD_HINT, begin_worker, quiet_codecs, signals_held_back
from facealign_cli.records import FrameResult

_STARTS, _RESTARTS = 3, 20
"""How many workers may die one after the other as they start. The larger number holds if somebody may have killed some
of them: if they died by SIGKILL, or after a worker had been ready."""

_TRIES = 3
"""How many workers have to die with a picture until it is given up: among others, alone, and alone at the end."""
_SIGN_OF_LIFE_S = 0.1
"""A worker says at most so often that it has done a picture: the parent wakes up for it, and has nothing else to do."""
_END_S = 1.0
"""After so many seconds, workers that have not ended by themselves are killed."""


@dataclass(frozen=True)
class WorkerUsage:
    """What a worker has used since it was ready.

    cpu_s: seconds of processor time. by_stage: the same for each stage. memory_bytes: its resident memory now; 0 means
    that it is not known.
    """

    cpu_s: float
    by_stage: dict[str, float]
    memory_bytes: int


@dataclass
class PoolUsage:
    """What all workers have used. workers: the latest usage of each, by process id. deaths: how many have died."""

    workers: dict[int, WorkerUsage] = field(default_factory=dict)
    deaths: int = 0


def usage_of(work: Work, begin_s: float) -> WorkerUsage:
    """What this process has used since its processor time was `begin_s`."""
    return WorkerUsage(time.process_time() - begin_s, dict(work.cpu_s), _memory_bytes())


def run_here(
    feed: ChunkFeed, make_work: Callable[[], Work], usage: PoolUsage, stop: threading.Event
) -> Iterator[list[JournalLine]]:
    """The outcomes of the feed's chunks, made in this process: a picture that kills its process ends the job."""
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
    """Worker processes. Use it as a context: leaving it ends the workers.

    make_work: is called in each worker, and has to be picklable. timeout_s: a worker that finishes no picture for so
    long counts as hung and is killed; None means never. in_flight: how many chunks a worker has at a time, counting the
    one that it works on.
    """

    def __init__(
        self,
        make_work: Callable[[], Work],
        workers: int,
        usage: PoolUsage,
        timeout_s: float | None = None,
        in_flight: int = 2,
    ) -> None:
        self.usage = usage
        self._make_work, self._timeout_s, self._in_flight = make_work, timeout_s, in_flight
        self._target = workers
        self._workers: list[_Worker] = []
        self._again: deque[str] = deque()
        self._at_the_end: deque[str] = deque()
        self._failed_starts, self._was_ready = 0, False

    def __enter__(self) -> Pool:
        try:
            for _ in range(self._target):
                self._start_worker()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with signals_held_back():  # a worker that nobody ends would keep this process from ending
            for worker in self._workers:
                worker.pipe.close()
            until = time.monotonic() + _END_S
            for worker in self._workers:
                worker.end(until)
            self._workers = []

    def _start_worker(self) -> None:
        with signals_held_back():
            self._workers.append(_Worker(self._make_work))

    def outcomes(self, feed: ChunkFeed, stop: threading.Event) -> Iterator[list[JournalLine]]:
        """The outcomes of the feed's chunks, in the order in which they are done.

        stop: when it is set, no more chunks are given out, and those in work are finished. Raises FacealignError with
        the text of what `make_work` raised in a worker, and OutputError if a worker cannot write.
        """
        while True:
            if not stop.is_set():
                self._give_out(feed)
            busy = any(worker.tasks for worker in self._workers)
            if not busy and (stop.is_set() or (feed.ended and not self._again and not self._at_the_end)):
                return
            yield from self._listen(0.2 if feed.ended or busy else 0.02)

    def _give_out(self, feed: ChunkFeed) -> None:
        ready = [worker for worker in self._workers if worker.ready]
        for worker in ready:
            if self._again and not worker.tasks:
                worker.give([self._again.popleft()], tries=2)
        while not self._again:
            free = [worker for worker in ready if len(worker.tasks) < self._in_flight and not worker.alone]
            chunk = feed.take() if free else None
            if chunk is None:
                self._give_the_last(feed)
                return
            min(free, key=lambda worker: len(worker.tasks)).give(chunk)

    def _give_the_last(self, feed: ChunkFeed) -> None:
        """Give out a picture that was put off, if nothing else is left and no worker has anything to do."""
        idle = [worker for worker in self._workers if worker.ready and not worker.tasks]
        if self._at_the_end and feed.ended and idle and not any(worker.tasks for worker in self._workers):
            idle[0].give([self._at_the_end.popleft()], tries=3)

    def _listen(self, timeout_s: float) -> Iterator[list[JournalLine]]:
        heard = wait([worker.pipe for worker in self._workers], timeout_s)
        for worker in list(self._workers):
            if worker.pipe in heard:
                yield from self._hear(worker)
            elif self._timeout_s is not None and worker.tasks and worker.silent_s() > self._timeout_s + _SIGN_OF_LIFE_S:
                worker.kill()
                yield from self._bury(worker, f"no answer for {self._timeout_s:g} s")

    def _hear(self, worker: _Worker) -> Iterator[list[JournalLine]]:
        try:
            while worker.pipe.poll():
                kind, value = worker.pipe.recv()
                worker.heard_at = time.monotonic()
                if kind == "ready":
                    worker.ready, self._failed_starts, self._was_ready = True, 0, True
                elif kind == "done":
                    worker.tasks.popleft()
                    worker.tries = 1
                    outcomes, self.usage.workers[worker.pid] = value
                    yield outcomes
                elif kind in _ENDS:
                    raise _ENDS[kind](value)
        except (EOFError, OSError):  # OSError: how Windows and macOS tell of a pipe whose other end has gone
            yield from self._bury(worker, None)

    def _bury(self, worker: _Worker, reason: str | None) -> Iterator[list[JournalLine]]:
        """Replace a dead worker and see to its pictures. reason: why it was killed; None if it died by itself."""
        cause = reason or worker.cause_of_death()
        self._workers.remove(worker)
        self.usage.deaths += 1
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= (_RESTARTS if self._was_ready or worker.was_killed else _STARTS):
                advice = f"try fewer --workers. {GUARD_HINT}"
                raise FacealignError(f"worker processes die as they start ({cause}): {advice}")
        paths = [path for chunk in worker.tasks for path in chunk]
        if worker.alone and (reason is not None or worker.tries >= _TRIES):
            times = "again when it was alone" if reason is not None else "twice more when it was alone"
            error = f"{paths[0]}: a worker process died on it, and {times} ({cause})"
            yield [JournalLine.of(Outcome(FrameResult.of_error(paths[0], error)))]
        else:
            (self._at_the_end if worker.alone else self._again).extend(paths)
        self._start_worker()


class _Worker:
    """A worker process, as the parent sees it.

    tasks: the chunks that it has. tries: 1 is the usual; from 2 on it has a single picture, with which `tries - 1`
    workers have died. was_killed: whether it died of SIGKILL.
    """

    def __init__(self, make_work: Callable[[], Work]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, make_work), name="facealign-worker", daemon=True)
        self._process.start()
        theirs.close()
        self.pid = int(self._process.pid or 0)
        self.tasks: deque[list[str]] = deque()
        self.tries, self.ready, self.was_killed = 1, False, False
        self.heard_at = time.monotonic()

    @property
    def alone(self) -> bool:
        """Whether it has a single picture, which is tried again."""
        return self.tries > 1

    def give(self, chunk: list[str], *, tries: int = 1) -> None:
        """Hand a chunk over. If the process has just died, `_hear` notices it by the pipe."""
        if not self.tasks:
            self.heard_at = time.monotonic()
        self.tasks.append(chunk)
        self.tries = tries
        with contextlib.suppress(OSError):
            self.pipe.send(chunk)

    def silent_s(self) -> float:
        """Seconds since the process last said something."""
        return time.monotonic() - self.heard_at

    def kill(self) -> None:
        """End the process by force."""
        self._process.kill()
        self.pipe.close()
        self._process.join()

    def cause_of_death(self) -> str:
        """Wait until the process has gone, and say in words what ended it."""
        self._process.join(5)
        code = self._process.exitcode
        self.pipe.close()
        self.was_killed = code == -9
        if code is None or code >= 0:
            return f"exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"{name}, perhaps for want of memory" if name == "SIGKILL" else name

    def end(self, until: float) -> None:
        """Wait for the process, which ends when its pipe is closed. If it lives at this monotonic time, kill it."""
        self._process.join(max(0.0, until - time.monotonic()))
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


_ENDS: dict[str, type[FacealignError]] = {"failed": FacealignError, "output": OutputError}
"""What a worker says when it cannot go on → the error that ends the job."""


def _work(pipe: Connection, make_work: Callable[[], Work]) -> None:
    """What a worker process runs. It sends back the text of its errors, since not every exception can be pickled."""
    begin_worker(only_the_parent_ends_it=True)
    quiet_codecs()
    tell = _Teller(pipe)
    try:
        work = make_work()
        gc.freeze()  # what was imported stays: looking through it again took 30 ms after each clip
        begin_s = time.process_time()  # starting costs the same for ten pictures and for ten million
        tell("ready", None)
        for outcomes in work.process_chunks(iter(_receiver(pipe).get, None), tell.alive):
            tell("done", ([JournalLine.of(outcome) for outcome in outcomes], usage_of(work, begin_s)))
    except OutputError as error:
        tell("output", str(error))
    except FacealignError as error:
        tell("failed", str(error))


class _Teller:
    """Sends to the parent. If the parent has gone, it ends this process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._told_at = -math.inf

    def alive(self) -> None:
        """Tell that a picture is done, unless something was told just before."""
        if time.monotonic() - self._told_at >= _SIGN_OF_LIFE_S:
            self("picture", None)

    def __call__(self, kind: str, value: object) -> None:
        self._told_at = time.monotonic()
        try:
            self._pipe.send((kind, value))
        except OSError:
            os._exit(0)


def _receiver(pipe: Connection) -> queue.SimpleQueue[list[str]]:
    """The chunks. A thread reads them as they come in, so that the parent never waits.

    The process ends when the other end of the pipe is closed: by the parent after the job, or because it has died.
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
    """The resident memory of this process; 0 if the system has no /proc."""
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
