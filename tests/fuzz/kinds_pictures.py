"""Pictures of every format, through `align_pictures` with a detector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from facealign_cli.aligner import Aligner, align_pictures

ASTRONAUT = Path(__file__).resolve().parents[2] / "docs" / "astronaut.jpg"
_ENCODINGS: tuple[tuple[str, tuple[int, ...]], ...] = (
    (".jpg", ()),
    (".jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
    (".jpg", (cv2.IMWRITE_JPEG_RST_INTERVAL, 4)),
    (".png", ()),
    (".webp", (cv2.IMWRITE_WEBP_QUALITY, 60)),
    (".webp", (cv2.IMWRITE_WEBP_QUALITY, 101)),
    (".tiff", ()),
    (".bmp", ()),
    (".gif", ()),
    (".avif", ()),
    (".jp2", ()),
    (".ppm", ()),
    (".ppm", (cv2.IMWRITE_PXM_BINARY, 0)),
    (".pam", ()),
    (".hdr", ()),
    (".pfm", ()),
    (".ras", ()),
)


def pictures(_folder: Path) -> tuple[list[tuple[str, bytes]], Callable[[Path], object]]:
    face = cv2.resize(cv2.imread(str(ASTRONAUT))[:220, 110:330], (96, 96))
    bases = []
    for suffix, options in _ENCODINGS:
        image = face.astype(np.float32) / 255 if suffix in (".hdr", ".pfm") else face
        try:
            bases.append((f"picture{suffix}", cv2.imencode(suffix, image, options)[1].tobytes()))
        except cv2.error:
            continue  # not in this OpenCV
    aligner = Aligner()
    return bases, lambda file: list(align_pictures([str(file)], aligner))


KINDS = {"pictures": pictures}
