"""A job in its folder: how it is run, its rows and its manifest."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from facealign_cli.arguments import check_choice, check_flags, check_number
from facealign_cli.batch.base import SHARD_SUFFIXES, JournalLine
from facealign_cli.batch.listing import Listing
from facealign_cli.batch.manifest import Manifest, differences
from facealign_cli.batch.progress import Progress
from facealign_cli.batch.ray.rows import RayRows
from facealign_cli.batch.shards import RowStore
from facealign_cli.batch.work import WorkOptions
from facealign_cli.errors import InputError, OutputError
from facealign_cli.files.base import check_path
from facealign_cli.files.storage import Storage

FLUSH_S = 2.0
"""Seconds of work that a kill can cost."""


@dataclass(frozen=True)
class BatchOptions:
    """How a job is run.

    output: the folder of the rows, or a URL. fmt: "parquet", "jsonl", "csv" or "pts". shard_rows: rows in one file.
    workers: the number of worker processes. With 0 this process does the work: nothing protects it from a picture that
    kills it, but a script needs no `if __name__ == "__main__":`. batch_size: how many pictures a worker is given at a
    time. in_flight: how many such groups a worker process holds, so that it can read ahead; 1 where a group takes long,
    so that no worker holds one that another could begin with. timeout_s: a worker that has finished no picture for so
    long counts as hung; None means never. restart: begin anew. must_resume: refuse to begin a new job. retry_errors: do
    the failed pictures again. fail_fast: stop at the first failed picture. engine: "local", or "ray", which writes
    Parquet only and cannot `fail_fast`. ray_address: of a cluster that runs already; None means that one is started
    here. Raises InputError.
    """

    output: str
    fmt: str = "parquet"
    shard_rows: int = 10_000
    workers: int = 0
    batch_size: int = 16
    in_flight: int = 2
    timeout_s: float | None = 300.0
    restart: bool = False
    must_resume: bool = False
    retry_errors: bool = False
    fail_fast: bool = False
    engine: str = "local"
    ray_address: str | None = None

    def __post_init__(self) -> None:
        check_path("output", self.output)
        object.__setattr__(self, "output", os.fspath(self.output))
        check_choice("fmt", self.fmt, SHARD_SUFFIXES)
        for name, least in (("shard_rows", 1), ("workers", 0), ("batch_size", 1), ("in_flight", 1)):
            check_number(name, getattr(self, name), least, whole=True)
        if self.timeout_s is not None:
            check_number("timeout_s", self.timeout_s, 0)
        check_flags(restart=self.restart, must_resume=self.must_resume, retry_errors=self.retry_errors)
        check_flags(fail_fast=self.fail_fast)
        check_choice("engine", self.engine, ("local", "ray"))
        if self.engine == "local" and self.ray_address is not None:
            raise InputError("a Ray address without the engine ray (--ray-address without --engine ray)")
        if self.engine == "ray":
            self._check_ray()

    def _check_ray(self) -> None:
        for wrong, why in (
            (self.fmt != "parquet", f"writes Parquet only, not {self.fmt}"),
            (self.workers == 0, "has 1 worker or more"),
            (self.fail_fast, "cannot stop at a picture (--fail-fast): rows come back by the file"),
        ):
            if wrong:
                raise InputError(f"the engine ray {why}")


class Job:
    """A job in its folder: its rows and its manifest."""

    def __init__(
        self,
        storage: Storage,
        check_places: Callable[[], None],
        work: WorkOptions,
        options: BatchOptions,
        config: dict[str, Any],
    ) -> None:
        self._storage, self._check_places, self.work, self.options = storage, check_places, work, options
        self._files = RowStore(storage, options.output, options.fmt, options.shard_rows, sigma=work.sigma)
        self.store: RowStore | RayRows = self._files
        if options.engine == "ray":
            self.store = RayRows(storage, options.output)
        manifest = None if options.restart else Manifest.read(storage, options.output)
        if manifest is not None and not options.must_resume and self._has_come_to_nothing(manifest, config):
            manifest = None
        if manifest is None:
            self._begin(config)
            return
        manifest.check_same(config, options.output)
        self._manifest = manifest
        self.store.recover(manifest.shards)
        if options.retry_errors:
            self.store.drop_failed()

    def _has_come_to_nothing(self, manifest: Manifest, config: dict[str, Any]) -> bool:
        """Whether a job of another configuration made no row, such as one whose detector was not there."""
        return not manifest.shards and not self._files.holds_files() and bool(differences(manifest.config, config))

    def _begin(self, config: dict[str, Any]) -> None:
        if self.options.must_resume:
            raise OutputError(f"{self.options.output}: no job to resume: no manifest.json there")
        if self.options.restart:
            self._files.remove_all()
        elif self._files.holds_files():
            raise OutputError(
                f"{self.options.output}: holds rows of a job, but no manifest.json; name another folder, or --restart"
            )
        self._manifest = Manifest(config)
        self._manifest.write(self._storage, self.options.output)

    def run(
        self,
        source: tuple[Iterator[list[JournalLine]], threading.Event],
        listing: Listing,
        progress: Progress,
        report: Callable[[Progress], None],
    ) -> None:
        """Take the outcomes as they come. Whatever ends this early, what has come until then is written.

        If the listing found nothing at all, the job stays as it was.
        """
        outcomes, stop = source
        begin, own_s = time.monotonic(), time.process_time()
        flushed, shards = begin, self.store.n_shards
        state = "interrupted"
        try:
            for lines in outcomes:
                self.store.add(lines)
                progress.take(lines)
                now = time.monotonic()
                if now - flushed > FLUSH_S:
                    self._check_places()
                    self.store.flush()
                    flushed, progress.counts = now, self.store.counts
                if self.store.n_shards > shards:
                    shards = self.store.n_shards
                    self._write_manifest("running")
                if progress.failed and self.options.fail_fast and not stop.is_set():
                    progress.stopped = "fail_fast"
                    stop.set()
                self._tell(progress, listing, begin, own_s, report)
            stopped = stop.is_set()
            if not stopped and not listing.any_found:
                return
            if not stopped:
                self._check_places()
                self.store.close()
                self.store.check_whole()
                state = "complete"
        except OutputError:
            raise  # there is no room for what is left, or nothing of it may be written
        except BaseException:
            self.store.flush()
            raise
        self.store.flush()
        self._write_manifest(state)
        progress.counts = self.store.counts
        if stopped:
            progress.stopped = progress.stopped or "interrupt"
        self._tell(progress, listing, begin, own_s, report)

    def _write_manifest(self, state: str) -> None:
        self._check_places()
        self._manifest = dataclasses.replace(
            self._manifest, counts=asdict(self.store.counts), shards=self.store.n_shards, state=state
        )
        self._manifest.write(self._storage, self.options.output)

    def _tell(
        self, progress: Progress, listing: Listing, begin: float, own_s: float, report: Callable[[Progress], None]
    ) -> None:
        progress.total, progress.total_known = listing.found, listing.complete
        progress.skipped, progress.problems = listing.skipped, listing.problems
        progress.elapsed_s = time.monotonic() - begin
        progress.own_cpu_s = time.process_time() - own_s if self.options.workers else 0.0
        report(progress)
