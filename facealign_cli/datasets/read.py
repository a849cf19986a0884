"""One entry for every layout: a folder of the 300-W kind, or faces in one of the formats that facealign reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from facealign_cli.datasets.base import LeftOut, Sample
from facealign_cli.datasets.beside import NAMES_BESIDE, BesideFolders
from facealign_cli.datasets.splits import is_held_out
from facealign_cli.errors import InputError
from facealign_cli.formats.base import find_format, format_names


def read_samples(
    root: Path, *, need_pictures: bool = True, beside: BesideFolders | None = None
) -> Iterator[Sample | LeftOut]:
    """Yield every annotated face below `root` in the order of names, each name once: a second face of it is left out.

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

        return _each_name_once(labels.read(root, fmt, need_pictures=need_pictures))
    if root.is_dir():
        from facealign_cli.datasets import w300

        return _each_name_once(w300.read(root, need_pictures=need_pictures, beside=beside))
    raise InputError(
        f"{root}: expected a folder of pictures with .pts files, or faces in a format that facealign reads "
        f"({', '.join(format_names())})"
    )


def _each_name_once(items: Iterable[Sample | LeftOut]) -> Iterator[Sample | LeftOut]:
    """The items; of several samples of one name, such as of a.pts and a.jpg.pts, only the first one is a sample."""
    names: set[str] = set()
    for item in items:
        if isinstance(item, Sample) and item.name in names:
            yield LeftOut(item.name, "a face of this name stands there already; only the first one is taken")
            continue
        if isinstance(item, Sample):
            names.add(item.name)
        yield item


def unused_files(root: Path, samples: Iterable[Sample]) -> list[LeftOut]:
    """The files beside the samples' pictures that were not read, since the samples do not come from .pts files."""
    fmt = find_format(root)
    if fmt is None or fmt.name == "pts":
        return []
    reason = f"not used: such files count beside .pts files alone, and {root} is in the format {fmt.name}"
    folders = sorted({sample.image_path.parent for sample in samples})
    places = [folder / name for folder in folders for name in NAMES_BESIDE]
    return [LeftOut(f"{place.parent.name}/{place.name}", reason) for place in places if place.is_file()]


def held_out_samples(root: Path) -> list[Sample]:
    """The hand-labelled faces below `root` that belong to the held-out split; errors as `read_samples`."""
    samples = (item for item in read_samples(root) if isinstance(item, Sample))
    return [sample for sample in samples if is_held_out(sample.photo) and not sample.rough]
