"""The table that OpenFace 2 writes for sequences, so that what reads its files reads ours: header and cells parted by
a comma and a space, columns frame, face_id, timestamp, confidence, success, pose_Tx, pose_Ty, pose_Tz, pose_Rx,
pose_Ry, pose_Rz, x_0 … x_67, y_0 … y_67.

As OpenFace has it: `frame` counts from 1, `face_id` from 0, times are seconds with three decimals, landmarks are pixels
counted from 0. A last column, `source`, which OpenFace does not have, names the picture or the clip; a name that a
spreadsheet would run as a formula gets an apostrophe in front, as in `csv`. Pictures have no frame number: the n-th one
of a run is frame n, at time 0. A frame without a face, or that failed, has one row with `success` 0 and zeros. Where a
video was tracked, `face_id` is the track's number. Confidence has four decimals and landmarks three; OpenFace's two and
one. Of OpenFace's own files some have no space behind the commas: both are read.
The head pose is that of the face. Where it has none, it is estimated here from the landmarks and the size of the
picture, with OpenFace's default focal length; and where that size is not known, it is `nan`. Millimetres have three
decimals and radians five; OpenFace's one and three.
Source: `RecorderCSV.cpp` of OpenFace 2.2 and its wiki page "Output Format".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, BinaryIO

import numpy as np

from facealign_cli.boxes import BBox
from facealign_cli.errors import FormatError
from facealign_cli.files.documents import MAY_BE_CUT, PathLike, read_grown_csv, reason
from facealign_cli.files.names import name_to_text, text_to_name
from facealign_cli.formats.base import register_format, strict, write_file
from facealign_cli.formats.codec import POSE_COLUMNS, guarded, unguarded
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.pose import camera_matrix, estimate_pose
from facealign_cli.records import Face, FrameResult, HeadPose, LeftOut

_POINTS = tuple(f"{axis}_{i}" for axis in "xy" for i in range(N_LANDMARKS))
COLUMNS: tuple[str, ...] = ("frame", "face_id", "timestamp", "confidence", "success", *POSE_COLUMNS, *_POINTS)
"""The header line's names."""

_NEEDED = frozenset(COLUMNS) - {"face_id", *POSE_COLUMNS}  # OpenFace before 2.0 had no id; it need not write the pose
_POSE_DECIMALS = (3, 3, 3, 5, 5, 5)
_NO_FACE = ", ".join([f"{0.0:.{decimals}f}" for decimals in _POSE_DECIMALS] + ["0.000"] * len(_POINTS))


def dump(results: Iterable[FrameResult], stream: BinaryIO) -> None:
    """Write the table into a binary stream, result by result."""
    stream.write((", ".join((*COLUMNS, "source")) + "\n").encode())
    for number, result in enumerate(results, start=1):
        name = f", {_quoted(guarded(name_to_text(result.source)))}".encode()
        frame = number if result.frame is None else int(result.frame) + 1
        time = f"{result.timestamp_s or 0.0:.3f}"
        if not result.faces:
            stream.write(f"{frame}, 0, {time}, 0.0000, 0, {_NO_FACE}".encode() + name + b"\n")
        for face in result.faces:
            face_id = face.face_id if face.track_id is None else face.track_id
            points = ", ".join(f"{value:.3f}" for value in (np.round(face.landmarks, 3) + 0.0).T.ravel())
            own = f"{face.confidence:.4f}, 1, {', '.join(_pose_cells(result, face))}, {points}"
            stream.write(f"{frame}, {face_id}, {time}, {own}".encode() + name + b"\n")


def _quoted(text: str) -> str:
    """A cell of its own, whatever is in the text."""
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",\s]', text) else text


def _pose_cells(result: FrameResult, face: Face) -> list[str]:
    pose = face.pose
    if pose is None and result.width and result.height:
        pose = estimate_pose(face.landmarks, camera_matrix(result.width, result.height))
    if pose is None:
        return ["nan"] * len(POSE_COLUMNS)
    values = (*pose.translation_mm, *pose.rotation_rad)
    return [f"{round(value, n) + 0.0:.{n}f}" for value, n in zip(values, _POSE_DECIMALS, strict=True)]


