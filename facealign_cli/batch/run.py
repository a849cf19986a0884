"""The job: lists pictures, has them worked on, keeps their rows, and tells how it goes. Nothing is done twice.

Resuming is the rule: where the folder holds a job of the same configuration, what it has done is left out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from facealign_cli.aligner import NETWORK_BATCH, checked_min_confidence
from facealign_cli.batch.base import SHARD_SUFFIXES, JournalLine, Work
from facealign_cli.batch.keys import KeySet
from facealign_cli.batch.listing import Listing
from facealign_cli.batch.lock import check_places, hold_folders, lock_folder
from facealign_cli.batch.manifest import Manifest, differences, versions
from facealign_cli.batch.pool import Pool, run_here
from facealign_cli.batch.progress import Progress
from facealign_cli.batch.ray.engine import RayEngine
from facealign_cli.batch.ray.rows import RayRows
from facealign_cli.batch.ray.session import Cluster, import_ray
from facealign_cli.batch.shards import RowStore
from facealign_cli.batch.sources import Sources, one_or_several
from facealign_cli.batch.work import PictureWork, WorkOptions
from facealign_cli.crops import CROP_SHARE
from facealign_cli.errors import FacealignError, InputError, OutputError
from facealign_cli.files.documents import PathLike
from facealign_cli.files.storage import Storage, is_url, join, storage_for
from facealign_cli.formats.base import get_format
from facealign_cli.models.registry import model_file, sha256_of
from facealign_cli.processes import check_main_guard

FLUSH_S = 2.0
"""Seconds of work that a kill can cost."""


@dataclass(frozen=True)
class BatchOptions:
    """How a job is run. output: its folder, or a URL. fmt: parquet, jsonl, csv or pts.

    engine: local, or ray, which writes Parquet only, and does not know of fail_fast. ray_address: of a
    running cluster; None: one is started here. workers: processes; 0: this one, which nothing protects from a picture
    that kills, but which needs no `if __name__ == "__main__":` in a script. batch_size: pictures that a worker works on
    at a time. timeout_s: after so long without a finished picture a worker is taken for hung; None: never. restart:
    begin anew. must_resume: refuse to begin. retry_errors: do failed pictures again. fail_fast: stop at the first one.
    """

    output: str
    fmt: str = "parquet"
    shard_rows: int = 10_000
    workers: int = 0
    batch_size: int = 16
    timeout_s: float | None = 300.0
    restart: bool = False
    must_resume: bool = False
    retry_errors: bool = False
    fail_fast: bool = False
    engine: str = "local"
    ray_address: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", os.fspath(self.output))
        if self.fmt not in SHARD_SUFFIXES:
            raise InputError(f"unknown format {self.fmt!r} of a batch: known are {', '.join(SHARD_SUFFIXES)}")
        if not self.output:
            raise InputError("output: expected a folder or a URL, got an empty name")
        for name, least in (("shard_rows", 1), ("workers", 0), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name}: expected {least} or more, got {getattr(self, name)}")
        if self.engine not in ("local", "ray"):
            raise InputError(f"unknown engine {self.engine!r}: known are local, ray")
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


def job_config(work: WorkOptions, options: BatchOptions) -> dict[str, Any]:
    """All that decides the rows, as JSON values: resuming needs the same. Raises InputError, ModelError."""
    file = model_file(work.model)
    detector = asdict(work.detector_options) | {"name": work.detector}
    del detector["threads"]
    for name in ("model_file", "boxes_file"):
        path = detector.pop(name)
        detector[f"{name}_sha256"] = _sha256(path) if path is not None else None
    return {
        "model": work.model or file.stem,
        "model_sha256": _sha256(file),
        "detector": detector,
        "min_confidence": checked_min_confidence(work.min_confidence, work.detector),
        "max_pixels": work.max_pixels,
        "pose": None if work.pose is None else asdict(work.pose),
        "quality": work.quality,
        "sigma": work.sigma,
        "engine": options.engine,
        "format": options.fmt,
        "shard_rows": options.shard_rows,
        "crop_preset": work.crop_preset if work.crops_folder else None,
        "crop_size": work.crop.side if work.crops_folder else None,
        "crop_share": CROP_SHARE if work.crops_folder else None,
        "overlay": work.overlay_folder is not None,
        "network_batch": NETWORK_BATCH,
        "versions": versions(),
    }


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def run_batch(
    sources: Sources | PathLike | Iterable[PathLike],
    options: BatchOptions | PathLike,
    work: WorkOptions | None = None,
    *,
    report: Callable[[Progress], None] = lambda progress: None,
    stop: threading.Event | None = None,
    make_work: Callable[[], Work] | None = None,
    own_config: Mapping[str, Any] | None = None,
) -> Progress:
    """Run a job to its end, or on to it: what the folder holds of it already is left out.

    sources: which pictures, or just folders, files or globs. options: how, or just the folder of the rows. work: what
    is done with a picture; None: the default detector and model, and no crops or overlays.
    report: called often while it runs. stop: ends it when the chunks in work are done; all that is finished is written.
    make_work: what workers do, in place of `PictureWork` of `work`; it has to be picklable. own_config: what decides
    its rows besides, as JSON values: resuming needs the same.
    Raises InputError (nothing there, no pictures), OutputError (another job's folder, another run in it, disk full),
    ModelError, DeviceError, MissingDependency, FacealignError where workers cannot start. Whatever it raises, the
    job can be resumed.
    """
    sources = sources if isinstance(sources, Sources) else Sources(one_or_several(sources))
    options = options if isinstance(options, BatchOptions) else BatchOptions(os.fspath(options))
    work = work or WorkOptions()
    if options.workers:
        check_main_guard()
    get_format("jsonl" if options.fmt == "pts" else options.fmt).require()
    if work.sigma and options.fmt == "pts":
        raise InputError("sigma: the format pts has no place for it; csv, jsonl and parquet have")
    if options.engine == "ray":
        work, options = _for_a_cluster(work, options)
    sources = dataclasses.replace(sources, skip=(*sources.skip, *_written_to(work, options)))
    sources.check()
    storage = storage_for(options.output)
    if options.fmt == "pts":
        work = dataclasses.replace(work, pts_folder=join(options.output, "pts"))
    config = job_config(work, options) | dict(own_config or {})
    _check_processes(sources, work, options)
    if not all(_written_to(work, options)):
        raise InputError("crops or overlays: expected a folder or a URL, got an empty name")
    inside = [options.output] if work.pts_folder is None else [options.output, work.pts_folder]
    places = hold_folders(storage, inside, _written_to(work, options)[1:])
    stop = stop or threading.Event()
    with lock_folder(storage, options.output, lambda text: report(Progress(problems=[text])), stop) as lock:
        job = _Job(storage, partial(check_places, lock, places), work, options, config)
        progress = Progress(before=job.store.counts.pictures, counts=job.store.counts)
        listing = Listing(
            partial(sources.paths, note=progress.notes.append), KeySet(job.store.take_done_keys()), options.batch_size
        )
        if make_work is None:
            local = options.engine == "local"
            make_work = partial(PictureWork, work) if local else partial(_same_work, work, options, config)
        source = _outcomes(listing, make_work, job, progress, stop)
        with listing, source as outcomes:
            job.run(outcomes, listing, progress, report)
    if not progress.done and not progress.before and not progress.stopped:
        raise InputError(_nothing(sources, [*listing.problems, *progress.notes]))
    return progress


def _written_to(work: WorkOptions, options: BatchOptions) -> list[str]:
    return [folder for folder in (options.output, work.crops_folder, work.overlay_folder) if folder is not None]


def _check_processes(sources: Sources, work: WorkOptions, options: BatchOptions) -> None:
    if options.workers == 0:
        return
    for place in (*sources.places, *_written_to(work, options)):
        if place != "-" and not storage_for(place).shared_between_processes:
            raise InputError(f"{place}: worker processes do not see this memory; --workers 0 works without them")


def _nothing(sources: Sources, problems: list[str]) -> str:
    places = ", ".join(place for place in (*sources.places, *sources.lists)) or "nothing"
    why = f" ({problems[0]})" if problems else ""
    return f"no {sources.what} in {places}{why}; --glob says which names are meant"


@contextlib.contextmanager
def _outcomes(
    listing: Listing, make_work: Callable[[], Work], job: _Job, progress: Progress, stop: threading.Event
) -> Iterator[tuple[Iterator[list[JournalLine]], threading.Event]]:
    options = job.options
    if isinstance(job.store, RayRows):
        with RayEngine(make_work, _cluster(job.work, options), job.store) as engine:
            yield engine.outcomes(listing, stop), stop
        return
    if options.workers == 0:
        yield run_here(listing, make_work, progress.usage, stop), stop
        return
    with Pool(make_work, options.workers, progress.usage, options.timeout_s) as pool:
        yield pool.outcomes(listing, stop), stop


def _for_a_cluster(work: WorkOptions, options: BatchOptions) -> tuple[WorkOptions, BatchOptions]:
    """The same, with folders that do not depend on where a process stands. Raises InputError, MissingDependency."""
    import_ray()
    if work.device.startswith("cuda:"):
        raise InputError(f"the engine ray chooses each worker's GPU: name the device cuda, not {work.device}")
    crops, overlays = _absolute(work.crops_folder), _absolute(work.overlay_folder)
    work = dataclasses.replace(work, crops_folder=crops, overlay_folder=overlays)
    return work, dataclasses.replace(options, output=_absolute(options.output) or options.output)


def _absolute(path: str | None) -> str | None:
    return path if path is None or is_url(path) else os.path.abspath(path)


def _cluster(work: WorkOptions, options: BatchOptions) -> Cluster:
    gpus = 1 if work.device == "cuda" else 0
    return Cluster(
        options.ray_address,
        options.workers,
        work.threads,
        gpus,
        options.batch_size,
        options.shard_rows,
        options.timeout_s,
    )


def _same_work(work: WorkOptions, options: BatchOptions, config: dict[str, Any]) -> PictureWork:
    """The work, on a machine of a cluster. Raises FacealignError where it would make other rows there."""
    changed = differences(config, job_config(work, options))
    if changed:
        where = f"the machine {socket.gethostname()} would make other rows than where the job was started"
        raise FacealignError("\n".join([f"{where}:", *changed]))
    return PictureWork(work)


class _Job:
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
        if manifest is None:
            self._begin(config)
            return
        manifest.check_same(config, options.output)
        self._manifest = manifest
        self.store.recover(manifest.shards)
        if options.retry_errors:
            self.store.drop_failed()

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
        """Take the outcomes as they come. Whatever ends this early, what has come until then is written."""
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
