"""Pictures of 16 and 32 bits and of floats, brought to the 8 bits that everything here works with."""

from __future__ import annotations

import numpy as np

from facealign_cli.arrays import Image, pixels
from facealign_cli.files.header_base import ImageHeader


def to_8_bit(image: np.ndarray, header: ImageHeader) -> Image:
    """The picture with values from 0 to 255, whatever numbers its file holds."""
    import cv2

    if image.dtype == np.uint8:
        return image
    if image.dtype.kind == "f":
        image = np.nan_to_num(image.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
        top = 1.0 if header.format == "HDR" else max(1.0, float(image.max()))
        return np.rint(np.clip(image / top, 0, 1) * 255).astype(np.uint8)
    if image.dtype == np.uint16:
        return pixels(cv2.convertScaleAbs(image, alpha=255 / 65535))
    return np.rint(np.clip(image / np.iinfo(image.dtype).max, 0, 1) * 255).astype(np.uint8)
