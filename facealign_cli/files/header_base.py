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


_VAST, _FLATTEST = 50_000_000, 2_000
"""Of codecs without a firm bound, a picture of more pixels than the one needs a byte for as many as the other."""


def check_believable(header: ImageHeader, n_bytes: int) -> None:
    """Raise TruncatedError where a codec may hold a flat picture in any few bytes, and these few would be vast."""
    n_pixels = header.width * header.height
    check_enough(header.format, header.width, header.height, n_bytes, n_pixels <= max(_VAST, _FLATTEST * n_bytes))


def check_enough(kind: str, width: int, height: int, n_bytes: int, enough: bool) -> None:
    """Raise TruncatedError where no picture of that size can be held by so few bytes: nothing is laid out for it."""
    size = f"{'an' if kind == 'AVIF' else 'a'} {kind} of {width} x {height} pixels"
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
    for entries in tiff_entries(data):
        yield {tag: entry.first(data) for tag, entry in entries.items() if entry.code and entry.count}


@dataclass(frozen=True)
class TiffEntry:
    """A tag's values: so many, of `size` bytes each, from `place` on. code: of one whole number; None: of no such."""

    code: str | None
    size: int
    count: int
    place: int

    def first(self, data: bytes) -> int:
        """The first whole number. Raises TruncatedError where the file ends before it."""
        return _number(self.code or "B", data, self.place)

    def values(self, data: bytes) -> tuple[int, ...]:
        """All of its whole numbers. Raises TruncatedError where the file ends before they do."""
        if self.place + self.size * self.count > len(data):
            raise TruncatedError("the file is cut short: a table of the TIFF lies behind its end")
        return struct.unpack_from(f"{self.code[0]}{self.count}{self.code[1]}", data, self.place) if self.code else ()


def _number(code: str, data: bytes, place: int) -> int:
    """A whole number at a place that the file states, which may lie beyond all files. Raises TruncatedError."""
    if place + struct.calcsize(code) > len(data):
        raise TruncatedError("the file is cut short: what its TIFF header points at lies behind its end")
    value: int = struct.unpack_from(code, data, place)[0]
    return value


_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


def tiff_entries(data: bytes) -> Iterator[dict[int, TiffEntry]]:
    """Tag → entry, of each directory. Raises ValueError, struct.error for damage."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise ValueError("damaged: no byte order in the TIFF header")
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    offset = order + ("Q" if big else "I")
    place = 8 if big else 4
    if not _number(offset, data, place):
        raise ValueError("damaged: a TIFF without a directory")
    while start := _number(offset, data, place):
        count = _number(order + ("Q" if big else "H"), data, start)
        length, first, at = (20, start + 8, 12) if big else (12, start + 2, 8)
        entries = {}
        for i in range(min(count, 4096)):
            entry = first + i * length
            tag, kind, n = struct.unpack_from(f"{order}HH{offset[1]}", data, entry)
            letter, size = {1: "B", 3: "H", 4: "I", 16: "Q" if big else "I"}.get(kind), _TIFF_SIZES.get(kind, 1)
            inside = size * n <= (8 if big else 4)
            values = entry + at if inside else _number(offset, data, entry + at)
            entries[tag] = TiffEntry(letter and order + letter, size, n, values)
        yield entries
        place = first + count * length
