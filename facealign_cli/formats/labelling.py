"""What the formats of labelling tools have in common: they name picture files, and people leave faces half done.

`scan` of such a format yields a `FrameResult` for each picture, and a `LeftOut` for each face or picture in the file
that cannot be used, so that one bad face does not cost the others; `write` writes the results that `why_not` admits.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from facealign_cli.arrays import Bools, Floats, Image
from facealign_cli.boxes import BBox
from facealign_cli.files.names import name_to_text
from facealign_cli.geometry import bbox_of_shape
from facealign_cli.landmarks import CONTOURS, MEAN_SHAPE, N_LANDMARKS, POINT_NAMES
from facealign_cli.records import Face, FrameResult, LeftOut

LABEL = "face"
"""What the faces are called in tools whose objects have a class."""

_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


SIZE_UNKNOWN = "the size of its picture is not known"
"""What `why_not_sized` says of a picture without a size."""


def why_not(result: FrameResult) -> str | None:
    """Why the formats of labelling tools cannot hold a result; None if they can."""
    if (failed := why_failed(result)) is not None:
        return failed
    if result.frame is not None:
        return "it is a frame of a clip, and the format names picture files: extract the frames as pictures first"
    if _NO_XML.search(result.source) or not result.source.strip():
        return "its name has characters that the format cannot hold"
    return None


def why_failed(result: FrameResult) -> str | None:
    """As `why_not`, for formats that hold whatever did not fail; the reason does not repeat the picture's name."""
    if result.status != "error":
        return None
    what = "the picture" if result.frame is None else f"frame {result.frame}"
    return f"{what} failed: {(result.error or '').removeprefix(f'{result.source}: ')}"


def why_not_sized(result: FrameResult) -> str | None:
    """As `why_not`, for formats that need the size of each picture."""
    if not result.width or not result.height:
        return why_not(result) or SIZE_UNKNOWN
    return why_not(result)


def stated_size(result: FrameResult, point: Floats) -> tuple[int, int] | None:
    """Width and height of the picture that a file states; None if it states none, or such as a face whose middle is at
    `point` (2,) cannot lie in: some programs fill in 1 x 1."""
    x, y = point
    return (result.width, result.height) if 0 <= x < result.width and 0 <= y < result.height else None


def why_other_size(image: Image, size: tuple[int, int] | None) -> str | None:
    """Why faces that lie in a picture of that width and height are not this picture's; None where they may be."""
    height, width = image.shape[:2]
    if size is None or size == (width, height):
        return None
    return f"it has {width} x {height} pixels, but its faces were labelled in {size[0]} x {size[1]}"


def edges() -> list[tuple[int, int]]:
    """The lines of the face, as pairs of point indices."""
    pairs = []
    for indices, closed in CONTOURS:
        pairs += list(itertools.pairwise(indices))
        pairs += [(indices[-1], indices[0])] if closed else []
    return pairs


def template(size: float, margin: float) -> Floats:
    """(68, 2) the mean face in a square of that size, as tools want it that show a skeleton before it is placed."""
    box = bbox_of_shape(MEAN_SHAPE)
    scale = (size - 2 * margin) / float((box[2:] - box[:2]).max())
    return (MEAN_SHAPE - (box[:2] + box[2:]) / 2) * scale + size / 2


def point_indices(names: Sequence[str]) -> list[int] | None:
    """The index of each named point; None where the names are not those of the 68 points.

    Names are `POINT_NAMES`, or numbers that count from 0 or from 1.
    """
    if set(names) == set(POINT_NAMES) and len(names) == N_LANDMARKS:
        return [POINT_NAMES.index(name) for name in names]
    numbers = [int(name) for name in names if re.fullmatch(r"\d{1,4}", name)]
    for first in (0, 1):
        if sorted(numbers) == list(range(first, first + N_LANDMARKS)) and len(names) == N_LANDMARKS:
            return [number - first for number in numbers]
    return None


def whole_face(
    face_id: int,
    points: Floats,
    *,
    bbox: BBox | None = None,
    visible: Bools | None = None,
    confidence: float | None = None,
    detector_score: float | None = None,
) -> Face:
    """A face as a labelling tool has it: without a box it gets the tight one around its points, confidence 1.

    points: (68, 2), NaN where one is not labelled. Raises ValueError, which names the points that are not labelled.
    """
    missing = [POINT_NAMES[i] for i in np.flatnonzero(np.isnan(points).any(axis=1))]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ValueError(f"{len(missing)} of its 68 points are not labelled: {', '.join(missing[:3])}{more}")
    if visible is not None and visible.all():
        visible = None
    box = bbox or BBox.around(points)
    return Face(face_id, box, points, 1.0 if confidence is None else confidence, detector_score, visible=visible)


def visibility(face: Face) -> Bools:
    """(68,) bool: which points can be seen; all of them where nobody has said."""
    return np.ones(N_LANDMARKS, bool) if face.visible is None else face.visible


def with_text_names(results: Iterable[FrameResult]) -> list[FrameResult]:
    """The results, whose names stand in the file as texts; see `files.names`."""
    return [replace(result, source=name_to_text(result.source)) for result in results]


def drop_unheld(results: Iterable[FrameResult], sized: bool = True) -> list[FrameResult]:
    """The results that a labelling format can hold."""
    reason = why_not_sized if sized else why_not
    return [result for result in results if reason(result) is None]


SAME_FACE = 0.5
"""Overlap over union of the boxes of two faces' points from which the two are one face that stands there twice."""


def put_together(results: Iterable[FrameResult]) -> tuple[list[FrameResult], list[LeftOut]]:
    """One result for each picture, at the place of its first one; a face that stands there already is left out."""
    pictures: dict[tuple[str, int | None], FrameResult] = {}
    left_out: list[LeftOut] = []
    for result in results:
        key = os.path.normpath(result.source), result.frame
        first = pictures.setdefault(key, result)
        if first is result:
            continue
        sizes = (first.width, first.height), (result.width, result.height)
        if result.status != "error" and all(map(all, sizes)) and sizes[0] != sizes[1]:
            told = (
                f"it stands there twice, with {sizes[0][0]}x{sizes[0][1]} and with {sizes[1][0]}x{sizes[1][1]} pixels"
            )
            left_out.append(LeftOut(result.source, f"{told}: only the first one is taken"))
            continue
        pictures[key], known = _joined_faces(first, result)
        left_out += [LeftOut(f"{result.source}#{i}", "the same face stands there already") for i in known]
    return list(pictures.values()), left_out


def _box_of_points(face: Face) -> BBox:
    """The tight box around the face's points; its own box where they span none, such as where all are 0."""
    try:
        return BBox.around(face.landmarks)
    except ValueError:
        return face.bbox


def _joined_faces(first: FrameResult, other: FrameResult) -> tuple[FrameResult, list[int]]:
    """The one with the faces of the other that it lacks, and the numbers of those that it has."""
    if first.status == "error" or not other.faces:
        return (other if first.status == "error" else first), []
    boxes = [_box_of_points(face) for face in (*first.faces, *other.faces)]
    own, others = boxes[: len(first.faces)], boxes[len(first.faces) :]
    known = [i for i, box in enumerate(others) if any(box.iou(mine) >= SAME_FACE for mine in own)]
    faces = [*first.faces, *(face for i, face in enumerate(other.faces) if i not in known)]
    numbered = tuple(replace(face, face_id=i) for i, face in enumerate(faces))
    return replace(
        first, status="ok", faces=numbered, width=first.width or other.width, height=first.height or other.height
    ), known
