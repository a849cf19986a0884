"""Boxes in files that were not made for it: the 300-W organisers' .mat files, and faces in any format that is read.

The organisers' files are called bounding_boxes_lfpw_testset.mat, bounding_boxes_ibug.mat, … and hold a cell of structs
`imgName`, `bb_detector` and `bb_ground_truth`, boxes x1, y1, x2, y2 counted from 1; `bb_detector` is read. A picture's
name is "lfpw/testset/" and imgName, so that the sets do not mix.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from facealign_cli.boxes import BBox, Detection
from facealign_cli.detectors.base import calibration_of
from facealign_cli.errors import FormatError, InputError, MissingDependency
from facealign_cli.files.base import without_waiting
from facealign_cli.files.documents import parsing, reading
from facealign_cli.formats.base import Format
from facealign_cli.formats.labelling import stated_size
from facealign_cli.records import LeftOut

_SET = re.compile(r"(?:bounding_boxes_)?(.+?)(?:_(trainset|testset))?", re.IGNORECASE)


def read_mat(path: Path) -> dict[str, list[Detection]]:
    """Picture → its box in the organisers' .mat file, or in all of them in a folder and below it.

    Raises InputError, FormatError, MissingDependency (scipy).
    """
    files = sorted(path.rglob("*.mat")) if path.is_dir() else [path]
    if not files:
        raise InputError(
            f"{path}: neither a .mat file of boxes in the folder, nor faces in a format that facealign reads"
        )
    table: dict[str, list[Detection]] = defaultdict(list)
    for file in files:
        for name, box in _read_one(file):
            table[name].append(box)
    return dict(table)


def _read_one(path: Path) -> list[tuple[str, Detection]]:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingDependency("reading .mat boxes", "scipy", "mat") from error
    with reading(path), open(path, "rb", opener=without_waiting) as stream, parsing(path, "a .mat file"):
        content = loadmat(stream, squeeze_me=True, struct_as_record=False, variable_names=["bounding_boxes"])
    match = _SET.fullmatch(path.stem)
    folder = "/".join(part for part in (match.groups() if match else ()) if part)
    try:
        return [_box(folder, entry) for entry in np.atleast_1d(content["bounding_boxes"])]
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise FormatError(
            f"{path}: expected bounding_boxes with imgName and bb_detector, as the 300-W organisers write it ({error})"
        ) from error


def _box(folder: str, entry: Any) -> tuple[str, Detection]:
    return f"{folder}/{entry.imgName}", Detection(BBox(*(np.asarray(entry.bb_detector, float) - 1).tolist()))


def read_faces(path: Path, fmt: Format, sizes: dict[str, tuple[int, int]]) -> dict[str, list[Detection]]:
    """Picture → the boxes of its faces, as the boxes of their landmarks: of a known detector they are calibrated.

    Pictures that failed are not in it. sizes: gets width and height of the pictures in which the boxes lie, where the
    file states them, and not such as no box can lie in: some programs fill in 1 x 1. Raises InputError, FormatError,
    also for a face that cannot be used.
    """
    table: dict[str, list[Detection]] = {}
    for result in fmt.scan(path):
        if isinstance(result, LeftOut):
            raise FormatError(result.within(path))
        if result.frame is not None:
            raise InputError(f"{path}: has frames of a clip; boxes are of pictures")
        if result.status != "error":
            calibration = calibration_of(result.detector)
            boxes = [Detection(calibration.landmarks_bbox(f.bbox), f.detector_score) for f in result.faces]
            table.setdefault(result.source, []).extend(boxes)
            for face in result.faces:
                box = face.bbox
                middle = np.array([(box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2])
                if (size := stated_size(result, middle)) is not None:
                    sizes[result.source] = size
    return table
