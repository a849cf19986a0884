"""Whether a clip's file is there to its end: most containers state their own size, and a cut one has less than that."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

_HEAD, _NEAR = 1 << 16, 1 << 12


def is_whole(path: str, format_name: str) -> bool | None:
    """False: the file ends before the end that it states. True: it does not. None: it states none that can be checked.

    format_name: FFmpeg's name of the container.
    """
    check = next((check for names, check in _CHECKS if set(names) & set(format_name.split(","))), None)
    if check is None or not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as stream:
            return check(stream, os.fstat(stream.fileno()).st_size)
    except (OSError, struct.error, ValueError, IndexError, KeyError):
        return None


def joined_at(path: str, format_name: str, read_until: int) -> int | None:
    """The byte at which another FLV begins behind the last packet that FFmpeg has read; None if none does.

    FFmpeg reads the first of two FLV files that were joined by `cat`, and says nothing of the other.
    """
    if format_name != "flv" or not os.path.isfile(path):
        return None
    with open(path, "rb") as stream:
        stream.seek(read_until)
        place = stream.read(_NEAR).find(b"FLV\x01")
    return None if place < 0 else read_until + place


def _matroska(stream: BinaryIO, size: int) -> bool | None:
    """EBML (RFC 8794): a header, then the segment; each is an id, a length and so many bytes."""
    position = 0
    for _ in range(16):
        stream.seek(position)
        head = stream.read(12)
        id_length = _vint_length(head[0])
        length, used = _vint(head[id_length:])
        end = position + id_length + used + (length or 0)
        if head[:id_length] == b"\x18\x53\x80\x67":
            return None if length is None else end <= size
        position = end
    return None


def _vint_length(first: int) -> int:
    if first == 0:
        raise ValueError("not a number of EBML")
    return 9 - first.bit_length()


def _vint(data: bytes) -> tuple[int | None, int]:
    """A number of variable length and the bytes that it takes; None for "unknown" (a live stream)."""
    used = _vint_length(data[0])
    value = int.from_bytes(data[:used], "big") & ((1 << 7 * used) - 1)
    return (None if value == (1 << 7 * used) - 1 else value), used


def _riff(stream: BinaryIO, size: int) -> bool | None:
    """AVI: RIFF parts of a stated length, one after another; none, if it was broken off or went to a pipe."""
    position, whole = 0, None
    while position + 12 <= size:
        stream.seek(position)
        head = stream.read(8)
        length = struct.unpack("<I", head[4:])[0]
        if head[:4] != b"RIFF" or length in (0, 0xFFFFFFFF):
            return whole
        position += 8 + length + length % 2
        whole = position - length % 2 <= size
    return whole


def _boxes(stream: BinaryIO, size: int) -> bool | None:
    """MP4 and MOV: boxes of a stated length, one after another; 0 means up to the end."""
    ends = [end for _, end in _each_box(stream, size)]
    return ends[-1:] == [size]


def _each_box(stream: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """The kind of each box, and where it ends by what it states. Raises ValueError for a length that cannot be."""
    position = 0
    while position < size:
        stream.seek(position)
        head = stream.read(16)
        length = struct.unpack(">I", head[:4])[0]
        if length == 1:
            length = struct.unpack(">Q", head[8:16])[0]
        if 0 < length < 8:
            raise ValueError("a box is shorter than its head")
        position = position + length if length else size
        yield head[4:8], position


def lacks_index(path: str) -> bool:
    """Whether an MP4 or MOV has no index, the box `moov`, which cameras write last: without it no frame is found."""
    with open(path, "rb") as stream:
        kinds: list[bytes] = []
        with contextlib.suppress(struct.error, ValueError):
            kinds.extend(kind for kind, _ in _each_box(stream, os.fstat(stream.fileno()).st_size))
        return kinds[:1] == [b"ftyp"] and b"moov" not in kinds


def _flv(stream: BinaryIO, size: int) -> bool | None:
    """FLV: a tag's length stands before it and, with its head of eleven bytes, once more behind it."""
    stream.seek(size - 4)
    total: int = struct.unpack(">I", stream.read(4))[0]
    if not 11 <= total <= size - 4:
        return False
    stream.seek(size - 4 - total)
    return int.from_bytes(stream.read(4)[1:], "big") == total - 11


