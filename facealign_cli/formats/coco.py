"""COCO keypoints: one JSON file of images, annotations and one category `face` with 68 named points and a skeleton.

Pixels as here: counted from 0, centres at integers; `keypoints` are x, y, v with three decimals, v 2 for a point that
can be seen and 1 for one that cannot; `bbox` is the detector's box as x, y, width, height; `score` is the confidence.
Any category with 68 keypoints is read, by their names where they are known, else in their order; annotations of other
categories are passed over. A face of no category, or with points that are not labelled (v 0), is left out.
Not held: the detector's score, which model it was, pictures that failed, frames of clips.
Source: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np

from facealign_cli.boxes import BBox
from facealign_cli.errors import FormatError
from facealign_cli.files.documents import PathLike, read_json
from facealign_cli.files.names import text_to_name
from facealign_cli.formats.base import OF_THE_RUN, register_format, write_file
from facealign_cli.formats.labelling import (
    LABEL,
    drop_unheld,
    edges,
    point_indices,
    visibility,
    whole_face,
    why_not_sized,
    with_text_names,
)
from facealign_cli.landmarks import N_LANDMARKS, POINT_NAMES
from facealign_cli.records import Face, FrameResult, LeftOut
from facealign_cli.version import __version__


def dump(results: Iterable[FrameResult], stream: BinaryIO) -> None:
    """Write the document into a binary stream, as UTF-8."""
    held = with_text_names(drop_unheld(results))
    faces = [(image_id, face) for image_id, result in enumerate(held, start=1) for face in result.faces]
    document = {
        "info": {"description": "68 ibug landmarks", "version": f"facealign {__version__}"},
        "licenses": [],
        "images": [
            {"id": i, "file_name": result.source, "width": result.width, "height": result.height}
            for i, result in enumerate(held, start=1)
        ],
        "annotations": [_annotation(i, image_id, face) for i, (image_id, face) in enumerate(faces, start=1)],
        "categories": [
            {
                "id": 1,
                "name": LABEL,
                "supercategory": "person",
                "keypoints": list(POINT_NAMES),
                "skeleton": [[a + 1, b + 1] for a, b in edges()],
            }
        ],
    }
    stream.write(json.dumps(document, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def _annotation(number: int, image_id: int, face: Face) -> dict[str, Any]:
    keypoints = np.column_stack([np.round(face.landmarks, 3) + 0.0, 1 + visibility(face)])
    box = [round(v, 3) for v in (face.bbox.x1, face.bbox.y1, face.bbox.width, face.bbox.height)]
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "keypoints": [int(v) if i % 3 == 2 else v for i, v in enumerate(keypoints.ravel().tolist())],
        "num_keypoints": N_LANDMARKS,
        "bbox": box,
        "area": round(box[2] * box[3], 3),
        "iscrowd": 0,
        "segmentation": [],
        "score": round(face.confidence, 4),
    }


def write(path: PathLike, results: Iterable[FrameResult], overwrite: bool = False) -> None:
    """Write the document to a file, atomically. Raises OutputError."""
    write_file(path, results, dump, overwrite)


def scan(path: PathLike) -> Iterator[FrameResult | LeftOut]:
    """Each picture's result, and what is left out. Raises InputError, FormatError for a file that is no COCO."""
    try:
        document = read_json(path)
        orders = {c["id"]: order for c in document["categories"] if (order := _order(c)) is not None}
        others = {category["id"] for category in document["categories"]} - set(orders)
        images = _images(path, document["images"])
        lost: list[LeftOut] = []
        for annotation in document["annotations"]:
            place = images.get(annotation["image_id"])
            if annotation["category_id"] in others:
                continue
            if annotation["category_id"] not in orders:
                lost.append(LeftOut(f"annotation {annotation['id']}", "its category_id is not among the categories"))
            elif place is None:
                lost.append(LeftOut(f"annotation {annotation['id']}", "its image_id is not among the images"))
            else:
                place[1].append(annotation)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise FormatError(
            f"{path}: not COCO: expected images, annotations and categories, each with their ids ({error!r:.60})"
        ) from error
    if not orders:
        raise FormatError(f"{path}: none of its categories has {N_LANDMARKS} keypoints")
    for image, own in images.values():
        yield from _picture(path, image, own, orders)
    yield from lost


def _images(path: PathLike, images: Iterable[Any]) -> dict[Any, tuple[Any, list[Any]]]:
    """Id → the image, and room for its annotations. Raises FormatError where two pictures have one id."""
    table: dict[Any, tuple[Any, list[Any]]] = {}
    for image in images:
        names = [one.get("file_name") for one in (table.setdefault(image["id"], (image, []))[0], image)]
        if names[0] != names[1]:
            raise FormatError(
                f"{path}: the images {names[0]!r:.80} and {names[1]!r:.80} have the same id, {image['id']!r:.40}, so "
                "it is not known of which of them an annotation is: give each image an id of its own"
            )
    return table


def _order(category: Any) -> list[int] | None:
    names = [str(name) for name in category.get("keypoints") or ()]
    if len(names) != N_LANDMARKS:
        return None
    return point_indices(names) or list(range(N_LANDMARKS))


def _picture(
    path: PathLike, image: dict[str, Any], annotations: list[dict[str, Any]], orders: dict[Any, list[int]]
) -> Iterator[FrameResult | LeftOut]:
    faces: list[Face] = []
    try:
        name = text_to_name(str(image["file_name"]))
        width, height = (int(image.get(side) or 0) for side in ("width", "height"))
        result = FrameResult(name, "no_face", width, height)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"{path}: image {image.get('id')!r:.40}: {error!r}") from error
    for number, annotation in enumerate(annotations):
        try:
            faces.append(_face(len(faces), annotation, orders[annotation["category_id"]]))
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            yield LeftOut(f"{name}#{number}", f"annotation {annotation.get('id')!r:.40}: {error}")
    yield FrameResult.of_faces(name, faces, width=result.width, height=result.height)


def _face(face_id: int, annotation: dict[str, Any], order: list[int]) -> Face:
    if annotation.get("keypoints") is None:
        raise ValueError("it has no keypoints")
    values = np.array(annotation["keypoints"], float)
    if values.shape != (3 * N_LANDMARKS,):
        raise ValueError(f"expected {3 * N_LANDMARKS} numbers as keypoints, got {values.shape}")
    rows = np.empty((N_LANDMARKS, 3))
    rows[order] = values.reshape(N_LANDMARKS, 3)
    points = np.where(rows[:, 2:] > 0, rows[:, :2], np.nan)
    box = annotation.get("bbox")
    return whole_face(
        face_id,
        points,
        bbox=BBox.from_xywh(*box) if box and any(box[2:]) else None,  # tools write a width and height of 0 for no box
        visible=rows[:, 2] != 1,
        confidence=annotation.get("score"),
    )


def _recognises(document: Any) -> bool:
    return isinstance(document, dict) and {"images", "annotations", "categories"} <= document.keys()


_LOSES = f"the detector's score, {OF_THE_RUN}"
register_format(
    "coco",
    [],
    write=write,
    scan=scan,
    dump=dump,
    loses=_LOSES,
    names_pictures=True,
    why_not=why_not_sized,
    recognises=_recognises,
)
