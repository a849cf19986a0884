"""`facealign review`: a page on this machine for correcting landmarks."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facealign_cli.cli import console, kinds, options
from facealign_cli.cli.help import Command
from facealign_cli.errors import InputError

if TYPE_CHECKING:
    from facealign_cli.aligner import Aligner
    from facealign_cli.records import FrameResult, LeftOut
    from facealign_cli.review.session import Session


@click.command(
    cls=Command,
    examples="""
    facealign review rows.json --images photos
    facealign review rows.json --images photos --export corrected --to pts
    """,
)
@click.argument("source", metavar="DIR|ROWS", type=kinds.FacesPath())
@click.option(
    "--images",
    metavar="DIR",
    type=kinds.EXISTING_FOLDER,
    show_default="the working folder",
    help="Folder of the pictures. Only what lies in it is shown.",
)
@click.option(
    "--compare",
    metavar="ROWS",
    type=kinds.FacesPath(),
    help="Faces of another model. Where the two disagree comes first.",
)
@click.option(
    "--work", metavar="FILE", type=kinds.FILE, show_default="beside ROWS, or in DIR", help="Where each step is kept."
)
@click.option("--by", metavar="NAME", show_default="the user's name", help="Who is at work; it is kept with each step.")
@click.option("--port", default=0, type=kinds.Count(0, 65535), show_default="a free one", help="Port on 127.0.0.1.")
@click.option(
    "--export", "export_to", metavar="OUT", type=kinds.FILE, help="Open no page: write the faces as they are now."
)
@click.option("--to", "target_name", metavar="FORMAT", type=kinds.FormatName(), help="Format of OUT, as in `convert`.")
@click.option("--all", "everything", is_flag=True, help="Also export pictures that nobody has accepted yet.")
@options.left_out
@options.model
@options.device
@options.threads
@options.overwrite
def review(
    *,
    source: Path,
    images: Path | None,
    compare: Path | None,
    work: Path | None,
    by: str | None,
    port: int,
    export_to: Path | None,
    target_name: str | None,
    everything: bool,
    left_out: Path | None,
    model: str | None,
    device: str,
    threads: int,
    overwrite: bool,
) -> None:
    """Look at the faces of DIR or ROWS in the browser, correct their points, and accept or skip them.

    ROWS is what `detect` or a labelling tool wrote, or the folder that `batch folder` wrote. DIR holds pictures, with
    .pts files or without. Pictures that need it most come first. Every step is saved, and whoever opens the same ROWS
    later goes on from there. Ctrl-C ends the command.
    """
    from facealign_cli.review.proposals import holds_rows, read_proposals
    from facealign_cli.review.session import Session, default_side_file

    if export_to is None and (target_name is not None or everything or left_out is not None):
        raise click.UsageError("--to, --all and --left-out go with --export")
    lost: list[LeftOut] = []
    proposals = read_proposals(source, images, console.message, lost.append)
    lost_to_compare: list[LeftOut] = []
    others = [] if compare is None else read_proposals(compare, images, console.message, lost_to_compare.append)
    if not (everything and proposals):  # of accepted pictures somebody has seen what was there
        console.tell_not_held(lost)
        lost = []
    console.tell_not_held(lost_to_compare)
    session = Session(
        proposals,
        images or (Path() if holds_rows(source) else source),
        work or default_side_file(source),
        by=by or _user(),
        other=others,
    )
    if session.unknown_steps:
        steps = console.counted(session.unknown_steps, "step")
        if not any(picture.revision for picture in session.pictures):
            raise InputError(
                f"{session.side_file}: it holds {steps}, and none is of a picture in {session.root}. Name the folder "
                "with which it was made (--images), or another file for the work on these pictures (--work)"
            )
        console.message(f"{session.side_file}: {steps} of pictures that are not in {session.root} are not taken.")
    if export_to is not None:
        from facealign_cli.convert import write_faces

        target = options.output_format(export_to, target_name)
        items = _to_export(source, session, lost, everything)
        more: dict[str, Any] = {"images": images, "left_out_list": left_out, "overwrite": overwrite}
        sys.exit(console.conversion(write_faces(items, export_to, target, **more), target, export_to, left_out))
    _serve(session, port, partial(_aligner, model, device, threads))


def _to_export(source: Path, session: Session, lost: list[LeftOut], everything: bool) -> list[FrameResult | LeftOut]:
    """The accepted pictures, and the open ones too if `everything` is wanted, behind what was lost on the way.

    Raises InputError where there is no picture, after what was lost has been told.
    """
    results = session.results(("accepted", "open") if everything else ("accepted",))
    if results:
        return [*lost, *results]
    console.tell_not_held(lost)
    pictures = console.counted(len(session.pictures), "picture")
    why = f"none of {pictures} is accepted yet; --all exports those that are open, too"
    if everything:
        why = f"nothing to export: {pictures}, and each was skipped or failed"
    raise InputError(f"{source}: {why}")


def _serve(session: Session, port: int, make_aligner: Callable[[], Aligner]) -> None:
    from facealign_cli.review.app import ReviewServer

    session.open()
    try:
        server = ReviewServer(session, make_aligner, port)
        pictures = console.counted(len(session.pictures), "picture")
        console.message(f"{pictures}. Every step is kept in {session.side_file}.")
        console.message(f"Open {server.url} in a browser; Ctrl-C ends.")
        server.run()
    finally:
        session.close()


def _aligner(model: str | None, device: str, threads: int) -> Aligner:
    from facealign_cli.review.app import drawn_aligner

    return drawn_aligner(model, device, threads)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""
