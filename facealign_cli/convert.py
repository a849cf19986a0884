"""Faces from one format to another, and with the names of their pictures as each side has them.

facealign's own formats name a picture by its path from the working folder; labelling tools by its path in a folder of
pictures. `images` is that folder: names are joined to it on the way in and taken relative to it on the way out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from facealign_cli.boxes import BBox
from facealign_cli.datasets import Sample, read_samples
from facealign_cli.datasets.beside import picture_called
from facealign_cli.errors import InputError
from facealign_cli.files.names import strange_names
from facealign_cli.files.output import atomic_write, check_output
from facealign_cli.files.pictures import read_image
from facealign_cli.formats.base import Format, find_format, format_names
from facealign_cli.formats.csv import write_cells
from facealign_cli.formats.labelling import SIZE_UNKNOWN, put_together, stated_size, why_other_size
from facealign_cli.formats.pts import split_face_stem
from facealign_cli.records import Face, FrameResult, LeftOut


@dataclass(frozen=True)
class Conversion:
    """What was written, and what was not, with its reason.

    strange_names: of the pictures, those that are no UTF-8 and of which no file is there.
    """

    results: tuple[FrameResult, ...]
    left_out: tuple[LeftOut, ...]
    strange_names: tuple[str, ...] = ()

    @property
    def n_faces(self) -> int:
        """Faces written."""
        return sum(len(result.faces) for result in self.results)


def convert(
    sources: Sequence[Path],
    output: Path,
    target: Format,
    *,
    source_format: Format | None = None,
    images: Path | None = None,
    left_out_list: Path | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Read the faces of some files or folders and write them in another format.

    source_format: of all `sources`; None: what each looks like. images: the folder in which the pictures lie; None:
    the working folder. What cannot be used or held is left out, and named. left_out_list: a CSV file that gets the name
    and the reason of all that was left out, also where nothing could be held. A picture that stands there several
    times becomes one in a format that names pictures, each of its faces once. Raises InputError, FormatError,
    OutputError; MissingDependency.
    """
    target.require()
    if left_out_list is not None:
        check_output(left_out_list, overwrite)
    items = [item for source in sources for item in read_faces(source, source_format, images)]
    return write_faces(items, output, target, images=images, left_out_list=left_out_list, overwrite=overwrite)


