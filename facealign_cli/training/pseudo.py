"""Labels for faces that have none, and finer ones for fitted labels, by an ensemble of trained models.

A network learns little from its own opinion: the models have to be better than the one that is to be taught. A face is
kept where all models, starts and mirror images see the same, and where that agrees with the points placed by hand; how
closely they agree is each point's weight. Sources: as in `relabel`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facealign_cli.arrays import Bools, Floats
from facealign_cli.datasets.unlabelled import points_of_shape
from facealign_cli.errors import InputError
from facealign_cli.files.output import check_output
from facealign_cli.geometry import extent_of_shape
from facealign_cli.models.dan import DanModel
from facealign_cli.training.augmentation import Augmentation
from facealign_cli.training.pack import read_pack, rewrite_pack
from facealign_cli.training.relabel import opinions

POSES = ("0-30", "30-60", "60-90")
"""Degrees to either side, by the estimate of `yaw_of_shape`."""
_YAW_FACTOR = 2.3
_AGREEMENT, _REFINED = 0.015, 0.02
"""In shares of the face's size: at such a spread between the models, or distance from them, a weight is a half."""


@dataclass(frozen=True)
class Limits:
    """When a face is left out.

    confidence: the least mean of the models'. spread, miss: the most that the models may differ by, and that they may
    miss the hand points by, means over points in shares of the face's size.
    """

    confidence: float = 0.5
    spread: float = 0.03
    miss: float = 0.05


@dataclass(frozen=True)
class PseudoRow:
    """Faces of one data set and pose.

    spread, miss: means over those kept, in shares of the face's size; NaN where there is nothing to compare. moved: how
    far refined labels were moved; NaN for faces that had none.
    """

    dataset: str
    pose: str
    kept: int
    left_out: int
    spread: float
    miss: float
    moved: float


def yaw_of_shape(landmarks: Floats) -> Floats:
    """(N,) degrees, negative where the tip of the nose is to the right of the line from the eyes to the mouth.

    landmarks: (N, 68, 2). On aflw2000's labels it correlates with the yaw of the fitted 3D head by 0.97 and is off by 5
    degrees in the mean. Beyond 60 degrees it says too little.
    """
    eyes, mouth = landmarks[:, 36:48].mean(axis=1), landmarks[:, 48:60].mean(axis=1)
    down = mouth - eyes
    height = np.linalg.norm(down, axis=1)
    across = np.stack([down[:, 1], -down[:, 0]], axis=1) / height[:, None]
    side = ((landmarks[:, 30] - (eyes + mouth) / 2) * across).sum(axis=1) / height
    return np.asarray(np.degrees(np.arcsin(np.clip(-_YAW_FACTOR * side, -1, 1))))


