"""Label Studio: a JSON list of tasks, each a picture with a prediction of its faces (or the annotation people made).

A face is a rectangle `face` and 68 keypoints whose `parentID` is the rectangle. Coordinates are percent of the
picture's sides, counted from its corner: the middle of the first pixel is half a pixel. They have 9 decimals, so a
point moves by less than 0.0001 pixels. A task's `score` is the lowest confidence of its faces, to sort by. A point
that cannot be seen has the text "not visible" in its `meta`. Beside the file `NAME.json` stands `NAME.config.xml`: the
labelling interface. `data.image` is the address under which Label Studio serves local files; reading takes the file's
name out of it.
Of each task the last annotation that was not cancelled is read; where nobody has begun it, its last prediction. A task
that was skipped by everybody who had it, so that all annotations are cancelled, is left out.
Not held: the detector's score, pictures that failed, frames of clips.
Source: https://labelstud.io/guide/predictions
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, quote, unquote, urlsplit

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.boxes import BBox
from facealign_cli.errors import FormatError
from facealign_cli.files.documents import PathLike, read_json
from facealign_cli.files.names import text_to_name
from facealign_cli.files.output import check_output, write_bytes
from facealign_cli.formats.base import register_format, write_file
from facealign_cli.formats.labelling import LABEL, drop_unheld, visibility, whole_face, why_not_sized, with_text_names
from facealign_cli.landmarks import GROUPS, N_LANDMARKS, POINT_NAMES
from facealign_cli.records import Face, FrameResult, LeftOut

_LOCAL = "/data/local-files/?d="
_HIDDEN = "not visible"
_COLOURS = {"jaw": "#4269d0", "nose": "#efb118", "mouth": "#ff725c"}


def dump(results: Iterable[FrameResult], stream: BinaryIO) -> None:
    """Write the tasks into a binary stream, as UTF-8."""
    held = with_text_names(drop_unheld(results))
    tasks = (json.dumps(_task(result), ensure_ascii=False, allow_nan=False) for result in held)
    stream.write(("[\n" + ",\n".join(tasks) + "\n]\n").encode())


def _task(result: FrameResult) -> dict[str, Any]:
    regions = [region for face in result.faces for region in _regions(result, face)]
    score = min((face.confidence for face in result.faces), default=1.0)
    prediction = {"model_version": result.model or "facealign", "score": round(score, 4), "result": regions}
    data = {"image": _LOCAL + quote(result.source), "width": result.width, "height": result.height}
    return {"data": data, "predictions": [prediction]}


def _regions(result: FrameResult, face: Face) -> Iterator[dict[str, Any]]:
    size = np.array([result.width, result.height])
    common = {"to_name": "image", "original_width": result.width, "original_height": result.height}
    common |= {"image_rotation": 0}
    parent = f"face{face.face_id}"
    corners = np.array(face.bbox.xyxy).reshape(2, 2)
    (x, y), (width, height) = _percent(corners[0] + 0.5, size), _percent(corners[1] - corners[0], size)
    box = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": [LABEL]}
    confidence = round(face.confidence, 4)
    kind = {"from_name": "box", "type": "rectanglelabels"}
    yield {"id": parent, **kind, **common, "score": confidence, "value": box}
    for name, point, seen in zip(POINT_NAMES, face.landmarks, visibility(face), strict=True):
        x, y = _percent(point + 0.5, size)
        value = {"x": x, "y": y, "width": 0.3, "keypointlabels": [name]}
        region = {"id": f"{parent}_{name}", "from_name": "points", "type": "keypointlabels", **common}
        yield region | {"parentID": parent, "value": value} | ({} if seen else {"meta": {"text": [_HIDDEN]}})


def _percent(place: Floats, size: Floats) -> list[float]:
    x, y = np.round(place / size * 100, 9)
    return [float(x), float(y)]


def labelling_interface() -> bytes:
    """The labelling configuration, XML, for a project that takes these tasks."""
    view = ET.Element("View")
    ET.SubElement(view, "Image", name="image", value="$image", zoom="true", zoomControl="true")
    boxes = ET.SubElement(view, "RectangleLabels", name="box", toName="image")
    ET.SubElement(boxes, "Label", value=LABEL)
    points = ET.SubElement(view, "KeyPointLabels", name="points", toName="image", strokeWidth="2")
    for group, indices in GROUPS.items():
        for index in indices:
            ET.SubElement(points, "Label", value=POINT_NAMES[index], background=_COLOURS.get(group, "#3ca951"))
    ET.indent(view)
    return ET.tostring(view) + b"\n"


def write(path: PathLike, results: Iterable[FrameResult], overwrite: bool = False) -> None:
    """Write the tasks to a file, and the labelling interface beside it. Raises OutputError."""
    config = Path(path).with_suffix(".config.xml")
    check_output(config, overwrite)
    write_file(path, results, dump, overwrite)
    write_bytes(config, labelling_interface(), overwrite)


def scan(path: PathLike) -> Iterator[FrameResult | LeftOut]:
    """Each picture's result, and what is left out. Raises InputError, FormatError for another file."""
    try:
        tasks = read_json(path)
    except ValueError as error:
        raise FormatError(f"{path}: not JSON: {error}") from error
    if not isinstance(tasks, list):
        raise FormatError(f"{path}: not Label Studio's JSON: expected a list of tasks")
    for number, task in enumerate(tasks):
        try:
            yield from _picture(task)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            raise FormatError(f"{path}: task {number}: {error!r:.120}") from error


