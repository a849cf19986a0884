"""What a picture's first bytes say of it, read without decoding a pixel: format, size, transparency, orientation.

So that a decompression bomb is refused before it unfolds, and a file that was cut short is told apart from a whole one:
older OpenCV fills the missing part of a JPEG with grey and says nothing. Knows every format that OpenCV's wheels read.
Sources: ITU-T T.81 (JPEG), W3C PNG, RFC 9649 (WebP), TIFF 6.0 and BigTIFF, ISO 15444-1 (JPEG 2000), ISO 23008-12
(AVIF).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass


class TruncatedError(ValueError):
    """The file ends before its picture does."""


@dataclass(frozen=True)
class ImageHeader:
    """width, height: as stored, before any rotation. alpha: whether transparency can occur (PNG, WebP, TIFF, AVIF).

    orientation: EXIF's 1–8, of PNG, WebP and AVIF: what OpenCV leaves undone when it keeps the alpha, or always (AVIF).
    """

    format: str
    width: int
    height: int
    alpha: bool = False
    orientation: int = 1


def read_header(data: bytes) -> ImageHeader:
    """The header of a whole picture file. Raises TruncatedError, ValueError for damage or an unknown format."""
    for signature, reader in _READERS:
        if signature.match(data):
            try:
                header = reader(data)
            except (struct.error, IndexError) as error:
                raise TruncatedError("the file is cut short") from error
            if header.width < 1 or header.height < 1:
                raise ValueError(f"damaged: a size of {header.width} x {header.height}")
            return header
    raise ValueError("not a picture of a known format")


def _jpeg(data: bytes) -> ImageHeader:
    """Walks the segments; what follows the end marker (a second picture of an MPO, a film) is legal and ignored."""
    size: tuple[int, int] | None = None
    position = 2
    while True:
        position = _jpeg_marker(data, position)
        marker = data[position + 1]
        if marker == 0xD9:
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # these stand alone, without a length
            position += 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and size is None:
            height, width = struct.unpack_from(">HH", data, position + 5)
            size = width, height
        position += 2 + max(length, 2)
    if size is None:
        raise ValueError("damaged: a JPEG without a frame")
    return ImageHeader("JPEG", *size)


_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]")


def _jpeg_marker(data: bytes, position: int) -> int:
    """The next marker from `position`, past entropy-coded data with its stuffed zeros and restart markers."""
    match = _JPEG_MARKER.search(data, position)
    if match is None:
        raise TruncatedError("the file is cut short: the JPEG has no end")
    return match.start()


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


def _png(data: bytes) -> ImageHeader:
    width, height, _, color = struct.unpack_from(">IIBB", data, 16)
    alpha, orientation = color in (4, 6), 1
    for kind, chunk, intact in png_chunks(data):
        if not intact and kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            raise ValueError(f"damaged: wrong checksum of the PNG's {kind.decode()}")
        alpha |= kind == b"tRNS"
        if kind == b"eXIf" and intact:
            orientation = _exif_orientation(chunk[8:-4])
    return ImageHeader("PNG", width, height, alpha, orientation)


def plain_png(data: bytes) -> bytes:
    """The PNG without what OpenCV does not use: libpng would comment on colour profiles and the like on stderr."""
    wanted = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf"}
    return data[:8] + b"".join(chunk for kind, chunk, intact in png_chunks(data) if kind in wanted and intact)


def _webp(data: bytes) -> ImageHeader:
    (riff_size,) = struct.unpack_from("<I", data, 4)
    if len(data) < riff_size + 8 - riff_size % 2:
        raise TruncatedError("the file is cut short: the WebP ends early")
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[i : i + 3], "little") for i in (24, 27))
        return ImageHeader("WebP", width, height, bool(data[20] & 16), _webp_orientation(data))
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return ImageHeader("WebP", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bool(bits >> 28 & 1))
    width, height = struct.unpack_from("<HH", data, 26)
    return ImageHeader("WebP", width & 0x3FFF, height & 0x3FFF)


def _webp_orientation(data: bytes) -> int:
    position = 12
    while position + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, position + 4)
        if data[position : position + 4] == b"EXIF":
            return _exif_orientation(data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    return 1


def _tiff(data: bytes) -> ImageHeader:
    tags = _tiff_tags(data)
    if 256 not in tags or 257 not in tags:
        raise ValueError("damaged: a TIFF without a size")
    alpha = tags.get(277) == 4 and tags.get(338) in (1, 2)
    return ImageHeader("TIFF", tags[256], tags[257], alpha)  # OpenCV turns a TIFF in every mode


def _exif_orientation(exif: bytes) -> int:
    try:
        value = _tiff_tags(exif.removeprefix(b"Exif\0\0")).get(274, 1)
    except (struct.error, IndexError, ValueError):
        return 1
    return value if 1 <= value <= 8 else 1


def _tiff_tags(data: bytes) -> dict[int, int]:
    """Tag → first value, for the integer tags of the first directory."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise ValueError("damaged: no byte order in the TIFF header")
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    start = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    count = struct.unpack_from(order + ("Q" if big else "H"), data, start)[0]
    entry, first, at = (20, start + 8, 12) if big else (12, start + 2, 8)
    tags = {}
    for i in range(min(count, 4096)):
        tag, kind = struct.unpack_from(order + "HH", data, first + i * entry)
        code = {1: "B", 3: "H", 4: "I", 16: "Q" if big else "I"}.get(kind)
        if code:
            tags[tag] = struct.unpack_from(order + code, data, first + i * entry + at)[0]
    return tags


