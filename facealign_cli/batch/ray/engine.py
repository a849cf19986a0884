"""The same job on Ray: a Ray Data pipeline from paths to Parquet files, on this machine or on a cluster.

The paths go to Ray in rounds, cut into tasks. There is one actor for each worker. An actor turns the paths of a task
into a table of rows; Ray writes the tables as Parquet, and `rows` moves the finished files to their place.

If an actor dies, its task is lost, and Ray starts another actor. At the end of the round, each lost picture is tried
again in a task of its own, by Ray twice. A picture that still does not come back is recorded as failed. The tasks of a
machine that went away are done again in the same way. An actor that finishes no picture for too long ends itself. An
error that concerns the whole job (a machine lacks the model, or has no room for crops) comes back as rows with a status
of their own. Such rows end the job and never get a file.
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
"""How many chunks of pictures are a task. An actor reads ahead within its task, and loses the task if it dies."""

ROUND_PICTURES, MOST_IN_ROUND = 10_000, 1_000_000
"""How many pictures a round has for each worker, and at most. The driver holds their paths, about 100 bytes each."""

FILE_PICTURES = 500
"""A file is written after so many pictures for each worker, or after `shard_rows` rows if that is less."""

WORKERS_PER_WRITER = 16
"""There is one task that writes at a time for so many workers."""

_POLL_S = 0.5
_END_S = 60.0
_TASKS_TO_JUDGE = 8


class FinishedRows(Protocol):
    """Takes the files that Ray has finished, such as `rows.RayRows`.

    folder: the job's folder. stop_file: as soon as this file exists, workers begin nothing new.
    """

    folder: str
    stop_file: str

    def tell_workers_to_stop(self) -> None:
        """Write the stop file."""
        ...

    def clear(self) -> None:
        """Remove what Ray wrote and what was not moved to its place."""
        ...

    def collect(self, *, ended: bool) -> list[JournalLine]:
        """Move what Ray has finished to its place, and return its pictures. ended: whether Ray has stopped writing."""
        ...

    def put(self, outcomes: Sequence[Outcome]) -> list[JournalLine]:
        """Write some rows as a file of their own."""
        ...


class RayEngine:
    """Ray, while this is used as a context. It connects to Ray when there is work.

    make_work: is called in each actor, and has to be picklable. Entering the context raises MissingDependency if the
    package is missing, and InputError if this process uses Ray already.
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
        """The pictures of the feed, without their lines, as their files are finished; now and then an empty list.

        stop: when it is set, the workers finish the task that they are at, and begin no other. Raises FacealignError if
        Ray cannot start or be reached, or with what `make_work` raised in an actor, and OutputError if nothing can be
        written.
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
    """What an actor does: it turns a table of paths into a table of rows.

    folder: the folder that relative paths count from. stop_file: as soon as this file exists, no more work is done.
    timeout_s: if no picture is finished for so long, this process ends itself; None means never. Networks are loaded at
    the first call, so that an error there comes back as rows, too.
    """

    def __init__(
        self, make_work: Callable[[], Work], chunk_size: int, folder: str, stop_file: str, timeout_s: float | None
    ) -> None:
        self._make_work, self._chunk_size = make_work, chunk_size
        self._folder, self._stop_file, self._timeout_s = folder, stop_file, timeout_s
        self._work: Work | None = None

    def __call__(self, table: pa.Table) -> pa.Table:
        """From a table with the binary column `path` to one with the columns of `parquet.table_schema(EXTRA)`."""
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
    """Ends this process if `timeout_s` seconds pass without a call of what the context gives; None means never.

    Python's faulthandler does this. Its thread is not one of Python's, so it also ends a decoder that never gives the
    interpreter back. It writes into Ray's log of the worker where the process was.
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
    """Runs a function that blocks in a thread of its own."""

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
        """Whether it ends within this time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def check(self) -> None:
        """Raise FacealignError if the function raised an exception."""
        if self._error is not None:
            raise FacealignError(f"Ray: {first_line(self._error)}") from self._error


def _take(feed: ChunkFeed, most: int, stop: threading.Event) -> list[str]:
    """The paths of the next round; none if there are no more, or if `stop` is set. It waits for the listing."""
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
    """Rows that end the job: one for each picture, so that a file is soon full of them and the driver sees them."""
    pa, _ = parquet.import_pyarrow()
    kind = OutputError.__name__ if isinstance(error, OutputError) else FacealignError.__name__
    table = parquet.to_table([FrameResult.of_error(path, f"{kind}: {error}") for path in paths], EXTRA)
    place = table.schema.get_field_index("status")
    return table.set_column(place, table.schema.field(place), pa.array([FATAL] * len(paths)))
