"""The JSON files that may stand beside the pictures of a data set's folder, by the pictures' names.

boxes.json: picture → face box, or a list of them. weights.json: NAME → how far each of the 68 points is to be trusted.
points.json: NAME → points placed by hand in a scheme of the source's own. info.json: NAME → facts, of which `yaw` and
`box` are used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.errors import FormatError
from facealign_cli.files.documents import read_json, structured
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.records import BBox

_PLAIN = (".jpg", ".png", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".avif", ".jp2", ".ppm", ".pgm")
IMAGE_SUFFIXES = tuple(suffix for plain in _PLAIN for suffix in (plain, plain.upper(), f".{plain[1:].capitalize()}"))
"""Of the pictures that stand in a data set's folder; of several of a name the first that is there counts."""
SCHEMES: dict[int, tuple[tuple[int, ...], ...]] = {
    5: ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47), (30,), (48,), (54,)),
    4: ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47), (33,), (51, 57, 62, 66)),
}
"""Number of hand points → the ibug points whose mean stands for each."""


def read_boxes(path: Path) -> dict[str, list[BBox]]:
    """Picture name → its boxes from a boxes.json; empty where there is none. Raises FormatError."""
    form = "{name: [x1, y1, x2, y2]} or {name: [[x1, y1, x2, y2], …]}"
    try:
        found = structured(read_object(path, form), dict[str, list[Any]])
        several = {n: box if box and isinstance(box[0], list) else [box] if box else [] for n, box in found.items()}
        return {
            name: [BBox(*box) for box in boxes]
            for name, boxes in structured(several, dict[str, list[tuple[float, float, float, float]]]).items()
        }
    except ValueError as error:
        raise FormatError(f"{path}: expected {form}: {error}") from error


def read_weights(path: Path) -> dict[str, Floats]:
    """Name without suffix → (68,) weights in [0, 1] from a weights.json; empty where there is none.

    Raises FormatError for weights that are not 68 such numbers.
    """
    form = f"{{name: [{N_LANDMARKS} numbers between 0 and 1]}}"
    weights: dict[str, Floats] = {}
    for name, values in read_object(path, form).items():
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
    content = read_object(path, form)
    for name, facts in content.items():
        if not isinstance(facts, dict):
            raise FormatError(f"{path}: {name}: expected {form}")
    return content


def yaw_of(info: dict[str, Any]) -> float:
    """What a face's facts say of its yaw, degrees; NaN where they say nothing."""
    value = info.get("yaw")
    return float(value) if isinstance(value, int | float) else float("nan")


def read_object(path: Path, form: str) -> dict[str, Any]:
    """A JSON object with names as keys, empty where there is no file; `form` says in an error how it should look."""
    if not path.exists():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise FormatError(f"{path}: expected {form}")
    return content


def read_points(path: Path) -> dict[str, Floats]:
    """Name without suffix → (K, 2) points of one of `SCHEMES`; empty where there is no file. Raises FormatError."""
    form = "{name: [[x, y], …]} with 4 or 5 points"
    points: dict[str, Floats] = {}
    for name, values in read_object(path, form).items():
        try:
            points[name] = np.asarray(values, float)
        except (ValueError, TypeError) as error:
            raise FormatError(f"{path}: {name}: expected {form}") from error
        if points[name].shape not in [(count, 2) for count in SCHEMES] or not np.isfinite(points[name]).all():
            raise FormatError(f"{path}: {name}: expected {form}")
    return points
