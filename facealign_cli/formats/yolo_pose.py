"""YOLO pose: a folder of `images/`, `labels/` and `data.yaml`, as Ultralytics trains on it (kpt_shape [68, 3]).

A line per face: class 0, the box's centre and size, then x, y, v of each point, v 2 where it can be seen, 1 where not.
Coordinates are shares of the picture's sides, counted from its corner (the middle of the first pixel is half a pixel),
with 8 decimals: a point moves by less than 0.0001 pixels. Pictures are copied, since Ultralytics looks for them beside
the labels; of two pictures whose names differ in the suffix only, the second is renamed, and so is a folder that is
called `images` itself. `data.yaml` names the same folder for training and validation: the split is yours.
Not held: points outside the picture (Ultralytics refuses them: they are written as not labelled), confidence, scores,
which model it was, pictures that failed, frames of clips. Source: https://docs.ultralytics.com/datasets/pose/
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.boxes import BBox
from facealign_cli.errors import FormatError, InputError
from facealign_cli.files.documents import PathLike, read_bytes
from facealign_cli.files.output import UniqueNames, check_output, make_folder, safe_tree, write_bytes
from facealign_cli.files.pictures import read_image
from facealign_cli.formats.base import OF_THE_RUN, register_format
from facealign_cli.formats.labelling import LABEL, drop_unheld, visibility, whole_face, why_not_sized
from facealign_cli.landmarks import MIRROR_ORDER, N_LANDMARKS, POINT_NAMES
from facealign_cli.records import Face, FrameResult, LeftOut

_DATA = f"""\
# Written by facealign. train and val name the same pictures: the split is yours.
train: images
val: images
names:
  0: {LABEL}
kpt_shape: [{N_LANDMARKS}, 3]
flip_idx: {list(MIRROR_ORDER)}
kpt_names:
  0: [{", ".join(POINT_NAMES)}]
"""


def write(
    path: PathLike, results: Iterable[FrameResult], overwrite: bool = False, root: PathLike | None = None
) -> None:
    """Fill the folder. Raises OutputError, InputError for a missing picture.

    root: the folder from which the pictures are named; None: the working folder.
    Nothing is written if one of the files exists already and `overwrite` is not set, or a picture cannot be read.
    """
    pictures = Path(root or "")
    names, held = UniqueNames(), drop_unheld(results)
    folder = make_folder(path)
    files = [_file_name(result.source, names) for result in held]
    for result, file in zip(held, files, strict=True):
        for made in (folder / "images" / file, _label_file(folder, file)):
            if made.exists():
                check_output(made, overwrite)
        if not os.path.isfile(pictures / result.source):
            raise InputError(f"{pictures / result.source}: no such picture; name their folder (--images)")
    check_output(folder / "data.yaml", overwrite)
    for result, file in zip(held, files, strict=True):
        image, label = folder / "images" / file, _label_file(folder, file)
        make_folder(image.parent)
        make_folder(label.parent)
        write_bytes(image, read_bytes(pictures / result.source), overwrite)
        write_bytes(label, "".join(_line(result, face) for face in result.faces).encode(), overwrite)
    write_bytes(folder / "data.yaml", _DATA.encode(), overwrite)


def _file_name(source: str, names: UniqueNames) -> str:
    """The picture's place below `images/`: its stem is unique, since the label file has it too."""
    place = PurePosixPath(safe_tree(source))
    parts = [f"{part}_" if part == "images" else part for part in place.with_suffix("").parts]
    return names.claim("/".join(parts))[0] + place.suffix


def _label_file(folder: Path, file: str) -> Path:
    return (folder / "labels" / file).with_suffix(".txt")


def _line(result: FrameResult, face: Face) -> str:
    size = np.array([result.width, result.height])
    corners = ((np.array(face.bbox.xyxy).reshape(2, 2) + 0.5) / size).clip(0, 1)
    points = (face.landmarks + 0.5) / size
    inside = ((points >= 0) & (points <= 1)).all(axis=1)
    rows = np.where(inside[:, None], np.column_stack([points, 1 + visibility(face)]), 0)
    words = [f"{value:.8f}" for value in (*corners.mean(axis=0), *(corners[1] - corners[0]))]
    words += [f"{x:.8f} {y:.8f} {int(v)}" for x, y, v in rows.tolist()]
    return f"0 {' '.join(words)}\n"


def scan(path: PathLike) -> Iterator[FrameResult | LeftOut]:
    """Each picture's result, named from `images/` on, and what is left out; without a label file it has no face.

    Raises InputError where the folder is not such a one or a picture cannot be read.
    """
    folder = Path(path)
    if not _recognises(folder):
        raise FormatError(f"{path}: not YOLO: expected a folder with images/ and labels/ in it")
    images = folder / "images"
    pictures = sorted(file for file in images.rglob("*") if file.is_file() and not file.name.startswith("."))
    for picture in pictures:
        name = picture.relative_to(images).as_posix()
        try:
            height, width = read_image(picture).shape[:2]
        except InputError as error:
            yield LeftOut(name, str(error))
            continue
        label = _label_file(folder, name)
        lines = read_bytes(label).decode("utf-8", "replace").splitlines() if label.exists() else []
        faces: list[Face] = []
        for number, line in enumerate(lines):
            try:
                faces.append(_face(len(faces), line, np.array([width, height])))
            except ValueError as error:
                yield LeftOut(f"{name}#{number}", str(error))
        yield FrameResult.of_faces(name, faces, width=width, height=height)


def _face(face_id: int, line: str, size: Floats) -> Face:
    values = np.array([float(word) for word in line.split()])
    if len(values) not in (5 + 2 * N_LANDMARKS, 5 + 3 * N_LANDMARKS):
        raise ValueError(f"a line of {len(values)} numbers; expected 5 and 2 or 3 for each of {N_LANDMARKS} points")
    rows = values[5:].reshape(N_LANDMARKS, -1)
    seen = rows[:, 2] if rows.shape[1] == 3 else np.full(N_LANDMARKS, 2.0)
    points = np.where(seen[:, None] > 0, np.round(rows[:, :2] * size - 0.5, 6), np.nan)
    centre, extent = values[1:3] * size - 0.5, values[3:5] * size
    bbox = BBox(*np.round([*(centre - extent / 2), *(centre + extent / 2)], 6).tolist())
    return whole_face(face_id, points, bbox=bbox, visible=seen != 1)


def _recognises(folder: Any) -> bool:
    return isinstance(folder, Path) and (folder / "images").is_dir() and (folder / "labels").is_dir()


_LOSES = f"points outside the picture, the confidence, the detector's score, {OF_THE_RUN}"
register_format(
    "yolo-pose",
    [],
    write=write,
    scan=scan,
    loses=_LOSES,
    names_pictures=True,
    takes_root=True,
    copies_pictures=True,
    holds_size=False,
    why_not=why_not_sized,
    recognises=_recognises,
)
