"""Pictures as arrays: what every function that takes one takes, told where it is something else; grey and coloured."""

from __future__ import annotations

import os

import numpy as np

from facealign_cli.arrays import Image, pixels
from facealign_cli.errors import InputError


def check_image(image: Image) -> Image:
    """The picture itself, contiguous. Raises InputError unless it is (H, W, 3) or (H, W) uint8 and not empty."""
    if not isinstance(image, np.ndarray):
        raise InputError(f"{_EXPECTED}, got {type(image).__name__}; {_hint(image)}")
    colour = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not (image.ndim == 2 or colour) or image.size == 0:
        raise InputError(f"{_EXPECTED}, got {image.shape} {image.dtype}{_array_hint(image)}")
    return np.ascontiguousarray(image)


_EXPECTED = "expected a picture (H, W, 3) BGR or (H, W) grey, uint8"


def _array_hint(image: np.ndarray) -> str:
    """What makes a picture of such an array, where that is likely to be meant."""
    if image.size == 0:
        return "; it has no pixel"
    if image.dtype.kind == "f":
        return "; of values from 0 to 1, (image * 255).round().astype(numpy.uint8) makes one"
    if image.dtype == np.uint16:
        return "; (image >> 8).astype(numpy.uint8) makes one"
    if image.dtype != np.uint8 or image.ndim not in (3, 4):
        return ""
    if image.ndim == 4:
        return "; align_many takes several pictures"
    return {
        1: "; image[..., 0] is a grey picture",
        4: "; image[..., :3] leaves the transparency out",
    }.get(image.shape[2], "; image.transpose(1, 2, 0) puts the colours last" if image.shape[0] == 3 else "")


def _hint(thing: object) -> str:
    if thing is None:
        return "cv2.imread gives None for a file that it cannot read: read_image says why"
    if isinstance(thing, str | os.PathLike):
        return "read the file with read_image first"
    return "numpy.asarray makes an array of most pictures (PIL's are RGB: [..., ::-1] makes them BGR)"


def to_grey(image: Image) -> Image:
    """(H, W) of a picture as `check_image` takes it."""
    import cv2

    image = check_image(image)
    return image if image.ndim == 2 else pixels(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))


def to_bgr(image: Image) -> Image:
    """(H, W, 3) of a picture as `check_image` takes it."""
    import cv2

    image = check_image(image)
    return image if image.ndim == 3 else pixels(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
