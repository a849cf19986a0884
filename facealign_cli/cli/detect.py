"""`facealign detect`: pictures."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facealign_cli.cli import console, cropping, kinds, options
from facealign_cli.cli.help import Group
from facealign_cli.errors import InputError, OutputError

if TYPE_CHECKING:
    from facealign_cli.aligner import PictureResult
    from facealign_cli.formats.base import Format
    from facealign_cli.records import FrameResult, LeftOut


@click.group(
    cls=Group,
    takes={
        "picture": "facealign detect image {}",
        "clip": "facealign video track {}",
        "folder": "facealign batch folder {} -o rows",
    },
)
def detect() -> None:
    """Find faces and landmarks in pictures."""


@detect.command(
    examples="""
    facealign detect image photo.jpg
    facealign detect image photos/*.jpg -o faces.csv --overlay drawn
    facealign detect image photo.jpg -o faces.json --pose
    """
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    type=kinds.FILE_OR_STDOUT,
    show_default="-, standard output",
    help="File for the faces; for pts, a folder.",
)
@click.option(
    "--format",
    "format_name",
    metavar="NAME",
    type=kinds.FormatName(),
    show_default="by the name of OUT, or json",
    help="json, jsonl, csv, parquet, openface, dlc, pts, or a format that `convert` writes.",
)
@options.sigma_columns
@click.option(
    "--overlay",
    metavar="PATH",
    type=kinds.FILE,
    help="Draw the faces: into this picture, or into this folder if PATH has no suffix.",
)
@options.stacked(*cropping.CROPS)
@options.stacked(*options.POSE)
@options.quality
@options.detection
@options.model
@options.device
@options.threads
@options.max_pixels
@options.overwrite
def image(
    *,
    paths: tuple[str, ...],
    output: Path | None,
    format_name: str | None,
    sigma: bool,
    overlay: Path | None,
    max_pixels: int,
    quality: bool,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Place 68 landmarks on every face of the pictures PATH...

    The path "-" reads one picture from standard input. A terminal shows a table of the faces. A pipe gets JSON, or what
    --format says, and so does a terminal with "-o -". A picture that fails is recorded as failed, and the others go on
    (exit code 3).
    """
    from facealign_cli.aligner import align_pictures

    if paths.count("-") > 1:
        raise click.UsageError('standard input ("-") can be read once only')
    begin, pose = time.monotonic(), options.pose_estimator(settings)
    crops = cropping.PictureCrops.of(settings, paths, overwrite)
    drawings = None if overlay is None else _Drawings(overlay, paths, overwrite, sigma=sigma)
    writer = _Writer(output, _format(output, format_name, sigma), (crops, drawings), paths, overwrite)
    aligner = options.make_aligner(**settings)
    results = align_pictures(paths, aligner, max_pixels=max_pixels, pose=pose, quality=quality)
    interrupted = writer.collect(console.progress(results, len(paths), "Aligning", "pictures"))
    writer.finish()
    not_held = writer.not_held()
    console.tell_not_held(not_held)
    _tell_doubts(writer.records, aligner.min_confidence, settings)
    _tell(writer.records, time.monotonic() - begin, (output, overlay, None if crops is None else crops.folder))
    if interrupted:
        console.message(f"Interrupted after {len(writer.records)} of {len(paths)} pictures; these are written.")
        sys.exit(console.INTERRUPTED)
    failed = any(record.status == "error" for record in writer.records)
    sys.exit(console.SOME_FAILED if failed or not_held else 0)


def _tell_doubts(records: list[FrameResult], min_confidence: float, settings: dict[str, Any]) -> None:
    """What the records do not show."""
    console.tell_left_out(sum(record.left_out for record in records), min_confidence)
    empty = sum(record.status == "no_face" for record in records)
    what = "the picture" if len(records) == 1 else f"{empty:,} of {len(records):,} pictures"
    sought = settings["boxes"] is None
    console.tell_no_face(empty if sought else 0, what, any_roll=settings["any_roll"])


def _tell(records: list[FrameResult], seconds: float, places: Iterable[Path | None]) -> None:
    """One line on what was done, how much of it is doubtful, and where it is."""
    faces = [face for record in records for face in record.faces]
    failed, left_out = sum(record.status == "error" for record in records), sum(record.left_out for record in records)
    written = [str(place) for place in places if place not in (None, kinds.STDOUT)]
    console.message(
        f"{console.counted(len(records), 'picture')}, {console.counted(len(faces), 'face')} "
        f"({sum(face.doubtful for face in faces):,} doubtful), {left_out:,} left out, {failed:,} failed; "
        f"{seconds:.1f} s{': ' * bool(written)}{', '.join(written)}"
    )


def _format(output: Path | None, name: str | None, sigma: bool) -> Format | None:
    """The format to write; None: a table for the person at the terminal."""
    if output is None and name is None and sys.stdout.isatty():
        return None
    chosen = options.output_format(None if output == kinds.STDOUT else output, name, sigma)
    if output in (None, kinds.STDOUT) and chosen.dump is None:
        raise click.UsageError(f"--format {chosen.name} fills a folder: give -o FOLDER")
    if chosen.name == "parquet" and output in (None, kinds.STDOUT) and sys.stdout.isatty():
        raise click.UsageError("--format parquet is no text for a terminal: give -o FILE")
    return chosen


class _Writer:
    """Gathers the records, has pictures made of them as they come, and writes or prints the records at the end."""

    def __init__(
        self,
        output: Path | None,
        fmt: Format | None,
        makers: Iterable[cropping.PictureCrops | _Drawings | None],
        paths: Sequence[str],
        overwrite: bool,
    ) -> None:
        from facealign_cli.files.output import check_outputs

        output = None if output == kinds.STDOUT else output
        self.output, self.format, self.overwrite = output, fmt, overwrite
        self.records: list[FrameResult] = []
        self.failed: OutputError | None = None
        self._makers = [maker for maker in makers if maker is not None]
        one_file = output if fmt is not None and fmt.dump is not None else None
        check_outputs([one_file], overwrite, inputs=(path for path in paths if path != "-"))
        if output is not None and fmt is not None and fmt.check is not None:
            fmt.check(output, paths, overwrite)

    def collect(self, results: Iterable[PictureResult]) -> bool:
        """Take the results as they come; True if Ctrl-C ended them early."""
        try:
            for result in results:
                self.records.append(result.record)  # first, so that no picture is drawn whose row is lost
                record = self._with_pictures(result)
                self.records[-1] = record
                if record.error:
                    is_named = record.source in record.error
                    console.message(f"Error: {'' if is_named else f'{record.source}: '}{record.error}")
                elif record.warning:
                    console.message(f"Warning: {record.warning}")
        except KeyboardInterrupt:
            return True
        return False

    def _with_pictures(self, result: PictureResult) -> FrameResult:
        """The record, with what kept drawing and crops from being made; what cannot be written is told at the end."""
        warnings = [result.record.warning]
        for maker in self._makers if self.failed is None else ():
            try:
                maker.write(result)
            except InputError as error:
                warnings.append(f"{maker.failure}: {error}")
            except OutputError as error:
                self.failed = error
        return replace(result.record, warning="; ".join(filter(None, warnings)) or None)

    def finish(self) -> None:
        """Write or print what was gathered. Raises OutputError, also for a drawing that could not be written."""
        if self.format is None:
            _print_faces(self.records)
        elif self.output is not None:
            self.format.write(self.output, self.records, self.overwrite)
        elif self.format.dump is not None:
            self.format.dump(self.records, console.stdout_stream())
        sys.stdout.flush()  # what cannot be written is an error before anything is told as done
        if self.failed is not None:
            raise self.failed

    def not_held(self) -> list[LeftOut]:
        """The pictures that the format leaves out, besides those that failed, which are told already."""
        from facealign_cli.records import LeftOut

        if (fmt := self.format) is None:
            return []
        reasons = ((record, fmt.why_left_out(record)) for record in self.records)
        return [LeftOut(record.source, why) for record, why in reasons if why is not None]


class _Drawings:
    """Draws the faces onto the pictures. Raises as `_drawing_places` does."""

    failure = "not drawn"

    def __init__(self, overlay: Path, paths: Sequence[str], overwrite: bool, *, sigma: bool) -> None:
        self._places = iter(_drawing_places(overlay, paths, overwrite))
        self._overwrite, self._sigma = overwrite, sigma

    def write(self, result: PictureResult) -> None:
        """The next picture's drawing. Raises OutputError, and InputError for one that its kind of file cannot hold."""
        from facealign_cli.files.pictures import drawing_suffix, write_image
        from facealign_cli.overlay import draw_overlay

        places = next(self._places)
        if result.image is not None:
            drawing = draw_overlay(result.image, result.record.faces, sigma=self._sigma)
            write_image(places[drawing_suffix(result.image)], drawing, self._overwrite)


def _drawing_places(overlay: Path, paths: Sequence[str], overwrite: bool) -> list[dict[str, Path]]:
    """For each picture the file of its drawing, by the suffix that its size asks for.

    Raises OutputError where one could not be written, click.UsageError for one file for several pictures.
    """
    from facealign_cli.files.output import UniqueNames, check_outputs, make_folder, names_folder, safe_stem
    from facealign_cli.files.pictures import DRAWING_SUFFIXES, image_suffix

    read = [path for path in paths if path != "-"]
    if not names_folder(overlay):
        if len(paths) > 1:
            raise click.UsageError(f"--overlay {overlay} names a file; for several pictures, name a folder (no suffix)")
        image_suffix(overlay)
        check_outputs([overlay], overwrite, inputs=read)
        return [dict.fromkeys(DRAWING_SUFFIXES, overlay)]
    folder, names = make_folder(overlay), UniqueNames()
    claimed = [names.claim(safe_stem(path), DRAWING_SUFFIXES) for path in paths]
    places = [{suffix: folder / name for suffix, name in zip(DRAWING_SUFFIXES, own, strict=True)} for own in claimed]
    check_outputs((file for own in places for file in own.values()), overwrite, inputs=read)
    return places


def _print_faces(records: list[FrameResult]) -> None:
    from facealign_cli.records import DOUBTFUL

    rows: list[tuple[object, ...]] = []
    for record in records:
        name = Path(record.source).name or record.source
        if not record.faces:
            rows.append((name, "", "no face" if record.status == "no_face" else "failed", "", ""))
        for face in record.faces:
            x1, y1, x2, y2 = face.bbox.xyxy
            box = f"{x1:.0f}, {y1:.0f}, {x2:.0f}, {y2:.0f}"
            score = "" if face.detector_score is None else f"{face.detector_score:.3f}"
            doubt = " ?" if face.doubtful else ""
            rows.append((name, face.face_id, box, score, f"{face.confidence:.3f}{doubt}"))
    if any(face.doubtful for record in records for face in record.faces):
        console.message(f"?: doubtful, a confidence below {DOUBTFUL:g}; look at these landmarks before you use them.")
    columns = ("picture", "face", "box x1, y1, x2, y2", "score", "confidence")
    console.print_table(columns, rows, numbers=("face", "score", "confidence"))
