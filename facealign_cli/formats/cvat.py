"""CVAT for images 1.1: an XML file with a skeleton `face` of 68 named points for each face.

CVAT counts pixels from the picture's corner, so the middle of the first pixel is 0.5: points are moved by half a pixel
on the way out and back, and have three decimals. A point that cannot be seen is `occluded`; one that is `outside` is
not labelled, and its face is left out. Beside the file `NAME.xml` stands `NAME.labels.json`: what to paste into CVAT's
"Raw" label constructor before the file is uploaded as annotations. A shape of 68 points in order is a face, too.
Not held: the detector's box (reading gives the tight one around the points) and score, which model it was, pictures
that failed, frames of clips. Tracks of CVAT for video are left out.
Source: https://docs.cvat.ai/docs/manual/advanced/xml_format/
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.errors import FormatError
from facealign_cli.files.documents import PathLike, read_xml, reason
from facealign_cli.files.names import text_to_name
from facealign_cli.files.output import check_output, write_bytes
from facealign_cli.formats.base import OF_THE_RUN, register_format, write_file
from facealign_cli.formats.labelling import (
    LABEL,
    drop_unheld,
    edges,
    point_indices,
    template,
    visibility,
    whole_face,
    why_not_sized,
    with_text_names,
)
from facealign_cli.landmarks import N_LANDMARKS, POINT_NAMES
from facealign_cli.records import Face, FrameResult, LeftOut

_CORNER = 0.5
_ATTRIBUTE = {"name": "confidence", "mutable": "False", "input_type": "text", "default_value": "", "values": ""}


def dump(results: Iterable[FrameResult], stream: BinaryIO) -> None:
    """Write the annotations into a binary stream, picture by picture, as UTF-8."""
    held = with_text_names(drop_unheld(results))
    stream.write(b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n')
    stream.write(ET.tostring(_meta(len(held))) + b"\n")
    for number, result in enumerate(held):
        stream.write(ET.tostring(_image(number, result), encoding="utf-8", xml_declaration=False) + b"\n")
    stream.write(b"</annotations>\n")


def _meta(size: int) -> ET.Element:
    meta = ET.Element("meta")
    task = ET.SubElement(meta, "task")
    for tag, text in (("name", "facealign"), ("size", str(size)), ("mode", "annotation")):
        ET.SubElement(task, tag).text = text
    labels = ET.SubElement(task, "labels")
    face = ET.SubElement(labels, "label")
    ET.SubElement(face, "name").text = LABEL
    ET.SubElement(face, "type").text = "skeleton"
    attribute = ET.SubElement(ET.SubElement(face, "attributes"), "attribute")
    for tag, text in _ATTRIBUTE.items():
        ET.SubElement(attribute, tag).text = text
    ET.SubElement(face, "svg").text = _svg()
    for name in POINT_NAMES:
        label = ET.SubElement(labels, "label")
        for tag, text in (("name", name), ("type", "points"), ("attributes", ""), ("parent", LABEL)):
            ET.SubElement(label, tag).text = text
    return meta


def _image(number: int, result: FrameResult) -> ET.Element:
    size = {"width": str(result.width), "height": str(result.height)}
    image = ET.Element("image", {"id": str(number), "name": result.source, **size})
    for face in result.faces:
        skeleton = ET.SubElement(image, "skeleton", {"label": LABEL, "source": "auto", "z_order": "0"})
        for name, (x, y), seen in zip(POINT_NAMES, face.landmarks + _CORNER, visibility(face), strict=True):
            place = {"outside": "0", "occluded": str(int(not seen)), "points": f"{x:.3f},{y:.3f}"}
            ET.SubElement(skeleton, "points", {"label": name, "source": "auto", **place})
        ET.SubElement(skeleton, "attribute", name="confidence").text = f"{face.confidence:.4f}"
    return image


def label_constructor() -> list[dict[str, Any]]:
    """The labels of a task that takes these annotations, as CVAT's "Raw" constructor takes them."""
    attribute = {**_ATTRIBUTE, "mutable": False, "values": [""]}
    points = [{"name": name, "type": "points", "attributes": []} for name in POINT_NAMES]
    return [{"name": LABEL, "type": "skeleton", "attributes": [attribute], "svg": _svg(), "sublabels": points}]


