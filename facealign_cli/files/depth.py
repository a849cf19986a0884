"""Pictures of 16 and 32 bits and of floats, brought to the 8 bits that everything here works with.

- White is what the file states (AVIF, PNM, PAM). Else it is 255, 1,023, 4,095 …, the first of these (8, 10, 12 … bits)
  that no value exceeds: cameras and microscopes write 12 bits into files of 16. A warning says so, unless only the
  type's largest value is enough. That one is then white.
- Floats are taken as 0 to 1; a TIFF or PFM that goes beyond is scaled by its maximum, an HDR is clipped. NaN is black.
- What lies below zero is black; a warning says so if it is more than a few pixels.
"""

from __future__ import annotations

import numpy as np

from facealign_cli.arrays import Image, pixels
from facealign_cli.files.header_base import ImageHeader

_DEPTHS = range(8, 32, 2)
"""Bits that values may have in a type that holds more."""
_FEW = 0.01
"""The share of values below zero that may be the overshoot of a filter."""


def to_8_bit(image: np.ndarray, header: ImageHeader) -> tuple[Image, str | None]:
    """The picture with values from 0 to 255, whatever numbers its file holds, and what has to be told of that.

    image: (H, W), (H, W, 3) or (H, W, 4) of any number type; an alpha plane is scaled by itself.
    """
    if image.dtype == np.uint8:
        return image, None
    if image.ndim == 3 and image.shape[2] == 4:
        (bgr, warning), (alpha, _) = (to_8_bit(np.ascontiguousarray(image[..., i]), header) for i in _PLANES)
        return np.dstack([bgr, alpha]), warning
    is_float = image.dtype.kind == "f"
    if is_float:
        with np.errstate(over="ignore"):  # what 32 bits cannot hold is infinite
            image = np.nan_to_num(image.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    white, warning = (_white_of_floats(image, header), None) if is_float else _white(image, header)
    return _scaled(image, white), "; ".join(filter(None, (warning, _below_zero(image)))) or None


_PLANES = (slice(0, 3), 3)
"""The colours, and the alpha plane."""


def _white_of_floats(image: np.ndarray, header: ImageHeader) -> float:
    return 1.0 if header.format == "HDR" else max(1.0, float(image.max()))


def _white(image: np.ndarray, header: ImageHeader) -> tuple[float, str | None]:
    """The value of white among whole numbers, and a warning where the file does not state it."""
    most, full = int(image.max()), int(np.iinfo(image.dtype).max)
    if header.white is not None and most <= header.white:
        return header.white, None
    bits = next((bits for bits in _DEPTHS if most < 1 << bits), 32)
    white = (1 << bits) - 1
    if most <= 0 or white >= full:
        return full, None
    return white, (
        f"its values go up to {most:,}, though the file could hold {full:,}: they are taken as {bits}-bit values, "
        f"with {white:,} as white"
    )


def _scaled(image: np.ndarray, white: float) -> Image:
    import cv2

    if image.dtype == np.uint16:
        return pixels(cv2.convertScaleAbs(image, alpha=255 / white))
    return np.rint(np.clip(image / white, 0, 1) * 255).astype(np.uint8)


def _below_zero(image: np.ndarray) -> str | None:
    share = 0.0 if image.dtype.kind == "u" else float(np.mean(image < 0))
    if share <= _FEW:
        return None
    return (
        f"{share:.0%} of its values are below 0 (the lowest is {image.min():g}), and become black: scale them to "
        "0 and above first"
    )
