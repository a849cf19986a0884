"""The same job on Ray: a Ray Data pipeline from paths to Parquet files, on this machine or on a cluster.

The paths go to Ray in rounds, cut into tasks. Actors, one per worker, turn a task's paths into a table of rows; Ray
writes the tables as Parquet, and `rows` gives the finished files their place.

A task whose actor dies is lost (Ray starts another actor). At the end of its round each of its pictures is tried
again in a task of its own, by Ray twice; the one that never comes back is recorded as failed. So is the work of a
machine that went away done once more. An actor that finishes no picture for too long ends itself. An error that
concerns the whole job (no such model on that machine, no room for crops) comes back as rows of a status of its own,
which end the job and never get a file.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from facealign_cli.batch.base import EXTRA, FATAL, RAY_FOLDER, ChunkFeed, JournalLine, Outcome, Work
from facealign_cli.batch.keys import key_of
from facealign_cli.batch.ray.session import Cluster, connect, first_line, import_ray, quiet
from facealign_cli.errors import FacealignError, InputError, OutputError
from facealign_cli.files.storage import arrow_folder, storage_for
from facealign_cli.formats import parquet
from facealign_cli.records import FrameResult

if TYPE_CHECKING:
    import pyarrow as pa

TASK_CHUNKS = 4
"""Chunks of pictures in a task: what a dying actor loses, and reads ahead within."""

ROUND_PICTURES, MOST_IN_ROUND = 10_000, 1_000_000
"""Pictures of a round: for each worker, and at most. The driver holds their paths, about 100 bytes each."""

FILE_PICTURES = 500
"""Pictures for each worker after which a file is written, if `shard_rows` does not do so before."""

WORKERS_PER_WRITER = 16
"""Workers whose rows one task at a time writes."""

_POLL_S = 0.5
_END_S = 60.0
_TASKS_TO_JUDGE = 8


class FinishedRows(Protocol):
    """Where the files go that Ray has finished; `rows.RayRows` is it.

    folder: the job's. stop_file: where it stands, workers do nothing any more.
    """

    folder: str
    stop_file: str

    def tell_workers_to_stop(self) -> None:
        """Write the stop file."""
        ...

    def clear(self) -> None:
        """Remove what Ray wrote and nobody moved."""
        ...

    def collect(self, *, ended: bool) -> list[JournalLine]:
        """Move what Ray has finished to its place; its pictures. ended: Ray writes no more."""
        ...

    def put(self, outcomes: Sequence[Outcome]) -> list[JournalLine]:
        """Write some rows as a file of their own."""
        ...


class RayEngine:
    """Ray, while this is used as a context: connected when there is work. make_work: called in each actor; picklable.

    Entering raises MissingDependency without the package, InputError if this process uses Ray already.
    """

    def __init__(self, make_work: Callable[[], Work], cluster: Cluster, rows: FinishedRows) -> None:
        self._make_work, self._cluster, self._rows = make_work, cluster, rows

    def __enter__(self) -> RayEngine:
        if import_ray().is_initialized():
            raise InputError("this process is connected to Ray already: call ray.shutdown() first")
        return self

    def __exit__(self, *_: object) -> None:
        import_ray().shutdown()

    def outcomes(self, feed: ChunkFeed, stop: threading.Event) -> Iterator[list[JournalLine]]:
        """The pictures of the feed as their files are finished, without lines; now and then nothing.

        stop: the workers finish the task they are at, and do nothing after it. Raises FacealignError (what `make_work`
        raised in an actor; Ray cannot start or be reached), OutputError where nothing can be written.
        """
        cluster = self._cluster
        self._rows.clear()
        most = min(MOST_IN_ROUND, ROUND_PICTURES * cluster.workers)
        while paths := _take(feed, most, stop):
            connect(cluster)
            task = min(TASK_CHUNKS * cluster.chunk_size, cluster.file_rows, -(-len(paths) // cluster.workers))
            lost = yield from self._run(paths, task, 0, stop)
            if len(lost) == len(paths) >= _TASKS_TO_JUDGE * task and not stop.is_set():
                raise FacealignError("every worker died at its first pictures; Ray's logs (/tmp/ray) may say why")
            if lost and not stop.is_set():
                lost = yield from self._run(lost, 1, 1, stop)
            if stop.is_set():
                break
            if lost:
                yield self._rows.put([_given_up(path, cluster.timeout_s) for path in lost])
        self._rows.clear()

    def _run(
        self, paths: list[str], task: int, retries: int, stop: threading.Event
    ) -> Generator[list[JournalLine], None, list[str]]:
        """Have paths worked on, `task` at a time; returns those of which nothing came."""
        job = _Job(lambda: self._execute(paths, task, retries))
        left, told = {key_of(path): path for path in paths}, False
        try:
            ended = False
            while not ended:
                ended = job.ended(_POLL_S)
                if stop.is_set() and not told:
                    self._rows.tell_workers_to_stop()
                    told = True
                for line in (lines := self._rows.collect(ended=ended)):
                    left.pop(line.key, None)
                yield lines
        finally:
            self._end(job)
        job.check()
        return list(left.values())

    def _end(self, job: _Job) -> None:
        """Bring a job to its end that is still going on: Ray is not to be shut down under it, which may abort us."""
        if not job.ended(0):
            with contextlib.suppress(OutputError):  # there is no room for the file: then Ray has to go as it is
                self._rows.tell_workers_to_stop()
            job.ended(_END_S)

    def _execute(self, paths: list[str], task: int, retries: int) -> None:
        """The Ray Data job."""
        import ray.data

        pa, _ = parquet.import_pyarrow()
        cluster, schema = self._cluster, parquet.table_schema(EXTRA)
        raw = [path.encode("utf-8", "surrogatepass") for path in paths]
        tables = [pa.table({"path": pa.array(raw[i : i + task], pa.binary())}) for i in range(0, len(raw), task)]
        with contextlib.ExitStack() as stack:
            stack.enter_context(quiet())
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))  # there Ray tells of workers that died
            context = ray.data.DataContext.get_current().copy()
            context.enable_progress_bars = context.print_on_execution_start = False
            context.max_errored_blocks = -1
            stack.enter_context(ray.data.DataContext.current(context))
            self._mapped(tables, retries).write_parquet(
                RAY_FOLDER,
                filesystem=arrow_folder(self._rows.folder),
                min_rows_per_file=min(cluster.file_rows, FILE_PICTURES * cluster.workers),
                ray_remote_args={
                    "num_cpus": 0
                },  # the actors may hold every processor; so Ray would start dozens at once
                concurrency=-(-cluster.workers // WORKERS_PER_WRITER),
                schema=schema,
                row_group_size=parquet.ROWS_PER_GROUP,
                **parquet.writer_options(schema),
            )

    def _mapped(self, tables: list[pa.Table], retries: int) -> Any:
        """Tables of paths → a Ray Dataset of rows."""
        import ray.data

        cluster = self._cluster
        return ray.data.from_arrow(tables).map_batches(
            RayWorker,
            fn_constructor_args=(
                self._make_work,
                cluster.chunk_size,
                os.getcwd(),
                self._rows.stop_file,
                cluster.timeout_s,
            ),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(
                size=min(cluster.workers, len(tables)),
                # else who waits behind it dies with it, and what takes long keeps it from the others
                max_tasks_in_flight_per_actor=1 if tables[0].num_rows == 1 else None,
            ),
            num_cpus=cluster.cpus,
            num_gpus=cluster.gpus,
            max_restarts=-1,
            max_task_retries=retries,
        )


class RayWorker:
    """An actor's work: a table of paths becomes a table of rows.

    folder: relative paths count from it. stop_file: where it stands, no more work is done. timeout_s: after so long
    without a finished picture this process ends itself; None: never. Networks are loaded at the first call, so that
    what goes wrong there comes back as rows, too.
    """

    def __init__(
        self, make_work: Callable[[], Work], chunk_size: int, folder: str, stop_file: str, timeout_s: float | None
    ) -> None:
        self._make_work, self._chunk_size = make_work, chunk_size
        self._folder, self._stop_file, self._timeout_s = folder, stop_file, timeout_s
        self._work: Work | None = None

    def __call__(self, table: pa.Table) -> pa.Table:
        """path: binary → the columns of `parquet.table_schema(EXTRA)`."""
        paths = [raw.decode("utf-8", "surrogatepass") for raw in table["path"].to_pylist()]
        try:
            if storage_for(self._stop_file).kind(self._stop_file):
                return parquet.table_schema(EXTRA).empty_table()
            outcomes = self._outcomes(paths)
        except FacealignError as error:
            return _fatal(paths, error)
        return parquet.to_table([o.record for o in outcomes], EXTRA, [o.extra for o in outcomes])

    def _outcomes(self, paths: list[str]) -> list[Outcome]:
        if self._work is None:
            with contextlib.suppress(OSError):  # paths that need this folder say so themselves
                os.chdir(self._folder)
            self._work = self._make_work()
        chunks = (paths[i : i + self._chunk_size] for i in range(0, len(paths), self._chunk_size))
        with _Watchdog(self._timeout_s) as picture_done:
            return [outcome for outcomes in self._work.process_chunks(chunks, picture_done) for outcome in outcomes]


class _Watchdog:
    """Ends this process if for `timeout_s` nobody says that it is alive; None: never.

    Python's faulthandler does it: its thread is none of Python's, so it also ends a decoder that never lets go of the
    interpreter. It writes to Ray's log of the worker where that was.
    """

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s

    def __enter__(self) -> Callable[[], None]:
        self._alive()
        return self._alive

    def __exit__(self, *_: object) -> None:
        if self._timeout_s is not None:
            faulthandler.cancel_dump_traceback_later()

    def _alive(self) -> None:
        if self._timeout_s is not None:
            faulthandler.dump_traceback_later(self._timeout_s, exit=True, file=2)


class _Job:
    """Something that blocks, in a thread of its own."""

    def __init__(self, run: Callable[[], None]) -> None:
        self._target = run
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="facealign-ray", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._target()
        except Exception as error:  # noqa: BLE001 - raised again by `check`
            self._error = error

    def ended(self, timeout_s: float | None) -> bool:
        """Whether it has come to its end within this time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def check(self) -> None:
        """Raise what it raised, as FacealignError."""
        if self._error is not None:
            raise FacealignError(f"Ray: {first_line(self._error)}") from self._error


def _take(feed: ChunkFeed, most: int, stop: threading.Event) -> list[str]:
    """The paths of the next round; none at the end, or when `stop` is set. Waits for the listing."""
    paths: list[str] = []
    while len(paths) < most and not stop.is_set():
        chunk = feed.take()
        if chunk is not None:
            paths += chunk
        elif feed.ended:
            break
        else:
            time.sleep(0.01)
    return [] if stop.is_set() else paths


def _given_up(path: str, timeout_s: float | None) -> Outcome:
    hung = "" if timeout_s is None else f" or gave no answer for {timeout_s:g} s"
    return Outcome(FrameResult.of_error(path, f"{path}: a Ray worker died on it{hung}, and again when it was alone"))


def _fatal(paths: list[str], error: FacealignError) -> pa.Table:
    """Rows that end the job: one per picture, so that a file is soon full of them and the driver sees it."""
    pa, _ = parquet.import_pyarrow()
    kind = OutputError.__name__ if isinstance(error, OutputError) else FacealignError.__name__
    table = parquet.to_table([FrameResult.of_error(path, f"{kind}: {error}") for path in paths], EXTRA)
    place = table.schema.get_field_index("status")
    return table.set_column(place, table.schema.field(place), pa.array([FATAL] * len(paths)))
