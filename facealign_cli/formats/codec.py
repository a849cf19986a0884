"""Records as plain values and back: for JSON, and for the rows of tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from types import NoneType
from typing import Any

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.boxes import BBox
from facealign_cli.errors import FormatError
from facealign_cli.files.names import names_to_texts, texts_to_names
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.records import Face, FrameResult, HeadPose, Quality

SCHEMA = "facealign/2"
"""The layout of a record: its name and number."""
READABLE = ("facealign/1", SCHEMA)
"""Layouts that are read; in the first one, faces have no `sigma`."""


def json_line(record: dict[str, Any]) -> bytes:
    """A record of `to_dict` as JSON without line breaks, UTF-8; no NaN."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False).encode()


def to_dict(result: FrameResult) -> dict[str, Any]:
    """A record as plain JSON values: pixels with 3 decimals, scores with 4, times with 6; every key is always there.

    The keys are those of `facealign-2.schema.json`, one of its `results`. Names that are no UTF-8 stand there as
    `files.names` has it.
    """
    record = names_to_texts({key: getattr(result, key) for key in _RESULT_KEYS})
    record |= {
        "width": int(result.width),
        "height": int(result.height),
        "frame": _integer(result.frame),
        "timestamp_s": _rounded(result.timestamp_s, 6),
        "faces": [face_to_dict(face) for face in result.faces],
    }
    return record


def from_dict(record: Any) -> FrameResult:
    """The record of such values. Raises FormatError, which says where they break the rules."""
    if isinstance(record, dict):
        record = {"warning": None, **record}  # version 0.1.0 wrote none
    values = _checked(record, _RESULT_KEYS, "a result")
    if not isinstance(values["faces"], list):
        raise FormatError(f"faces: expected a list, got {values['faces']!r:.40}")
    values["faces"] = tuple(face_from_dict(face, i) for i, face in enumerate(values["faces"]))
    try:
        return FrameResult(**texts_to_names(values))
    except (ValueError, TypeError) as error:
        raise FormatError(str(error)) from error


_RESULT_KEYS: dict[str, tuple[type, ...]] = {
    "source": (str,),
    "status": (str,),
    "error": (str, NoneType),
    "warning": (str, NoneType),
    "width": (int,),
    "height": (int,),
    "frame": (int, NoneType),
    "timestamp_s": (int, float, NoneType),
    "scheme": (str,),
    "model": (str, NoneType),
    "provider": (str, NoneType),
    "detector": (str, NoneType),
    "faces": (list,),
}
_FACE_KEYS: dict[str, tuple[type, ...]] = {
    "face_id": (int,),
    "track_id": (int, NoneType),
    "bbox": (list,),
    "detector_score": (int, float, NoneType),
    "confidence": (int, float),
    "landmarks": (list,),
    "sigma": (list, NoneType),
}
_OPTIONAL_FACE_KEYS: dict[str, tuple[type, ...]] = {"visible": (list,), "pose": (dict,), "quality": (dict,)}
_POSE_KEYS: dict[str, tuple[type, ...]] = {"translation_mm": (list,), "rotation_rad": (list,)}


RESULT_COLUMNS = ("source", "status", "error", "warning", "width", "height", "frame", "timestamp_s")
FACE_COLUMNS = ("face_id", "track_id", "x1", "y1", "x2", "y2", "detector_score", "confidence")
RUN_COLUMNS = ("scheme", "model", "provider", "detector")
"""The columns of tables, but for the landmarks, in their order."""

POSE_COLUMNS = ("pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz")
"""The columns of the head pose, with OpenFace's names: millimetres, then radians; empty where it was not asked for."""

QUALITY_COLUMNS = ("sharpness", "brightness", "contrast", "cut_off")
"""The columns of the quality, as `records.Quality` has it; empty where it was not asked for."""
_QUALITY_KEYS: dict[str, tuple[type, ...]] = dict.fromkeys(QUALITY_COLUMNS, (int, float, NoneType))
_QUALITY_DECIMALS = (4, 2, 2, 4)

_BOX_COLUMNS = ("x1", "y1", "x2", "y2")

_RISKY = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


def guarded(text: str) -> str:
    """A text for a cell of a CSV table: an apostrophe goes before what a spreadsheet would run as a formula."""
    return f"'{text}" if text.startswith(_RISKY) else text


def unguarded(cell: str) -> str:
    """The text that `guarded` made the cell of."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_RISKY) else cell


def to_rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a table that a record of `to_dict` makes: one per face, or one without the face's columns.

    A face's row also has its `landmarks` and `sigma`, as they stand in the record, and the columns of pose and quality
    if it has them.
    """
    if not record["faces"]:
        yield record
    for face in record["faces"]:
        row = {**record, **face, **dict(zip(_BOX_COLUMNS, face["bbox"], strict=True)), **face.get("quality", {})}
        if "pose" in face:
            pose = [value for key in _POSE_KEYS for value in face["pose"][key]]
            row |= dict(zip(POSE_COLUMNS, pose, strict=True))
        yield row


