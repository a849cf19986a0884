"""Pictures of one face each without landmarks: where the face is, and the few points that were placed by hand.

Beside NAME.jpg may stand points.json (NAME → points in a scheme of the source's own, picture pixels, 0-based) and
info.json (NAME → facts, of which `box` and `yaw` are read). Schemes, by their number of points, from the picture's left
to its right: 5 is eye, eye, tip of the nose, corner of the mouth, corner of the mouth; 4 is eye, eye, base of the nose,
middle of the mouth.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.boxes import BBox
from facealign_cli.datasets.base import LeftOut, Sample
from facealign_cli.datasets.beside import IMAGE_SUFFIXES, SCHEMES, BesideFolders, Facts, picture_of
from facealign_cli.datasets.splits import photo_key
from facealign_cli.errors import InputError
from facealign_cli.formats.pts import PTS_FILES
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.landmarks import MEAN_SHAPE, N_LANDMARKS

FindFace = Callable[[Path], BBox | None]


def points_of_shape(landmarks: Floats, count: int) -> Floats:
    """(..., K, 2): where (..., 68, 2) landmarks have the points of the scheme with `count` points."""
    return np.stack([landmarks[..., list(group), :].mean(axis=-2) for group in SCHEMES[count]], axis=-2)


def read(
    root: Path, find_face: FindFace, beside: BesideFolders | None = None, labelled: Collection[Path] = ()
) -> Iterator[Sample | LeftOut]:
    """Yield a sample for every picture below `root` without labels, in the order of names.

    Its landmarks only say where the face is: the mean shape laid onto the hand points, or in the box of info.json, or
    in the box that `find_face` gives for the picture; its weights are all 0. beside: as for `read_samples`. labelled:
    absolute paths of pictures that have labels. A picture has some, too, if a .pts file belongs to it, even a broken
    one, or to another picture of its name, such as a.jpg beside a.png.
    Of pictures of one name, those files tell of the first. Raises FormatError for a broken points.json or info.json.
    """
    root = Path(os.path.abspath(root))
    folders = sorted({path.parent for path in root.rglob("*") if path.suffix in IMAGE_SUFFIXES})
    beside = BesideFolders() if beside is None else beside
    for folder in folders:
        points, info = beside[folder].points, beside[folder].info
        known = {*labelled, *(picture_of(pts)[0] for pts in folder.glob(PTS_FILES))}
        told: dict[str, Path] = {}  # name in those files → the picture whose facts they are
        for image in sorted(path for path in folder.iterdir() if path.suffix in IMAGE_SUFFIXES):
            if image in known or image.with_suffix(".pts").exists():
                continue
            first = told.setdefault(image.stem, image) if image.stem in points or image.stem in info else image
            if first is image:
                yield _sample(root, image, points.get(image.stem), info.get(image.stem, Facts()), find_face)
            else:
                reason = f"points.json and info.json tell of one picture called {image.stem}: {first.name} is taken"
                yield LeftOut(image.relative_to(root).as_posix(), reason)


def _sample(root: Path, image: Path, points: Floats | None, info: Facts, find_face: FindFace) -> Sample | LeftOut:
    name, dataset = image.relative_to(root).as_posix(), image.parent.name
    try:
        box = info.bbox()
    except ValueError as error:
        return LeftOut(name, f"its box in info.json: {error}")
    try:
        if points is None and box is None:
            box = find_face(image)
    except InputError as error:
        return LeftOut(name, str(error))
    if points is not None:
        shape = _laid_onto(points)
    elif box is not None:
        shape = init_shape_from_bbox(box.xyxy)
    else:
        return LeftOut(name, "no face found in it, and neither box nor points are given")
    return Sample(
        name=name,
        dataset=dataset,
        photo=photo_key(dataset, image.stem),
        image_path=image,
        landmarks=shape,
        weights=np.zeros(N_LANDMARKS, np.float32),
        yaw=info.yaw_deg,
        points=points,
    )


def _laid_onto(points: Floats) -> Floats:
    """(68, 2): the mean shape upright, its size and place from hand points.

    A profile's eyes lie on one another, so the way from the eyes to the mouth can give the size, too.
    """
    own = points_of_shape(MEAN_SHAPE, len(points))
    scale = float(max(given / theirs for given, theirs in zip(_lengths(points), _lengths(own), strict=True)))
    shift: Floats = points.mean(axis=0) - scale * own.mean(axis=0)
    return MEAN_SHAPE * scale + shift


def _lengths(points: Floats) -> tuple[float, float]:
    """The distance of the eyes, and that from between them to the mouth."""
    eyes, mouth = points[:2], points[3:].mean(axis=0)
    return float(np.linalg.norm(eyes[1] - eyes[0])), float(np.linalg.norm(mouth - eyes.mean(axis=0)))
