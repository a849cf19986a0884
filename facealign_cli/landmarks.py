"""The ibug-68 landmark scheme: groups, mirror order, eye indices, drawing order, mean shape.

Source: Sagonas et al., "300 Faces in-the-Wild Challenge", ICCVW 2013 (the scheme); Kowalski et al., "Deep Alignment
Network", CVPRW 2017, and its published code (the mean shape). Indices here count from 0; the scheme's own figures
from 1. "Left" and "right" are the picture's, not the person's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facealign_cli.errors import ArgumentError

SCHEME = "ibug-68"
N_LANDMARKS = 68

GROUPS: dict[str, tuple[int, ...]] = {
    "jaw": tuple(range(17)),
    "left_brow": tuple(range(17, 22)),
    "right_brow": tuple(range(22, 27)),
    "nose": tuple(range(27, 36)),
    "left_eye": tuple(range(36, 42)),
    "right_eye": tuple(range(42, 48)),
    "mouth": tuple(range(48, 68)),
}
"""Name of the facial part → landmark indices; together they hold every index once."""

POINT_NAMES: tuple[str, ...] = tuple(
    f"{group}_{number}" for group, indices in GROUPS.items() for number, _ in enumerate(indices, start=1)
)
"""The name of each point for tools that name them: its part's name and its number in the part, counted from 1."""

INNER_51: tuple[int, ...] = tuple(range(17, 68))
"""The 51 points without the jaw line."""

INNER_WITHOUT_BRIDGE: tuple[int, ...] = tuple(i for i in INNER_51 if i not in (27, 28, 29))
"""The inner points whose place does not depend on the convention by which turned heads are labelled."""

OUTER_EYE_CORNERS = (36, 45)
"""The inter-ocular normaliser of the 300-W challenge."""

CONTOURS: tuple[tuple[tuple[int, ...], bool], ...] = (
    (GROUPS["jaw"], False),
    (GROUPS["left_brow"], False),
    (GROUPS["right_brow"], False),
    (tuple(range(27, 31)), False),
    (tuple(range(31, 36)), False),
    (GROUPS["left_eye"], True),
    (GROUPS["right_eye"], True),
    (tuple(range(48, 60)), True),
    (tuple(range(60, 68)), True),
)
"""Drawing order: (indices, closed?) of each line of the face."""


def _mirror_order() -> tuple[int, ...]:
    order = list(range(N_LANDMARKS))
    pairs = [(i, 16 - i) for i in range(8)]
    pairs += [(17 + i, 26 - i) for i in range(5)]
    pairs += [(31, 35), (32, 34)]
    pairs += [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    pairs += [(48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)]
    for i, j in pairs:
        order[i], order[j] = j, i
    return tuple(order)


MIRROR_ORDER: tuple[int, ...] = _mirror_order()
"""`landmarks[MIRROR_ORDER]` restores the scheme after a picture was flipped left to right."""

MEAN_SHAPE: NDArray[np.float64] = np.array(
    [
        [-75.01031, -38.77372],
        [-74.51541, -19.03814],
        [-72.31544, 0.61210],
        [-68.19791, 19.93861],
        [-60.55254, 37.90959],
        [-48.72184, 53.48898],
        [-34.16308, 66.49033],
        [-18.14435, 77.01352],
        [0.00000, 80.11187],
        [18.14435, 77.01352],
        [34.16308, 66.49033],
        [48.72184, 53.48898],
        [60.55254, 37.90959],
        [68.19791, 19.93861],
        [72.31544, 0.61210],
        [74.51541, -19.03814],
        [75.01031, -38.77372],
        [-61.06620, -53.42306],
        [-51.67704, -61.91648],
        [-38.42085, -64.40847],
        [-24.75272, -62.41455],
        [-11.95911, -57.05871],
        [11.95911, -57.05871],
        [24.75272, -62.41455],
        [38.42085, -64.40847],
        [51.67704, -61.91648],
        [61.06620, -53.42306],
        [0.00000, -41.51933],
        [0.00000, -28.66576],
        [0.00000, -15.90791],
        [0.00000, -2.75447],
        [-15.09163, 5.92055],
        [-7.82601, 8.55546],
        [0.00000, 10.89250],
        [7.82601, 8.55546],
        [15.09163, 5.92055],
        [-45.80059, -40.00913],
        [-37.73760, -44.75869],
        [-27.96734, -44.60812],
        [-19.46356, -38.01851],
        [-28.64323, -36.30198],
        [-38.35716, -36.45007],
        [19.46356, -38.01851],
        [27.96734, -44.60812],
        [37.73760, -44.75869],
        [45.80059, -40.00913],
        [38.35716, -36.45007],
        [28.64323, -36.30198],
        [-29.08867, 29.74191],
        [-18.37480, 25.52836],
        [-7.54271, 23.18298],
        [0.00000, 25.12913],
        [7.54271, 23.18298],
        [18.37480, 25.52836],
        [29.08867, 29.74191],
        [18.70557, 40.03696],
        [8.21134, 44.53596],
        [0.00000, 45.40351],
        [-8.21134, 44.53596],
        [-18.70557, 40.03696],
        [-24.57973, 30.33367],
        [-7.65622, 29.61514],
        [0.00000, 30.44897],
        [7.65622, 29.61514],
        [24.57973, 30.33367],
        [7.79869, 34.82792],
        [0.00000, 35.75665],
        [-7.79869, 34.82792],
    ]
)
"""(68, 2) the mean face of the DAN authors, x right, y down, in units of its own; never changed in place."""
MEAN_SHAPE.setflags(write=False)


LARGEST_COORDINATE = 1e9
"""In pixels. No picture reaches beyond it, so that arithmetic on coordinates stays exact."""


def checked_landmarks(name: str, points: Any) -> NDArray[np.float64]:
    """The (68, 2) landmarks of a face, as numbers of their own. name: what errors call them.

    A point may lie outside its picture, but nowhere near `LARGEST_COORDINATE` squared. Raises ArgumentError, which says
    what is wrong with them.
    """
    landmarks = finite_numbers(name, points, (N_LANDMARKS, 2))
    if np.abs(landmarks).max() > LARGEST_COORDINATE**2:
        raise ArgumentError(f"{name}: expected pixels of a picture, got {np.abs(landmarks).max():g}")
    return landmarks


def checked_sigma(name: str, radii: Any) -> NDArray[np.float64]:
    """How far off each landmark of a face may be, (68,), as numbers of their own; see `checked_landmarks`."""
    sigma = finite_numbers(name, radii, (N_LANDMARKS,))
    if (sigma < 0).any():
        raise ArgumentError(f"{name}: expected finite numbers of 0 or more, got {sigma.min():g}")
    return sigma


def finite_numbers(name: str, values: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """An array of that shape, made anew. Raises ArgumentError for what are no finite numbers, and for masked ones."""
    try:
        given = np.asarray(values)
    except ValueError:  # rows of different lengths
        given = np.array(None)
    if given.shape != shape or given.dtype.kind not in "iuf":
        got = f"{given.shape} {given.dtype}" if given.ndim else type(values).__name__
        raise ArgumentError(f"{name}: expected {shape} numbers, got {got}")
    if np.ma.is_masked(values):
        raise ArgumentError(f"{name}: expected a value for each point, got masked ones")
    if not np.isfinite(given).all():
        raise ArgumentError(f"{name}: expected finite numbers, got NaN or infinity")
    return np.array(given, dtype=np.float64)