def _svg() -> str:
    """The skeleton's drawing in a square of 100, as CVAT stores it; nodes count from 1."""
    places = np.round(template(100, 8), 2)
    lines = [
        f'<line x1="{places[a, 0]}" y1="{places[a, 1]}" x2="{places[b, 0]}" y2="{places[b, 1]}" '
        f'data-type="edge" data-node-from="{a + 1}" data-node-to="{b + 1}"></line>'
        for a, b in edges()
    ]
    nodes = [
        f'<circle r="0.75" cx="{x}" cy="{y}" data-type="element node" data-element-id="{i}" data-node-id="{i}" '
        f'data-label-name="{name}"></circle>'
        for i, (name, (x, y)) in enumerate(zip(POINT_NAMES, places, strict=True), start=1)
    ]
    return "".join(lines + nodes)


def write(path: PathLike, results: Iterable[FrameResult], overwrite: bool = False) -> None:
    """Write the annotations to a file, and the labels beside it. Raises OutputError."""
    labels = Path(path).with_suffix(".labels.json")
    check_output(labels, overwrite)
    write_file(path, results, dump, overwrite)
    write_bytes(labels, json.dumps(label_constructor(), indent=1).encode() + b"\n", overwrite)


def scan(path: PathLike) -> Iterator[FrameResult | LeftOut]:
    """Each picture's result, and what is left out. Raises InputError, FormatError for a file that is not CVAT's."""
    root = read_xml(path, "annotations", "CVAT's XML")
    for track in root.findall("track"):
        yield LeftOut(f"track {track.get('id')}", 'it is of a clip: export the task as "CVAT for images"')
    for image in root.findall("image"):
        name = text_to_name(image.get("name", ""))
        if not name:
            yield LeftOut(f"image {image.get('id')}", "it does not say which picture it is of: its name is missing")
            continue
        faces: list[Face] = []
        shapes = [shape for shape in image if shape.tag in ("skeleton", "points")]
        for number, shape in enumerate(shapes):
            try:
                faces.append(_face(len(faces), shape))
            except ValueError as error:
                yield LeftOut(f"{name}#{number}", str(error))
        try:
            size = {side: int(image.get(side, "0")) for side in ("width", "height")}
            yield FrameResult.of_faces(name, faces, **size)
        except ValueError as error:
            raise FormatError(f"{path}: image {name!r:.60}: {reason(error)}") from error


def _face(face_id: int, shape: ET.Element) -> Face:
    if shape.tag == "points":
        places = _points(shape)
        if len(places) != N_LANDMARKS:
            raise ValueError(f"a shape of {len(places)} points; expected {N_LANDMARKS}")
        return whole_face(face_id, places)
    parts = shape.findall("points")
    order = point_indices([part.get("label", "") for part in parts])
    if order is None:
        raise ValueError(f"a skeleton whose {len(parts)} points are not the 68 by name")
    places, visible = np.full((N_LANDMARKS, 2), np.nan), np.ones(N_LANDMARKS, bool)
    for index, part in zip(order, parts, strict=True):
        if part.get("outside") != "1":
            places[index] = _points(part)[0]
        visible[index] = part.get("occluded") != "1"
    attributes = {a.get("name"): a.text for a in shape.findall("attribute")}
    confidence = attributes.get("confidence")
    return whole_face(face_id, places, visible=visible, confidence=float(confidence) if confidence else None)


def _points(shape: ET.Element) -> Floats:
    """(K, 2) of "x,y;x,y;…". Raises ValueError."""
    places = np.array([[float(v) for v in pair.split(",")] for pair in shape.get("points", "").split(";")])
    return places.reshape(-1, 2) - _CORNER


_LOSES = f"the detector's box and score, {OF_THE_RUN}"
register_format(
    "cvat",
    [],
    write=write,
    scan=scan,
    dump=dump,
    loses=_LOSES,
    names_pictures=True,
    why_not=why_not_sized,
    recognises=lambda tag: tag == "annotations",
)
