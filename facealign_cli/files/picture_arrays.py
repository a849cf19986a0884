"""Pictures as arrays: what every function that takes one takes, told where it is something else; grey and coloured."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from facealign_cli.arrays import Image, pixels
from facealign_cli.errors import InputError


def check_image(image: Image) -> Image:
    """The picture itself, contiguous. Raises InputError unless it is (H, W, 3) or (H, W) uint8 and not empty."""
    if not isinstance(image, np.ndarray):
        raise InputError(f"{_EXPECTED}, got {_kind(image)}; {_hint(image)}")
    if np.ma.is_masked(image):
        raise InputError(f"{_EXPECTED}, got masked values; image.filled(0) makes them black")
    colour = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not (image.ndim == 2 or colour) or image.size == 0:
        hints = [hint for hint in (_shape_hint(image), _type_hint(image)) if hint]
        raise InputError("; ".join([f"{_EXPECTED}, got {image.shape} {image.dtype}", *hints]))
    return np.ascontiguousarray(image)


_EXPECTED = "expected a picture (H, W, 3) BGR or (H, W) grey, uint8"


def _shape_hint(image: np.ndarray) -> str:
    """What makes a picture of an array of that shape, where that is likely to be meant."""
    if image.size == 0:
        return "it has no pixel"
    if image.ndim == 1 and image.dtype == np.uint8:
        return "decode_image(image.tobytes()) makes one, if it is the content of a picture file"
    if image.ndim < 2 or image.ndim > 4:
        return "image.reshape(height, width, 3) gives it the shape of a picture, if it is one"
    if image.ndim == 4:
        return "align_many takes several pictures"
    if image.ndim == 2 or image.shape[2] == 3:
        return ""
    return {
        1: "image[..., 0] is a grey picture",
        2: "image[..., 0] is a grey picture, without the transparency",
        4: "image[..., :3] leaves the transparency out",
    }.get(image.shape[2], _FIRST if image.shape[0] in (1, 3, 4) else "it is of more colours than three: choose three")


_FIRST = "image.transpose(1, 2, 0) puts the colours last"


def _type_hint(image: np.ndarray) -> str:
    """The same of its type, by the values that are in it."""
    if image.dtype == np.uint8 or image.size == 0:
        return ""
    if image.dtype == bool:
        return "image.astype(numpy.uint8) * 255 makes one of black and white"
    if image.dtype.kind not in "iuf":
        return "an array of numbers is needed; rows of unlike length make none"
    return _value_hint(float(image.min()), float(image.max()), image.dtype)


def _value_hint(least: float, most: float, kind: np.dtype[Any]) -> str:
    """The same of values in that range."""
    if not np.isfinite([least, most]).all():
        return "it holds NaN or infinity: numpy.nan_to_num takes them out"
    if least >= 0 and most <= 1 and kind.kind == "f":
        return "of values from 0 to 1, (image * 255).round().astype(numpy.uint8) makes one"
    if least >= 0 and most <= 255:
        whole = "image.round()" if kind.kind == "f" else "image"
        return f"{whole}.astype(numpy.uint8) makes one, since its values are from {least:g} to {most:g}"
    if kind == np.uint16:
        return "(image >> 8).astype(numpy.uint8) makes one"
    scaled = "(255 * (image - image.min()) / numpy.ptp(image)).astype(numpy.uint8)"
    return f"its values are from {least:g} to {most:g}, a picture's from 0 to 255: {scaled} scales them"


def _kind(thing: object) -> str:
    """What a thing is that is no array; a foreign type with its package, such as torch.Tensor."""
    kind = type(thing)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


def _hint(thing: Any) -> str:
    """What makes a picture of a thing that is no array."""
    several = isinstance(thing, list | tuple) and any(isinstance(item, np.ndarray) and item.ndim > 1 for item in thing)
    has_content = hasattr(thing, "read") and not hasattr(thing, "size")  # PIL's pictures have a size
    hints = (
        (thing is None, "cv2.imread gives None for a file that it cannot read: read_image says why"),
        (isinstance(thing, str | os.PathLike), "read the file with read_image first"),
        (isinstance(thing, bytes | bytearray | memoryview), "decode_image makes a picture of a file's content"),
        (has_content, "decode_image(file.read()) makes a picture of a file that is open for bytes (mode 'rb')"),
        (several, "align_many takes several pictures"),
        (isinstance(thing, list | tuple), "numpy.array(image, numpy.uint8) makes an array of lists"),
        (type(thing).__name__ == "UMat", "image.get() gives its array"),
        (type(thing).__name__ == "Tensor", "image.cpu().numpy() makes an array; colours come last in it, blue first"),
    )
    otherwise = "numpy.asarray makes an array of most pictures (PIL's are RGB: [..., ::-1] makes them BGR)"
    return next((hint for fits, hint in hints if fits), otherwise)


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
