"""Other landmark schemes beside ibug-68: smaller ones made of it, larger ones read as it, and the regions of a face.

`subset` gives 51, 49 or 5 points of 68. `to_68` takes WFLW's 98 points or MediaPipe's mesh of 468 or 478 to 68: each of
the 68 is a weighted mean of a few points of the other scheme. Schemes place points by different rules, so a residual
stays that no index list takes away: `RESIDUALS` says how large it is where it was measured.

Sources: Sagonas et al., ICCVW 2013 (68, 51); Zhu et al., Extended Supervised Descent Learning (49, without the inner
mouth corners); Wu et al., Look at Boundary, CVPR 2018 (WFLW-98); MediaPipe's canonical face model (its mesh).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.landmarks import GROUPS, INNER_51, N_LANDMARKS

INNER_49: tuple[int, ...] = tuple(i for i in INNER_51 if i not in (60, 64))
"""The 51 points without the inner mouth corners."""

FIVE_POINTS: tuple[tuple[int, ...], ...] = (GROUPS["left_eye"], GROUPS["right_eye"], (30,), (48,), (54,))
"""The eyes' middles, the nose's tip and the mouth's corners; each is the mean of these points."""

SUBSETS: dict[str, tuple[tuple[int, ...], ...]] = {
    "ibug-68": tuple((i,) for i in range(N_LANDMARKS)),
    "ibug-51": tuple((i,) for i in INNER_51),
    "ibug-49": tuple((i,) for i in INNER_49),
    "5-points": FIVE_POINTS,
}
"""Name of a smaller scheme → for each of its points the ones of ibug-68 that it is the mean of."""


def subset(landmarks: Floats, scheme: str) -> Floats:
    """The points of a smaller scheme, (…, K, 2), of (…, 68, 2) landmarks. Raises ValueError for an unknown one."""
    if scheme not in SUBSETS:
        raise ValueError(f"unknown scheme {scheme!r}: known are {', '.join(SUBSETS)}")
    landmarks = np.asarray(landmarks, float)
    return np.stack([landmarks[..., list(points), :].mean(axis=-2) for points in SUBSETS[scheme]], axis=-2)


def _wflw() -> dict[int, dict[int, float]]:
    """The 33 points of the contour: every second one. The upper edge of the brows. Eight points an eye, not six.

    An eye's points lie on quarters of each lid there and on thirds here: a third is two thirds of the way from a corner
    to the middle, which is a third of the way on from the quarter to the middle.
    """
    table = {i: {2 * i: 1.0} for i in range(17)}
    table |= {17 + i: {33 + i: 1.0} for i in range(5)} | {22 + i: {42 + i: 1.0} for i in range(5)}
    table |= {27 + i: {51 + i: 1.0} for i in range(9)}
    for first, other in ((36, 60), (42, 68)):
        table[first], table[first + 3] = {other: 1.0}, {other + 4: 1.0}
        for own, (quarter, middle) in ((1, (1, 2)), (2, (3, 2)), (4, (5, 6)), (5, (7, 6))):
            table[first + own] = {other + quarter: 2 / 3, other + middle: 1 / 3}
    return table | {48 + i: {76 + i: 1.0} for i in range(20)}


_MESH_TO_68: tuple[int, ...] = (
    127, 227, 177, 215, 172, 136, 149, 148, 152, 377, 378, 365, 397, 435, 401, 447, 356,
    70, 63, 105, 66, 55, 336, 296, 334, 293, 300,
    168, 197, 5, 4, 75, 97, 2, 326, 460,
    7, 159, 158, 155, 153, 144, 382, 385, 387, 249, 373, 380,
    61, 39, 37, 11, 267, 304, 291, 405, 314, 17, 84, 181, 78, 38, 13, 268, 292, 317, 14, 87,
)  # fmt: skip
"""For each of the 68 the vertex of MediaPipe's mesh that lies nearest to it over the 300-W training faces."""

_MESH = {own: {vertex: 1.0} for own, vertex in enumerate(_MESH_TO_68)}
_TABLES: dict[int, Mapping[int, Mapping[int, float]]] = {98: _wflw(), 468: _MESH, 478: _MESH}

KNOWN_NUMBERS = frozenset(_TABLES)
"""Numbers of points that `to_68` takes, besides 68."""

RESIDUALS: dict[int, float] = {468: 0.0536, 478: 0.0536}
"""Number of points → mean distance to the 68 that stays, as a share of the distance of the outer eye corners.

MediaPipe's: 191 held-out faces of 300-W, the mesh's own error in it: jaw 9.0 %, brows 6.3 %, nose 3.5 %, eyes 3.1 %,
mouth 4.0 % (the map in common use: 6.00 % in all); `benchmarks/mesh_map.py` measures it. WFLW's is not measured.
"""


def to_68(points: Floats) -> Floats:
    """(…, 68, 2) landmarks of (…, K, 2) points of another scheme, known by its number of points: 98, 468 or 478.

    Of 68 points they are these. Raises ValueError for another number.
    """
    points = np.asarray(points, float)
    count = points.shape[-2] if points.ndim > 1 else 0
    if count == N_LANDMARKS:
        return points
    if count not in _TABLES:
        raise ValueError(f"{count} points: known are {N_LANDMARKS}, {', '.join(map(str, sorted(_TABLES)))}")
    weights = np.zeros((N_LANDMARKS, count))
    for own, others in _TABLES[count].items():
        for other, weight in others.items():
            weights[own, other] = weight
    return weights @ points


REGIONS = ("face", "left_brow", "right_brow", "left_eye", "right_eye", "nose", "lips", "inner_mouth")
"""The regions of a face, in the order in which they are drawn: the later ones lie upon the earlier ones."""

_BROW_WIDTH = 0.05


def regions(landmarks: Floats) -> dict[str, Floats]:
    """Region → polygon, (K, 2) pixels, of (68, 2) landmarks.

    "face" goes from the jaw to the brows: the points say nothing of the forehead. A brow is the band around its points,
    a tenth of the distance of the outer eye corners wide. "lips" is the outer outline: the inner mouth lies upon it.
    """
    landmarks = np.asarray(landmarks, float)
    if landmarks.shape != (N_LANDMARKS, 2):
        raise ValueError(f"landmarks: expected shape ({N_LANDMARKS}, 2), got {landmarks.shape}")
    eyes = landmarks[45] - landmarks[36]
    up = np.array([eyes[1], -eyes[0]]) * _BROW_WIDTH
    brows = {
        name: np.concatenate([landmarks[list(GROUPS[name])] + up, landmarks[list(GROUPS[name])][::-1] - up])
        for name in ("left_brow", "right_brow")
    }
    return {
        "face": np.concatenate([landmarks[:17], landmarks[26:16:-1]]),
        **brows,
        "left_eye": landmarks[36:42],
        "right_eye": landmarks[42:48],
        "nose": landmarks[[27, 31, 32, 33, 34, 35]],
        "lips": landmarks[48:60],
        "inner_mouth": landmarks[60:68],
    }
