"""Boxes around faces, in pixels of the picture: frozen, self-checking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facealign_cli.arrays import Floats, real_number
from facealign_cli.errors import ArgumentError
from facealign_cli.landmarks import LARGEST_COORDINATE

SMALLEST_SIDE = 1e-2
"""In pixels. No face fits into it, so that arithmetic on boxes stays exact."""


@dataclass(frozen=True)
class BBox:
    """An axis-aligned box: left x1, top y1, right x2, bottom y2, in pixels.

    Raises InputError if it is empty, not finite, beyond `LARGEST_COORDINATE` or smaller than `SMALLEST_SIDE`.
    """

    x1: float
    y1: float
    x2: float
    y2: float

    def __post_init__(self) -> None:
        for name in ("x1", "y1", "x2", "y2"):
            try:
                object.__setattr__(self, name, float(getattr(self, name)))
            except (TypeError, ValueError, OverflowError) as error:
                raise ArgumentError(f"bbox: {name}: expected a number, got {getattr(self, name)!r:.40}") from error
        if not all(math.isfinite(v) for v in self.xyxy):
            raise ArgumentError(f"bbox: expected four finite numbers, got {self.xyxy}")
        if self.x2 <= self.x1 or self.y2 <= self.y1:
            raise ArgumentError(f"bbox: expected x1 < x2 and y1 < y2, got {self.xyxy}")
        if max(map(abs, self.xyxy)) > LARGEST_COORDINATE or min(self.width, self.height) < SMALLEST_SIDE:
            raise ArgumentError(
                f"bbox: expected sides of {SMALLEST_SIDE} pixels or more, and at most {LARGEST_COORDINATE:g} pixels "
                f"from the picture's corner, got {self.xyxy}"
            )

    @classmethod
    def from_xywh(cls, x: float, y: float, width: float, height: float) -> BBox:
        """Make a box from its upper left corner and its size."""
        try:
            x2, y2 = float(x) + float(width), float(y) + float(height)
        except (TypeError, ValueError, OverflowError) as error:
            got = f"{(x, y, width, height)!r:.80}"
            raise ArgumentError(f"bbox: expected x, y, width and height as numbers, got {got}") from error
        return cls(x, y, x2, y2)

    @classmethod
    def around(cls, points: Floats) -> BBox:
        """Make the tight box around (K, 2) points, such as landmarks. Raises InputError where there is none."""
        if np.ma.is_masked(points):
            raise ArgumentError("points: expected a value for each point, got masked ones")
        try:
            points = np.asarray(points, float)
        except (TypeError, ValueError, OverflowError) as error:
            raise ArgumentError(f"points: expected numbers, shape (K, 2), got {points!r:.80}") from error
        if points.ndim != 2 or points.shape[1] != 2 or not len(points):
            raise ArgumentError(f"points: expected shape (K, 2), got {points.shape}")
        return cls(*points.min(axis=0), *points.max(axis=0))

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2."""
        return self.x1, self.y1, self.x2, self.y2

    @property
    def width(self) -> float:
        """x2 - x1."""
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        """y2 - y1."""
        return self.y2 - self.y1

    @property
    def size(self) -> float:
        """The mean of width and height."""
        return (self.width + self.height) / 2

    def iou(self, other: BBox) -> float:
        """The area that both boxes share, over the area that they cover together: 0 to 1."""
        if not isinstance(other, BBox):
            raise ArgumentError(f"other: expected a BBox, got {other!r:.80}")
        width = min(self.x2, other.x2) - max(self.x1, other.x1)
        height = min(self.y2, other.y2) - max(self.y1, other.y1)
        if width <= 0 or height <= 0:
            return 0.0
        overlap = width * height
        return overlap / (self.width * self.height + other.width * other.height - overlap)


@dataclass(frozen=True)
class BoxCalibration:
    """How a detector's box leads to the tight box of the 68 points: each edge is moved by a share of the box's size.

    left, right: shares of the box's width, positive to the right. top, bottom: of its height, positive downwards.
    Raises InputError for shares that are no finite numbers, and for such as leave nothing of a box.
    """

    left: float = 0.0
    top: float = 0.0
    right: float = 0.0
    bottom: float = 0.0

    def __post_init__(self) -> None:
        shares = self.left, self.top, self.right, self.bottom
        if not all(math.isfinite(real_number(share)) for share in shares):
            raise ArgumentError(f"calibration: expected four finite numbers, got {shares!r:.80}")
        for name, share in zip(("left", "top", "right", "bottom"), shares, strict=True):
            object.__setattr__(self, name, float(share))
        if min(1 + self.right - self.left, 1 + self.bottom - self.top) <= 0:
            raise ArgumentError(f"calibration: {shares} leaves nothing of a box")

    def landmarks_bbox(self, bbox: BBox) -> BBox:
        """The box that the landmarks are expected to fill."""
        w, h = bbox.width, bbox.height
        return BBox(
            bbox.x1 + self.left * w, bbox.y1 + self.top * h, bbox.x2 + self.right * w, bbox.y2 + self.bottom * h
        )


def check_found(bbox: object, name: str, score: object) -> None:
    """Raise InputError where the box of a record is none, or its score no finite number or None. name: the score's."""
    if not isinstance(bbox, BBox):
        raise ArgumentError(f"bbox: expected a BBox, got {bbox!r:.80}")
    if score is not None and not math.isfinite(real_number(score)):
        raise ArgumentError(f"{name}: expected a finite number or None, got {score!r:.40}")


@dataclass(frozen=True)
class Detection:
    """A box that a detector has found.

    score: in the detector's own scale; None if it gives none. rolls: the angles, in degrees from x towards y, by which
    the face may be turned in the picture; 0 is upright. Landmarks are tried from each; the most confident ones count.
    unsure: the detector by itself would not call it a face, so it counts only if its landmarks are beyond doubt, which
    is a confidence of 0.9 or more.
    Raises InputError for a box, score or roll that is none.
    """

    bbox: BBox
    score: float | None = None
    rolls: tuple[float, ...] = (0.0,)
    unsure: bool = False

    def __post_init__(self) -> None:
        check_found(self.bbox, "score", self.score)
        rolls = tuple(self.rolls) if isinstance(self.rolls, Sequence) or np.ndim(self.rolls) == 1 else ()
        if not rolls or not all(math.isfinite(real_number(roll)) for roll in rolls):
            raise ArgumentError(f"rolls: expected one or more finite numbers, got {self.rolls!r:.80}")
        if not isinstance(self.unsure, bool | np.bool_):
            raise ArgumentError(f"unsure: expected True or False, got {self.unsure!r:.40}")
        object.__setattr__(self, "rolls", tuple(map(float, rolls)))
        object.__setattr__(self, "unsure", bool(self.unsure))
        if self.score is not None:
            object.__setattr__(self, "score", float(self.score))
