"""What the commands that follow faces through clips share: options, and how they tell what they saw."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from facealign_cli.cli import console, kinds, options
from facealign_cli.errors import InputError

if TYPE_CHECKING:
    from facealign_cli.measures import Blink, MeasuredFace
    from facealign_cli.measures.clip import ClipSummariser, ClipSummary
    from facealign_cli.records import FrameResult, LeftOut
    from facealign_cli.video import VideoSource
    from facealign_cli.video.lookahead import LookAhead
    from facealign_cli.video.smoothing import Smoothing
    from facealign_cli.video.track import VideoOptions

Item = TypeVar("Item")


def _detect_every(_context: click.Context, _parameter: click.Parameter, value: str) -> int | None:
    if value == "auto":
        return None
    if not re.fullmatch(r"[1-9]\d{0,8}", value):
        raise click.BadParameter("expected auto or a number of frames, 1 or more")
    return int(value)


def _smooth(_context: click.Context, _parameter: click.Parameter, value: str) -> LookAhead | Smoothing | None:
    from facealign_cli.video.lookahead import parse_smoothing

    try:
        return parse_smoothing(value)
    except InputError as error:
        raise click.BadParameter(str(error)) from error


def clock(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """Seconds of "75", "75.5", "1:15" or "0:01:15.5"."""
    if value is None:
        return None
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d*)?", value):
        raise click.BadParameter("expected seconds, or [HOURS:]MINUTES:SECONDS")
    _, *after = value.split(":")
    if any(float(part) >= 60 for part in after):
        raise click.BadParameter(f"{value}: numbers behind a colon are below 60; without colons, it is seconds")
    seconds = reduce(lambda total, part: 60 * total + float(part), value.split(":"), 0.0)
    if seconds > kinds.MOST:
        raise click.BadParameter(f"no clip is longer than {kinds.MOST:,} seconds")
    return seconds


THINNING = (
    click.option(
        "--every", default=1, show_default=True, type=kinds.Count(1), help="Take only every Nth frame of a clip."
    ),
    click.option(
        "--fps",
        metavar="RATE",
        type=kinds.FiniteFloat(0.01, 1000),
        help="Take at most this many frames a second of a clip. For a folder of pictures: how many of them make a "
        "second (25 if it is not given).",
    ),
)
"""What says which frames are taken."""

MAX_PIXELS = click.option(
    "--max-pixels",
    default="40M",
    show_default=True,
    type=kinds.PixelCount(),
    help="Refuse frames of more pixels: a number such as 40000000, 40M or 4e7.",
)

PART = (
    click.option(
        "--start", metavar="TIME", callback=clock, help="Begin here: seconds or H:MM:SS. Frames count from 0 there."
    ),
    click.option("--end", metavar="TIME", callback=clock, help="End before this time."),
    *THINNING,
    MAX_PIXELS,
    click.option("--no-sound", is_flag=True, help="Leave the sound out of the clip that is written."),
)
"""What `clip_part` takes, and --no-sound."""


def _picture_size(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", value or "")
    if value is not None and match is None:
        raise click.BadParameter("expected WIDTHxHEIGHT, such as 1280x720")
    return (int(match[1]), int(match[2])) if match else None


SIZE = click.option(
    "--size", metavar="WxH", callback=_picture_size, help="Size of the pictures, if ROWS do not say it (openface)."
)

FOLLOWING = (
    click.option(
        "--detect-every",
        metavar="N|auto",
        default="auto",
        show_default=True,
        callback=_detect_every,
        help="After how many frames new faces are looked for. auto: about once a second. 1: in every frame.",
    ),
    click.option(
        "--keep-lost",
        metavar="SECONDS",
        default=1,
        show_default=True,
        type=kinds.FiniteFloat(0),
        help="How long the id of a face that is out of sight is kept. A cut to another scene ends it.",
    ),
    click.option(
        "--smooth",
        metavar="HOW",
        default="on",
        show_default=True,
        callback=_smooth,
        help="How to smooth landmarks. on looks a quarter of a second ahead, but not with a camera. causal never does. "
        "off: not at all. Numbers MIN_CUTOFF[,BETA[,D_CUTOFF]] set the causal filter.",
    ),
)
"""How faces are followed."""

TRACKING = (*FOLLOWING, *options.POSE, options.quality)
"""What `video_options` takes, but for --max-faces and --blank."""


def video_options(settings: dict[str, Any]) -> VideoOptions:
    """Takes its settings out of those of the command."""
    from facealign_cli.video.track import VideoOptions
    from facealign_cli.video.tracking import TrackingOptions

    least = settings["min_confidence"]
    confidence = {} if least is None else {"new_confidence": least, "keep_confidence": least}
    tracking = TrackingOptions(
        settings.pop("detect_every"),
        keep_lost_s=settings.pop("keep_lost"),
        max_faces=settings.pop("max_faces"),
        **confidence,
    )
    smoothing, pose = settings.pop("smooth"), options.pose_estimator(settings)
    drawn = settings.pop("blank", False), settings.pop("sigma", False)
    return VideoOptions(tracking, smoothing, pose, *drawn, quality=settings.pop("quality"))


def clip_part(settings: dict[str, Any]) -> dict[str, Any]:
    """Takes what says which frames are read out of settings. Raises click.UsageError for an end before its start."""
    part = {name: settings.pop(name, None) for name in ("start", "end", "fps", "every", "max_pixels")}
    if part["start"] is not None and part["end"] is not None and part["end"] <= part["start"]:
        raise click.UsageError("--end has to lie after --start")
    return part


def open_clip(path: str, part: dict[str, Any], *, sound: bool) -> VideoSource:
    """The clip, or the pictures, at `path`. part: what `clip_part` gave. Raises click.UsageError, InputError."""
    from facealign_cli.video import open_source
    from facealign_cli.video.sequence import is_sequence

    fps = part["fps"]
    rates = {"rate": fps or 25.0} if is_sequence(path) else {"most_fps": fps}
    if fps is not None and part["every"] > 1 and not is_sequence(path):
        raise click.UsageError("--every and --fps both say which frames of a clip are taken: give one of them")
    place = {"start_s": part["start"], "end_s": part["end"], "every": part["every"]}
    return open_source(path, **place, **rates, sound=sound, max_pixels=part["max_pixels"])


LARGE_BYTES = 20_000_000
"""Rows of so many bytes take some seconds to be read."""


def read_rows(path: Path, format_name: str | None, left_out: list[LeftOut]) -> list[FrameResult]:
    """The records of a file of rows. Before a large one is read, a line says so. Raises InputError.

    left_out: gets what cannot be read, such as a last line that was cut when a run was killed.
    """
    from facealign_cli.files.names import strange_names
    from facealign_cli.formats.base import scan_results
    from facealign_cli.records import LeftOut

    size = path.stat().st_size
    if size >= LARGE_BYTES:
        console.message(f"Reading {path}, {size / 1e6:.0f} MB.")
    results: list[FrameResult] = []
    for item in scan_results(path, format_name):
        if isinstance(item, LeftOut):
            left_out.append(item)
        else:
            results.append(item)
    console.tell_strange_names(strange_names(result.source for result in results))
    if size >= LARGE_BYTES:
        console.message(f"Measuring the faces of {console.counted(len(results), 'frame')}.")
    return results


def is_unsized(results: Iterable[FrameResult]) -> bool:
    """Whether there are faces among the records in pictures of unknown size."""
    return any(result.faces and not (result.width and result.height) for result in results)


def tell_unsized(rows: Sequence[Path]) -> None:
    """What is missing of files of rows for which `is_unsized` holds, and what gives it; nothing without such files."""
    if rows:
        more = f" and {len(rows) - 1:,} more" if len(rows) > 1 else ""
        console.message(
            f"The rows of {rows[0]}{more} do not say how large the pictures are, which head pose, eyes, mouth and "
            "brows need: give --size WxH."
        )


def print_persons(faces: Sequence[MeasuredFace], blinks: Sequence[Blink]) -> None:
    """A table of the persons on standard output."""
    from facealign_cli.measures.tables import SUMMARY_COLUMNS, summary_rows

    columns = ("clip", "id", "faces", "blinks", "eye l.", "eye r.", "mouth", "pitch", "yaw")
    shown = ("eye_opening_left_mean", "eye_opening_right_mean", "mouth_opening_mean", "pitch_deg_mean", "yaw_deg_mean")
    cells = []
    for values in summary_rows(faces, blinks):
        row = dict(zip(SUMMARY_COLUMNS, values, strict=True))
        means = [_short(row[name], 0 if name.endswith("_deg_mean") else 2) for name in shown]
        cells.append([Path(str(row["source"])).name, row["face_id"], row["faces"], _short(row["blinks"], 0), *means])
    console.print_table(columns, cells, numbers=columns[1:])


def _short(value: object, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"


def write_measures(clip: ClipSummariser, path: Path, overwrite: bool) -> None:
    """The clip's measures into a file, and its blinks beside it."""
    from facealign_cli.measures import tables

    tables.write_measures(path, clip.measures, overwrite)
    tables.write_blinks(blinks_beside(path), clip.blinks(), overwrite)