def write_faces(
    items: Iterable[FrameResult | LeftOut],
    output: Path,
    target: Format,
    *,
    images: Path | None = None,
    left_out_list: Path | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Write results, named by their paths, in a format. items: also what was left out so far. Else as `convert`."""
    left_out, held, names = list[LeftOut](), list[FrameResult](), dict[str, None]()
    for item in items:
        names |= {} if isinstance(item, LeftOut) else {item.source: None}
        if isinstance(item, LeftOut):
            left_out.append(item)
            continue
        named = _named_for(target, item, images)
        if isinstance(named, LeftOut):
            left_out.append(named)
            continue
        reason = target.why_not(named) or _why_no_picture(target, item) or _why_other_size(target, item)
        if reason is not None:
            hint = ": name the folder of the pictures (--images)" if reason == SIZE_UNKNOWN else ""
            left_out.append(LeftOut(named.source, f"{reason}{hint}"))
        else:
            held.append(named)
    if target.names_pictures or target.takes_root:
        held, twice = put_together(held)
        left_out += twice
    if left_out_list is not None:
        _write_left_out(left_out_list, left_out, overwrite)
    if not held or (target.faces_alone and not any(result.faces for result in held)):
        why = f": there is no face in {len(held):,} picture{'s' * (len(held) > 1)}" if held else ""
        why += f": {left_out[0]}" if left_out else ""
        why += f" (and {len(left_out) - 1:,} more left out)" if len(left_out) > 1 else ""
        raise InputError(f"cannot write {output}: nothing that {target.name} could hold{why}")
    folder = {"root": images} if target.takes_root else {}
    target.write(output, held, overwrite, **folder)
    return Conversion(tuple(held), tuple(left_out), tuple(strange_names(names)))


def _write_left_out(path: Path, items: Iterable[LeftOut], overwrite: bool) -> None:
    with atomic_write(path, overwrite) as stream:
        write_cells(stream, ("name", "reason"), ([item.name, item.reason] for item in items))


def read_faces(path: Path, fmt: Format | None = None, images: Path | None = None) -> Iterator[FrameResult | LeftOut]:
    """The pictures of a file or folder, their names joined to `images`, and what is left out.

    fmt: None: what it looks like. Of .pts files those of one picture make one result. Of the folder of a job, which
    `batch` wrote, all its files of rows are read. Raises InputError, FormatError.
    """
    fmt = fmt or find_format(path)
    if fmt is None and path.is_file() and not path.stat().st_size:
        raise InputError(f"{path}: the file is empty")
    if fmt is None:
        raise InputError(
            f"{path}: looks like none of the known formats ({', '.join(format_names())}); if it is one of them, "
            "convert reads it by its name (facealign convert --from NAME)"
        )
    if fmt.name == "pts" and path.is_dir():
        yield from _from_samples(read_samples(path, need_pictures=False), path, images)
        return
    for item in fmt.scan(path):
        yield item if isinstance(item, LeftOut) else replace(item, source=_joined(images, item.source))


def _from_samples(
    items: Iterable[Sample | LeftOut], root: Path, images: Path | None
) -> Iterator[FrameResult | LeftOut]:
    samples: list[Sample] = []
    for item in items:
        if isinstance(item, LeftOut):
            yield item
        else:
            samples.append(item)
    for image, group in groupby(samples, key=lambda sample: sample.image_path):
        ordered = sorted(group, key=lambda sample: split_face_stem(sample.name)[1] or 0)
        faces = [_face(number, sample) for number, sample in enumerate(ordered)]
        name = os.path.relpath(image, os.path.abspath(root))
        yield FrameResult.of_faces(_in_images(images, root, name) if images else str(root / name), faces)


def _in_images(images: Path, root: Path, name: str) -> str:
    """The path in `images` of a picture of .pts files below `root`, with the suffix that it has there.

    name: of the picture from `root`. Where neither the picture nor NAME.jpg.pts is there, its suffix is a guess.
    """
    path = Path(_joined(images, name))
    known = path.exists() or any((root / f"{name}{number}.pts").exists() for number in ("", "#0"))
    return str(path if known else picture_called(path.parent, path.stem) or path)


def _face(number: int, sample: Sample) -> Face:
    return Face(number, sample.bbox or BBox.around(sample.landmarks), sample.landmarks, 1.0)


def _joined(images: Path | None, name: str) -> str:
    """The picture's path; a name that leads into `images` from the working folder stays."""
    if images is None or Path(os.path.abspath(name)).is_relative_to(os.path.abspath(images)):
        return name
    return str(images / name)


def _why_other_size(target: Format, result: FrameResult) -> str | None:
    """Why a format that does not say how large a picture is cannot hold the faces: their picture has another size.

    The size that a labelling file states is lost then, and nothing that reads the format could notice the difference.
    """
    if target.holds_size or result.frame is not None or not result.faces or not Path(result.source).is_file():
        return None
    size = stated_size(result, result.faces[0].landmarks.mean(axis=0))
    try:
        return None if size is None else why_other_size(read_image(result.source), size)
    except InputError:  # whoever reads the picture is told; its faces can be written
        return None


def _why_no_picture(target: Format, result: FrameResult) -> str | None:
    """Why a format that copies the pictures cannot hold a result; None where it can."""
    if not target.copies_pictures or os.path.isfile(result.source):
        return None
    return "no such picture: name the folder of the pictures (--images)"


def _named_for(target: Format, result: FrameResult, images: Path | None) -> FrameResult | LeftOut:
    """The result as the target names pictures, and with the picture's size if the target is a labelling tool's.

    Left out where the size is not known and the picture cannot be read.
    """
    if not target.names_pictures or result.status == "error":
        return result
    if not result.width and Path(result.source).is_file():
        try:
            height, width = read_image(result.source).shape[:2]
        except InputError as error:
            return LeftOut(result.source, str(error).removeprefix(f"{result.source}: "))
        result = replace(result, width=width, height=height)
    if images is None:
        return result
    return replace(result, source=Path(os.path.relpath(result.source, images)).as_posix())
