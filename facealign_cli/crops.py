"""Aligned crops of faces: each face upright and of one size, by its landmarks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facealign_cli.errors import InputError
from facealign_cli.files.pictures import check_image
from facealign_cli.geometry import CropFrame
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.records import Face

CROP_SIZE, CROP_SHARE = 256, 0.6
"""The side of a crop in pixels, and the landmarks' larger extent over the side."""


def crop_face(
    image_bgr: NDArray[np.uint8], face: Face | ArrayLike, size: int = CROP_SIZE, *, share: float = CROP_SHARE
) -> NDArray[np.uint8]:
    """A face out of a picture, upright, in the middle of a square; black where the square leaves the picture.

    image_bgr: (H, W, 3) uint8 BGR or (H, W) uint8 grey. face: a Face, or (68, 2) landmarks in the picture's pixels.
    size: the square's side in pixels. share: the landmarks' larger extent over the side. Returns (size, size[, 3]).
    Raises InputError for another kind of array, a size below 8, and a share that does not lie above 0 and up to 1.
    """
    landmarks = _landmarks_of(face)
    try:
        frame = _frame(size, share)
    except ValueError as error:
        raise InputError(str(error)) from error
    crop: NDArray[np.uint8] = frame.crop(check_image(image_bgr), landmarks)[0]
    return crop


_frame = lru_cache(16)(CropFrame)


def _landmarks_of(face: Any) -> NDArray[np.float64]:
    landmarks = np.asarray(face.landmarks if isinstance(face, Face) else face)
    if landmarks.shape != (N_LANDMARKS, 2) or landmarks.dtype.kind not in "iuf" or not np.isfinite(landmarks).all():
        raise InputError(f"expected a Face or ({N_LANDMARKS}, 2) finite landmarks, got {type(face).__name__}")
    return landmarks.astype(np.float64)
