"""No detection: the boxes of each picture come from a file, by the picture's name.

JSON: {"image.jpg": [x1, y1, x2, y2], "other.jpg": [[x1, y1, x2, y2], …], "none.jpg": []}, as `boxes.json` beside the
300-W pictures. CSV: a header `image,x1,y1,x2,y2` with an optional `score`, one row per box. Pixels, 0-based.
Also read: faces in any of facealign's formats, and the 300-W organisers' .mat files or a folder of them (`box_files`).
"""

from __future__ import annotations

import math
import shlex
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from facealign_cli.arrays import Image
from facealign_cli.boxes import BoxCalibration, Detection
from facealign_cli.detectors.base import DetectorOptions, ReloadedWhenPickled, register_detector, select_faces
from facealign_cli.detectors.box_files import read_faces, read_mat
from facealign_cli.detectors.given import box_of
from facealign_cli.errors import FormatError, InputError
from facealign_cli.files.documents import read_json, read_table, reason
from facealign_cli.files.picture_arrays import check_image
from facealign_cli.formats.base import find_format
from facealign_cli.formats.labelling import why_other_size

BoxTable = dict[str, list[Detection]]
CSV_COLUMNS = ("image", "x1", "y1", "x2", "y2")


@register_detector("boxes")
class BoxFileDetector(ReloadedWhenPickled):
    """Boxes from a file, in its order, or by score where it gives one; taken as the landmarks' boxes.

    Takes boxes_file (needed), score (rows below it are left out), max_faces. Raises InputError without a file that can
    be read, FormatError for a malformed one.
    """

    name = "boxes"
    calibration = BoxCalibration()

    def __init__(self, options: DetectorOptions) -> None:
        if options.boxes_file is None:
            raise InputError("detector boxes needs a file of boxes")
        self._options = options
        self._path = options.boxes_file
        self._sizes: dict[str, tuple[int, int]] = {}
        self._boxes = read_boxes(self._path, self._sizes)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for key in self._boxes:
            self._by_name[_posix(key).name].append(key)

    def detect(self, image: Image, source: str | None = None) -> list[Detection]:
        """See `Detector.detect`; raises InputError if `source` has no box or fits several entries alike.

        It does so, too, if the picture has another size than that in which the boxes lie, as their file says.
        """
        check_image(image)
        if source is None:
            raise InputError("detector boxes needs pictures with a name: it cannot serve a stream or video")
        key = self._key(source)
        found = self._boxes[key]
        if wrong := why_other_size(image, self._sizes.get(key)):
            raise InputError(f"{source}: {wrong}, says {self._path}")
        score = self._options.score
        if score is not None:
            found = [d for d in found if d.score is None or d.score >= score]
        return select_faces(found, self._options.max_faces)

    def _key(self, source: str) -> str:
        """The entry with the very path, else the longest that ends it, else the only one with the file's name."""
        if source in self._boxes:
            return source
        path = _posix(source)
        keys = self._by_name.get(path.name, [])
        endings = [k for k in keys if path.parts[-len(_posix(k).parts) :] == _posix(k).parts]
        if endings:
            return max(endings, key=lambda k: len(_posix(k).parts))
        if not keys:
            raise InputError(f"no box for {source} in {self._path}")
        if len(keys) > 1:
            raise InputError(f"{source} is ambiguous in {self._path}: it could be {' or '.join(sorted(keys))}")
        return keys[0]


def read_boxes(path: Path, sizes: dict[str, tuple[int, int]] | None = None) -> BoxTable:
    """Name of the picture, as the file has it → its boxes.

    sizes: gets width and height of the pictures in which the boxes lie, where the file states them. Raises InputError
    if the file cannot be read or is of no kind that has boxes, FormatError naming the key or row.
    """
    faces = None if path.is_dir() and any(path.rglob("*.mat")) else find_format(path)
    if path.is_dir() and faces is None:
        return read_mat(path)
    if faces is not None and faces.name == "pts":
        raise InputError(
            f"{path}: .pts files hold no boxes, nor the names of pictures; rows that serve as boxes are made by: "
            f"facealign convert {shlex.quote(str(path))} rows.json"
        )
    if faces is not None:
        return read_faces(path, faces, {} if sizes is None else sizes)
    readers: dict[str, Callable[[Path], BoxTable]] = {".json": _read_json, ".csv": _read_csv, ".mat": read_mat}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path}: expected boxes: a .json or .csv file of them, faces in a format that facealign reads, or the "
            "300-W organisers' .mat files"
        )
    return reader(path)


def _read_json(path: Path) -> BoxTable:
    content = read_json(path)
    if not isinstance(content, dict):
        raise FormatError(f"{path}: expected an object {{name: box or list of boxes}}, got {type(content).__name__}")
    return {key: _json_boxes(f"{path}: {key!r:.80}", value) for key, value in content.items()}


def _json_boxes(place: str, value: Any) -> list[Detection]:
    if not isinstance(value, list):
        raise FormatError(f"{place}: expected [x1, y1, x2, y2] or a list of such boxes, got {value!r:.60}")
    single = bool(value) and not any(isinstance(v, list) for v in value)
    return [_detection(place, box) for box in ([value] if single else value)]


def _read_csv(path: Path) -> BoxTable:
    table: BoxTable = defaultdict(list)
    header, rows = read_table(path)
    missing = [name for name in CSV_COLUMNS if name not in header]
    if not header:
        raise FormatError(f"{path}: the file is empty")
    if missing:
        raise FormatError(f"{path}: the header lacks {', '.join(missing)}; expected {','.join(CSV_COLUMNS)}[,score]")
    for line, row in rows:
        if not row["image"]:
            raise FormatError(f"{path}: line {line}: expected a picture's name in the column image")
        box = _detection(f"{path}: line {line}", [row[column] for column in CSV_COLUMNS[1:]], row.get("score"))
        table[row["image"]].append(box)
    return dict(table)


def _detection(place: str, box: Any, score: str | None = None) -> Detection:
    """One box of four numbers, or of texts that are numbers. Raises FormatError."""
    if not isinstance(box, list) or len(box) != 4 or any(isinstance(v, bool | list) for v in box):
        raise FormatError(f"{place}: expected four numbers x1, y1, x2, y2, got {box!r:.60}")
    try:
        value = float(score) if score else None
        if value is not None and not math.isfinite(value):
            raise ValueError(f"score: expected a finite number, got {score:.40}")
        return Detection(box_of(box), value)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{place}: {reason(error)}") from error


def _posix(name: str) -> PurePath:
    return PurePosixPath(name.replace("\\", "/"))
