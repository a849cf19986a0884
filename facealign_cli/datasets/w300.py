"""Folders of the 300-W kind: NAME.pts beside NAME.jpg or NAME.png.

Of several faces in a picture each has a file, NAME#0.pts, NAME#1.pts, … as `formats.pts` names them; NAME.jpg.pts
belongs to NAME.jpg and to no other picture. Beside them may stand boxes.json, weights.json and info.json, see `beside`;
of a picture's several boxes each face has the one that overlaps it most. Pixels, counted from 0.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from facealign_cli.boxes import BBox
from facealign_cli.datasets.base import LeftOut, Sample
from facealign_cli.datasets.beside import IMAGE_SUFFIXES, Beside, BesideFolders, Facts, picture_of
from facealign_cli.datasets.splits import photo_key
from facealign_cli.errors import InputError
from facealign_cli.formats.pts import PTS_FILES, read_pts, split_face_stem, tight_box

SETS_OF_300W = ("afw", "helen", "lfpw", "ibug", "300W")
_KNOWN_SETS = (*SETS_OF_300W, "ytf", "aflw2000", "fgnet", "webmorph", "facesynth")
_ROUGH_FOLDERS = ("trainset_lowres", "ytf")
"""Folders whose labels are estimates (../shared/data/README.md)."""


def read(root: Path, *, need_pictures: bool = True, beside: BesideFolders | None = None) -> Iterator[Sample | LeftOut]:
    """Yield the faces below `root`; see `read_samples`."""
    root = Path(os.path.abspath(root))  # so that "." inside a data set's folder gives the same split as the whole set
    files = sorted(root.rglob(PTS_FILES))
    if not files:
        raise InputError(f"{root}: no .pts file in it or below it")
    beside = BesideFolders() if beside is None else beside
    for pts in files:
        yield _face(root, pts, beside[pts.parent], need_pictures)


def _face(root: Path, pts: Path, beside: Beside, need_pictures: bool) -> Sample | LeftOut:
    name = pts.relative_to(root).as_posix()
    image, number = picture_of(pts)
    if image is None and need_pictures:
        return LeftOut(name, "no picture beside it")
    stem = split_face_stem(pts.stem)[0] if number is not None else pts.stem
    image = image or pts.with_name(stem if Path(stem).suffix in IMAGE_SUFFIXES else f"{stem}{IMAGE_SUFFIXES[0]}")
    try:
        landmarks = read_pts(pts)
        tight = tight_box(pts, landmarks)
    except InputError as error:
        return LeftOut(name, str(error))
    folders = pts.parent.parts
    dataset = next((p for p in reversed(folders) if p in _KNOWN_SETS), root.name)
    return Sample(
        name=image.relative_to(root).as_posix() + ("" if number is None else f"#{number}"),
        dataset=dataset,
        photo=photo_key(dataset, image.stem),
        image_path=image,
        landmarks=landmarks,
        bbox=_box_of(tight, beside.boxes.get(image.name, []), several=number is not None),
        rough=any(p in _ROUGH_FOLDERS for p in folders),
        weights=beside.weights.get(pts.stem),
        yaw=beside.info.get(pts.stem, Facts()).yaw_deg,
    )


def _box_of(tight: BBox, boxes: list[BBox], several: bool) -> BBox | None:
    """The box of a picture's that overlaps the face most; the only box of the only face, whether it does or not.

    tight: the box around the face's points.
    """
    if not boxes or (len(boxes) == 1 and not several):
        return boxes[0] if boxes else None
    best = max(boxes, key=tight.iou)
    return best if best.iou(tight) > 0 else None