def _picture(task: dict[str, Any]) -> Iterator[FrameResult | LeftOut]:
    name = text_to_name(picture_name(str(task["data"]["image"])))
    annotations = task.get("annotations") or ()
    made = [work for work in annotations if not work.get("was_cancelled")]
    if annotations and not made:
        yield LeftOut(name, "it was skipped in Label Studio, and nobody says what its faces are")
        return
    work = (made or task.get("predictions") or [{"result": []}])[-1]
    boxes = {r["id"]: r for r in work["result"] if r["type"] == "rectanglelabels"}
    points: dict[str | None, list[dict[str, Any]]] = defaultdict(list)
    for region in work["result"]:
        if region["type"] == "keypointlabels":
            points[region.get("parentID")].append(region)
    first: dict[str, Any] = next(iter(work["result"]), {})
    size = {s: int(first.get(f"original_{s}") or task["data"].get(s) or 0) for s in ("width", "height")}
    faces: list[Face] = []
    for number, (parent, regions) in enumerate(points.items()):
        try:
            faces.append(_face(len(faces), boxes.get(parent), regions, size))
        except ValueError as error:
            yield LeftOut(f"{name}#{number}", str(error))
    model = str(work["model_version"]) if not made and work.get("model_version") else None
    yield FrameResult.of_faces(name, faces, **size, model=model)


def _face(face_id: int, box: dict[str, Any] | None, regions: list[dict[str, Any]], size: dict[str, int]) -> Face:
    scale = np.array([size["width"], size["height"]]) / 100
    points, visible = np.full((N_LANDMARKS, 2), np.nan), np.ones(N_LANDMARKS, bool)
    for region in regions:
        value = region["value"]
        (label,) = value["keypointlabels"]
        if label not in POINT_NAMES:
            raise ValueError(f"a point with the unknown label {label!r:.40}")
        index = POINT_NAMES.index(label)
        if not np.isnan(points[index]).any():
            raise ValueError(f"two points are {label}: points of several faces need the faces' boxes as parents")
        points[index] = np.array([value["x"], value["y"]]) * scale - 0.5
        visible[index] = _HIDDEN not in (region.get("meta") or {}).get("text", ())
    if box is None:
        return whole_face(face_id, points, visible=visible)
    value = box["value"]
    corner = np.array([value["x"], value["y"]]) * scale - 0.5
    extent = np.array([value["width"], value["height"]]) * scale
    bbox = BBox.from_xywh(*np.round([*corner, *extent], 6).tolist())
    return whole_face(face_id, points, bbox=bbox, visible=visible, confidence=box.get("score"))


def picture_name(address: str) -> str:
    """The file's name in an address of Label Studio: of its local files, or what it has uploaded, or as it stands."""
    parts = urlsplit(address)
    if address.startswith("/data/local-files/") or parts.path.endswith("/data/local-files/"):
        return unquote(address.split("?d=", 1)[1]) if "?d=" in address else parse_qs(parts.query)["d"][0]
    return unquote(parts.path.removeprefix("/data/")) if parts.path.startswith("/data/") else address


def _recognises(document: Any) -> bool:
    return isinstance(document, list) and bool(document) and isinstance(document[0], dict) and "data" in document[0]


_LOSES = "the detector's score, the pose, sigma, quality"
register_format(
    "label-studio",
    [],
    write=write,
    scan=scan,
    dump=dump,
    loses=_LOSES,
    names_pictures=True,
    why_not=why_not_sized,
    recognises=_recognises,
)
