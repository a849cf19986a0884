"""`facealign batch`: many pictures or clips, in a job that can be killed, moved and resumed."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from facealign_cli.cli import console, kinds, options, process, telling, tracking

if TYPE_CHECKING:
    from facealign_cli.batch.progress import Progress
    from facealign_cli.batch.sources import Sources
    from facealign_cli.batch.work import WorkOptions


@click.group()
def batch() -> None:
    """Work through folders of millions of pictures, or of many clips."""


_WHICH = (
    click.option("--recursive/--no-recursive", help="Look into folders inside folders, too  [default: no]."),
    click.option("--glob", metavar="P", help="Which names in folders are meant, e.g. '*.jpg'  [default: pictures]."),
    click.option(
        "--list",
        "lists",
        metavar="FILE",
        multiple=True,
        help='Paths, one a line, or a column of a .csv or .parquet; "-" is standard input.',
    ),
    click.option("-0", "--null", is_flag=True, help="Paths in lists end with NUL bytes, as find -print0 writes them."),
    click.option("--column", metavar="NAME", help="The list's column  [default: path, source, file, image or url]."),
)
_RUN = (
    options.workers("one per processor", "0: work in this one, which a picture that kills it would end"),
    click.option(
        "--timeout",
        default=300.0,
        show_default=True,
        type=kinds.FiniteFloat(0),
        help="Seconds after which a worker that finishes no picture is killed; 0: never.",
    ),
    click.option("--resume", is_flag=True, help="Refuse to begin a new job  [default: resume if there is one]."),
    click.option("--restart", is_flag=True, help="Begin anew: the job's rows in OUT are removed."),
    click.option("--retry-errors", is_flag=True, help="Do the ones that failed once more."),
    click.option("--fail-fast", is_flag=True, help="Stop at the first one that fails."),
)
_HOW = (
    click.option(
        "--format",
        "fmt",
        metavar="NAME",
        default="parquet",
        show_default=True,
        type=click.Choice(["parquet", "jsonl", "csv", "pts"]),
        help="parquet, jsonl, csv or pts.",
    ),
    click.option("--shard-rows", default=10_000, show_default=True, type=kinds.Count(1), help="Rows of a shard."),
    click.option(
        "--batch-size", default=16, show_default=True, type=click.IntRange(1, 4096), help="Pictures at a time."
    ),
)
_MORE = (
    click.option("--crops-dir", metavar="D", help="Write each face, upright by its landmarks, as a square JPEG."),
    click.option(
        "--crop-size", default=256, show_default=True, type=click.IntRange(8, 4096), help="Side of the square, pixels."
    ),
    click.option("--overlay-dir", metavar="D", help="Write each picture with its faces drawn onto it."),
    *options.POSE,
    click.option(
        "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="local or ray."
    ),
    click.option("--ray-address", metavar="A", help="The Ray cluster  [default: start one here]."),
)


@batch.command()
@click.argument("places", metavar="SRC...", nargs=-1)
@click.option("-o", "--output", metavar="OUT", required=True, help="Folder or URL of the rows.")
@options.stacked(*_WHICH, *_HOW, *_RUN, *_MORE)
@options.detection
@options.model
@options.device
@options.threads
@options.max_pixels
def folder(**settings: Any) -> None:
    """Place landmarks on every face of the pictures in SRC...: folders, globs, files, URLs, "-" for a list of paths.

    OUT gets manifest.json and the rows in shards, one per face, and one for a picture without a face or that failed.
    The same command again resumes: whatever ended it, even kill -9, nothing is done twice and nothing is lost.
    """
    from facealign_cli.batch.run import run_batch

    _check_again(settings)
    job, stop = _job(settings), threading.Event()
    with process.stop_on_signals(stop.set, stop.is_set), telling.Watcher() as watcher:
        progress = run_batch(**job, report=watcher, stop=stop)
    telling.tell_end(progress, settings["output"])
    telling.tell_doubts(progress, settings)
    sys.exit(_exit_code(progress))


@batch.command()
@click.argument("places", metavar="SRC...", nargs=-1)
@click.option("-o", "--output", metavar="OUT", required=True, help="Folder of the tables.")
@options.stacked(*_WHICH, *_RUN)
@click.option(
    "--format",
    "fmt",
    metavar="NAME",
    default="csv",
    show_default=True,
    type=click.Choice(["csv", "json", "jsonl", "openface", "parquet"]),
    help="Of the clips' tables: csv, json, jsonl, openface or parquet.",
)
@click.option("--overlay-dir", metavar="D", help="Write each clip with its faces drawn onto it, as .mp4.")
@options.stacked(*tracking.TRACKING)
@options.detection
@options.model
@options.device
@options.threads
def videos(**settings: Any) -> None:
    """Follow the faces through the clips in SRC...: folders, globs, files, "-" for a list of paths.

    OUT gets clips.csv, a row for each clip (persons, blinks, head pose, share of frames with a face, what failed), and
    for each clip its table, measures and blinks in OUT/clips, in folders as the clips are. The same command again
    resumes: a clip is done or not, and what a killed run left of one is made again.
    """
    from facealign_cli.batch.clips import ClipOptions, run_clips
    from facealign_cli.batch.run import BatchOptions
    from facealign_cli.video import import_av

    _check_again(settings)
    import_av()
    video = tracking.video_options(settings)
    with options.usage_errors():
        clips = ClipOptions(settings["output"], settings["fmt"], video, settings["overlay_dir"])
        names = ("output", "restart", "retry_errors", "fail_fast")
        again = {name: settings[name] for name in names} | {"must_resume": settings["resume"]}
        job = BatchOptions(**again, workers=_workers(settings), timeout_s=settings["timeout"] or None)
    sources, work, stop = _sources(settings), _work(settings | {"max_faces": None}), threading.Event()
    with process.stop_on_signals(stop.set, stop.is_set), telling.Watcher("clips") as watcher:
        progress, summaries = run_clips(sources, clips, job, work, report=watcher, stop=stop)
    if progress.stopped is not None:
        console.message("Stopped: the clips that are finished are written; the same command goes on from here.")
    else:
        telling.tell_clips(progress, summaries, settings["output"])
    sys.exit(_exit_code(progress))


def _job(settings: dict[str, Any]) -> dict[str, Any]:
    """The library's own options from the command's."""
    from facealign_cli.batch.run import BatchOptions

    work = replace(
        _work(settings),
        crop_size=settings["crop_size"],
        max_pixels=settings["max_pixels"],
        pose=options.pose_estimator(settings),
        crops_folder=settings["crops_dir"],
        overlay_folder=settings["overlay_dir"],
    )
    same = (
        "output",
        "fmt",
        "shard_rows",
        "batch_size",
        "restart",
        "retry_errors",
        "fail_fast",
        "engine",
        "ray_address",
    )
    with options.usage_errors():
        job = BatchOptions(
            **{name: settings[name] for name in same},
            workers=_workers(settings),
            timeout_s=_timeout_s(settings),
            must_resume=settings["resume"],
        )
    return {"sources": _sources(settings), "work": work, "options": job}


def _sources(settings: dict[str, Any]) -> Sources:
    from facealign_cli.batch.sources import Sources

    return Sources(**{name: settings[name] for name in ("places", "lists", "recursive", "glob", "null", "column")})


def _work(settings: dict[str, Any]) -> WorkOptions:
    """The model and the detector."""
    from facealign_cli.batch.work import WorkOptions

    names = ("detector", "detector_model", "boxes", "min_face", "max_faces", "score", "any_roll", "upsample", "threads")
    detector, detector_options = options.detector_choice(**{name: settings[name] for name in names})
    of_model = {name: settings[name] for name in ("model", "device", "threads", "min_confidence")}
    return WorkOptions(**of_model, detector=detector, detector_options=detector_options)


def _workers(settings: dict[str, Any]) -> int:
    if settings["workers"] is None and settings.get("ray_address") is not None:
        raise click.UsageError("say how many --workers the cluster is to have")
    return _processors() if settings["workers"] is None else int(settings["workers"])


def _timeout_s(settings: dict[str, Any]) -> float | None:
    """None: no limit, which the engine ray has only if nobody asked for one."""
    source = click.get_current_context().get_parameter_source("timeout")
    if settings["engine"] == "ray" and source is ParameterSource.DEFAULT:
        return None
    return settings["timeout"] or None


def _processors() -> int:
    """Those this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_again(settings: dict[str, Any]) -> None:
    """Raise click.UsageError where options about beginning and sources contradict each other, or lack something."""
    if settings["resume"] and settings["restart"]:
        raise click.UsageError("--resume and --restart contradict each other")
    if settings["output"] == "-":
        raise click.UsageError("-o takes a folder or a URL: rows are written in shards, not to standard output")
    if not settings["places"] and not settings["lists"]:
        raise click.UsageError("name at least one SRC, or a --list")


def _exit_code(progress: Progress) -> int:
    if progress.stopped == "interrupt":
        return console.INTERRUPTED
    return console.SOME_FAILED if progress.counts.failed or progress.problems else 0
