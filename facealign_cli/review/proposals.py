"""What a review begins with: the faces of a file of rows, or of a folder of pictures with or without .pts files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from facealign_cli.batch.sources import Sources
from facealign_cli.convert import read_faces
from facealign_cli.formats.base import find_format
from facealign_cli.formats.job_folder import is_job_folder
from facealign_cli.formats.labelling import put_together
from facealign_cli.records import FrameResult, LeftOut


def read_proposals(
    source: Path,
    images: Path | None = None,
    tell: Callable[[str], None] = lambda _text: None,
    left_out: Callable[[LeftOut], None] = lambda _item: None,
) -> list[FrameResult]:
    """The pictures of a folder, of a file of rows or of the folder of a job, with their faces, if there are any yet.

    images: as `convert` has it. tell: is given what could not be looked through, in words; left_out: each face that
    cannot be used. Raises InputError, FormatError.
    """
    if holds_rows(source):
        return _known(read_faces(source, images=images), left_out)
    fmt = find_format(source)
    labelled = {} if fmt is None else {r.source: r for r in _known(read_faces(source, fmt, images), left_out)}
    if fmt is not None and fmt.name != "pts":
        return list(labelled.values())
    names = sorted(Sources(places=(str(source),), recursive=True).paths(tell))
    return [labelled.get(name) or FrameResult(name, "no_face") for name in names]


def holds_rows(source: Path) -> bool:
    """Whether it is a file of rows, or the folder of a job, rather than a folder of pictures. Raises InputError."""
    return not source.is_dir() or is_job_folder(source)


def _known(items: Iterable[FrameResult | LeftOut], left_out: Callable[[LeftOut], None]) -> list[FrameResult]:
    """The pictures, each once with all of its faces; frames of clips if there is nothing else."""
    results = []
    for item in items:
        if isinstance(item, LeftOut):
            left_out(item)
        else:
            results.append(item)
    together, twice = put_together(results)
    pictures = [result for result in together if result.frame is None]
    if pictures:
        twice += [
            LeftOut(f"{result.source}, frame {result.frame}", "a frame of a clip, and pictures are reviewed")
            for result in together
            if result.frame is not None
        ]
    for item in twice:
        left_out(item)
    return pictures or together
