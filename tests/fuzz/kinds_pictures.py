"""Pictures of every format, through `align_pictures` with a detector."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from facealign_cli.aligner import Aligner, align_pictures

ASTRONAUT = Path(__file__).resolve().parents[2] / "docs" / "astronaut.jpg"
_ROWS_PER_STRIP = 278
"""OpenCV names this parameter since 4.10."""
_ENCODINGS: tuple[tuple[str, tuple[int, ...]], ...] = (
    (".jpg", ()),
    (".jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
    (".jpg", (cv2.IMWRITE_JPEG_RST_INTERVAL, 4)),
    (".png", ()),
    (".webp", (cv2.IMWRITE_WEBP_QUALITY, 60)),
    (".webp", (cv2.IMWRITE_WEBP_QUALITY, 101)),
    (".tiff", ()),
    (".tiff", (cv2.IMWRITE_TIFF_COMPRESSION, 1, _ROWS_PER_STRIP, 16)),
    (".tiff", (cv2.IMWRITE_TIFF_COMPRESSION, 8)),
    (".tiff", (cv2.IMWRITE_TIFF_COMPRESSION, 32773)),
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
    return bases, lambda file: _in_silence(lambda: list(align_pictures([str(file)], aligner)))


def _in_silence(read: Callable[[], object]) -> object:
    """Raises AssertionError where a library writes to standard error."""
    before = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            found = read()
        finally:
            os.dup2(before, 2)
            os.close(before)
        said.seek(0)
        assert not (text := said.read()), text[:200]
    return found


KINDS = {"pictures": pictures}
