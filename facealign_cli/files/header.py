"""What a picture's first bytes say of it, read without decoding a pixel: format, size, transparency, orientation.

So that a decompression bomb is refused before it unfolds, and a file that was cut short is told apart from a whole one:
older OpenCV fills the missing part of a JPEG with grey and says nothing. Knows every format that OpenCV's wheels read.
Sources: ITU-T T.81 (JPEG), W3C PNG, RFC 9649 (WebP), TIFF 6.0 and BigTIFF, ISO 15444-1 (JPEG 2000), ISO 23008-12
(AVIF).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from facealign_cli.files.header_base import (
    ImageHeader,
    TruncatedError,
    check_believable,
    check_enough,
    exif_orientation,
)
from facealign_cli.files.jpeg import jpeg_header
from facealign_cli.files.jpeg2000 import jpeg2000_header
from facealign_cli.files.png import png_header
from facealign_cli.files.tiff import tiff_header


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
            if header.format in ("AVIF", "WebP"):
                check_believable(header, len(data))
            return header
    raise ValueError("not a picture of a known format")


def _webp(data: bytes) -> ImageHeader:
    (riff_size,) = struct.unpack_from("<I", data, 4)
    if len(data) < riff_size + 8 - riff_size % 2:
        raise TruncatedError("the file is cut short: the WebP ends early")
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[i : i + 3], "little") for i in (24, 27))
        more = "frames" if data[20] & 2 and data.count(b"ANMF") > 1 else None
        return ImageHeader("WebP", width, height, bool(data[20] & 16), _webp_orientation(data), more=more)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return ImageHeader("WebP", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bool(bits >> 28 & 1))
    width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, 26))
    check_enough("WebP", width, height, len(data), 8 * len(data) >= (width + 15) // 16 * ((height + 15) // 16))
    return ImageHeader("WebP", width, height)


def _webp_orientation(data: bytes) -> int:
    position = 12
    while position + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, position + 4)
        if data[position : position + 4] == b"EXIF":
            return exif_orientation(data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    return 1


def _bmp(data: bytes) -> ImageHeader:
    if struct.unpack_from("<I", data, 14)[0] == 12:
        return ImageHeader("BMP", *struct.unpack_from("<HH", data, 18))
    width, height = struct.unpack_from("<ii", data, 18)
    return ImageHeader("BMP", abs(width), abs(height))


GIF_RATIO = 2731
"""The most pixels of a byte of LZW, 4096 for each 12 bits."""


def _gif(data: bytes) -> ImageHeader:
    """Walks to the first picture's end. The canvas is the size; a first picture may cover a part of it only."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + _gif_colors(flags)
    while data[position] == 0x21:  # an extension: a comment, how long the picture stands
        position = _gif_blocks(data, position + 2)
    if data[position] != 0x2C:
        raise ValueError("damaged: a GIF without a picture")
    (flags,) = struct.unpack_from("<B", data, position + 9)
    position = _gif_blocks(data, position + 11 + _gif_colors(flags))
    check_enough("GIF", width, height, len(data), GIF_RATIO * len(data) >= width * height)
    return ImageHeader("GIF", width, height, more="frames" if _gif_goes_on(data, position) else None)


def _gif_goes_on(data: bytes, position: int) -> bool:
    """Whether another picture follows this place."""
    try:
        while data[position] == 0x21:
            position = _gif_blocks(data, position + 2)
        return data[position] == 0x2C
    except IndexError:
        return False


def _gif_colors(flags: int) -> int:
    """How many bytes a table of colours takes."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _gif_blocks(data: bytes, position: int) -> int:
    """The place behind a chain of blocks, each with its length before it. Raises IndexError at the file's end."""
    while length := data[position]:
        position += 1 + length
    return position + 1


def _avif(data: bytes) -> ImageHeader:
    """The largest of the picture's items: the main one; the others are thumbnails, tiles, an alpha plane."""
    start = data[: 1 << 20]
    sizes = [struct.unpack_from(">II", data, match.end() + 4) for match in re.finditer(b"ispe", start)]
    if not sizes:
        raise ValueError("damaged: an AVIF without a size")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return ImageHeader(
        "AVIF",
        width,
        height,
        b"auxiliary:alpha" in start,
        _avif_orientation(start),
        more="frames" if _avif_frames(data) > 1 else None,
        white=_avif_white(start),
    )


def _avif_frames(data: bytes) -> int:
    """How many frames the first track of an image sequence (brand avis) has; 0 if it is none."""
    if data[8:12] != b"avis":
        return 0
    count = re.compile(rb"stsz.{8}(.{4})", re.DOTALL).search(data, max(data.find(b"moov"), 0))
    return int.from_bytes(count[1], "big") if count else 0


def _avif_white(data: bytes) -> int | None:
    """The largest value of 10 or 12 bits, as the decoder's settings (av1C) have it."""
    settings = re.search(rb"av1C..(.)", data, re.DOTALL)
    high, twelve = (settings[1][0] & 0x40, settings[1][0] & 0x20) if settings else (0, 0)
    return (4095 if twelve else 1023) if high else None


_AVIF_ORIENTATION = {
    (0, -1): 1, (0, 1): 2, (2, -1): 3, (0, 0): 4, (1, 0): 5, (3, -1): 6, (3, 0): 7, (1, -1): 8,
    (2, 0): 2, (2, 1): 4, (1, 1): 7, (3, 1): 5,
}  # fmt: skip
"""(quarter turns to the left, then mirrored: 0 top to bottom, 1 left to right, -1 not) → EXIF's orientation."""


