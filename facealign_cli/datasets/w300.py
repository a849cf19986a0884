"""Folders of the 300-W kind: NAME.pts beside NAME.jpg or NAME.png.

Beside them may stand boxes.json (picture → face box), weights.json (NAME → how far each of the 68 points is to be
trusted) and info.json (NAME → facts, of which `yaw` is read).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facealign_cli.datasets.base import LeftOut, Sample
from facealign_cli.datasets.splits import photo_key
from facealign_cli.errors import FormatError, InputError
from facealign_cli.formats.pts import read_pts
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.records import BBox

_SUFFIXES = (".jpg", ".png", ".jpeg", ".JPG", ".PNG", ".bmp")
SETS_OF_300W = ("afw", "helen", "lfpw", "ibug", "300W")
_KNOWN_SETS = (*SETS_OF_300W, "ytf", "aflw2000", "fgnet", "webmorph", "facesynth")
_ROUGH_FOLDERS = ("trainset_lowres", "ytf")
"""Folders whose labels are estimates (../shared/data/README.md)."""


def read(root: Path, *, need_pictures: bool = True) -> Iterator[Sample | LeftOut]:
    """Yield the faces below `root`; see `read_samples`."""
    root = Path(os.path.abspath(root))  # so that "." inside a data set's folder gives the same split as the whole set
    files = sorted(root.rglob("*.pts"))
    if not files:
        raise InputError(f"{root}: no .pts file in it or below it")
    beside: dict[Path, _Beside] = {}
    for pts in files:
        folder = pts.parent
        if folder not in beside:
            beside[folder] = _Beside.read(folder)
        yield _face(root, pts, beside[folder], need_pictures)


@dataclass(frozen=True)
class _Beside:
    """What stands beside a folder's faces."""

    boxes: dict[str, BBox]
    weights: dict[str, np.ndarray]
    info: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> _Beside:
        return cls(
            read_boxes(folder / "boxes.json"), read_weights(folder / "weights.json"), read_info(folder / "info.json")
        )

    def yaw(self, name: str) -> float:
        value = self.info.get(name, {}).get("yaw")
        return float(value) if isinstance(value, int | float) else float("nan")


def _face(root: Path, pts: Path, beside: _Beside, need_pictures: bool) -> Sample | LeftOut:
    name = pts.relative_to(root).as_posix()
    image = next((pts.with_suffix(s) for s in _SUFFIXES if pts.with_suffix(s).exists()), None)
    if image is None and need_pictures:
        return LeftOut(name, "no picture beside it")
    image = image or pts.with_suffix(_SUFFIXES[0])
    try:
        landmarks = read_pts(pts)
    except InputError as error:
        return LeftOut(name, str(error))
    folders = pts.parent.parts
    dataset = next((p for p in reversed(folders) if p in _KNOWN_SETS), root.name)
    return Sample(
        name=image.relative_to(root).as_posix(),
        dataset=dataset,
        photo=photo_key(dataset, pts.stem),
        image_path=image,
        landmarks=landmarks,
        bbox=beside.boxes.get(image.name),
        rough=any(p in _ROUGH_FOLDERS for p in folders),
        weights=beside.weights.get(pts.stem),
        yaw=beside.yaw(pts.stem),
    )


def read_boxes(path: Path) -> dict[str, BBox]:
    """Picture name → box from a boxes.json ({name: [x1, y1, x2, y2]}); empty where there is none."""
    form = "{name: [x1, y1, x2, y2]}"
    try:
        return {name: BBox(*box) for name, box in _read_object(path, form).items()}
    except (ValueError, TypeError) as error:
        raise FormatError(f"{path}: expected {form}: {error}") from error


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Name without suffix → (68,) weights in [0, 1] from a weights.json; empty where there is none.

    Raises FormatError for weights that are not 68 such numbers.
    """
    form = f"{{name: [{N_LANDMARKS} numbers between 0 and 1]}}"
    weights: dict[str, np.ndarray] = {}
    for name, values in _read_object(path, form).items():
        try:
            weights[name] = np.asarray(values, np.float32)
            whole = weights[name].shape == (N_LANDMARKS,) and ((weights[name] >= 0) & (weights[name] <= 1)).all()
        except (ValueError, TypeError):
            whole = False
        if not whole:
            raise FormatError(f"{path}: {name}: expected {form}")
    return weights


def read_info(path: Path) -> dict[str, dict[str, Any]]:
    """Name without suffix → what an info.json says of it; empty where there is none. Raises FormatError."""
    form = "{name: {fact: value}}"
    content = _read_object(path, form)
    for name, facts in content.items():
        if not isinstance(facts, dict):
            raise FormatError(f"{path}: {name}: expected {form}")
    return content


def _read_object(path: Path, form: str) -> dict[str, Any]:
    """A JSON object with names as keys; `form` says in an error how it should look."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: expected {form}: {error}") from error
    if not isinstance(content, dict):
        raise FormatError(f"{path}: expected {form}")
    return content
