"""Boxes however somebody gives them, as detections; boxes that cannot be meant so are told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from facealign_cli.boxes import BBox, Detection
from facealign_cli.errors import InputError


def detections_of(boxes: Any) -> list[Detection]:
    """Detections of boxes however they are given: as detections, boxes, (x1, y1, x2, y2), or an (N, 4) array.

    Raises InputError, which names the box, for anything else.
    """
    if isinstance(boxes, BBox | Detection):
        raise InputError(f"{_BOXES}, got a single {type(boxes).__name__}: put it into a list")
    if isinstance(boxes, str | bytes) or not isinstance(boxes, Iterable):
        raise InputError(f"{_BOXES}, got {type(boxes).__name__}")
    return [_detection_of(box, f"boxes[{i}]") for i, box in enumerate(boxes)]


_BOXES = "expected boxes [(x1, y1, x2, y2), ...] in pixels, or an (N, 4) array"


def box_of(values: Iterable[Any]) -> BBox:
    """The box of x1, y1, x2, y2 that somebody gives in pixels. Raises ValueError for one that cannot be meant so."""
    box = BBox(*values)
    if max(box.width, box.height) < 1:
        raise ValueError(
            f"bbox: expected pixels, got fractions of one ({box.xyxy}); shares of the picture's size have "
            "to be multiplied by it"
        )
    return box


def _detection_of(box: Any, place: str) -> Detection:
    if isinstance(box, Detection):
        return box
    if isinstance(box, BBox):
        return Detection(box)
    if np.ma.is_masked(box):
        raise InputError(f"{place}: {_BOXES}, got masked values")
    try:
        values = np.asarray(box, float).reshape(4).tolist()
    except (ValueError, TypeError) as error:
        raise InputError(f"{place}: {_BOXES}, got {box!r:.80}") from error
    try:
        return Detection(box_of(values))
    except ValueError as error:
        raise InputError(f"{place}: {error}; BBox.from_xywh takes x, y, width, height") from error
