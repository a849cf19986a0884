"""PNG: what its chunks say, and the file as libpng reads it without a word on stderr.

libpng prints its complaints, and OpenCV leaves no way to stop it. So what it would complain of is found here first: the
picture's data is unpacked and counted, and parts that are wrong or not needed are left out.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Generator, Iterable, Iterator

from facealign_cli.files.header_base import ImageHeader, TruncatedError, check_enough, exif_orientation

DEFLATE_RATIO = 1032
"""The most bytes that a byte of deflate unfolds to."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Values of a pixel, by the type of colour."""
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Of an interlaced picture: the first column and row of each pass, and the steps from one to the next."""
_FILTERS = 4
"""The highest number of a row's filter."""
_PIECE = 1 << 20
_MOST_STORED = 100_000_000
"""Bytes of unpacked rows that are handed on as they are."""


def png_header(data: bytes) -> ImageHeader:
    """Raises TruncatedError, and ValueError for a header that cannot be."""
    if len(data) >= 16 and data[8:16] != b"\0\0\0\x0dIHDR":
        raise ValueError("damaged, or of Apple's own kind (CgBI): the PNG does not begin with its header")
    width, height, depth, color, packing, filtering, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    alpha, orientation, packed, frames = color in (4, 6), 1, 0, 1
    for kind, chunk in _chunks(data):
        packed += len(chunk) - 12 if kind == b"IDAT" else 0
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND") and not _is_intact(chunk):
            raise ValueError(f"damaged: wrong checksum of the PNG's {kind.decode()}")
        alpha |= kind == b"tRNS"
        if kind == b"acTL":  # an APNG
            (frames,) = struct.unpack_from(">I", chunk, 8)
        if kind == b"eXIf" and _is_intact(chunk):
            orientation = exif_orientation(chunk[8:-4])
    if depth not in _DEPTHS.get(color, ()) or packing or filtering or interlaced > 1:
        raise ValueError("damaged: the PNG's header states a kind of picture that there is not")
    bits = depth * _CHANNELS[color]
    check_enough("PNG", width, height, packed, DEFLATE_RATIO * packed >= height * (width * bits // 8 + 1))
    return ImageHeader("PNG", width, height, alpha, orientation, more="frames" if frames > 1 else None)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, whole chunk) up to IEND. Raises TruncatedError if it is not reached."""
    position, kind = 8, b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise TruncatedError("the file is cut short: the PNG has no end")
        (length,) = struct.unpack_from(">I", data, position)
        chunk = data[position : position + 12 + length]
        if len(chunk) < 12 + length:
            raise TruncatedError("the file is cut short: the PNG has no end")
        kind = chunk[4:8]
        yield kind, chunk
        position += 12 + length


def _is_intact(chunk: bytes) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def plain_png(data: bytes) -> bytes:
    """The PNG with nothing but what OpenCV uses, and its data just as long as its picture needs.

    What was unpacked to be counted is not packed again, up to 100 MB: libpng then need not unpack it a second time.
    Raises TruncatedError where a part of the picture is missing, ValueError where its data is damaged.
    """
    (header,), found, packed = struct.unpack_from("13s", data, 16), dict[bytes, bytes](), []
    color = header[9]
    for kind, chunk in _chunks(data):
        if kind == b"IDAT":
            packed.append(chunk[8:-4])
        elif not packed and _is_intact(chunk) and _is_used(kind, chunk[8:-4], color, found):
            found[kind] = chunk[8:-4]
    if color == 3 and b"PLTE" not in found:
        raise ValueError("damaged: the PNG's colours are missing")
    rows = _rows(header)
    pieces = _unpacked(packed, rows)
    if sum(stride * count for stride, count in rows) <= _MOST_STORED:
        packed = _packed(pieces, 0)
    elif not _is_all(pieces):
        packed = _packed(_unpacked(packed, rows), 1)
    parts = ((b"IHDR", header), *found.items(), *((b"IDAT", part) for part in packed if part), (b"IEND", b""))
    return data[:8] + b"".join(_chunk(kind, body) for kind, body in parts)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _is_used(kind: bytes, body: bytes, color: int, before: dict[bytes, bytes]) -> bool:
    """Whether OpenCV makes use of a part, and libpng has nothing to say of it."""
    if kind in before:
        return False
    match kind:
        case b"PLTE":
            return color == 3 and 0 < len(body) <= 768 and len(body) % 3 == 0 and b"tRNS" not in before
        case b"tRNS":
            most = len(before.get(b"PLTE", b"")) // 3
            return len(body) == {0: 2, 2: 6}.get(color) or (color == 3 and 0 < len(body) <= most)
        case b"eXIf":
            return body[:4] in (b"II*\0", b"MM\0*")
    return False


def _rows(header: bytes) -> list[tuple[int, int]]:
    """(bytes of a row with its filter's number, how many rows), one after another as they lie in the data."""
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits, found = depth * _CHANNELS[color], []
    for left, top, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        w, h = -(-(width - left) // across), -(-(height - top) // down)
        if w > 0 and h > 0:
            found.append((-(-w * bits // 8) + 1, h))
    return found


def _packed(pieces: Iterable[bytes], level: int) -> list[bytes]:
    packing = zlib.compressobj(level)
    return [*map(packing.compress, pieces), packing.flush()]


def _is_all(pieces: Generator[bytes, None, bool]) -> bool:
    """What `_unpacked` returns in the end."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            return bool(end.value)


def _unpacked(packed: Iterable[bytes], rows: list[tuple[int, int]]) -> Generator[bytes, None, bool]:
    """The rows that the data unfolds to, in pieces; returns whether there is nothing more than they.

    Raises TruncatedError if the data is less, ValueError for what cannot be unpacked and for rows of a filter that
    there is not.
    """
    unpacking, left, extra = zlib.decompressobj(), list(rows), 0
    at = 0
    try:
        for part in packed:
            extra += len(part) if unpacking.eof else 0
            rest = part
            while rest and not unpacking.eof:
                piece = unpacking.decompress(rest, _PIECE)
                rest = unpacking.unconsumed_tail
                begin = 0
                while left and begin < len(piece):
                    stride, count = left[0]
                    end = min(len(piece), begin + stride * count - at)
                    if max(piece[begin + -at % stride : end : stride], default=0) > _FILTERS:
                        raise ValueError("damaged: the PNG has a row of a filter that there is not")
                    at, begin = at + end - begin, end
                    if at == stride * count:
                        del left[0]
                        at = 0
                extra += len(piece) - begin
                yield piece[:begin]
    except zlib.error as error:
        raise ValueError(f"damaged: the PNG's data cannot be unpacked ({error})") from error
    if left:
        raise TruncatedError("the file is cut short: the PNG's data ends before its picture does")
    return unpacking.eof and not extra and not unpacking.unused_data
