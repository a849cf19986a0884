"""One entry for every layout: a folder of the 300-W kind, or a dlib XML file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from facealign_cli.datasets.base import LeftOut, Sample
from facealign_cli.datasets.splits import is_held_out
from facealign_cli.errors import InputError


def read_samples(root: Path, *, need_pictures: bool = True) -> Iterator[Sample | LeftOut]:
    """Yield every annotated face below `root` in the order of names.

    root: a folder with NAME.pts beside NAME.jpg|png, at any depth, or a dlib XML file. need_pictures: leave out a .pts
    file without a picture; otherwise its sample names the picture that would belong to it.
    Raises InputError if nothing annotated is there, FormatError for a broken XML or boxes.json.
    """
    root = Path(root)
    if root.is_dir():
        from facealign_cli.datasets import w300

        return w300.read(root, need_pictures=need_pictures)
    if root.suffix.lower() == ".xml":
        from facealign_cli.datasets import dlib_xml

        return dlib_xml.read(root)
    raise InputError(f"{root}: expected a folder of pictures with .pts files, or a dlib .xml file")


def held_out_samples(root: Path) -> list[Sample]:
    """The hand-labelled faces below `root` that belong to the held-out split; errors as `read_samples`."""
    samples = (item for item in read_samples(root) if isinstance(item, Sample))
    return [sample for sample in samples if is_held_out(sample.photo) and not sample.rough]
