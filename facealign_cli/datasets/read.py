"""One entry for every layout: a folder of the 300-W kind, or faces in one of the formats that facealign reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from facealign_cli.datasets.base import LeftOut, Sample
from facealign_cli.datasets.splits import is_held_out
from facealign_cli.errors import InputError
from facealign_cli.formats.base import find_format, format_names


def read_samples(root: Path, *, need_pictures: bool = True) -> Iterator[Sample | LeftOut]:
    """Yield every annotated face below `root` in the order of names.

    root: a folder with NAME.pts beside NAME.jpg|png, at any depth, or what `formats.base.find_format` knows: dlib's
    XML, COCO, CVAT, Label Studio, a YOLO folder, facealign's JSON, CSV or Parquet. need_pictures: leave out a face
    without a picture; otherwise its sample names the picture that would belong to it.
    Raises InputError if nothing annotated is there, FormatError for a broken file or boxes.json.
    """
    root = Path(root)
    fmt = find_format(root)
    if fmt is not None and fmt.name != "pts":
        from facealign_cli.datasets import labels

        return labels.read(root, fmt, need_pictures=need_pictures)
    if root.is_dir():
        from facealign_cli.datasets import w300

        return w300.read(root, need_pictures=need_pictures)
    raise InputError(
        f"{root}: expected a folder of pictures with .pts files, or faces in a format that facealign reads "
        f"({', '.join(format_names())})"
    )


def held_out_samples(root: Path) -> list[Sample]:
    """The hand-labelled faces below `root` that belong to the held-out split; errors as `read_samples`."""
    samples = (item for item in read_samples(root) if isinstance(item, Sample))
    return [sample for sample in samples if is_held_out(sample.photo) and not sample.rough]