def _avif_orientation(data: bytes) -> int:
    turn, mirror = (re.search(rb"\0\0\0\x09" + box + rb"(.)", data, re.DOTALL) for box in (b"irot", b"imir"))
    return _AVIF_ORIENTATION[turn[1][0] & 3 if turn else 0, mirror[1][0] & 1 if mirror else -1]


_TEXT_BYTES = 1 << 16
"""Headers that are text end within so many bytes."""


def _words(line: bytes) -> list[bytes]:
    return line.partition(b"#")[0].split()


def _size(words: list[bytes], kind: str) -> tuple[int, int]:
    if len(words) < 2 or not all(word.isdigit() and len(word) < 10 for word in words[:2]):
        raise ValueError(f"damaged: no size in the {kind} header")
    return int(words[0]), int(words[1])


def _pnm(data: bytes) -> ImageHeader:
    """Words parted by white space and comments; words are cut out, not matched: no pattern can go back over them."""
    words: list[bytes] = []
    for line in data[2:_TEXT_BYTES].split(b"\n"):
        words += _words(line)
        if len(words) >= 3:
            break
    kind, is_grey_or_colour = "PFM" if data[1:2] in b"Ff" else "PNM", data[1:2] in b"2356"
    return ImageHeader(kind, *_size(words, "PNM"), white=_stated_white(words[2:]) if is_grey_or_colour else None)


def _stated_white(words: list[bytes]) -> int | None:
    """The first word as the value of white, if it is one of more than 8 bits."""
    is_one = words and words[0].isdigit() and len(words[0]) < 6 and 255 < int(words[0]) < 65536
    return int(words[0]) if is_one else None


def _pam(data: bytes) -> ImageHeader:
    lines = [_words(line) for line in data[:_TEXT_BYTES].partition(b"ENDHDR")[0].split(b"\n")]
    values = {line[0]: line[1] for line in lines if len(line) > 1}
    size = _size([values.get(key, b"") for key in (b"WIDTH", b"HEIGHT")], "PAM")
    return ImageHeader("PAM", *size, white=_stated_white([values.get(b"MAXVAL", b"")]))


def _hdr(data: bytes) -> ImageHeader:
    for line in data[:_TEXT_BYTES].split(b"\n"):
        match line.split():
            case [b"-Y" | b"+Y", height, b"-X" | b"+X", width]:
                return ImageHeader("HDR", *_size([width, height], "Radiance"))
    raise ValueError("damaged: no size in the Radiance header")


def _sun(data: bytes) -> ImageHeader:
    return ImageHeader("Sun raster", *struct.unpack_from(">II", data, 4))


_READERS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], ImageHeader]], ...] = tuple(
    (re.compile(signature, re.DOTALL), reader)
    for signature, reader in (
        (rb"\xff\xd8\xff", jpeg_header),
        (rb"\x89PNG\r\n\x1a\n", png_header),
        (rb"RIFF....WEBPVP8[ XL]", _webp),
        (rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]", tiff_header),
        (rb"BM", _bmp),
        (rb"GIF8[79]a", _gif),
        (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", jpeg2000_header),
        (rb"....ftyp.{0,64}avi[fs]", _avif),
        (rb"P[1-6Ff][\s#]", _pnm),
        (rb"P7\s", _pam),
        (rb"#\?(RADIANCE|RGBE)", _hdr),
        (rb"\x59\xa6\x6a\x95", _sun),
    )
)


def is_known(start: bytes) -> bool:
    """Whether a file that begins so (the first 128 bytes do) can be a picture that is read here."""
    return any(signature.match(start) for signature, _ in _READERS)


def unread_kind(start: bytes) -> str:
    """What a file that begins so is, if it is no picture that is read here, and what reads it. Words for an error."""
    for signature, kind, advice in _UNREAD:
        if signature.match(start):
            return f"a {kind}, which is not read here: {advice}"
    return "not a picture of a known format"


_UNREAD = tuple(
    (re.compile(signature, re.DOTALL), kind, advice)
    for signature, kind, advice in (
        (
            rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)",
            "HEIC picture",
            "convert it to JPEG first, with heif-convert (libheif) or magick (ImageMagick)",
        ),
        (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL picture", "convert it first, with djxl (of libjxl)"),
        (rb"....ftyp|\x1a\x45\xdf\xa3|RIFF....AVI ", "clip", "`facealign video track` reads clips"),
        (rb"%PDF-", "PDF", "convert its pages first, with pdftoppm"),
        (rb"8BPS", "Photoshop file", "export it as PNG or JPEG first"),
        (
            rb"\s{0,64}<(?:!doctype html|!DOCTYPE html|!DOCTYPE HTML|html)",
            "web page",
            "it came in place of the picture",
        ),
        (rb"version https://git-lfs", "pointer of Git LFS", "`git lfs pull` fetches the picture"),
        (rb"PK\x03\x04|\x1f\x8b|Rar!|7z\xbc\xaf", "packed file", "unpack it first"),
        (rb"\0\0\x01\0[\x01-\xff]", "Windows icon", "export it as PNG first"),
        (rb"\0{64}", "file of nothing but zeros", "its copy or its download was broken off"),
        (rb"\s{0,64}<(?:\?xml|svg)", "drawing or text in XML", "export it as PNG first"),
    )
)
