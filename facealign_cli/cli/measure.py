"""`facealign measure`: numbers per person over time, from rows that were written before."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facealign_cli.cli import console, kinds, options, tracking
from facealign_cli.cli.help import Command

if TYPE_CHECKING:
    from facealign_cli.measures import MeasuredFace
    from facealign_cli.measures.blinks import BlinkCount
    from facealign_cli.records import FrameResult, LeftOut


@click.command(
    cls=Command,
    examples="""
    facealign measure rows.csv
    facealign measure rows.csv -o measures.csv --summary persons.csv
    facealign measure openface.csv --size 1280x720
    facealign measure out --summary persons.csv
    """,
)
@click.argument("rows", metavar="ROWS...", nargs=-1, required=True, type=kinds.ROWS_OR_JOB)
@click.option("-o", "--output", metavar="M.csv", type=kinds.FILE, help="Write the measures: a row per face and frame.")
@click.option(
    "--blinks", metavar="B.csv", type=kinds.FILE, help="Write the blinks: begin, deepest moment, end and depth."
)
@click.option("--summary", metavar="S.csv", type=kinds.FILE, help="Write statistics: a row per person and clip.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["json", "jsonl", "csv", "openface", "dlc", "parquet"]),
    show_default="what they look like",
    help="Format of ROWS.",
)
@options.focal
@tracking.SIZE
@click.option(
    "--min-confidence",
    default=0,
    show_default=True,
    type=kinds.FiniteFloat(0, 1),
    help="Pass over faces of less confidence.",
)
@options.overwrite
def measure(
    *,
    rows: tuple[Path, ...],
    output: Path | None,
    blinks: Path | None,
    summary: Path | None,
    format_name: str | None,
    focal: float | None,
    size: tuple[int, int] | None,
    min_confidence: float,
    overwrite: bool,
) -> None:
    """Measure eyes, mouth and brows, head pose and blinks in the landmarks of ROWS...

    ROWS is a file of faces that facealign wrote, or the whole folder that `batch` wrote. Of a folder of `batch videos`
    the tables of all clips are measured. If clips failed, or the job has not ended, the exit code is 3, and also if
    something in ROWS cannot be read, such as a last line that was cut; it is named and left out.

    Openings and heights are in units of the face, and the turn of the head is taken out first. The documentation's page
    on measures has the formulas. No network runs. Without -o, --blinks and --summary, a table of the persons is
    printed.
    """
    from facealign_cli.files.output import check_output
    from facealign_cli.measures import find_blinks, measure_results
    from facealign_cli.measures.blinks import count_blinks
    from facealign_cli.measures.tables import write_blinks, write_measures, write_summary

    for path in (output, blinks, summary):
        if path is not None:
            check_output(path, overwrite)
    unsized: set[Path] = set()
    lacking: list[Path] = []
    left_out: list[LeftOut] = []
    results = chain.from_iterable(
        _read(path, format_name, left_out, unsized if size is None else set()) for path in _files(rows, lacking)
    )
    measured = measure_results(results, focal_px=focal, size=size)
    faces = [face for face in measured if face.confidence >= min_confidence]
    found = find_blinks(faces)
    if output is not None:
        write_measures(output, faces, overwrite)
    if blinks is not None:
        write_blinks(blinks, found, overwrite)
    if summary is not None:
        write_summary(summary, faces, found, overwrite)
    if output is blinks is summary is None:
        tracking.print_persons(faces, found)
    console.tell_not_held(left_out)
    _tell(faces, count_blinks(faces, found), [p for p in (output, blinks, summary) if p is not None])
    tracking.tell_unsized(sorted(unsized))
    sys.exit(console.SOME_FAILED if lacking or left_out else 0)


def _read(path: Path, format_name: str | None, left_out: list[LeftOut], unsized: set[Path]) -> list[FrameResult]:
    """The rows of a file, which joins `unsized` if some of them do not say how large their pictures are.

    left_out: gets what cannot be read.
    """
    results = tracking.read_rows(path, format_name, left_out)
    if tracking.is_unsized(results):
        unsized.add(path)
    return results


def _files(rows: Sequence[Path], lacking: list[Path]) -> Iterator[Path]:
    """The files of rows, those in the folders of jobs among them. What a job lacks is told, and it joins `lacking`."""
    from facealign_cli.formats.job_folder import read_job_folder

    for path in rows:
        job = read_job_folder(path) if path.is_dir() else None
        if job is None:
            yield path
            continue
        yield from job.files
        if job.missing is not None:
            lacking.append(path)
            console.message(f"{path}: {job.missing}.")


def _tell(faces: Sequence[MeasuredFace], blinks: BlinkCount, written: Sequence[Path]) -> None:
    persons = console.counted(len({(face.source, face.face_id) for face in faces}), "person")
    poseless = sum(face.pose is None for face in faces)
    turned = sum(face.measures.eye_opening is None for face in faces) - poseless
    but = f", {poseless:,} of them without head pose, eyes, mouth and brows" if poseless else ""
    but += f", {turned:,} of them turned too far for the eyes" if turned else ""
    where = f": {', '.join(map(str, written))}" if written else ""
    console.message(f"{console.counted(len(faces), 'face')} of {persons} measured{but}; {blinks}{where}")
