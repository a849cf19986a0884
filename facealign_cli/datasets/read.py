"""One entry for every layout: a folder of the 300-W kind, or faces in one of the formats that facealign reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from facealign_cli.datasets.base import LeftOut, Sample
from facealign_cli.datasets.beside import NAMES_BESIDE, BesideFolders
from facealign_cli.datasets.splits import is_held_out
from facealign_cli.errors import InputError
from facealign_cli.formats.base import find_format, format_names
from facealign_cli.geometry import extent_of_shape


def read_samples(
    root: Path, *, need_pictures: bool = True, beside: BesideFolders | None = None
) -> Iterator[Sample | LeftOut]:
    """Yield every annotated face below `root` in the order of names, each once: a second one of a name is left out.

    root: a folder with NAME.pts beside NAME.jpg|png, at any depth, or what `formats.base.find_format` knows: dlib's
    XML, COCO, CVAT, Label Studio, a YOLO folder, facealign's JSON, CSV or Parquet. need_pictures: leave out a face
    without a picture; otherwise its sample names the picture that would belong to it. beside: keeps what stands beside
    the pictures of .pts files, for whoever reads on in the same folders.
    Raises InputError if nothing annotated is there, FormatError for a broken file or boxes.json.
    """
    root = Path(root)
    fmt = find_format(root)
    if fmt is not None and fmt.name != "pts":
        from facealign_cli.datasets import labels

        return _each_once(labels.read(root, fmt, need_pictures=need_pictures))
    if root.is_dir():
        from facealign_cli.datasets import w300

        return _each_once(w300.read(root, need_pictures=need_pictures, beside=beside))
    raise InputError(
        f"{root}: expected a folder of pictures with .pts files, or faces in a format that facealign reads "
        f"({', '.join(format_names())})"
    )


_SAME_LANDMARKS = 0.002
"""In shares of the face's extent: faces of a picture whose landmarks differ by less are one that stands there twice."""


def _each_once(items: Iterable[Sample | LeftOut]) -> Iterator[Sample | LeftOut]:
    """The items, each face once: a later one of the same name, such as a.jpg.pts beside a.pts, or of the same landmarks
    in the same picture is left out."""
    names: set[str] = set()
    pictures: dict[Path, list[Sample]] = defaultdict(list)
    for item in items:
        if isinstance(item, LeftOut):
            yield item
        elif item.name in names:
            yield LeftOut(item.name, "a face of this name stands there already; only the first one is taken")
        elif same := next((other for other in pictures[item.image_path] if _same_face(item, other)), None):
            yield LeftOut(item.name, f"the same face as {same.name}")
        else:
            names.add(item.name)
            pictures[item.image_path].append(item)
            yield item


def _same_face(one: Sample, other: Sample) -> bool:
    apart = np.abs(one.landmarks - other.landmarks).max()
    return bool(apart < _SAME_LANDMARKS * extent_of_shape(one.landmarks))


def unused_files(root: Path, samples: Iterable[Sample], beside: BesideFolders | None = None) -> list[LeftOut]:
    """What beside the samples' pictures was not used: of .pts files see `Beside.unused`, else all `NAMES_BESIDE`.

    beside: as for `read_samples`.
    """
    fmt = find_format(root)
    folders = sorted({sample.image_path.parent for sample in samples})
    if fmt is None or fmt.name == "pts":
        beside = BesideFolders() if beside is None else beside
        return [item for folder in folders for item in beside[folder].unused()]
    reason = f"not used: such files count beside .pts files alone, and {root} is in the format {fmt.name}"
    places = [folder / name for folder in folders for name in NAMES_BESIDE]
    return [LeftOut(f"{place.parent.name}/{place.name}", reason) for place in places if place.is_file()]


def held_out_samples(root: Path) -> list[Sample]:
    """The hand-labelled faces below `root` that belong to the held-out split; errors as `read_samples`."""
    samples = (item for item in read_samples(root) if isinstance(item, Sample))
    return [sample for sample in samples if is_held_out(sample.photo) and not sample.rough]
