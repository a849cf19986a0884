"""TIFF: what its directories say, and whether all of the first picture is there.

OpenCV reads most of them by a function of libtiff that passes over what is missing or damaged, and lays out memory for
whatever size the file states.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator

from facealign_cli.files.header_base import (
    ImageHeader,
    TiffEntry,
    TruncatedError,
    check_believable,
    check_enough,
    tiff_directories,
    tiff_entries,
)

_RATIOS = {1: 1, 5: 2731, 8: 1032, 32946: 1032, 32773: 64, 7: 512}
"""Compression → the most bytes of a picture that one of the file holds: none, LZW, deflate (twice), PackBits, JPEG."""
_DEFLATE = (8, 32946)
_PALETTE, _YCBCR = 3, 6


def tiff_header(data: bytes) -> ImageHeader:
    """Raises TruncatedError where a part of the first picture is missing, ValueError for damage."""
    entries = next(tiff_entries(data))
    directories = tiff_directories(data)
    tags = next(directories)
    if 256 not in tags or 257 not in tags:
        raise ValueError("damaged: a TIFF without a size")
    alpha = tags.get(277) == 4 and tags.get(338) in (1, 2)
    more = "pages" if _has_page(directories) else None
    if 0 in (tags.get(322), tags.get(323), tags.get(278)):
        raise ValueError("damaged: a TIFF with strips or tiles without a size")
    header = ImageHeader("TIFF", tags[256], tags[257], alpha, more=more)  # OpenCV turns a TIFF in every mode
    _check_there(data, header, tags, entries)
    return header


def _has_page(directories: Iterator[dict[int, int]]) -> bool:
    """Whether a page is among the next directories of a TIFF; those of smaller copies and masks are none."""
    try:
        return any(not tags.get(254, 0) & 5 for tags in itertools.islice(directories, 16))
    except (struct.error, ValueError):
        return False  # what follows the first page is not read


def _check_there(data: bytes, header: ImageHeader, tags: dict[int, int], entries: dict[int, TiffEntry]) -> None:
    """Whether the picture's strips or tiles, and its colours, lie within the file, and are long enough for its size."""
    bits, samples, compression = tags.get(258, 1), tags.get(277, 1), tags.get(259, 1)
    if tags.get(284) == 2 and samples > 1 and bits > 8:
        raise ValueError(
            f"a TIFF with a plane for each colour and {bits} bits a value, which OpenCV misreads: save it with the "
            "colours of a pixel side by side (planar configuration 1)"
        )
    if tags.get(262) == _PALETTE and 320 in entries:
        entries[320].values(data)
    packed = sum(size for _, size in _parts(data, entries))
    if compression in _RATIOS and packed:
        tile_width, tile_height = tags.get(322, 1), tags.get(323, 1)  # tiles are whole also at the edges
        width, height = -(-header.width // tile_width) * tile_width, -(-header.height // tile_height) * tile_height
        needed = height * (width * bits * samples // 8)
        if compression == 7 or tags.get(262) == _YCBCR:  # colours may have fewer values than pixels
            needed = height * width
        check_enough("TIFF", header.width, header.height, packed, _RATIOS[compression] * packed >= needed)
    elif packed:
        check_believable(header, packed)


def _parts(data: bytes, entries: dict[int, TiffEntry]) -> list[tuple[int, int]]:
    """Where the strips or tiles lie, and their sizes. Raises TruncatedError for one that ends behind the file."""
    places, sizes = (entries.get(324, entries.get(273)), entries.get(325, entries.get(279)))
    if places is None or sizes is None:
        return []
    found = list(zip(places.values(data), sizes.values(data), strict=False))
    if any(size and place + size > len(data) for place, size in found):
        raise TruncatedError("the file is cut short: a part of the TIFF's picture lies behind its end")
    return found


def check_unpacks(data: bytes) -> None:
    """Raise ValueError where a deflated strip or tile is damaged or too short, which libtiff would leave black."""
    entries, tags = next(tiff_entries(data)), next(tiff_directories(data))
    if tags.get(259) not in _DEFLATE or tags.get(262) == _YCBCR:
        return
    width, rows = tags.get(322, tags[256]), min(tags.get(323, tags.get(278, tags[257])), tags[257])
    planes = tags.get(284) == 2
    row = -(-width * tags.get(258, 1) * (1 if planes else tags.get(277, 1)) // 8)
    across, down = -(-tags[256] // width), -(-tags[257] // rows)
    for i, (place, size) in enumerate(_parts(data, entries)):
        y = i // across % down
        needed = row * (tags.get(323) or min(rows, tags[257] - y * rows))
        unpacking = zlib.decompressobj()
        try:
            unfolded = unpacking.decompress(data[place : place + size], needed)
            unpacking.decompress(unpacking.unconsumed_tail, 1)  # the checksum, which stands behind it
        except zlib.error as error:
            raise ValueError(f"damaged: a part of the TIFF's picture cannot be unpacked ({error})") from error
        if len(unfolded) < needed:
            raise ValueError("damaged: a part of the TIFF's picture unpacks to less than its size")
