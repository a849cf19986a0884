"""JPEG: what its segments say, and decoding by libjpeg-turbo itself, which says where a file is damaged.

OpenCV fills what is missing with grey and says nothing. The pixels are those that OpenCV gives: it uses the same
library with the same settings.
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass, field
from typing import TypeAlias

from facealign_cli.arrays import Image
from facealign_cli.files.header_base import ImageHeader, TruncatedError, check_enough, exif_orientation

_Bytes: TypeAlias = bytes | mmap.mmap
_END = b"\xff\xd9"
_GAP = "premature end"
"""What the library says where data is missing: it makes up the rest."""


@dataclass
class _Jpeg:
    """What a walk over a JPEG's segments has found.

    parts: each component's id → its sampling, horizontal and vertical. fine: the coefficients, by component, that have
    come to their last bit. n_bytes: of all scans' data. has_index: it lists further pictures of other kinds (MPF).
    """

    start: int = 0
    size: tuple[int, int] | None = None
    parts: dict[int, tuple[int, int]] = field(default_factory=dict)
    fine: dict[int, set[int]] = field(default_factory=dict)
    n_bytes: int = 0
    orientation: int = 1
    has_index: bool = False

    def frame(self, marker: int, data: _Bytes, position: int) -> None:
        height, width, count = struct.unpack_from(">HHB", data, position + 5)
        self.start, self.size = marker, (width, height)
        for i in range(count):
            name, sampling = struct.unpack_from(">BB", data, position + 10 + 3 * i)
            self.parts[name] = max(sampling >> 4, 1), max(sampling & 15, 1)

    def scan(self, data: _Bytes, position: int) -> None:
        count = data[position + 4]
        names = [data[position + 5 + 2 * i] for i in range(count)]
        first, last, bits = struct.unpack_from(">BBB", data, position + 5 + 2 * count)
        progressive = self.start in (0xC2, 0xCA)
        for name in names:
            if not progressive:
                self.fine[name] = set(range(64))
            elif not bits & 15:
                self.fine.setdefault(name, set()).update(range(first, min(last, 63) + 1))

    def n_blocks(self) -> int:
        """How many blocks of 8 × 8 values there are: each takes a bit at the least, if Huffman's code is used."""
        width, height = self.size or (0, 0)
        most = [max(sampling[axis] for sampling in self.parts.values()) for axis in (0, 1)] if self.parts else (1, 1)
        return sum(-(-width * h // most[0] // 8) * -(-height * v // most[1] // 8) for h, v in self.parts.values())


def jpeg_header(data: _Bytes) -> ImageHeader:
    """Walks the segments; what follows the end marker (a second picture of an MPO, a film) is legal and not read.

    A file that ends in its last scan may lack its end marker only: whether it does, decoding tells (`unfinished`).
    """
    found, position, unfinished, more = _Jpeg(), 2, False, None
    while True:
        match = _JPEG_MARKER.search(data, position)
        if match is None:
            unfinished = True
            break
        position = match.start()
        marker = data[position + 1]
        if marker == 0xD9:
            more = "frames" if not found.has_index and _next_size(data, position + 2) == found.size else None
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # these stand alone, without a length
            position += 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and found.size is None:
            found.frame(marker, data, position)
        elif marker == 0xDA:
            found.scan(data, position)
        elif marker == 0xE1 and data[position + 4 : position + 10] == b"Exif\0\0" and found.size is None:
            found.orientation = exif_orientation(data[position + 10 : position + 2 + length])
        elif marker == 0xE2 and data[position + 4 : position + 8] == b"MPF\0":
            found.has_index = True
        position += 2 + max(length, 2)
        if marker == 0xDA:
            match = _JPEG_SCAN_END.search(data, position)
            found.n_bytes += (match.start() if match else len(data)) - position
    if found.size is None:
        raise TruncatedError(_NO_END) if unfinished else ValueError("damaged: a JPEG without a frame")
    if found.start in (0xC0, 0xC1, 0xC2):
        check_enough("JPEG", *found.size, found.n_bytes, 8 * found.n_bytes >= found.n_blocks())
    if unfinished and any(len(found.fine.get(name, ())) < 64 for name in found.parts):
        raise TruncatedError(_NO_END)
    return ImageHeader("JPEG", *found.size, orientation=found.orientation, unfinished=unfinished, more=more)


def _next_size(data: _Bytes, position: int) -> tuple[int, int] | None:
    """The size of a JPEG that begins at this place; None if none does. Phones put other pictures there, or clips."""
    if data[position : position + 3] != b"\xff\xd8\xff":
        return None
    position += 2
    while (match := _JPEG_MARKER.search(data, position)) is not None and match.start() + 9 <= len(data):
        marker = data[match.start() + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, match.start() + 5)
            return width, height
        if marker in (0xD9, 0xDA):
            return None
        position = match.start() + 2 + max(struct.unpack_from(">H", data, match.start() + 2)[0], 2)
    return None


def is_motion_jpeg(path: str) -> bool:
    """Whether a file is one JPEG after another, all of one size: a clip without a container. Raises OSError."""
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return data[:3] == b"\xff\xd8\xff" and jpeg_header(data).more is not None
        except (ValueError, IndexError, struct.error):
            return False  # damaged in its first picture


_NO_END = "the file is cut short: the JPEG has no end"
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]")
"""The next marker, past entropy-coded data with its stuffed zeros."""
_JPEG_SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""The next marker but those of restarts, which stand in the data."""


def decode_jpeg(data: bytes, header: ImageHeader) -> tuple[Image | None, str | None]:
    """(H, W, 3) uint8 BGR, as stored, and what is wrong with the file, if anything; (None, None) if it is no such JPEG.

    A file that lacks its end marker and nothing else is whole. Raises TruncatedError where the end of the picture is
    missing, ValueError where another part of it is.
    """
    import simplejpeg

    data, missing_end = (
        (data + _END, "the JPEG lacks its end marker, but nothing of its picture")
        if header.unfinished
        else (data, None)
    )
    try:
        return simplejpeg.decode_jpeg(data, "BGR"), missing_end
    except (ValueError, MemoryError) as error:
        said = str(error)
    if _GAP in said:
        if header.unfinished:
            raise TruncatedError(_NO_END)
        raise ValueError(f"the JPEG is damaged: a part of its picture is missing, though the file has an end ({said})")
    for tried in (data, plain_jpeg(data)):  # what is odd in its header is refused even where damage is not
        try:
            return simplejpeg.decode_jpeg(tried, "BGR", strict=False), f"the JPEG is damaged: {said}"
        except (ValueError, MemoryError) as error:
            refused = str(error)
    if said.startswith(_COMPLAINTS):  # OpenCV would print it
        raise ValueError(f"the JPEG is damaged: {refused}")
    return None, None


_COMPLAINTS = ("Corrupt", "Warning", "Unknown Adobe color transform")
"""So begins what libjpeg says of files that it can read."""
_JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"


def plain_jpeg(data: bytes) -> bytes:
    """The JPEG with nothing between the segments before its first scan: libjpeg would print that there is something."""
    parts, position = [data[:2]], 2
    while (match := _JPEG_MARKER.search(data, position)) is not None:
        position = match.start()
        marker = data[position + 1]
        if marker in (0xDA, 0xD9):
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 2
            continue
        end = position + 2 + max(int.from_bytes(data[position + 2 : position + 4], "big"), 2)
        parts.append(_JFIF if marker == 0xE0 else data[position:end])
        position = end
    return b"".join([*parts, data[position:]])
