"""`facealign video plot`: a clip's rows as a page to look at."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facealign_cli.cli import console, kinds, options, tracking
from facealign_cli.cli.help import Command

if TYPE_CHECKING:
    from facealign_cli.records import FrameResult, LeftOut


@click.command(
    cls=Command,
    examples="""
    facealign video plot rows.csv -o page.html
    """,
)
@click.argument("rows", metavar="ROWS", type=kinds.ROWS)
@click.option("-o", "--output", metavar="PAGE.html", type=kinds.FILE, required=True, help="The page to write.")
@click.option("--clip", metavar="FILE", help="The clip itself: a few of its frames are shown with their landmarks.")
@click.option("--start", metavar="TIME", callback=tracking.clock, help="Show only what follows: seconds or H:MM:SS.")
@click.option("--end", metavar="TIME", callback=tracking.clock, help="Show only what lies before this time.")
@click.option("--title", metavar="TEXT", show_default="the clip's name", help="Title of the page.")
@click.option(
    "--format",
    "format_name",
    metavar="NAME",
    type=kinds.FormatName(),
    show_default="what they look like",
    help="Format of ROWS: json, jsonl, csv, openface, dlc or parquet.",
)
@options.focal
@tracking.SIZE
@click.option(
    "--fps", metavar="RATE", type=kinds.FiniteFloat(0.01, 1000), help="Frames a second, if ROWS have no times (dlc)."
)
@options.overwrite
def plot(
    *,
    rows: Path,
    output: Path,
    clip: str | None,
    start: float | None,
    end: float | None,
    title: str | None,
    format_name: str | None,
    focal: float | None,
    size: tuple[int, int] | None,
    fps: float | None,
    overwrite: bool,
) -> None:
    """Show the ROWS of a clip as one page: who is seen when, head pose, eyes, blinks, mouth, confidence.

    ROWS is a file that `video track` or `batch videos` wrote. No network runs. The page stands alone: it can be sent by
    mail and printed, and loads nothing from elsewhere. What cannot be read, such as a last line that was cut, is
    named and left out (exit code 3).
    """
    from facealign_cli.files.output import check_output
    from facealign_cli.report.clip import ClipPage, write_clip_page

    if start is not None and end is not None and end <= start:
        raise click.UsageError("--end has to lie after --start")
    check_output(output, overwrite)
    shown = ClipPage(clip, title, focal, size, fps, start, end)
    left_out: list[LeftOut] = []
    results = tracking.read_rows(rows, format_name, left_out)
    series = write_clip_page(output, results, shown, overwrite)
    console.tell_not_held(left_out)
    summary = series.summary
    kilobytes = output.stat().st_size / 1000
    large = f"{kilobytes / 1000:.1f} MB" if kilobytes >= 1000 else f"{kilobytes:.0f} kB"
    console.message(
        f"{console.counted(summary.frames, 'frame')}, {console.counted(summary.faces, 'face')} of "
        f"{console.counted(summary.ids, 'id')}; {series.blink_count}; {large}: {output}"
    )
    if clip is not None and results:
        _tell_doubtful_frames(rows, results[0], clip)
    tracking.tell_unsized([rows] if tracking.is_unsized(series.records) else [])
    sys.exit(console.SOME_FAILED if left_out else 0)


def _tell_doubtful_frames(rows: Path, first: FrameResult, clip: str) -> None:
    """Say so if nothing shows that the frames of a clip are those to which the rows belong."""
    from facealign_cli.files.base import is_url

    if first.timestamp_s is None:
        console.message(
            f"The rows of {rows} have no times, so their frame 0 is shown as the first one of {clip}. If the clip was "
            "tracked with --start, the landmarks belong to later frames than those that are shown."
        )
    elif not is_url(clip) and Path(first.source).name != Path(clip).name:
        console.message(
            f"The rows of {rows} are of {first.source}, but the frames that are shown are of {clip}: see whether the "
            "landmarks lie on the faces."
        )