def from_rows(rows: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records, for `from_dict`, of numbered rows of a table; each with the number of its first row.

    A row has all columns, `landmarks` and perhaps `sigma`; one without a face has no `face_id`. Rows of one picture
    make one record, wherever they stand: somebody may have sorted them. If a face_id comes again, the picture was
    given twice, and a second record begins.
    """
    records: list[tuple[int, dict[str, Any]]] = []
    latest: dict[tuple[Any, ...], dict[int, dict[str, Any]]] = {}  # of each picture: the faces of its last record
    for number, row in rows:
        record = _record_of_row(row)
        picture = tuple(record[column] for column in RESULT_COLUMNS + RUN_COLUMNS)
        faces = {face["face_id"]: face for face in record["faces"]}
        known = latest.get(picture)
        if known and faces and not known.keys() & faces.keys():
            known |= faces
            continue
        latest[picture] = faces
        records.append((number, record | {"faces": faces}))
    for number, record in records:
        yield number, record | {"faces": [face for _, face in sorted(record["faces"].items())]}


def _record_of_row(row: dict[str, Any]) -> dict[str, Any]:
    record = {column: row[column] for column in RESULT_COLUMNS + RUN_COLUMNS}
    if row["face_id"] is None:
        return {**record, "faces": []}
    face = {column: row[column] for column in FACE_COLUMNS if column not in _BOX_COLUMNS}
    face |= {"bbox": [row[column] for column in _BOX_COLUMNS]}
    face |= {"landmarks": row["landmarks"], "sigma": row.get("sigma")}
    if row.get(POSE_COLUMNS[0]) is not None:
        face["pose"] = {
            "translation_mm": _pose_cells(row, POSE_COLUMNS[:3]),
            "rotation_rad": _pose_cells(row, POSE_COLUMNS[3:]),
        }
    if row.get("cut_off") is not None:
        face["quality"] = {name: row.get(name) for name in QUALITY_COLUMNS}
    return {**record, "faces": [face]}


def _pose_cells(row: dict[str, Any], columns: tuple[str, ...]) -> list[Any]:
    return [row.get(column) for column in columns]


def face_to_dict(face: Face) -> dict[str, Any]:
    """A face as it stands among the `faces` of a record."""
    return {
        "face_id": int(face.face_id),
        "track_id": _integer(face.track_id),
        "bbox": [_rounded(value, 3) for value in face.bbox.xyxy],
        "detector_score": _rounded(face.detector_score, 4),
        "confidence": _rounded(face.confidence, 4),
        "landmarks": (np.round(face.landmarks, 3) + 0.0).tolist(),
        "sigma": None if face.sigma is None else (np.round(face.sigma, 3) + 0.0).tolist(),
        **({} if face.visible is None else {"visible": face.visible.tolist()}),
        **({} if face.pose is None else {"pose": _pose_to_dict(face.pose)}),
        **({} if face.quality is None else {"quality": _quality_to_dict(face.quality)}),
    }


def _quality_to_dict(quality: Quality) -> dict[str, Any]:
    values = zip(QUALITY_COLUMNS, _QUALITY_DECIMALS, strict=True)
    return {name: _rounded(getattr(quality, name), decimals) for name, decimals in values}


def _pose_to_dict(pose: HeadPose) -> dict[str, Any]:
    return {
        "translation_mm": [_rounded(value, 3) for value in pose.translation_mm],
        "rotation_rad": [_rounded(value, 5) for value in pose.rotation_rad],
    }


def _pose_from_dict(record: Any) -> HeadPose:
    values = _checked(record, _POSE_KEYS, "a pose")
    return HeadPose(**{key: tuple(_numbers(values[key], (3,), key).tolist()) for key in _POSE_KEYS})


def face_from_dict(record: Any, index: int) -> Face:
    """The face of such values; index: its place, for the error. Raises FormatError."""
    try:
        older = isinstance(record, dict) and "sigma" not in record  # of facealign/1
        values = _checked({**record, "sigma": None} if older else record, _FACE_KEYS, "a face", _OPTIONAL_FACE_KEYS)
        values["bbox"] = BBox(*_numbers(values["bbox"], (4,), "bbox").tolist())
        values["landmarks"] = _numbers(values["landmarks"], (N_LANDMARKS, 2), "landmarks")
        if values["sigma"] is not None:
            values["sigma"] = _numbers(values["sigma"], (N_LANDMARKS,), "sigma")
        if "pose" in values:
            values["pose"] = _pose_from_dict(values["pose"])
        if "quality" in values:
            values["quality"] = Quality(**_checked(values["quality"], _QUALITY_KEYS, "a quality"))
        return Face(**values)
    except (ValueError, TypeError, FormatError) as error:
        raise FormatError(f"faces[{index}]: {error}") from error


def _numbers(values: Any, shape: tuple[int, ...], name: str) -> Floats:
    try:
        array = np.array(values)
    except (ValueError, OverflowError) as error:  # lists of unequal length
        raise FormatError(f"{name}: expected numbers of shape {shape}") from error
    if array.shape != shape or array.dtype.kind not in "iuf":
        raise FormatError(f"{name}: expected numbers of shape {shape}, got {array.dtype} of shape {array.shape}")
    return array.astype(np.float64)


def _checked(
    record: Any, keys: dict[str, tuple[type, ...]], name: str, optional: dict[str, tuple[type, ...]] | None = None
) -> dict[str, Any]:
    """A copy of the record, if it has exactly these keys with values of these types, and optional ones or not."""
    if not isinstance(record, dict):
        raise FormatError(f"expected {name}, got {record!r:.40}")
    keys = keys | {key: types for key, types in (optional or {}).items() if key in record}
    if missing := [key for key in keys if key not in record]:
        raise FormatError(f"{name} lacks {', '.join(missing)}")
    if unknown := [key for key in record if key not in keys]:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        first = ", ".join(f"{key!r:.40}" for key in unknown[:3])
        raise FormatError(f"{name} has keys that are not known: {first}{more}")
    for key, types in keys.items():
        value = record[key]
        if not isinstance(value, types) or isinstance(value, bool):
            raise FormatError(f"{key}: expected {' or '.join(t.__name__ for t in types)}, got {value!r:.40}")
    return dict(record)


def _integer(value: Any) -> int | None:
    return None if value is None else int(value)


def _rounded(value: float | None, decimals: int) -> float | None:
    return None if value is None else round(float(value), decimals) + 0.0  # + 0.0 turns -0.0 into 0.0
