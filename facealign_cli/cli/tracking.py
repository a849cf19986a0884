"""What the commands that follow faces through clips share: options, and how they tell what they saw."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facealign_cli.cli import console, kinds, options
from facealign_cli.errors import InputError

if TYPE_CHECKING:
    from facealign_cli.measures import Blink, MeasuredFace
    from facealign_cli.measures.clip import ClipSummariser, ClipSummary
    from facealign_cli.video.lookahead import LookAhead
    from facealign_cli.video.smoothing import Smoothing
    from facealign_cli.video.track import VideoOptions


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


TRACKING = (
    click.option(
        "--detect-every",
        metavar="N|auto",
        default="auto",
        show_default=True,
        callback=_detect_every,
        help="Frames from one look for new faces to the next. auto is about a second; 1 detects in every frame.",
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
        help="on, off, causal, or the causal filter's MIN_CUTOFF[,BETA[,D_CUTOFF]]. causal waits for no frame that "
        "follows; before a camera, on does the same.",
    ),
    *options.POSE,
)
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
    return VideoOptions(tracking, smoothing, pose, settings.pop("blank", False), settings.pop("sigma", False))


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
    tables.write_blinks(path.with_suffix(f".blinks{path.suffix or '.csv'}"), clip.blinks(), overwrite)


def tell(clip: ClipSummary, seconds: float, written: Sequence[Path | None]) -> None:
    """One line on what was done, how much of it is doubtful, and where it is."""
    where = ", ".join(str(path) for path in written if path not in (None, kinds.STDOUT))
    ids = f"{clip.ids} id{'s' * (clip.ids != 1)}"
    lost = f", lost {clip.lost} and regained {clip.regained}" if clip.lost else ""
    damaged = f" ({clip.damaged:,} damaged)" if clip.damaged else ""
    console.message(
        f"{clip.frames:,} frames{damaged}, {clip.faces:,} faces ({clip.doubtful:,} doubtful) of {ids}{lost}; "
        f"a face in {100 * (clip.with_face or 0):.0f} % of the frames; {seconds:.1f} s{': ' * bool(where)}{where}"
    )
