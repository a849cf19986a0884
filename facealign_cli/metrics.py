"""Errors of landmarks, by the 300-W protocol: pure numpy.

An image's error is the mean over its points of the distance to the truth, over a normaliser; a set's error is the mean
over images. Values are fractions; percent appears in printed text only. Source: Sagonas et al., "300 Faces in-the-Wild
Challenge" (2013, 2016); the names of DAN's code in parentheses below.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facealign_cli.landmarks import OUTER_EYE_CORNERS


def inter_pupil(truth: np.ndarray) -> np.ndarray:
    """(N,) distance of the eyes' centres, the means of points 36–41 and 42–47 ("centers"); truth (N, 68, 2)."""
    return np.linalg.norm(truth[:, 36:42].mean(axis=1) - truth[:, 42:48].mean(axis=1), axis=1)


def inter_ocular(truth: np.ndarray) -> np.ndarray:
    """(N,) distance of the outer eye corners, points 36 and 45 ("corners", the 300-W challenge); truth (N, 68, 2)."""
    left, right = OUTER_EYE_CORNERS
    return np.linalg.norm(truth[:, left] - truth[:, right], axis=1)


def bbox_diagonal(truth: np.ndarray) -> np.ndarray:
    """(N,) diagonal of the truth's tight box ("diagonal", Menpo); truth (N, 68, 2)."""
    return np.linalg.norm(truth.max(axis=1) - truth.min(axis=1), axis=1)


NORMALISERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "inter-pupil": inter_pupil,
    "inter-ocular": inter_ocular,
    "bbox-diagonal": bbox_diagonal,
}


def nme(landmarks: np.ndarray, truth: np.ndarray, normaliser: str) -> np.ndarray:
    """(N,) normalised mean error of each face, a fraction of the normaliser.

    landmarks, truth: (N, 68, 2) pixels. Raises ValueError for other shapes, NaN, an unknown normaliser or one that
    is 0.
    """
    landmarks, truth = np.asarray(landmarks, float), np.asarray(truth, float)
    if landmarks.shape != truth.shape or truth.ndim != 3 or truth.shape[2] != 2:
        raise ValueError(f"expected two (N, K, 2) arrays of one shape, got {landmarks.shape} and {truth.shape}")
    if not (np.isfinite(landmarks).all() and np.isfinite(truth).all()):
        raise ValueError("landmarks hold NaN or infinity")
    if normaliser not in NORMALISERS:
        raise ValueError(f"unknown normaliser {normaliser!r}; known: {', '.join(NORMALISERS)}")
    scale = NORMALISERS[normaliser](truth)
    if (scale <= 0).any():
        raise ValueError(f"the {normaliser} distance of face {int(np.argmin(scale))} is 0")
    return np.linalg.norm(landmarks - truth, axis=2).mean(axis=1) / scale
