"""`facealign detect`: pictures."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facealign_cli.cli import console, options

if TYPE_CHECKING:
    from facealign_cli.aligner import PictureResult
    from facealign_cli.formats.base import Format
    from facealign_cli.records import FrameResult


@click.group()
def detect() -> None:
    """Find faces and landmarks in pictures."""


@detect.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "-o", "--output", metavar="OUT", type=options.FILE_OR_STDOUT, help="Write here  [default: -, standard output]."
)
@click.option(
    "--format",
    "format_name",
    metavar="NAME",
    type=options.FormatName(),
    help="json, jsonl, csv, parquet, openface, pts, or one of `convert`  [default: by OUT's name, or json].",
)
@options.sigma_columns
@click.option(
    "--overlay",
    metavar="PATH",
    type=options.FILE,
    help="Draw the faces: into a picture, or for several PATHs into a folder.",
)
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
    overwrite: bool,
    **aligner_options: Any,
) -> None:
    """Place 68 landmarks on every face of the pictures PATH... ("-" reads one from standard input).

    To a terminal: a table of the faces. To a pipe or with -o: JSON, or what --format says; "-o -" is standard output,
    also at a terminal. With --format pts, OUT is a folder that gets one file per face. A picture that fails is recorded
    as such and the others go on (exit code 3).
    """
    from facealign_cli.aligner import align_pictures

    if paths.count("-") > 1:
        raise click.UsageError('standard input ("-") can be read once only')
    writer = _Writer(output, _format(output, format_name, sigma), overlay, len(paths), overwrite)
    aligner = options.make_aligner(**aligner_options)
    results = align_pictures(paths, aligner, max_pixels=max_pixels)
    interrupted = writer.collect(console.progress(results, len(paths), "Aligning"))
    writer.finish()
    if interrupted:
        console.message(f"Interrupted after {len(writer.records)} of {len(paths)} pictures; these are written.")
        sys.exit(console.INTERRUPTED)
    sys.exit(console.SOME_FAILED if any(record.status == "error" for record in writer.records) else 0)


def _format(output: Path | None, name: str | None, sigma: bool) -> Format | None:
    """The format to write; None: a table for the person at the terminal."""
    if output is None and name is None and not sigma and sys.stdout.isatty():
        return None
    chosen = options.output_format(None if output == options.STDOUT else output, name, sigma)
    if output in (None, options.STDOUT) and chosen.dump is None:
        raise click.UsageError(f"--format {chosen.name} fills a folder: give -o FOLDER")
    return chosen


class _Writer:
    """Gathers the records, draws the overlays as they come, and writes or prints the records at the end."""

    def __init__(
        self, output: Path | None, fmt: Format | None, overlay: Path | None, count: int, overwrite: bool
    ) -> None:
        from facealign_cli.files.output import UniqueNames, check_output, make_folder
        from facealign_cli.files.pictures import image_suffix

        output = None if output == options.STDOUT else output
        self.output, self.format, self.overwrite = output, fmt, overwrite
        self.records: list[FrameResult] = []
        self.overlay, self.overlay_folder, self.names = overlay, None, UniqueNames()
        if output is not None and fmt is not None and fmt.dump is not None:
            check_output(output, overwrite)
        if overlay is not None and (count > 1 or overlay.is_dir()):
            self.overlay_folder = make_folder(overlay)
        elif overlay is not None:
            image_suffix(overlay)
            check_output(overlay, overwrite)

    def collect(self, results: Iterable[PictureResult]) -> bool:
        """Take the results as they come; True if Ctrl-C ended them early."""
        try:
            for result in results:
                self.records.append(result.record)
                if result.record.error:
                    console.message(f"Error: {result.record.error}")
                self._draw(result)
        except KeyboardInterrupt:
            return True
        return False

    def _draw(self, result: PictureResult) -> None:
        if self.overlay is None or result.image is None:
            return
        from facealign_cli.files.output import safe_stem
        from facealign_cli.files.pictures import write_image
        from facealign_cli.overlay import draw_overlay

        path = self.overlay
        if self.overlay_folder is not None:
            path = self.overlay_folder / f"{self.names.claim(safe_stem(result.record.source))[0]}.jpg"
        write_image(path, draw_overlay(result.image, result.record.faces), self.overwrite)

    def finish(self) -> None:
        """Write or print what was gathered."""
        if self.format is None:
            _print_faces(self.records)
        elif self.output is not None:
            self.format.write(self.output, self.records, self.overwrite)
        elif self.format.dump is not None:
            self.format.dump(self.records, sys.stdout.buffer)


def _print_faces(records: list[FrameResult]) -> None:
    rows: list[tuple[object, ...]] = []
    for record in records:
        name = Path(record.source).name or record.source
        if not record.faces:
            rows.append((name, "", "no face" if record.status == "no_face" else "failed", "", ""))
        for face in record.faces:
            x1, y1, x2, y2 = face.bbox.xyxy
            box = f"{x1:.0f}, {y1:.0f}, {x2:.0f}, {y2:.0f}"
            score = "" if face.detector_score is None else f"{face.detector_score:.3f}"
            rows.append((name, face.face_id, box, score, f"{face.confidence:.3f}"))
    columns = ("picture", "face", "box x1, y1, x2, y2", "score", "confidence")
    console.print_table(columns, rows, numbers=("face", "score", "confidence"))
