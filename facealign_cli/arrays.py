"""The kinds of arrays that signatures name. Shapes, units and ranges stand in the docstrings of those who use them."""

from __future__ import annotations

import math
from dataclasses import fields
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating]
"""Landmarks, shapes, boxes, distances: float64 where we make them; float32 is taken, too."""

Image: TypeAlias = NDArray[np.uint8]
"""Pixels of 8 bits: (H, W, 3) BGR or (H, W) grey; crops have the batch axis first."""

Ints: TypeAlias = NDArray[np.integer]
"""Rows and indices."""

Keys: TypeAlias = NDArray[np.uint64]
"""What stands for pictures in memory, see `batch.keys`."""

Bools: TypeAlias = NDArray[np.bool_]
"""One truth for each row or point."""


def pixels(values: NDArray[np.generic]) -> Image:
    """The array itself, as the 8-bit pixels that it holds: OpenCV's types say only that its results are numbers.

    Raises TypeError for another dtype.
    """
    return values.astype(np.uint8, casting="no", copy=False)


def real_number(value: object) -> float:
    """A number as a float; NaN for what is none: texts, arrays, truth values, whole numbers that no float can hold."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


class MadeAnew:
    """A dataclass whose copies and unpickled objects are made of its fields: checked again, arrays read-only again.

    A copy of an array can be written to, whatever its original says. Two are equal if all their values are.
    """

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))  # type: ignore[arg-type]

    def __hash__(self) -> int:
        values = (getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]
        return hash(tuple(value for value in values if not isinstance(value, np.ndarray)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other)
