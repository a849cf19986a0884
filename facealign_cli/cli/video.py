"""`facealign video`: clips and cameras."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facealign_cli.cli import console, kinds, options, process, tracking
from facealign_cli.cli.help import Group
from facealign_cli.errors import InputError, OutputError

if TYPE_CHECKING:
    from facealign_cli.aligner import Aligner
    from facealign_cli.records import FrameResult
    from facealign_cli.video import VideoSource


_OUTPUT = click.option(
    "-o",
    "--output",
    metavar="OUT",
    type=kinds.FILE_OR_STDOUT,
    show_default="-, the rows",
    help="The rows (.csv, .json, …), or a clip with the faces drawn (.mp4, …), as the name says.",
)
_TRACKING = (
    click.option(
        "--landmarks", metavar="FILE", type=kinds.FILE_OR_STDOUT, help="Also write the rows, if OUT is a clip."
    ),
    click.option("--blank", is_flag=True, help="Draw on black instead of on the frames."),
    click.option(
        "--format",
        "format_name",
        metavar="NAME",
        type=kinds.FormatName(),
        show_default="by the file's name, or json",
        help="Format of the rows: json, jsonl, csv, openface, dlc or parquet.",
    ),
    options.sigma_columns,
    *tracking.TRACKING,
    click.option(
        "--measures", metavar="M.csv", type=kinds.FILE, help="Also write measures, and blinks into M.blinks.csv."
    ),
    options.detection,
    options.model,
    options.device,
    options.threads,
    options.overwrite,
)


@click.group(cls=Group, takes={"clip": "facealign video track {}", "picture": "facealign detect image {}"})
def video() -> None:
    """Follow faces through clips and camera pictures."""


@video.command(
    examples="""
    facealign video overlay clip.mp4 -o drawn.mp4
    facealign video overlay clip.mp4 -o drawn.mp4 --landmarks rows.csv
    facealign video overlay clip.mp4 -o points.webm --blank --no-sound
    """
)
@click.argument("source", metavar="IN")
@click.option("-o", "--output", metavar="OUT.mp4", type=kinds.FILE, required=True, help="The clip to write.")
@options.stacked(*tracking.PART, *_TRACKING)
def overlay(*, source: str, output: Path, **settings: Any) -> None:
    """Draw the landmarks onto the clip IN; its times, size and sound stay as they are.

    OUT is H.264 in .mp4, .mov, .mkv, .m4v or .ts, or VP9 in .webm. Sound that OUT cannot hold is encoded as AAC (in
    .webm as Opus), and the command says so. A damaged frame becomes a row with status error, and the others go on (exit
    code 3). Ctrl-C closes OUT so that it plays (exit code 130).
    """
    from facealign_cli.video.sink import check_suffix

    try:
        check_suffix(output)
    except InputError as error:
        raise click.UsageError(str(error)) from error
    sys.exit(_Run(settings, output).clip(source))


@video.command(
    examples="""
    facealign video track clip.mp4
    facealign video track clip.mp4 -o rows.csv --pose
    facealign video track clip.mp4 -o rows.csv --start 0:01 --end 0:02
    """
)
@click.argument("sources", metavar="IN...", nargs=-1, required=True)
@options.stacked(_OUTPUT, *tracking.PART, *_TRACKING)
def track(*, sources: tuple[str, ...], output: Path | None, **settings: Any) -> None:
    """Write the landmarks of the clip IN: a row for each face and frame, and one for a frame without a face.

    IN is a file of any kind that FFmpeg reads, a folder of pictures, or a pattern such as frames/%04d.png. Each row is
    written as soon as it is known, so that the file can be read whatever ends the run. The rows of F.parquet are kept
    in F.parquet.partial.jsonl until the run ends; if it is killed, `convert` makes F.parquet from them. Without -o, a
    terminal shows a table of the persons.

    If several clips are given, OUT is a folder that gets a table for each. For many clips, see `batch videos`.
    """
    if len(sources) == 1:
        sys.exit(_Run(settings, output).clip(sources[0]))
    sys.exit(_several(sources, output, settings))


def _several(sources: tuple[str, ...], folder: Path | None, settings: dict[str, Any]) -> int:
    """Each clip's rows into the folder; the others go on if one cannot be read. Returns the exit code."""
    from facealign_cli.files.output import UniqueNames, make_folder, safe_stem

    if folder is None or folder == kinds.STDOUT or folder.is_file():
        raise click.UsageError("several clips: -o names the folder of their tables")
    for name in ("landmarks", "measures"):
        if settings[name] is not None:
            raise click.UsageError(f"--{name} is for one clip: batch videos writes all of it for many")
    settings["format_name"] = settings["format_name"] or "csv"
    fmt, names, codes = options.output_format(None, settings["format_name"], of_clip=True), UniqueNames(), [0]
    make_folder(folder)
    for source in sources:
        place = folder / f"{names.claim(safe_stem(source))[0]}{(*fmt.extensions, '.csv')[0]}"
        try:
            codes.append(_Run(dict(settings), place).clip(source))
        except InputError as error:
            console.message(f"Error: {error}")
            codes.append(console.SOME_FAILED)
        if codes[-1] == console.INTERRUPTED:
            break
    return max(codes)


