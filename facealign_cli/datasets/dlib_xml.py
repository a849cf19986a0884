"""dlib's XML of images, boxes and parts (as `imglab` writes it), with 68 parts named 00 … 67, 0-based pixels."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from facealign_cli.datasets.base import LeftOut, Sample
from facealign_cli.datasets.splits import photo_key
from facealign_cli.errors import FormatError, InputError
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.records import BBox


def read(path: Path) -> Iterator[Sample | LeftOut]:
    """Yield the faces of the file; pictures are found relative to it; see `read_samples`."""
    images = _images(path)
    if not images:
        raise InputError(f"{path}: no <image> in it")
    for image in images:
        file = image.get("file", "")
        for number, box in enumerate(image.findall("box")):
            yield _face(path.parent, file, number, box)


def _images(path: Path) -> list[ET.Element]:
    try:
        content = path.read_bytes()
        if b"<!ENTITY" in content[:65536]:
            raise FormatError(f"{path}: entity definitions are not read")
        return ET.fromstring(content).findall("./images/image")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (ET.ParseError, LookupError, ValueError) as error:  # the latter two: an encoding that is not known or not so
        raise FormatError(f"{path}: {error}") from error


def _face(folder: Path, file: str, number: int, box: ET.Element) -> Sample | LeftOut:
    name = f"{file}#{number}"
    if not (folder / file).is_file():
        return LeftOut(name, "its picture is missing")
    try:
        left, top, width, height = (float(box.get(key, "nan")) for key in ("left", "top", "width", "height"))
        bbox = BBox.from_xywh(left, top, width, height)
        parts = {
            int(part.get("name", "")): (float(part.get("x", "")), float(part.get("y", "")))
            for part in box.findall("part")
        }
    except ValueError as error:
        return LeftOut(name, f"broken numbers: {error}")
    if sorted(parts) != list(range(N_LANDMARKS)):
        return LeftOut(name, f"{len(parts)} parts; expected 00 … {N_LANDMARKS - 1}")
    dataset = Path(file).parts[0] if len(Path(file).parts) > 1 else folder.name
    landmarks = np.array([parts[i] for i in range(N_LANDMARKS)])
    if not np.isfinite(landmarks).all():
        return LeftOut(name, "broken numbers: parts that are not finite")
    return Sample(name, dataset, photo_key(dataset, Path(file).stem), folder / file, landmarks, bbox)
