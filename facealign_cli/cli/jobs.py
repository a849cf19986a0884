"""How a job of pictures or clips is told to whoever runs it: while it goes on, and when it has ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from facealign_cli.cli import console

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from facealign_cli.batch.progress import Progress
    from facealign_cli.measures.clip import ClipSummary

LINE_EVERY_S = 10.0
"""Seconds between two lines of progress where there is no terminal."""

_NAMED = 5  # clips that failed, or that show no face


class Watcher:
    """Shows how it goes: a bar at a terminal, else a line now and then."""

    def __init__(self, what: str = "pictures") -> None:
        self._what = what
        self._bar: Bar | None = None
        self._last_s = time.monotonic()
        self._told = 0

    def __enter__(self) -> Watcher:
        if sys.stderr.isatty():
            from rich.progress import BarColumn, TextColumn

            self._bar = console.open_bar(BarColumn(), TextColumn("{task.description}"))
            self._task = self._bar.add_task("starting", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            console.close_bar(self._bar)

    def __call__(self, progress: Progress) -> None:
        """Show it."""
        for problem in progress.problems[self._told :]:
            console.message(f"Warning: {problem}")
        self._told = len(progress.problems)
        now = time.monotonic()
        if self._bar is not None:
            total = progress.total if progress.total_known else None
            self._bar.update(self._task, completed=progress.done, total=total, description=_state(progress, self._what))
        elif now - self._last_s >= LINE_EVERY_S:
            self._last_s = now
            console.message(_state(progress, self._what))


def _state(progress: Progress, what: str) -> str:
    total = f"{progress.total:,}" if progress.total_known else f"{progress.total:,} or more"
    left = "" if progress.left_s is None else f", {_duration(progress.left_s)} left"
    # of a clip only the frame counts here in which a face is surest, and one takes minutes
    rate = "" if what == "clips" else f", {console.counted(progress.faces, 'face')}, {progress.per_second:.1f}/s"
    return f"{progress.done:,} of {total} {what}, {progress.failed:,} failed{rate}{left}"


def tell_notes(progress: Progress) -> None:
    """What is no problem, but should be known, such as files that are passed over, or what had failed before."""
    console.messages(f"Note: {note}." for note in progress.notes)
    failed_before = progress.counts.failed - progress.failed
    if failed_before > 0:
        console.message(
            f"Note: {failed_before:,} of those done before had failed; --retry-errors tries them once more."
        )


def tell_end(progress: Progress, output: str) -> None:
    """Notes and problems of a batch, and one line on what was done and where it is."""
    counts = progress.counts
    tell_notes(progress)
    if progress.stopped is not None:
        why = "Interrupted" if progress.stopped == "interrupt" else "Stopped at a failure"
        console.message(f"{why}: what is finished is written; the same command goes on from here.")
    if progress.done:
        _tell_details(progress)
    before = f", {progress.before:,} done before" if progress.before else ""
    console.message(
        f"In {output}: {console.counted(counts.rows, 'row')} of {console.counted(counts.pictures, 'picture')}, "
        f"{console.counted(counts.faces, 'face')}, "
        f"{counts.no_face:,} without a face, {counts.failed:,} failed."
    )
    console.message(
        f"{console.counted(progress.done, 'picture')}{before}, {console.counted(progress.faces, 'face')} "
        f"({progress.doubtful:,} doubtful), {progress.left_out:,} left out, {progress.failed:,} failed; "
        f"{_duration(progress.elapsed_s)} ({progress.per_second:.1f}/s): {output}"
    )


def _tell_details(progress: Progress) -> None:
    """Where the time went, and what failed."""
    if progress.usage.workers:  # Ray keeps that to itself
        cpu_s = progress.cpu_s()
        whole = sum(cpu_s.values()) or 1.0
        console.message("Processor time: " + ", ".join(f"{stage} {s / whole:.0%}" for stage, s in cpu_s.items()) + ".")
    console.message("Slowest: " + ", ".join(f"{path} ({ms:.0f} ms)" for ms, path in progress.slowest[:3]) + ".")
    for _, error in progress.failures:
        console.message(f"Failed: {error}")
    if progress.failed > len(progress.failures):
        console.message(f"… and {progress.failed - len(progress.failures):,} more: rows with status error.")
    for warning in progress.warnings:
        console.message(f"Warning: {warning}")
    if progress.warned > len(progress.warnings):
        console.message(f"… and {progress.warned - len(progress.warnings):,} more: rows with a warning.")


def tell_doubts(progress: Progress, settings: dict[str, Any]) -> None:
    """What the rows do not show."""
    from facealign_cli.aligner import MIN_CONFIDENCE

    least = settings["min_confidence"]
    console.tell_left_out(progress.left_out, MIN_CONFIDENCE if least is None else least)
    if settings["boxes"] is None and progress.done:
        empty = progress.counts.no_face
        console.tell_no_face(empty, console.counted(empty, "picture"), any_roll=settings["any_roll"])


def exit_code(progress: Progress, clips: Sequence[ClipSummary] = ()) -> int:
    """Of a batch: 130 if it was interrupted, 3 if something failed, a frame of a clip among it, else 0."""
    if progress.stopped == "interrupt":
        return console.INTERRUPTED
    damaged = any(clip.damaged for clip in clips)
    return console.SOME_FAILED if progress.counts.failed or progress.problems or damaged else 0


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def tell_clips(progress: Progress, clips: Sequence[ClipSummary], settings: dict[str, Any]) -> None:
    """What failed, where no face is reported, and one line on what was done with the clips and where it is."""
    frames, faces, doubtful = (sum(getattr(clip, name) for clip in clips) for name in ("frames", "faces", "doubtful"))
    failed, empty = ([clip for clip in clips if clip.status == status] for status in ("error", "no_face"))
    _name_some([f"Failed: {clip.error}" for clip in failed], "with status error")
    damaged = [
        f"Damaged: {clip.source}: of {console.counted(clip.frames, 'frame')}, {clip.damaged:,} have no picture; "
        "the rows of these say why. Frames after such a one may be smeared, up to the next key frame."
        for clip in clips
        if clip.damaged
    ]
    _name_some(damaged, "with damaged frames")
    counted, ids = console.counted, sum(clip.ids for clip in clips)
    names = ", ".join(clip.source for clip in empty[:_NAMED]) + ", …" * (len(empty) > _NAMED)
    console.tell_no_face(len(empty), f"{counted(len(empty), 'clip')} ({names})", any_roll=settings["any_roll"])
    console.message(
        f"{counted(len(clips), 'clip')}, {progress.before:,} of them done before, {len(failed):,} failed: "
        f"{counted(frames, 'frame')}, {counted(faces, 'face')} ({doubtful:,} doubtful), {counted(ids, 'id')}"
        f"{_blinks(clips)}; {_duration(progress.elapsed_s)}: {settings['output']}/clips.csv"
    )


def _blinks(clips: Sequence[ClipSummary]) -> str:
    """How many blinks there are in the clips that show faces, and in how many of these clips they cannot be told."""
    told = [clip.blinks for clip in clips if clip.blinks is not None]
    untold = sum(clip.status == "ok" and clip.blinks is None for clip in clips)
    found = f", {console.counted(sum(told), 'blink')}" if told else ""
    return found + (f", blinks cannot be told in {console.counted(untold, 'clip')}" if untold else "")


def _name_some(clips: Sequence[str], which: str) -> None:
    """Say the first few of what is to be said of clips, and where the others are found."""
    for text in clips[:_NAMED]:
        console.message(text)
    if len(clips) > _NAMED:
        console.message(f"… and {len(clips) - _NAMED:,} more: rows of clips.csv {which}.")