def blinks_beside(measures: Path) -> Path:
    """Where the blinks go when measures go to a file."""
    return measures.with_suffix(f".blinks{measures.suffix or '.csv'}")


def tell(
    clip: ClipSummary, seconds: float, written: Sequence[Path | None], made: str = "", *, blinks: str = ""
) -> None:
    """One line on what was done, how much of it is doubtful, and where it is.

    made: words before the places. blinks: how many there are, in words, where they were looked for.
    """
    where = ", ".join(str(path) for path in written if path not in (None, kinds.STDOUT))
    frames, faces, ids = (console.counted(getattr(clip, f"{noun}s"), noun) for noun in ("frame", "face", "id"))
    lost = f", lost {clip.lost} and regained {clip.regained}" if clip.lost else ""
    damaged = f" ({clip.damaged:,} damaged)" if clip.damaged else ""
    console.message(
        f"{frames}{damaged}, {faces} ({clip.doubtful:,} doubtful) of {ids}{lost}{', ' * bool(blinks)}{blinks}; "
        f"a face in {100 * (clip.with_face or 0):.0f} % of the frames; {seconds:.1f} s{': ' * bool(where)}{made}{where}"
    )


def progress(frames: Iterable[Item], total: int | None, what: str = "Tracking") -> Iterator[Item]:
    """Pass the frames through; with a terminal on stderr, tell frames, frames a second and time left meanwhile."""
    if not sys.stderr.isatty():
        yield from console.lines_of_progress(frames, total, "frames")
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    speed = TextColumn("{task.fields[fps]:.0f} fps")
    bar = console.open_bar(TextColumn(what), BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn())
    begin = time.monotonic()
    try:
        task = bar.add_task("", total=total, fps=0.0)
        for done, frame in enumerate(frames, start=1):
            yield frame
            bar.update(task, completed=done, fps=done / max(time.monotonic() - begin, 1e-6))
    finally:
        console.close_bar(bar)