@video.command(
    examples="""
    facealign video camera -o rows.csv
    facealign video camera -o drawn.mp4 --end 0:30
    """
)
@click.option("--device-index", type=kinds.Count(0), show_default="0, the first", help="Which camera of this machine.")
@click.option("--source", metavar="URL", help="Follow a stream instead: rtsp://, http://, …")
@click.option(
    "--reconnect",
    type=kinds.Count(0),
    show_default="10",
    help="How often in a row a broken stream is connected again, with pauses of 1 to 30 s.",
)
@_OUTPUT
@click.option("--end", metavar="TIME", callback=tracking.clock, show_default="at Ctrl-C", help="Stop after this time.")
@options.stacked(*_TRACKING)
def camera(
    *,
    device_index: int | None,
    source: str | None,
    reconnect: int | None,
    output: Path | None,
    end: float | None,
    **settings: Any,
) -> None:
    """Follow the faces before a camera, or in a stream on the network, until Ctrl-C.

    The user and the password in a URL are never shown, and never written into rows.
    """
    from facealign_cli.video.lookahead import LookAhead
    from facealign_cli.video.smoothing import Smoothing

    if source is not None and device_index is not None:
        raise click.UsageError("--source and --device-index name two cameras: give one of them")
    if source is None and reconnect is not None:
        raise click.UsageError("--reconnect is about a stream: name it with --source")
    if isinstance(settings["smooth"], LookAhead):  # a camera's picture is wanted at once
        settings["smooth"] = Smoothing()
    run = _Run(settings, output)
    sys.exit(run(_live(source, device_index or 0, reconnect, end, run.stop)))


def _live(
    url: str | None, device_index: int, reconnect: int | None, end: float | None, stop: threading.Event
) -> VideoSource:
    """The camera, or the stream at a URL."""
    from facealign_cli.video.camera import CameraSource
    from facealign_cli.video.opening import is_url
    from facealign_cli.video.stream import RECONNECTS, StreamSource

    if url is None:
        return CameraSource(device_index, end_s=end)
    if not is_url(url):
        raise click.UsageError("--source takes a URL: rtsp://, http://, … (a file is work for `video track`)")
    tries = RECONNECTS if reconnect is None else reconnect
    return StreamSource(url, end_s=end, reconnects=tries, stop=stop, tell=console.message)


