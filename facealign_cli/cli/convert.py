"""`facealign convert`: faces from one format to another."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from facealign_cli.cli import console, kinds, options


@click.command()
@click.argument("sources", metavar="IN...", nargs=-1, required=True, type=kinds.EXISTING_PATH)
@click.argument("output", metavar="OUT", type=kinds.FILE)
@click.option(
    "--from",
    "source_name",
    metavar="FORMAT",
    type=kinds.FormatName(),
    help="What IN is  [default: what it looks like].",
)
@click.option(
    "--to",
    "target_name",
    metavar="FORMAT",
    type=kinds.FormatName(),
    help="What OUT becomes  [default: by its name].",
)
@click.option(
    "--images",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the pictures: labelling tools name them from there  [default: the working folder].",
)
@options.overwrite
def convert(
    *,
    sources: tuple[Path, ...],
    output: Path,
    source_name: str | None,
    target_name: str | None,
    images: Path | None,
    overwrite: bool,
) -> None:
    """Write the faces of IN... in another format: to a labelling tool and back.

    FORMAT: coco, cvat, label-studio, yolo-pose, dlib-xml; pts, json, jsonl, csv, parquet, openface; masks (OUT only).
    IN and OUT are files; of pts, yolo-pose and masks they are folders. What cannot be read or held is named and left
    out (exit code 3).
    """
    from facealign_cli.convert import convert as convert_faces
    from facealign_cli.formats.base import get_format

    target = options.output_format(output, target_name)
    source = None if source_name is None else get_format(source_name)
    done = convert_faces(sources, output, target, source_format=source, images=images, overwrite=overwrite)
    sys.exit(console.conversion(done, target, output))
