"""`facealign convert`: faces from one format to another."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from facealign_cli.cli import console, kinds, options
from facealign_cli.cli.help import Command


@click.command(
    cls=Command,
    examples="""
    facealign convert rows.json faces.coco.json --to coco --images photos
    facealign convert rows.json points --to pts
    facealign convert annotations.xml rows.csv --from cvat --images photos
    """,
)
@click.argument("sources", metavar="IN...", nargs=-1, required=True, type=kinds.FacesPath())
@click.argument("output", metavar="OUT", type=kinds.FILE)
@click.option(
    "--from",
    "source_name",
    metavar="FORMAT",
    type=kinds.FormatName(),
    show_default="what it looks like",
    help="Format of IN.",
)
@click.option(
    "--to",
    "target_name",
    metavar="FORMAT",
    type=kinds.FormatName(),
    show_default="by its name",
    help="Format of OUT.",
)
@click.option(
    "--images",
    metavar="DIR",
    type=kinds.EXISTING_FOLDER,
    show_default="the working folder",
    help="Folder of the pictures. Labelling tools name them from there.",
)
@options.left_out
@options.overwrite
def convert(
    *,
    sources: tuple[Path, ...],
    output: Path,
    source_name: str | None,
    target_name: str | None,
    images: Path | None,
    left_out: Path | None,
    overwrite: bool,
) -> None:
    """Write the faces of IN... in another format: to a labelling tool and back.

    FORMAT is one of coco, cvat, label-studio, yolo-pose, dlib-xml, pts, json, jsonl, csv, parquet, openface and dlc,
    and for OUT also masks. IN and OUT are files, but of pts, yolo-pose and masks they are folders. IN may also be
    the folder that `batch` wrote, or the F.parquet.partial.jsonl that a killed run left. What cannot be read, or what
    the format cannot hold, is named and left out (exit code 3).
    """
    from facealign_cli.convert import convert as convert_faces
    from facealign_cli.formats.base import get_format

    target = options.output_format(output, target_name)
    source = None if source_name is None else get_format(source_name)
    more: dict[str, Any] = {"images": images, "left_out_list": left_out, "overwrite": overwrite}
    done = convert_faces(sources, output, target, source_format=source, **more)
    sys.exit(console.conversion(done, target, output, left_out))
