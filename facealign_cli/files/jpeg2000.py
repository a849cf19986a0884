"""JPEG 2000: the size that the codestream states, and whether all of its tiles are there.

Source: ISO 15444-1, annex A.
"""

from __future__ import annotations

import struct

from facealign_cli.files.header_base import ImageHeader, TruncatedError, check_believable

_START, _SIZE, _TILE, _DATA, _END = b"\xff\x4f", b"\xff\x51", b"\xff\x90", 0xFF93, b"\xff\xd9"


def jpeg2000_header(data: bytes) -> ImageHeader:
    """The codestream's own size: the box around it only repeats it. Raises TruncatedError where tiles are missing."""
    start = data.find(_START + _SIZE)
    if start < 0:
        raise TruncatedError("the file is cut short: no JPEG 2000 codestream")
    x1, y1, x0, y0, width, height, left, top = struct.unpack_from(">8I", data, start + 8)
    header = ImageHeader("JPEG 2000", x1 - x0, y1 - y0)
    if not width or not height:
        raise ValueError("damaged: the JPEG 2000 has tiles without a size")
    if header.width > 0 and header.height > 0:
        check_believable(header, len(data) - start)
    n_tiles = -(-(x1 - left) // width) * -(-(y1 - top) // height)
    found = _tiles(data, start + 2)
    if len(found) < n_tiles:
        raise TruncatedError(
            f"the file is cut short or damaged: {n_tiles - len(found):,} of its {n_tiles:,} tiles are missing"
        )
    return header


def _tiles(data: bytes, position: int) -> set[int]:
    """The numbers of the tiles. Raises TruncatedError where the file ends within one, struct.error within a header."""
    found: set[int] = set()
    while True:
        marker = data[position : position + 2]
        if marker == _END or (found and not marker):
            return found
        if marker[:1] != b"\xff":
            raise ValueError("damaged: the JPEG 2000 has no marker where one has to be")
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker == _TILE:
            number, size = struct.unpack_from(">HI", data, position + 4)
            found.add(number)
            if size == 0:  # the last one, up to the end
                return found
            length = size - 2
            if position + size > len(data):
                raise TruncatedError("the file is cut short: it ends within a tile of the JPEG 2000")
        position += 2 + max(length, 2)
