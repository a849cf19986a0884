"""Errors of landmarks, by the 300-W protocol: pure numpy.

An image's error is the mean over its points of the distance to the truth, over a normaliser; a set's error is the mean
over images. Values are fractions; percent appears in printed text only. A face that was missed has an infinite error.
Source: Sagonas et al., "300 Faces in-the-Wild Challenge" (2013, 2016); the names of DAN's code in parentheses below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from facealign_cli.arrays import Floats, real_number
from facealign_cli.errors import ArgumentError
from facealign_cli.landmarks import GROUPS, INNER_51, N_LANDMARKS, OUTER_EYE_CORNERS

POINT_SETS: dict[str, tuple[int, ...]] = {
    "68": tuple(range(N_LANDMARKS)),
    "51": INNER_51,
    "jaw": GROUPS["jaw"],
    "brows": GROUPS["left_brow"] + GROUPS["right_brow"],
    "nose": GROUPS["nose"],
    "eyes": GROUPS["left_eye"] + GROUPS["right_eye"],
    "mouth": GROUPS["mouth"],
}
"""Name of a set of points that errors are averaged over → its indices: all, all but the jaw line, and the regions."""

REGIONS = ("jaw", "brows", "nose", "eyes", "mouth")
"""The names of the facial parts among `POINT_SETS`; together they hold every point once."""


def inter_pupil(truth: Floats) -> Floats:
    """(N,) distance of the eyes' centres, the means of points 36–41 and 42–47 ("centers"); truth (N, 68, 2)."""
    return _lengths(truth[:, 36:42].mean(axis=1) - truth[:, 42:48].mean(axis=1))


def inter_ocular(truth: Floats) -> Floats:
    """(N,) distance of the outer eye corners, points 36 and 45 ("corners", the 300-W challenge); truth (N, 68, 2)."""
    left, right = OUTER_EYE_CORNERS
    return _lengths(truth[:, left] - truth[:, right])


def bbox_diagonal(truth: Floats) -> Floats:
    """(N,) diagonal of the truth's tight box ("diagonal", Menpo); truth (N, 68, 2)."""
    return _lengths(truth.max(axis=1) - truth.min(axis=1))


def _lengths(vectors: Floats) -> Floats:
    """(...,) of (..., 2)."""
    return np.asarray(np.linalg.norm(vectors, axis=-1))


NORMALISERS: dict[str, Callable[[Floats], Floats]] = {
    "inter-pupil": inter_pupil,
    "inter-ocular": inter_ocular,
    "bbox-diagonal": bbox_diagonal,
}


def point_errors(landmarks: Floats, truth: Floats) -> Floats:
    """(N, K) distance of each point to the truth, pixels.

    landmarks, truth: (N, K, 2) pixels. Raises InputError for other shapes or values that are not finite.
    """
    landmarks, truth = _numbers(landmarks), _numbers(truth)
    if landmarks.shape != truth.shape or truth.ndim != 3 or truth.shape[2] != 2:
        raise ArgumentError(f"expected two (N, K, 2) arrays of one shape, got {landmarks.shape} and {truth.shape}")
    if not (np.isfinite(landmarks).all() and np.isfinite(truth).all()):
        raise ArgumentError("landmarks hold NaN or infinity")
    return _lengths(landmarks - truth)


def scale_of(truth: Floats, normaliser: str) -> Floats:
    """(N,) the normaliser's length for each face, pixels.

    truth: (N, 68, 2) pixels. Raises InputError for another shape, an unknown normaliser or a length of 0.
    """
    truth = _numbers(truth)
    if truth.shape[1:] != (N_LANDMARKS, 2):
        raise ArgumentError(f"expected landmarks of shape (N, {N_LANDMARKS}, 2), got {truth.shape}")
    if not isinstance(normaliser, str) or normaliser not in NORMALISERS:
        raise ArgumentError(f"unknown normaliser {normaliser!r}; known: {', '.join(NORMALISERS)}")
    scale = NORMALISERS[normaliser](truth)
    if np.isnan(scale).any():
        raise ArgumentError("landmarks hold NaN or infinity")
    if (scale <= 0).any():
        raise ArgumentError(f"the {normaliser} distance of face {int(np.argmin(scale))} is 0")
    return scale


def nme(landmarks: Floats, truth: Floats, normaliser: str, points: str = "68") -> Floats:
    """The normalised mean error of each face, (N,), as a fraction of the normaliser.

    landmarks, truth: (N, 68, 2) pixels. normaliser: "inter-pupil", "inter-ocular" or "bbox-diagonal"; it is always
    taken of the whole face. points: the set of points that the mean is over: "68" (all), "51" (without the jaw), "jaw",
    "brows", "nose", "eyes" or "mouth". Raises InputError for other shapes, NaN, an unknown normaliser or set of points,
    and for a normaliser that is 0.
    """
    distances, scale = point_errors(landmarks, truth), scale_of(truth, normaliser)
    if not isinstance(points, str) or points not in POINT_SETS:
        raise ArgumentError(f"unknown set of points {points!r}; known: {', '.join(POINT_SETS)}")
    errors: Floats = distances[:, list(POINT_SETS[points])].mean(axis=1)
    return errors / scale


