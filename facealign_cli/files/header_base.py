"""What the readers of headers share: what a header says, EXIF's orientation, and the bound that data sets to a size."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass


class TruncatedError(ValueError):
    """The file ends before its picture does."""


@dataclass(frozen=True)
class ImageHeader:
    """width, height: as stored, before any rotation. alpha: whether transparency can occur (PNG, WebP, TIFF, AVIF).

    orientation: EXIF's 1–8, of JPEG, PNG, WebP and AVIF. unfinished: a JPEG without its end marker. more: what follows
    the first picture in the file, "frames" or "pages"; None if nothing does. white: the value that the file states for
    white, where it is not the largest of its type (AVIF, PNM, PAM).
    """

    format: str
    width: int
    height: int
    alpha: bool = False
    orientation: int = 1
    unfinished: bool = False
    more: str | None = None
    white: int | None = None


def check_enough(kind: str, width: int, height: int, n_bytes: int, enough: bool) -> None:
    """Raise TruncatedError where no picture of that size can be held by so few bytes: nothing is laid out for it."""
    size = f"a {kind} of {width} x {height} pixels"
    if not n_bytes:
        raise TruncatedError(f"the file is cut short: it is the beginning of {size}, without anything of the picture")
    if not enough:
        raise TruncatedError(f"the file is cut short or damaged: {n_bytes:,} bytes cannot hold {size}")


def exif_orientation(exif: bytes) -> int:
    """EXIF's orientation, 1–8; 1 where there is none or it cannot be read."""
    try:
        value = tiff_tags(exif.removeprefix(b"Exif\0\0")).get(274, 1)
    except (struct.error, IndexError, ValueError):
        return 1
    return value if 1 <= value <= 8 else 1


def tiff_tags(data: bytes) -> dict[int, int]:
    """Tag → first value, for the integer tags of the first directory."""
    return next(tiff_directories(data))


def tiff_directories(data: bytes) -> Iterator[dict[int, int]]:
    """The same of each directory: of several pages, each has one. Raises ValueError, struct.error for damage."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise ValueError("damaged: no byte order in the TIFF header")
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    place = 8 if big else 4
    while start := struct.unpack_from(order + ("Q" if big else "I"), data, place)[0]:
        count = struct.unpack_from(order + ("Q" if big else "H"), data, start)[0]
        entry, first, at = (20, start + 8, 12) if big else (12, start + 2, 8)
        tags = {}
        for i in range(min(count, 4096)):
            tag, kind = struct.unpack_from(order + "HH", data, first + i * entry)
            code = {1: "B", 3: "H", 4: "I", 16: "Q" if big else "I"}.get(kind)
            if code:
                tags[tag] = struct.unpack_from(order + code, data, first + i * entry + at)[0]
        yield tags
        place = first + count * entry
