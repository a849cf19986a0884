"""Annotated faces in any format that `formats` reads: dlib's XML, COCO, CVAT, Label Studio, YOLO, facealign's own.

A picture's name in the file is a path from the file's folder, from `images` in it, or from the working folder: the
first one of these that is there counts. A face is called PICTURE#NUMBER. A picture that stands there several times is
one, with all of its faces.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from facealign_cli.datasets.base import LeftOut, Sample
from facealign_cli.datasets.splits import photo_key
from facealign_cli.errors import InputError
from facealign_cli.formats.base import Format
from facealign_cli.formats.labelling import put_together, stated_size
from facealign_cli.records import FrameResult


def read(path: Path, fmt: Format, *, need_pictures: bool = True) -> Iterator[Sample | LeftOut]:
    """Yield the faces of a file or folder in that format; see `read_samples`."""
    items = list(fmt.scan(path))
    if not items:
        raise InputError(f"{path}: no picture in it")
    pictures = []
    for item in items:
        if isinstance(item, LeftOut):
            yield item
        elif item.status == "error" or item.frame is not None:
            yield LeftOut(item.source, item.error or "a frame of a clip, not a picture")
        else:
            pictures.append(item)
    together, twice = put_together(pictures)
    for picture in together:
        yield from _faces(path, picture, need_pictures)
    yield from twice


def _faces(path: Path, result: FrameResult, need_pictures: bool) -> Iterator[Sample | LeftOut]:
    name = Path(result.source)
    folder = Path(os.path.abspath(path if path.is_dir() else path.parent))  # "." would give the data set no name
    places = (folder / name, folder / "images" / name, name)
    image = next((place for place in places if os.path.isfile(place)), None)  # False for what is no name at all
    dataset = name.parts[0] if len(name.parts) > 1 and not name.is_absolute() else folder.name
    for face in result.faces:
        face_name = f"{result.source}#{face.face_id}"
        if image is None and need_pictures:
            yield LeftOut(face_name, _missing(result.source, folder))
            continue
        photo = photo_key(dataset, name.stem)
        place = image or folder / name
        size = stated_size(result, face.landmarks.mean(axis=0))
        yield Sample(face_name, dataset, photo, place, face.landmarks, face.bbox, size=size)


def _missing(name: str, folder: Path) -> str:
    """Where a picture was looked for in vain. folder: that of the label file."""
    if not name:
        return "the label file gives no name of its picture"
    if Path(name).is_absolute():
        return f"its picture {name} is missing"
    return f"its picture is missing: no file {name} in {folder}, {folder / 'images'} or the working folder"
