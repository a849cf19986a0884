"""The job: lists pictures, has them worked on, keeps their rows, and tells how it goes. Nothing is done twice.

Resuming is the rule: where the folder holds a job of the same configuration, what it has done is left out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from facealign_cli.aligner import NETWORK_BATCH, checked_min_confidence
from facealign_cli.batch.base import JournalLine, Work
from facealign_cli.batch.job import BatchOptions, Job
from facealign_cli.batch.keys import KeySet
from facealign_cli.batch.listing import Listing, largest_first
from facealign_cli.batch.lock import check_places, hold_folders, lock_folder
from facealign_cli.batch.manifest import differences, versions
from facealign_cli.batch.pool import Pool, run_here
from facealign_cli.batch.progress import Progress
from facealign_cli.batch.ray.engine import RayEngine
from facealign_cli.batch.ray.rows import RayRows
from facealign_cli.batch.ray.session import Cluster, import_ray
from facealign_cli.batch.sources import Sources, one_or_several
from facealign_cli.batch.work import PictureWork, WorkOptions
from facealign_cli.crops import CROP_SHARE
from facealign_cli.detectors.base import is_own
from facealign_cli.errors import FacealignError, InputError
from facealign_cli.files.base import check_path
from facealign_cli.files.documents import PathLike
from facealign_cli.files.storage import is_url, join, storage_for
from facealign_cli.formats.base import get_format
from facealign_cli.models.registry import model_file, sha256_of
from facealign_cli.plugins import DETECTORS, plugin_version
from facealign_cli.processes import check_main_guard


def job_config(work: WorkOptions, options: BatchOptions) -> dict[str, Any]:
    """Everything that decides the rows, as JSON values; a job is resumed only with the same.

    Raises InputError, ModelError.
    """
    file = model_file(work.model)
    package = None if is_own(work.detector) else plugin_version(DETECTORS, work.detector)
    detector = asdict(work.detector_options) | {"name": work.detector, "package": package}
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
    """Run a job to its end. What its folder holds already is not done again, so a job that was ended early goes on.

    sources: which pictures; folders, files or globs are enough. options: how; the folder of the rows is enough. work:
    what is done with a picture; None means the default detector and model, without crops and overlays. report: is
    called often while the job runs. stop: if it is set, the job ends when the pictures in work are done, and all that
    is finished is written. make_work: makes what the workers do, in place of `work`; it has to be picklable.
    own_config: what the rows of `make_work` depend on, as JSON values; a job resumes only with the same ones.
    Raises InputError if there is nothing to read or the folder of a picture that failed has gone, OutputError if the
    folder holds another job, is in use by another run, or the disk is full, ModelError, DeviceError, MissingDependency,
    and FacealignError if no worker can start. After any of these the job can be resumed.
    """
    sources = sources if isinstance(sources, Sources) else Sources(one_or_several(sources))
    if not isinstance(options, BatchOptions):
        check_path("options", options)
        options = BatchOptions(os.fspath(options))
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
    sources.check_apart(_written_to(work, options)[1:])
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
        job = Job(storage, partial(check_places, lock, places), work, options, config)
        progress = Progress(before=job.store.counts.pictures, counts=job.store.counts)
        paths, done = partial(sources.paths, note=progress.notes.append), KeySet(job.store.take_done_keys())
        listing = Listing(paths, done, options.batch_size, largest_first if sources.clips else list)
        make_work = make_work or partial(PictureWork, work)
        if options.engine == "ray":
            make_work = partial(_same_work, make_work, work, options, job_config(work, options))
        source = _outcomes(listing, make_work, job, progress, stop)
        with listing, source as (outcomes, stopping):
            job.run((_unless_folders_go(outcomes, sources), stopping), listing, progress, report)
    if not progress.stopped:
        _check_found(sources, listing, progress)
    return progress


def _written_to(work: WorkOptions, options: BatchOptions) -> list[str]:
    return [folder for folder in (options.output, work.crops_folder, work.overlay_folder) if folder is not None]


def _check_processes(sources: Sources, work: WorkOptions, options: BatchOptions) -> None:
    if options.workers == 0:
        return
    for place in (*sources.places, *_written_to(work, options)):
        if place != "-" and not storage_for(place).shared_between_processes:
            raise InputError(f"{place}: worker processes do not see this memory; --workers 0 works without them")


def _check_found(sources: Sources, listing: Listing, progress: Progress) -> None:
    """Raise InputError if the sources held nothing. What was done before and was not found goes to the notes."""
    done = f"the {progress.before:,} {sources.what} that were done before"
    if not listing.any_found:
        problems = [*listing.problems, *progress.notes]
        why = f" ({problems[0]})" if problems else ""
        kept = f". The rows of {done} stay as they are" if progress.before else ""
        places = ", ".join((*sources.places, *sources.lists))
        raise InputError(f"no {sources.what} in {places}{why}; --glob says which names are meant{kept}")
    missing = progress.before - listing.skipped
    if missing > 0:
        progress.notes.append(f"{missing:,} of {done} were not found this time; their rows stay")


@contextlib.contextmanager
def _outcomes(
    listing: Listing, make_work: Callable[[], Work], job: Job, progress: Progress, stop: threading.Event
) -> Iterator[tuple[Iterator[list[JournalLine]], threading.Event]]:
    options = job.options
    if isinstance(job.store, RayRows):
        with RayEngine(make_work, _cluster(job.work, options), job.store) as engine:
            yield engine.outcomes(listing, stop), stop
        return
    if options.workers == 0:
        with _opencv_threads_kept():
            yield run_here(listing, make_work, progress.usage, stop), stop
        return
    with Pool(make_work, options.workers, progress.usage, options.timeout_s, options.in_flight) as pool:
        yield pool.outcomes(listing, stop), stop


def _unless_folders_go(outcomes: Iterator[list[JournalLine]], sources: Sources) -> Iterator[list[JournalLine]]:
    """The outcomes. Raises InputError where pictures fail because their folder has gone: later they can be read."""
    for lines in outcomes:
        for line in lines:
            folder = None if line.error is None else sources.folder_gone(line.path)
            if folder is not None:
                raise InputError(
                    f"{folder}: {line.path} was found in it, but nothing is there now: it was unmounted, moved or "
                    f"emptied. {sources.what.capitalize()} that could not be read for this reason are not recorded as "
                    "failed; put the folder back and run the same command again"
                )
        yield lines


@contextlib.contextmanager
def _opencv_threads_kept() -> Iterator[None]:
    """The work sets how many threads OpenCV uses; in the caller's process they are the caller's again afterwards."""
    import cv2

    before = cv2.getNumThreads()
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _for_a_cluster(work: WorkOptions, options: BatchOptions) -> tuple[WorkOptions, BatchOptions]:
    """The same, with folders that do not depend on where a process stands. Raises InputError, MissingDependency."""
    import_ray()
    if work.device.startswith("cuda:"):
        raise InputError(f"the engine ray chooses each worker's GPU: name the device cuda, not {work.device}")
    crops, overlays = absolute(work.crops_folder), absolute(work.overlay_folder)
    work = dataclasses.replace(work, crops_folder=crops, overlay_folder=overlays)
    return work, dataclasses.replace(options, output=absolute(options.output) or options.output)


def absolute(path: str | None) -> str | None:
    """A folder's name that does not depend on where a process stands; a URL as it is."""
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


def _same_work(make_work: Callable[[], Work], work: WorkOptions, options: BatchOptions, config: dict[str, Any]) -> Work:
    """The work, on a machine of a cluster. Raises FacealignError where it would make other rows there."""
    changed = differences(config, job_config(work, options))
    if changed:
        where = f"the machine {socket.gethostname()} would make other rows than where the job was started"
        raise FacealignError("\n".join([f"{where}:", *changed]))
    return make_work()
