"""Settings within bounds: what a training is told is read from checkpoints, too, and those may be damaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST = 10**9
"""No setting counts further."""


def check_bounds(settings: Any, bounds: Mapping[str, tuple[float, float]]) -> None:
    """Raise ValueError where a field, or one of the numbers in a tuple, is not within its bounds, or is NaN.

    bounds: a field's name → the least and the most that it may be.
    """
    for name, (least, most) in bounds.items():
        given = getattr(settings, name)
        for value in given if isinstance(given, tuple) else (given,):
            if not least <= value <= most:
                raise ValueError(f"{name}: expected {least:g} to {most:g}, got {value}")