def _bmp(data: bytes) -> ImageHeader:
    if struct.unpack_from("<I", data, 14)[0] == 12:
        return ImageHeader("BMP", *struct.unpack_from("<HH", data, 18))
    width, height = struct.unpack_from("<ii", data, 18)
    return ImageHeader("BMP", abs(width), abs(height))


def _gif(data: bytes) -> ImageHeader:
    return ImageHeader("GIF", *struct.unpack_from("<HH", data, 6))


def _jpeg2000(data: bytes) -> ImageHeader:
    """The codestream's own size: the box around it only repeats it."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0:
        raise TruncatedError("the file is cut short: no JPEG 2000 codestream")
    x1, y1, x0, y0 = struct.unpack_from(">IIII", data, start + 8)
    return ImageHeader("JPEG 2000", x1 - x0, y1 - y0)


def _avif(data: bytes) -> ImageHeader:
    """The largest of the picture's items: the main one; the others are thumbnails, tiles, an alpha plane."""
    start = data[: 1 << 20]
    sizes = [struct.unpack_from(">II", data, match.end() + 4) for match in re.finditer(b"ispe", start)]
    if not sizes:
        raise ValueError("damaged: an AVIF without a size")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return ImageHeader("AVIF", width, height, b"auxiliary:alpha" in start, _avif_orientation(start))


_AVIF_ORIENTATION = {
    (0, -1): 1, (0, 1): 2, (2, -1): 3, (0, 0): 4, (1, 0): 5, (3, -1): 6, (3, 0): 7, (1, -1): 8,
    (2, 0): 2, (2, 1): 4, (1, 1): 7, (3, 1): 5,
}  # fmt: skip
"""(quarter turns to the left, then mirrored: 0 top to bottom, 1 left to right, -1 not) → EXIF's orientation."""


def _avif_orientation(data: bytes) -> int:
    turn, mirror = (re.search(rb"\0\0\0\x09" + box + rb"(.)", data, re.DOTALL) for box in (b"irot", b"imir"))
    return _AVIF_ORIENTATION[turn[1][0] & 3 if turn else 0, mirror[1][0] & 1 if mirror else -1]


_PNM_HEADER = re.compile(rb"(P[1-6Ff])(?:\s+|#[^\n]*\n)+(\d{1,9})(?:\s+|#[^\n]*\n)+(\d{1,9})\s")


def _pnm(data: bytes) -> ImageHeader:
    match = _PNM_HEADER.match(data[: 1 << 16])
    if match is None:
        raise ValueError("damaged: no size in the PNM header")
    return ImageHeader("PFM" if match[1] in (b"PF", b"Pf") else "PNM", int(match[2]), int(match[3]))


def _pam(data: bytes) -> ImageHeader:
    words = {key: int(value) for key, value in re.findall(rb"(?m)^(WIDTH|HEIGHT)\s+(\d{1,9})\s*$", data[:4096])}
    return ImageHeader("PAM", words.get(b"WIDTH", 0), words.get(b"HEIGHT", 0))


def _hdr(data: bytes) -> ImageHeader:
    match = re.search(rb"\n[-+]Y\s+(\d{1,9})\s+[-+]X\s+(\d{1,9})\s*\n", data[: 1 << 16])
    if match is None:
        raise ValueError("damaged: no size in the Radiance header")
    return ImageHeader("HDR", int(match[2]), int(match[1]))


def _sun(data: bytes) -> ImageHeader:
    return ImageHeader("Sun raster", *struct.unpack_from(">II", data, 4))


_READERS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], ImageHeader]], ...] = tuple(
    (re.compile(signature, re.DOTALL), reader)
    for signature, reader in (
        (rb"\xff\xd8\xff", _jpeg),
        (rb"\x89PNG\r\n\x1a\n", _png),
        (rb"RIFF....WEBPVP8[ XL]", _webp),
        (rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]", _tiff),
        (rb"BM", _bmp),
        (rb"GIF8[79]a", _gif),
        (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", _jpeg2000),
        (rb"....ftyp.{0,64}avi[fs]", _avif),
        (rb"P[1-6Ff][\s#]", _pnm),
        (rb"P7\s", _pam),
        (rb"#\?(RADIANCE|RGBE)", _hdr),
        (rb"\x59\xa6\x6a\x95", _sun),
    )
)


def is_known(start: bytes) -> bool:
    """Whether a file that begins so (the first 128 bytes do) can be a picture that OpenCV reads."""
    return any(signature.match(start) for signature, _ in _READERS)
