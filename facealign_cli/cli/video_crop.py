"""`facealign video crop`: each person of a clip cut out, as a steady clip or as its best shots."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facealign_cli.cli import console, cropping, kinds, options, process, tracking
from facealign_cli.cli.help import Command

if TYPE_CHECKING:
    from facealign_cli.measures.clip import ClipSummary
    from facealign_cli.video.cut import FaceCutter


@click.command(
    cls=Command,
    examples="""
    facealign video crop clip.mp4 -o persons
    facealign video crop clip.mp4 -o shots --best 3
    """,
)
@click.argument("source", metavar="IN")
@click.option("-o", "--output", metavar="DIR", type=kinds.FILE, required=True, help="The folder to write into.")
@click.option("--best", metavar="N", type=kinds.Count(1), help="Write the best N shots of each id, not clips.")
@click.option(
    "--min-seconds",
    metavar="SECONDS",
    default=0.5,
    show_default=True,
    type=kinds.FiniteFloat(0),
    help="Leave out ids that are seen for less, from first to last.",
)
@options.stacked(*cropping.HOW, *tracking.PART, *tracking.FOLLOWING)
@options.detection
@options.model
@options.device
@options.threads
@options.overwrite
def crop(
    *, source: str, output: Path, best: int | None, min_seconds: float, no_sound: bool, overwrite: bool, **settings: Any
) -> None:
    """Write a clip of each person in the clip IN, with sound, in which the face stays in its place.

    The clip of the first id is id0.mp4. Beside it, id0.csv has for each frame the matrix from picture to crop and the
    landmarks in the crop's pixels. crops.csv has a row for each id. With --best N, the N best shots of each id are
    written instead, as id0_1.jpg and so on, each with its .json, and best.csv says what was chosen and why. The clip is
    read twice, so IN cannot be a camera or a pipe.
    """
    from facealign_cli.video.cut import CutOptions, FaceCutter

    begin, stop = time.monotonic(), threading.Event()
    cut = CutOptions(cropping.crop_options(settings), best, min_seconds)
    part = tracking.clip_part(settings)
    cutter = FaceCutter(output, cut, clip=source, overwrite=overwrite)
    with contextlib.closing(cutter), process.stop_on_signals(stop.set, stop.is_set):
        summary = _track(source, cutter, part, settings, stop)
        if summary.faces:
            with contextlib.closing(tracking.open_clip(source, part, sound=best is None and not no_sound)) as again:
                for _ in tracking.progress(cutter.cut(again, stop), cutter.n_frames, "Cutting"):
                    pass
    _tell(summary, cutter, settings, time.monotonic() - begin)
    if stop.is_set():
        console.message("Interrupted; what was cut until then is written.")
    sys.exit(console.INTERRUPTED if stop.is_set() else console.SOME_FAILED if summary.damaged else 0)


def _track(
    source: str, cutter: FaceCutter, part: dict[str, Any], settings: dict[str, Any], stop: threading.Event
) -> ClipSummary:
    """Follow the faces through the clip; the cutter sees all records."""
    from facealign_cli.measures.clip import ClipSummariser, passing
    from facealign_cli.video.track import track_video

    wanted = {"pose": False, "focal": None, "quality": cutter.options.best is not None}
    video = tracking.video_options(settings | wanted)
    of_tracking = ("detect_every", "keep_lost", "smooth", "max_faces")
    aligner = options.make_aligner(**{k: v for k, v in settings.items() if k not in of_tracking}, max_faces=None)
    with contextlib.closing(tracking.open_clip(source, part, sound=False)) as opened:
        console.messages(told := opened.notes)
        summariser = ClipSummariser(source)
        with contextlib.closing(track_video(opened, aligner, video, stop=stop)) as records:
            for record in tracking.progress(cutter.passing(passing(records, summariser)), opened.info.n_frames):
                if record.error is not None:
                    console.message(f"Error: frame {record.frame} at {record.timestamp_s:.3f} s: {record.error}")
        console.messages(note for note in opened.notes if note not in told)
    return summariser.summary()


def _tell(summary: ClipSummary, cutter: FaceCutter, settings: dict[str, Any], seconds: float) -> None:
    console.messages(cutter.notes)
    left_out = sum(person.left_out is not None for person in cutter.persons)
    if left_out:
        least = f"less than {cutter.options.least_s:g} s"
        console.message(f"Left out: {console.counted(left_out, 'id')} seen for {least}; --min-seconds 0 takes all.")
    best = cutter.options.best
    fewer = sum(person.left_out is None and person.files < (best or 0) for person in cutter.persons)
    if fewer:
        console.message(
            f"Fewer than {best} shots of {console.counted(fewer, 'id')}: shots of an id are 1 s apart or more."
        )
    if not summary.faces and settings["boxes"] is None:
        console.tell_no_face(summary.frames, f"any of {summary.frames:,} frames", any_roll=settings["any_roll"])
    files = sum(person.files for person in cutter.persons)
    made = console.counted(files, "clip" if best is None else "shot")
    tracking.tell(summary, seconds, [cutter.folder], f"{made} in ")