class _Run:
    """One run: what it reads is given, where its rows and its clip go is checked before the work."""

    def __init__(self, settings: dict[str, Any], output: Path | None) -> None:
        from facealign_cli.files.output import check_output
        from facealign_cli.formats.growing import check_rows
        from facealign_cli.video import import_av
        from facealign_cli.video.sink import check_suffix

        import_av()
        rows, record = _places(output, settings.pop("landmarks"))
        self.rows, self.record, self.overwrite = rows, record, settings.pop("overwrite")
        self.part = tracking.clip_part(settings)
        self.sound = not settings.pop("no_sound", False) and record is not None
        name, sigma = settings.pop("format_name"), settings["sigma"]
        if rows is None and name is not None:
            raise click.UsageError("--format is that of the rows: name their file with --landmarks")
        if record is None and settings["blank"]:
            raise click.UsageError("--blank is about the clip: name it with -o")
        self.measures: Path | None = settings.pop("measures")
        self.blinks = None if self.measures is None else tracking.blinks_beside(self.measures)
        for place in (self.measures, self.blinks):
            if place is not None:
                check_output(place, self.overwrite)
        self.table = rows == kinds.STDOUT and output is None and name is None and console.is_terminal()
        rows = self.rows = None if self.table else rows
        to_file = None if rows == kinds.STDOUT else rows
        self.format = options.output_format(to_file, name, sigma, of_clip=True) if rows else None
        if self.format is not None:
            check_rows(self.format, to_file, self.overwrite)
        if record is not None:
            try:
                check_suffix(record)
            except InputError as error:
                raise click.UsageError(str(error)) from error
            check_output(record, self.overwrite)
        self.options = tracking.video_options(settings)
        self.aligner_settings = settings
        self.stop = threading.Event()

    def clip(self, path: str) -> int:
        """Run on a file or pictures. Returns the exit code."""
        return self(tracking.open_clip(path, self.part, sound=self.sound))

    def __call__(self, source: VideoSource) -> int:
        """Run, and tell how it went. Returns the exit code."""
        from facealign_cli.measures.clip import ClipSummariser, passing

        pose, begin = self.options.pose, time.monotonic()
        measured = self.table or self.measures is not None
        clip = ClipSummariser(source.info.name, None if pose is None else pose.focal_px, measured)
        try:
            console.messages(told := source.notes)
            aligner = options.make_aligner(**self.aligner_settings, max_faces=None)
            stopping = process.stop_on_signals(self.stop.set, self.stop.is_set)
            with stopping, contextlib.closing(self._results(source, aligner)) as results:
                try:
                    self._write(_telling(passing(tracking.progress(results, source.info.n_frames), clip)))
                except OutputError:
                    if clip.summary().frames:
                        self._tell_kept()
                    raise
            console.messages(note for note in source.notes if note not in told)
        finally:
            source.close()
        if self.measures is not None:
            tracking.write_measures(clip, self.measures, self.overwrite)
        if self.table:
            tracking.print_persons(clip.measures, clip.blinks())
        if not clip.summary().faces and self.aligner_settings["boxes"] is None:
            frames = clip.summary().frames
            what = "the only frame" if frames == 1 else f"any of {frames:,} frames"
            console.tell_no_face(frames, what, any_roll=self.aligner_settings["any_roll"])
        if self.stop.is_set():
            console.message("Interrupted; the frames until then are written.")
        written = (self.rows, self.record, self.measures, self.blinks)
        summary = clip.summary()
        blinks = str(clip.blink_count()) if measured and summary.faces else ""
        tracking.tell(summary, time.monotonic() - begin, written, blinks=blinks)
        return console.INTERRUPTED if self.stop.is_set() else console.SOME_FAILED if summary.damaged else 0

    def _tell_kept(self) -> None:
        """Where the rows are of a run that something that could not be written has ended."""
        if self.rows not in (None, kinds.STDOUT) and self.rows.is_file():
            console.message(f"The rows of the frames until then are in {self.rows}.")

    def _results(self, source: VideoSource, aligner: Aligner) -> Generator[FrameResult, None, None]:
        from facealign_cli.video.track import overlay_video, track_video

        if self.record is None:
            return track_video(source, aligner, self.options, stop=self.stop)
        how: dict[str, Any] = {"overwrite": self.overwrite, "stop": self.stop, "tell": console.message}
        return overlay_video(source, self.record, aligner, self.options, **how)

    def _write(self, results: Iterator[FrameResult]) -> None:
        from facealign_cli.formats.growing import partial_path, recovery, stream_rows, write_rows

        if self.format is None:
            for _ in results:
                pass
        elif self.rows is not None and self.rows != kinds.STDOUT:
            if (partial := partial_path(self.format, self.rows)) is not None:
                killed = f"if the run is killed, `{recovery(self.format, self.rows)}` makes them a table"
                console.message(f"Rows stand in {partial} until the end; {killed}.")
            write_rows(self.rows, results, self.format, self.overwrite)
        else:
            stream_rows(console.stdout_stream(), results, self.format)


def _telling(results: Iterable[FrameResult]) -> Iterator[FrameResult]:
    """Pass the results through, and tell of those that failed."""
    for result in results:
        if result.error is not None:
            console.message(f"Error: frame {result.frame} at {result.timestamp_s:.3f} s: {result.error}")
        yield result


def _places(output: Path | None, landmarks: Path | None) -> tuple[Path | None, Path | None]:
    """Where the rows and the clip go, in every command; with neither named, the rows go to standard output."""
    from facealign_cli.video.sink import is_clip_name

    if output is None or is_clip_name(output):
        return landmarks or (kinds.STDOUT if output is None else None), output
    if landmarks is not None:
        raise click.UsageError(f"-o {output} and --landmarks {landmarks} both name rows: a clip's name ends in .mp4, …")
    return output, None
