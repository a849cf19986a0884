"""dlib's XML of images, boxes and 68 parts named 00 … 67, as `imglab` and `shape_predictor_trainer` read and write it.

Pixels as here: counted from 0, centres at integers. dlib's own reader takes whole numbers only, so points and boxes are
rounded to whole pixels: a point moves by up to half a pixel. Fractions are read where a file has them.
Not held: the confidence (reading gives 1), points that cannot be seen, which model it was, pictures that failed, frames
of clips. Source: dlib/data_io/image_dataset_metadata.cpp
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np

from facealign_cli.boxes import BBox
from facealign_cli.errors import FormatError
from facealign_cli.files.documents import PathLike, read_xml, reason
from facealign_cli.files.names import text_to_name
from facealign_cli.formats.base import OF_THE_RUN, register_format, write_file
from facealign_cli.formats.labelling import drop_unheld, whole_face, why_not, with_text_names
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.records import Face, FrameResult, LeftOut


def dump(results: Iterable[FrameResult], stream: BinaryIO) -> None:
    """Write the file into a binary stream, picture by picture, as UTF-8."""
    stream.write(b"<?xml version='1.0' encoding='UTF-8'?>\n<dataset>\n<name>facealign</name>\n<images>\n")
    for result in with_text_names(drop_unheld(results, sized=False)):
        stream.write(ET.tostring(_image(result), encoding="utf-8", xml_declaration=False) + b"\n")
    stream.write(b"</images>\n</dataset>\n")


def _image(result: FrameResult) -> ET.Element:
    size = {"width": str(result.width), "height": str(result.height)} if result.width and result.height else {}
    image = ET.Element("image", {"file": result.source, **size})
    for face in result.faces:
        x1, y1, x2, y2 = (round(value) for value in face.bbox.xyxy)
        box = {"top": y1, "left": x1, "width": max(x2 - x1, 1), "height": max(y2 - y1, 1)}
        element = ET.SubElement(image, "box", {key: str(value) for key, value in box.items()})
        if face.detector_score is not None:
            element.set("detection_score", f"{face.detector_score:.4f}")
        for i, (x, y) in enumerate(np.round(face.landmarks).astype(int).tolist()):
            ET.SubElement(element, "part", name=f"{i:02d}", x=str(x), y=str(y))
    return image


def write(path: PathLike, results: Iterable[FrameResult], overwrite: bool = False) -> None:
    """Write the file, atomically. Raises OutputError."""
    write_file(path, results, dump, overwrite)


def scan(path: PathLike) -> Iterator[FrameResult | LeftOut]:
    """Each picture's result, and what is left out. Raises InputError, FormatError for a file that is not dlib's."""
    for image in read_xml(path, "dataset", "dlib's XML").findall("./images/image"):
        name = text_to_name(image.get("file", ""))
        faces: list[Face] = []
        for number, box in enumerate(image.findall("box")):
            try:
                faces.append(_face(number, box))
            except ValueError as error:
                yield LeftOut(f"{name}#{number}", str(error))
        try:
            size = {side: int(image.get(side, "0")) for side in ("width", "height")}
            yield FrameResult.of_faces(name, faces, **size)
        except ValueError as error:
            raise FormatError(f"{path}: image {name!r:.60}: {reason(error)}") from error


def _face(face_id: int, box: ET.Element) -> Face:
    """The face of a <box>; its face_id is the box's number in the picture. Raises ValueError."""
    try:
        bbox = BBox.from_xywh(*(float(box.get(key, "nan")) for key in ("left", "top", "width", "height")))
        parts = {
            int(part.get("name", "")): (float(part.get("x", "")), float(part.get("y", "")))
            for part in box.findall("part")
        }
        score = float(box.get("detection_score") or "nan")
    except ValueError as error:
        raise ValueError(f"broken numbers: {reason(error)}") from error
    if sorted(parts) != list(range(N_LANDMARKS)):
        raise ValueError(f"{len(parts)} parts; expected 00 … {N_LANDMARKS - 1}")
    points = np.array([parts[i] for i in range(N_LANDMARKS)])
    if not np.isfinite(points).all():
        raise ValueError("broken numbers: parts that are not finite")
    return whole_face(face_id, points, bbox=bbox, detector_score=score if np.isfinite(score) else None)


_LOSES = f"fractions of pixels, the confidence, points that cannot be seen, {OF_THE_RUN}"
register_format(
    "dlib-xml",
    [],
    write=write,
    scan=scan,
    dump=dump,
    loses=_LOSES,
    names_pictures=True,
    why_not=why_not,
    recognises=lambda tag: tag == "dataset",
)