def pseudo_label(
    source: Path,
    path: Path,
    models: Sequence[DanModel],
    *,
    refine: Sequence[str] = ("aflw2000",),
    rounds: int = 2,
    limits: Limits | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> list[PseudoRow]:
    """Write a pack whose faces without labels have the models' mean, each point weighted by their agreement.

    refine: data sets whose training labels are shapes laid onto the picture by scale and shift; the same three numbers
    are fitted to the models' landmarks anew. Those of their training labels that are exact, or on which the models
    disagree, move by the median shift of the set alone. Held-out faces and all other sets stay as they are; faces left
    out are not in the new pack. Raises InputError where there is nothing to do, and where no face is left; OutputError
    if `path` cannot be written.
    """
    check_output(path, overwrite)
    pack, limits = read_pack(source), limits or Limits()
    fitted = pack.labelled & ~pack.held_out & np.isin(pack.sets, list(refine)) & (pack.weights.max(axis=1) < 1)
    rows = np.flatnonzero(~pack.labelled | fitted)
    if not len(rows):
        raise InputError(f"{source}: no face without labels in it, and none of {', '.join(refine)} to refine")
    given = pack.landmarks[rows].astype(float)
    said = [opinions(model, pack.images[rows], given, rounds, np.random.default_rng(seed)) for model in models]
    shapes = np.concatenate([shapes for shapes, _ in said])  # (opinions, N, 68, 2)
    seen = _Seen(shapes, np.mean([confidence for _, confidence in said], axis=0), pack.points[rows])
    good = (seen.confidence >= limits.confidence) & (seen.spread.mean(axis=1) <= limits.spread)
    good &= ~(seen.miss > limits.miss)  # NaN, where there are no hand points, is none
    landmarks, weights, yaw = pack.landmarks.astype(float), pack.weights.copy(), pack.yaw.copy()
    keep = np.ones(len(pack), bool)
    new, refined = good & ~fitted[rows], good & fitted[rows]
    landmarks[rows[new]], weights[rows[new]] = seen.mean[new], _agreement(seen.spread[new], _AGREEMENT)
    yaw[rows[new]] = np.where(np.isfinite(yaw[rows[new]]), yaw[rows[new]], seen.yaw[new])
    for name in refine:
        of_set = refined & (pack.sets[rows] == name)
        if of_set.any():
            laid, trust, shift = _refined(given[of_set], pack.weights[rows[of_set]], seen.mean[of_set])
            others = np.flatnonzero((pack.sets == name) & pack.labelled & ~pack.held_out)
            landmarks[others] += shift * _sizes(landmarks[others])[:, None, None]
            landmarks[rows[of_set]], weights[rows[of_set]] = laid, trust
    keep[rows[~good & ~fitted[rows]]] = False
    moved = np.where(refined, np.linalg.norm(landmarks[rows] - given, axis=2).mean(axis=1) / seen.size, np.nan)
    better = replace(pack, landmarks=landmarks.astype(np.float32), weights=weights.astype(np.float32), yaw=yaw)
    rewrite_pack(source, path, better, keep, overwrite)
    return _table(pack.sets[rows], seen, good, moved)


class _Seen:
    """What an ensemble says of N faces, in shares of their sizes where lengths are meant."""

    def __init__(self, shapes: Floats, confidence: Floats, points: Floats) -> None:
        self.confidence = confidence
        self.mean = shapes.mean(axis=0)  # (N, 68, 2)
        self.size = _sizes(self.mean)
        squared = ((shapes - self.mean) ** 2).sum(axis=3).mean(axis=0)
        self.spread = np.sqrt(squared) / self.size[:, None]  # (N, 68)
        self.miss = np.array([_miss(*pair) for pair in zip(self.mean, points, strict=True)]) / self.size
        self.yaw = yaw_of_shape(self.mean)


def _miss(landmarks: Floats, points: Floats) -> float:
    """Mean distance from the hand points, NaN where there are none."""
    placed = points[np.isfinite(points).all(axis=1)]
    if not len(placed):
        return float("nan")
    return float(np.linalg.norm(points_of_shape(landmarks, len(placed)) - placed, axis=1).mean())


def _agreement(distance: Floats, half: float) -> Floats:
    """Weights: a half where the distance is `half`, none beyond three times that."""
    return np.where(distance > 3 * half, 0.0, 1 / (1 + (distance / half) ** 2))


def _refined(given: Floats, trusted: Floats, seen: Floats) -> tuple[Floats, Floats, Floats]:
    """Fitted labels (N, 68, 2) laid anew, by scale and shift, onto what the models see, and new weights (N, 68).

    The third, (2,), is the median shift in shares of the face's size. What is the same for most of a data set is taken
    over from the models too: a set whose labels all stand to one side would teach another place than the hand-made
    labels do. The models see in the convention of those; `SYMMETRIC_SETS` are without its label shift, and stay so.
    trusted: (N, 68), the weights so far.
    """
    hand = Augmentation.label_shift * np.array([extent_of_shape(shape) for shape in seen])[:, None, None]
    share = (trusted / trusted.sum(axis=1, keepdims=True))[:, :, None]
    middle, target = ((shapes * share).sum(axis=1, keepdims=True) for shapes in (given, seen - hand))
    moved = seen - hand - target
    along, across = (((given - middle) * of * share).sum(axis=(1, 2)) for of in (moved, given - middle))
    scale = np.divide(along, across, out=np.ones_like(across), where=across > 0)  # one trusted point tells no scale
    laid = (given - middle) * scale[:, None, None] + target
    size = _sizes(given)
    offset = np.median((seen - laid) / size[:, None, None], axis=0)
    distance = np.linalg.norm(laid + offset * size[:, None, None] - seen, axis=2) / size[:, None]
    shift = np.median((target - middle)[:, 0] / size[:, None], axis=0)
    return laid, np.where(trusted > 0, _agreement(distance, _REFINED), 0.0), shift


def _sizes(shapes: Floats) -> Floats:
    """(N,) the square roots of the areas of the tight boxes of (N, 68, 2) shapes."""
    return np.asarray(np.sqrt(np.ptp(shapes, axis=1).prod(axis=1)))


def _table(sets: NDArray[np.str_], seen: _Seen, good: Bools, moved: Bools) -> list[PseudoRow]:
    bands, table = np.digitize(np.abs(seen.yaw), (30, 60)), []
    for name in sorted(set(sets.tolist())):
        for band, pose in enumerate(POSES):
            rows = (sets == name) & (bands == band)
            kept = rows & good
            if rows.any():
                means = [_mean(values[kept]) for values in (seen.spread.mean(axis=1), seen.miss, moved)]
                table.append(PseudoRow(name, pose, int(kept.sum()), int((rows & ~good).sum()), *means))
    return table


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