def write(path: PathLike, results: Iterable[FrameResult], overwrite: bool = False) -> None:
    """Write the table to a file, atomically. Raises OutputError."""
    write_file(path, results, dump, overwrite)


def scan(path: PathLike) -> Iterator[FrameResult | LeftOut]:
    """The frames of a table of ours or of OpenFace itself (other columns are passed over), and a last line that was cut
    as what is left out; see `read_grown_csv`.

    The source is what the column `source` names, else the table's own path; the box is the tight one around the
    points.
    Raises InputError if it cannot be read, FormatError if it breaks the rules.
    """
    cut: list[LeftOut] = []
    for (_, name), group in groupby(_read_rows(path, cut), key=lambda row: row[:2]):
        yield _result(path, [row for *_, row in group], name)
    yield from cut


read = strict(scan)


Row = tuple[int, str | None, dict[str, float]]


def _read_rows(path: PathLike, cut: list[LeftOut]) -> Iterator[Row]:
    """(frame, source where it is named, values) of each line. cut: gets the last line if it was cut."""
    rows = read_grown_csv(path, skipinitialspace=True, strict=True)
    header = [name.strip() for name in next(rows, (0, None))[1] or []]
    missing = sorted(_NEEDED.difference(header))
    if missing:
        raise FormatError(f"{path}: not an OpenFace table: no column {missing[0]}")
    for line, cells in rows:
        if cells is None:
            cut.append(LeftOut(str(path), f"line {line}: {MAY_BE_CUT}"))
        else:
            yield _row(path, line, header, cells)


def _row(path: PathLike, line: int, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        raise FormatError(f"{path}: line {line}: expected {len(header)} cells, got {len(cells)}")
    try:
        values = {name: float(cell) for name, cell in zip(header, cells, strict=True) if name in COLUMNS}
    except ValueError as error:
        raise FormatError(f"{path}: line {line}: {reason(error)}") from None
    needed = [value for name, value in values.items() if name not in POSE_COLUMNS]
    if not np.isfinite(needed).all() or values["frame"] < 0:
        raise FormatError(f"{path}: line {line}: expected finite numbers and a frame that counts from 1")
    source = text_to_name(unguarded(cells[header.index("source")])) if "source" in header else None
    return int(values["frame"]), source, values


def _result(path: PathLike, rows: list[dict[str, float]], name: str | None) -> FrameResult:
    frame = max(int(rows[0]["frame"]) - 1, 0)
    try:
        faces = [_face(i, row) for i, row in enumerate(row for row in rows if row["success"] == 1)]
    except ValueError as error:
        raise FormatError(f"{path}: frame {frame + 1}: {reason(error)}") from error
    try:
        return FrameResult.of_faces(
            str(path) if name is None else name, faces, frame=frame, timestamp_s=rows[0]["timestamp"]
        )
    except ValueError as error:
        raise FormatError(f"{path}: frame {frame + 1}: {reason(error)}") from error


def _face(index: int, row: dict[str, float]) -> Face:
    landmarks = np.array([row[name] for name in _POINTS]).reshape(2, N_LANDMARKS).T
    face_id, box = int(row.get("face_id", index)), BBox.around(landmarks)
    return Face(face_id, box, landmarks, row["confidence"], pose=_pose(row))


def _pose(row: dict[str, float]) -> HeadPose | None:
    x, y, z, pitch, yaw, roll = (row.get(name, np.nan) for name in POSE_COLUMNS)
    return HeadPose((x, y, z), (pitch, yaw, roll)) if np.isfinite([x, y, z, pitch, yaw, roll]).all() else None


def _recognises(start: Any) -> bool:
    return isinstance(start, str) and re.match(_START, start) is not None


_START = r"\s*frame\s*,\s*(face_id\s*,\s*)?timestamp\s*,\s*confidence\s*,\s*success\s*,"
_LOSES = (
    "the picture's size, the box, the detector's score, points that cannot be seen, sigma, quality, "
    "which model placed the points; errors become lines without a face"
)
register_format(
    "openface", [], write=write, scan=scan, dump=dump, recognises=_recognises, loses=_LOSES, holds_size=False
)