def _asf(stream: BinaryIO, size: int) -> bool | None:
    """ASF (WMV): the file's length stands in the file properties object; a live stream (flag 1) has none."""
    data = stream.read(_HEAD)
    at = data.find(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    if at < 0:
        return None
    length, flags = struct.unpack("<Q", data[at + 40 : at + 48])[0], struct.unpack("<I", data[at + 88 : at + 92])[0]
    return None if flags & 1 or length == 0 else bool(length <= size)


def _ogg(stream: BinaryIO, size: int) -> bool | None:
    """Ogg: the last page has to end where the file does."""
    start = max(0, size - (1 << 17))
    stream.seek(start)
    data = stream.read()
    at = data.rfind(b"OggS")
    if at < 0:
        return None
    if at + 27 > len(data):
        return False
    count = data[at + 26]
    return at + 27 + count + sum(data[at + 27 : at + 27 + count]) <= len(data)


def _gif(stream: BinaryIO, size: int) -> bool | None:
    """GIF ends with a semicolon; some writers fill up with zeros."""
    stream.seek(max(0, size - 4096))
    return stream.read().rstrip(b"\0").endswith(b";")


def _motion_jpeg(stream: BinaryIO, size: int) -> bool | None:
    """The last picture has an end marker; some writers fill up with zeros."""
    stream.seek(max(0, size - _NEAR))
    return stream.read().rstrip(b"\0").endswith(b"\xff\xd9")


TS_MARK = 0x47
"""With this, a packet of MPEG-TS begins."""


def ts_layout(data: bytes | mmap.mmap) -> tuple[int, int] | None:
    """Bytes of a packet, and where in it the mark stands: as broadcast, as Blu-ray has it, with error correction."""
    sizes = ((188, 0), (192, 4), (204, 0))
    return next(((n, at) for n, at in sizes if set(data[at : 5 * n : n]) == {TS_MARK}), None)


def _transport(stream: BinaryIO, size: int) -> bool | None:
    """MPEG-TS consists of packets of one size."""
    layout = ts_layout(stream.read(1021))
    return None if layout is None else size % layout[0] == 0


_CHROMA = re.compile(r"(420|422|444alpha|444|411|mono)(?:jpeg|mpeg2|paldv)?(p?\d+)?")
"""Of a Y4M: how its colours are sampled, and how many bits a value has if it is not 8."""


def _y4m(stream: BinaryIO, size: int) -> bool | None:
    """Y4M: a line with the facts, then frames of one size, each behind a line that is FRAME, or begins so."""
    line = stream.readline(1 << 10)
    facts = {word[:1]: word[1:] for word in line.decode("ascii", "replace").split()[1:]}
    width, height = int(facts["W"]), int(facts["H"])
    kind = _CHROMA.fullmatch(facts.get("C", "420"))
    if kind is None or stream.read(6) != b"FRAME\n":
        return None
    across, down = {"420": (2, 2), "422": (2, 1), "411": (4, 1)}.get(kind[1], (1, 1))
    planes = {"mono": 0, "444alpha": 3}.get(kind[1], 2)
    values = width * height + planes * -(-width // across) * -(-height // down)
    return (size - len(line)) % (6 + values * (2 if kind[2] else 1)) == 0


def _dv(stream: BinaryIO, size: int) -> bool | None:
    """DV: frames of one size, for 50 or 60 fields a second; those of more bits have some times as much."""
    return size % (144_000 if stream.read(4)[3] & 0x80 else 120_000) == 0


def _klv(stream: BinaryIO, size: int) -> bool | None:
    """MXF: a key of 16 bytes, a length, a value, one after another."""
    position = 0
    while position < size:
        stream.seek(position)
        head = stream.read(25)
        if head[:4] != b"\x06\x0e\x2b\x34":
            return None
        position += klv_length(head)
    return position == size


def klv_length(head: bytes) -> int:
    """Bytes of a part of an MXF, whose first 25 are given: a key of 16, a length in 1 to 9, a value (SMPTE 336M)."""
    used = head[16] & 0x7F if head[16] & 0x80 else 0
    return 17 + used + (int.from_bytes(head[17 : 17 + used], "big") if used else head[16])


_CHECKS: tuple[tuple[tuple[str, ...], Callable[[BinaryIO, int], bool | None]], ...] = (
    (("matroska", "webm"), _matroska),
    (("avi",), _riff),
    (("mov", "mp4"), _boxes),
    (("flv",), _flv),
    (("asf",), _asf),
    (("ogg",), _ogg),
    (("gif",), _gif),
    (("mjpeg", "jpeg_pipe"), _motion_jpeg),
    (("mpegts",), _transport),
    (("mxf",), _klv),
    (("yuv4mpegpipe",), _y4m),
    (("dv",), _dv),
)
