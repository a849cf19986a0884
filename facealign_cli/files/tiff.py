"""TIFF: what its directories say."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

from facealign_cli.files.header_base import ImageHeader, tiff_directories


def tiff_header(data: bytes) -> ImageHeader:
    directories = tiff_directories(data)
    tags = next(directories)
    if 256 not in tags or 257 not in tags:
        raise ValueError("damaged: a TIFF without a size")
    alpha = tags.get(277) == 4 and tags.get(338) in (1, 2)
    more = "pages" if _has_page(directories) else None
    return ImageHeader("TIFF", tags[256], tags[257], alpha, more=more)  # OpenCV turns a TIFF in every mode


def _has_page(directories: Iterator[dict[int, int]]) -> bool:
    """Whether a page is among the next directories of a TIFF; those of smaller copies and masks are none."""
    try:
        return any(not tags.get(254, 0) & 5 for tags in itertools.islice(directories, 16))
    except (struct.error, ValueError):
        return False  # what follows the first page is not read
