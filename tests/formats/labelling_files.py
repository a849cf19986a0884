"""What the tests of labelling tools' formats share: how exact each is, and files written and read in them."""

from __future__ import annotations

from pathlib import Path

from facealign_cli.formats.base import get_format
from facealign_cli.records import FrameResult, LeftOut

TOLERANCE = {"coco": 0, "cvat": 0, "label-studio": 1e-4, "yolo-pose": 1e-4, "dlib-xml": 0.5}
"""Format → how far a point may move there and back, pixels: its own rounding."""


def save(name: str, results: list[FrameResult], folder: Path) -> Path:
    path = folder / {"cvat": "out.xml", "dlib-xml": "out.xml", "yolo-pose": "out"}.get(name, "out.json")
    fmt = get_format(name)
    fmt.write(path, results, **({"root": folder} if fmt.takes_root else {}))
    return path


def scan(name: str, path: Path) -> tuple[list[FrameResult], list[LeftOut]]:
    items = list(get_format(name).scan(path))
    return [i for i in items if isinstance(i, FrameResult)], [i for i in items if isinstance(i, LeftOut)]
