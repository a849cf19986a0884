"""PNG: what its chunks say, and the file without what only makes libpng talk."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from facealign_cli.files.header_base import ImageHeader, TruncatedError, check_enough, exif_orientation

DEFLATE_RATIO = 1032
"""The most bytes that a byte of deflate unfolds to."""


def png_header(data: bytes) -> ImageHeader:
    width, height, depth, color = struct.unpack_from(">IIBB", data, 16)
    alpha, orientation, packed, frames = color in (4, 6), 1, 0, 1
    for kind, chunk, intact in png_chunks(data):
        packed += len(chunk) - 12 if kind == b"IDAT" else 0
        if not intact and kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            raise ValueError(f"damaged: wrong checksum of the PNG's {kind.decode()}")
        alpha |= kind == b"tRNS"
        if kind == b"acTL":  # an APNG
            (frames,) = struct.unpack_from(">I", chunk, 8)
        if kind == b"eXIf" and intact:
            orientation = exif_orientation(chunk[8:-4])
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(color, 1)
    check_enough("PNG", width, height, packed, DEFLATE_RATIO * packed >= height * (width * bits // 8 + 1))
    return ImageHeader("PNG", width, height, alpha, orientation, more="frames" if frames > 1 else None)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """(type, whole chunk, checksum right?) up to IEND. Raises TruncatedError if it is not reached."""
    position, kind = 8, b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise TruncatedError("the file is cut short: the PNG has no end")
        (length,) = struct.unpack_from(">I", data, position)
        chunk = data[position : position + 12 + length]
        if len(chunk) < 12 + length:
            raise TruncatedError("the file is cut short: the PNG has no end")
        kind = chunk[4:8]
        yield kind, chunk, zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        position += 12 + length


def plain_png(data: bytes) -> bytes:
    """The PNG without what OpenCV does not use: libpng would comment on colour profiles and the like on stderr."""
    wanted = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf"}
    return data[:8] + b"".join(chunk for kind, chunk, intact in png_chunks(data) if kind in wanted and intact)
