"""`facealign batch`: many pictures or clips, in a job that can be killed, moved and resumed."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from facealign_cli.cli import console, cropping, jobs, kinds, options, process, tracking
from facealign_cli.cli.help import Group

if TYPE_CHECKING:
    from facealign_cli.batch.sources import Sources
    from facealign_cli.batch.work import WorkOptions


@click.group(
    cls=Group, takes={"folder": "facealign batch folder {} -o rows", "clip": "facealign batch videos {} -o rows"}
)
def batch() -> None:
    """Work through folders of millions of pictures, or of many clips."""


_WHICH = (
    click.option("--recursive/--no-recursive", help="Also look into folders inside the folders."),
    click.option("--glob", metavar="PATTERN", help="Take only these names in folders, such as '*.jpg'."),
    click.option(
        "--list",
        "lists",
        metavar="FILE",
        multiple=True,
        help='A list of paths: one a line, or a column of a .csv or .parquet; "-" is standard input.',
    ),
    click.option("-0", "--null", is_flag=True, help="Paths in lists end with NUL bytes, as find -print0 writes them."),
    click.option("--column", metavar="NAME", show_default="path, source, file, …", help="The list's column of paths."),
)
_RUN = (
    options.workers("one per processor", "work in this process; a picture that crashes it then ends the job"),
    click.option(
        "--timeout",
        default=300,
        show_default=True,
        type=kinds.FiniteFloat(0),
        metavar="SECONDS",
        help="End a worker that has finished nothing for this long. 0: never.",
    ),
    click.option("--resume", is_flag=True, help="Only go on with a job that is there; refuse to begin a new one."),
    click.option("--restart", is_flag=True, help="Begin anew. The job's rows in OUT are removed."),
    click.option("--retry-errors", is_flag=True, help="Try once more what failed."),
    click.option("--fail-fast", is_flag=True, help="Stop at the first failure."),
)
_HOW = (
    click.option(
        "--format",
        "fmt",
        default="parquet",
        show_default=True,
        type=click.Choice(["parquet", "jsonl", "csv", "pts"]),
        help="Format of the rows. parquet needs the extra `parquet`.",
    ),
    click.option("--shard-rows", default=10_000, show_default=True, type=kinds.Count(1), help="Rows in one file."),
    click.option("--batch-size", default=16, show_default=True, type=kinds.Count(1, 4096), help="Pictures at a time."),
)
_ENGINE = (
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Work on this machine, or on a Ray cluster.",
    ),
    click.option("--ray-address", metavar="ADDRESS", show_default="start one here", help="The Ray cluster."),
)
_MORE = (
    *cropping.CROPS,
    click.option("--overlay-dir", metavar="DIR", help="Write each picture with its faces drawn onto it."),
    *options.POSE,
    options.quality,
    options.sigma_columns,
    *_ENGINE,
)


@batch.command(
    examples="""
    facealign batch folder photos -o rows
    facealign batch folder photos -o rows --recursive --crops-dir faces
    find . -name '*.png' -print0 | facealign batch folder - --null -o rows
    """
)
@click.argument("places", metavar="SRC...", nargs=-1)
@click.option("-o", "--output", metavar="OUT", required=True, help="Folder or URL for the rows.")
@options.stacked(*_WHICH, *_HOW, *_RUN, *_MORE)
@options.detection
@options.model
@options.device
@options.threads
@options.max_pixels
def folder(**settings: Any) -> None:
    """Place landmarks on every face of the pictures in SRC...

    SRC is a folder, a glob, a file, a URL, or "-" for a list of paths on standard input. OUT gets manifest.json and the
    rows: one for each face, and one for a picture without a face or that failed. The same command goes on where the
    last one ended. Whatever ended it, even kill -9, nothing is done twice and nothing is lost.
    """
    from facealign_cli.batch.run import run_batch

    _check_again(settings)
    job, stop = _job(settings), threading.Event()
    with process.stop_on_signals(stop.set, stop.is_set), jobs.Watcher() as watcher:
        progress = run_batch(**job, report=watcher, stop=stop)
    jobs.tell_doubts(progress, settings)
    jobs.tell_end(progress, settings["output"])
    sys.exit(jobs.exit_code(progress))


def _always(_: click.Context, __: click.Parameter, given: str | None) -> None:
    """Raise click.UsageError for what `video track` has as an option and `batch videos` always does."""
    if given is not None:
        raise click.UsageError("measures and blinks are always written, beside each clip's table: leave --measures out")


@batch.command(
    examples="""
    facealign batch videos recordings -o out --pose
    facealign batch videos recordings -o out --recursive --overlay-dir drawn
    """
)
@click.argument("places", metavar="SRC...", nargs=-1)
@click.option("-o", "--output", metavar="OUT", required=True, help="Folder for the tables.")
@options.stacked(*_WHICH, *_RUN)
@click.option(
    "--format",
    "fmt",
    default="csv",
    show_default=True,
    type=click.Choice(["csv", "json", "jsonl", "openface", "dlc", "parquet"]),
    help="Format of the clips' tables.",
)
@click.option("--overlay-dir", metavar="DIR", help="Write each clip with its faces drawn onto it, as .mp4.")
@click.option(
    "--measures", metavar="M.csv", is_flag=False, flag_value="", hidden=True, expose_value=False, callback=_always
)
@click.option(
    "--crops-dir", metavar="DIR", help="Write a steady clip of each id, with its matrices and landmarks in a table."
)
@options.stacked(*cropping.HOW)
@options.stacked(*_ENGINE)
@options.stacked(*tracking.THINNING, tracking.MAX_PIXELS)
@options.stacked(*tracking.TRACKING)
@options.detection
@options.model
@options.device
@options.threads
def videos(**settings: Any) -> None:
    """Follow the faces through the clips in SRC...

    SRC is a folder, a glob, a file, a URL, or "-" for a list of paths on standard input. OUT/clips.csv gets a row for
    each clip (persons, blinks, head pose, share of frames with a face, what failed). OUT/clips gets for each clip its
    table, measures and blinks. The same command goes on where the last one ended; an unfinished clip is done again.
    """
    from facealign_cli.batch.clips import ClipOptions, run_clips
    from facealign_cli.batch.job import BatchOptions
    from facealign_cli.video import import_av

    _check_again(settings)
    import_av()
    crop, video = cropping.crop_options(settings), tracking.video_options(settings)
    with options.usage_errors():
        more = {name: settings[name] for name in ("every", "max_pixels")} | {"most_fps": settings["fps"], "crop": crop}
        more |= {"overlay_folder": settings["overlay_dir"], "crops_folder": settings["crops_dir"]}
        clips = ClipOptions(settings["output"], settings["fmt"], video, **more)
        names = ("output", "restart", "retry_errors", "fail_fast", "engine", "ray_address")
        again = {name: settings[name] for name in names} | {"must_resume": settings["resume"]}
        job = BatchOptions(**again, workers=_workers(settings), timeout_s=settings["timeout"] or None)
    sources, work, stop = _sources(settings), _work(settings | {"max_faces": None}), threading.Event()
    with process.stop_on_signals(stop.set, stop.is_set), jobs.Watcher("clips") as watcher:
        progress, summaries = run_clips(sources, clips, job, work, report=watcher, stop=stop)
    jobs.tell_notes(progress)
    if progress.stopped is not None:
        console.message("Stopped: the clips that are finished are written; the same command goes on from here.")
    else:
        jobs.tell_clips(progress, summaries, settings)
    sys.exit(jobs.exit_code(progress, summaries))


def _job(settings: dict[str, Any]) -> dict[str, Any]:
    """The library's own options from the command's."""
    from facealign_cli.batch.job import BatchOptions

    crop = cropping.crop_options(settings)
    work = replace(
        _work(settings),
        crop_preset=crop.preset,
        crop_size=crop.size,
        quality=settings["quality"],
        sigma=settings["sigma"],
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
            timeout_s=settings["timeout"] or None,
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