def auc(nme: Floats, threshold: float) -> float:
    """The area under the CED up to `threshold`, scaled to 0 … 1.

    nme: (N,) fractions of the normaliser; a missed face counts as inf. threshold: a fraction of it, above 0.
    This is the exact form of the sampled integral in the 300-W protocol: 1 - mean(min(e, t)) / t.
    Raises InputError if `nme` is empty or holds NaN or a negative number, or if the threshold is not above 0.
    """
    errors = _checked_errors(nme)
    return float(1 - np.minimum(errors, _checked_threshold(threshold)).mean() / threshold)


def failure_rate(nme: Floats, threshold: float) -> float:
    """The share of faces, 0 to 1, whose error is larger than `threshold`; an error that equals it is no failure.

    nme, threshold: as for `auc`. Raises InputError as `auc` does. Source: DAN's code, 1 - CED(threshold).
    """
    return float((_checked_errors(nme) > _checked_threshold(threshold)).mean())


def ced(nme: Floats, threshold: float | None = None) -> tuple[Floats, Floats]:
    """The cumulative error distribution as an exact step curve.

    nme: as for `auc`. threshold: steps beyond it are left out; None means all that are finite.
    Returns (levels, shares), both (K,) with K >= 0. Up to levels[0] the curve is 0. At levels[i] it steps up to
    shares[i], the share of all faces whose error is levels[i] or less. The levels rise.
    Raises InputError as `auc` does.
    """
    errors = _checked_errors(nme)
    levels, counts = np.unique(errors[np.isfinite(errors)], return_counts=True)
    shares = np.cumsum(counts) / len(errors)
    kept = levels <= (np.inf if threshold is None else _checked_threshold(threshold))
    return levels[kept], shares[kept]


def percentile(nme: Floats, percent: float) -> float:
    """The error that `percent` of the faces do not exceed, linear between neighbours as NumPy's default; maybe inf.

    nme: as in `auc`; missed faces are the worst ones. percent: 0 to 100. Raises InputError as `auc` does, or for
    another percent.
    """
    errors = np.sort(_checked_errors(nme))
    if not 0 <= percent <= 100:
        raise ArgumentError(f"expected 0 to 100 percent, got {percent}")
    place = percent / 100 * (len(errors) - 1)
    lower, share = int(place), place - int(place)
    if share == 0 or errors[lower] == np.inf:
        return float(errors[lower])
    return float(errors[lower] + share * (errors[lower + 1] - errors[lower]))


@dataclass(frozen=True)
class Interval:
    """A mean and the bounds of its confidence interval at `level` (0.95: 95 %)."""

    mean: float
    low: float
    high: float
    level: float


def paired_bootstrap(
    difference: Floats | Sequence[float], *, level: float = 0.95, resamples: int = 10000, seed: int = 0
) -> Interval:
    """Mean of paired differences with its percentile bootstrap confidence interval.

    difference: (N,) one value a face, such as the NME of one model less that of another; finite. Faces are drawn with
    replacement, by a generator seeded with `seed`: the same input gives the same interval. With one face, or all
    alike, the interval has no width. Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), ch. 13.
    Raises InputError if it is empty or not finite, or level, resamples out of range.
    """
    values = _numbers(difference)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ArgumentError(f"expected a row of one or more finite differences, got shape {values.shape}")
    if not 0 < level < 1 or resamples < 1:
        raise ArgumentError(f"expected 0 < level < 1 and resamples >= 1, got {level} and {resamples}")
    generator, means = np.random.default_rng(seed), []
    for start in range(0, resamples, 200):  # in parts: all drawings at once would take much memory
        drawn = generator.integers(0, len(values), (min(200, resamples - start), len(values)))
        means.append(values[drawn].mean(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high), level)


def _numbers(values: object) -> Floats:
    """The values as float64. Raises InputError for what are no numbers, and for masked ones."""
    try:
        given = np.asarray(values)
    except ValueError as error:
        raise ArgumentError("expected numbers, got lists of unequal length") from error
    if given.dtype.kind not in "iuf" or np.ma.is_masked(values):
        what = "masked ones" if np.ma.is_masked(values) else str(given.dtype)
        raise ArgumentError(f"expected numbers, got {what}")
    return given.astype(float, copy=False)


def _checked_errors(nme: Floats) -> Floats:
    errors = _numbers(nme)
    if errors.ndim != 1 or not errors.size:
        raise ArgumentError(f"expected a row of one or more errors, got shape {errors.shape}")
    if np.isnan(errors).any() or (errors < 0).any():
        raise ArgumentError("errors are NaN or negative; a missed face counts as inf")
    return errors


def _checked_threshold(threshold: float) -> float:
    if not 0 < real_number(threshold) < np.inf:
        raise ArgumentError(f"expected a threshold above 0, got {threshold!r:.40}")
    return threshold
