"""Folders of the 300-W kind: NAME.pts beside NAME.jpg or NAME.png, and a boxes.json where there are face boxes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from facealign_cli.datasets.base import LeftOut, Sample
from facealign_cli.datasets.splits import photo_key
from facealign_cli.errors import FormatError, InputError
from facealign_cli.formats.pts import read_pts
from facealign_cli.records import BBox

_SUFFIXES = (".jpg", ".png", ".jpeg", ".JPG", ".PNG", ".bmp")
_KNOWN_SETS = ("afw", "helen", "lfpw", "ibug", "300W", "ytf")
_ROUGH_FOLDERS = ("trainset_lowres", "ytf")
"""Folders whose labels are estimates (../shared/data/README.md)."""


def read(root: Path, *, need_pictures: bool = True) -> Iterator[Sample | LeftOut]:
    """Yield the faces below `root`; see `read_samples`."""
    root = Path(os.path.abspath(root))  # so that "." inside a data set's folder gives the same split as the whole set
    files = sorted(root.rglob("*.pts"))
    if not files:
        raise InputError(f"{root}: no .pts file in it or below it")
    boxes: dict[Path, dict[str, BBox]] = {}
    for pts in files:
        folder = pts.parent
        if folder not in boxes:
            boxes[folder] = read_boxes(folder / "boxes.json")
        yield _face(root, pts, boxes[folder], need_pictures)


def _face(root: Path, pts: Path, boxes: dict[str, BBox], need_pictures: bool) -> Sample | LeftOut:
    name = pts.relative_to(root).as_posix()
    image = next((pts.with_suffix(s) for s in _SUFFIXES if pts.with_suffix(s).exists()), None)
    if image is None and need_pictures:
        return LeftOut(name, "no picture beside it")
    image = image or pts.with_suffix(_SUFFIXES[0])
    try:
        landmarks = read_pts(pts)
    except InputError as error:
        return LeftOut(name, str(error))
    folders = pts.parent.parts
    dataset = next((p for p in reversed(folders) if p in _KNOWN_SETS), root.name)
    return Sample(
        name=image.relative_to(root).as_posix(),
        dataset=dataset,
        photo=photo_key(dataset, pts.stem),
        image_path=image,
        landmarks=landmarks,
        bbox=boxes.get(image.name),
        rough=any(p in _ROUGH_FOLDERS for p in folders),
    )


def read_boxes(path: Path) -> dict[str, BBox]:
    """Picture name → box from a boxes.json ({name: [x1, y1, x2, y2]}); empty where there is none."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: BBox(*box) for name, box in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise FormatError(f"{path}: expected {{name: [x1, y1, x2, y2]}}: {error}") from error
