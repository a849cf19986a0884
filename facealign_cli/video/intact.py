"""Whether a clip's file is damaged in its middle: FFmpeg passes over such places, and the frames in them are missing.

Each container is a chain of parts that say how long they are. Where the chain breaks, or its numbers leave some out,
the file is damaged. Parts are not read, only what stands before them.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
import zlib
from collections.abc import Callable

import numpy as np

from facealign_cli.video.whole import TS_MARK, klv_length, ts_layout


def damaged_at(path: str, format_name: str, stream_id: int) -> int | None:
    """The first byte at which the file's chain of parts breaks; None: nowhere, or a container that has none.

    format_name: FFmpeg's name of the container. stream_id: what the container calls the video stream.
    """
    check = next((check for names, check in _CHECKS if set(names) & set(format_name.split(","))), None)
    if check is None or not os.path.isfile(path) or not os.path.getsize(path):
        return None
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return check(data, stream_id)
        except (struct.error, IndexError):  # it ends within a part: that is another matter
            return None


_DESCENDED = {0x18538067, 0x1F43B675}
"""Matroska's segment and its clusters: what is in them follows."""
_EBML = 0x1A45DFA3
_PASSED = {
    _EBML, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0xEC, 0xBF, 0xE7,
    0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF,
}  # fmt: skip
"""Matroska's other parts of the first level, and those of a cluster."""


def _matroska(data: mmap.mmap, _: int) -> int | None:
    position, end = 0, len(data)
    while position < len(data):
        if data[position] == 0:
            return position if position < end else None
        used = 9 - data[position].bit_length()
        kind = int.from_bytes(data[position : position + used], "big")
        if (kind not in _DESCENDED and kind not in _PASSED) or data[position + used] == 0:
            return position if position < end else None
        if position >= end and kind != _EBML:
            return None
        start = position + used + 9 - data[position + used].bit_length()
        bits = 7 * (start - position - used)
        length = int.from_bytes(data[position + used : start], "big") & ((1 << bits) - 1)
        is_known = length != (1 << bits) - 1
        if kind == 0x18538067:
            end = start + length if is_known else len(data)
        if not is_known and kind not in _DESCENDED:
            return position
        position = start if kind in _DESCENDED else start + length
    return None


_FOURCC = re.compile(rb"[0-9A-Za-z_ ]{4}")


def _riff(data: mmap.mmap, _: int) -> int | None:
    position, end = 0, 0
    while position + 12 <= len(data):
        kind = data[position : position + 4]
        (length,) = struct.unpack_from("<I", data, position + 4)
        if kind == b"RIFF":
            end = position + 8 + length
        elif position >= end - 1:
            return None  # behind the last RIFF; one of no stated length was never finished
        elif not _FOURCC.fullmatch(kind):
            return position
        if kind in (b"RIFF", b"LIST"):
            position += 12
            continue
        position += 8 + length
        if length % 2 and (position + 5 > len(data) or not _FOURCC.fullmatch(data[position : position + 4])):
            position += 1  # some writers leave the filling out
    return None


def _ogg(data: mmap.mmap, _: int) -> int | None:
    position, page, numbers = 0, 0, dict[bytes, int]()
    while position + 27 <= len(data):
        if data[position : position + 4] != b"OggS":
            return position if data.find(b"OggS", position) > 0 else None
        serial, number = data[position + 14 : position + 18], struct.unpack_from("<I", data, position + 18)[0]
        if number != numbers.get(serial, number - 1) + 1 and not data[position + 5] & 2:
            return position
        numbers[serial], page = number, position
        count = data[position + 26]
        position += 27 + count + sum(data[position + 27 : position + 27 + count])
        if position <= len(data) and not _has_its_checksum(data[page:position]):
            return page
    return page if position > len(data) else None


_MIRRORED = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))


def _has_its_checksum(page: bytes) -> bool:
    """Ogg's CRC is that of zlib with all bits the other way round, and nothing turned over at start and end."""
    whole = (page[:22] + bytes(4) + page[26:]).translate(_MIRRORED)
    crc = zlib.crc32(whole, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return crc.to_bytes(4, "big").translate(_MIRRORED) == page[22:26]


def _gif(data: mmap.mmap, _: int) -> int | None:
    position = 13 + _colors(data[10])
    while True:
        kind = data[position]
        if kind == 0x3B:
            return None
        if kind not in (0x21, 0x2C):
            return position
        position += 2 if kind == 0x21 else 11 + _colors(data[position + 9])
        while length := data[position]:
            position += 1 + length
        position += 1


def _colors(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _mxf(data: mmap.mmap, _: int) -> int | None:
    position = max(data.find(b"\x06\x0e\x2b\x34"), 0)
    while position + 17 <= len(data):
        if data[position : position + 4] != b"\x06\x0e\x2b\x34":
            return position
        position += klv_length(data[position : position + 25])
    return None


_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def _asf(data: mmap.mmap, _: int) -> int | None:
    """Packets of one size, which all begin with the same flags of error correction."""
    start, about = data.find(_ASF_DATA), data.find(_ASF_FILE)
    if start < 0 or about < 0:
        return None
    length, count = struct.unpack_from("<Q", data, start + 16)[0], struct.unpack_from("<Q", data, start + 40)[0]
    least, most = struct.unpack_from("<II", data, about + 92)
    if least != most or not least or not count or length < 50:
        return None
    for i in range(min(count, (len(data) - start - 50) // least)):
        if data[start + 50 + i * least] & 0xF0 != data[start + 50] & 0xF0:
            return int(start + 50 + i * least)
    return None


_TABLES = (0, 17)
_AT_A_TIME = 1 << 18
"""Packets that are looked at together: of a recording of hours there are hundreds of millions."""


def _transport(data: mmap.mmap, pid: int) -> int | None:
    """Every packet begins with a mark, and those of a stream are counted from 0 to 15, again and again."""
    layout = ts_layout(data)
    if layout is None or len(data) < 5 * layout[0]:
        return None
    (size, at), count = layout, len(data) // layout[0]
    before = np.empty((0, 6), np.uint8)  # the stream's last packet, and what comes after it
    for first in range(0, count, _AT_A_TIME):
        whole = np.frombuffer(data, np.uint8, min(_AT_A_TIME, count - first) * size, first * size).reshape(-1, size)
        heads = np.concatenate([before, whole[:, at : at + 6]])
        del whole  # the file can be closed
        own, broken = _left_out(heads, pid)
        wrong = np.flatnonzero(heads[:, 0] != TS_MARK)
        if places := [int(where[0]) for where in (wrong, broken) if len(where)]:
            return (first - len(before) + min(places)) * size
        before = heads[own[-1] if len(own) else 0 :]
    return None


def _left_out(heads: np.ndarray, pid: int) -> tuple[np.ndarray, np.ndarray]:
    """The packets of a stream, and those before which others are missing. Where a recording was joined, none are."""
    pids = (heads[:, 1] & 31).astype(np.int32) << 8 | heads[:, 2]
    own = np.flatnonzero((pids == pid) & (heads[:, 3] & 16 > 0))
    step = np.diff(heads[own, 3] & 15) & 15
    tables = np.cumsum(np.isin(pids, _TABLES))[own]
    marked = (heads[own, 3] & 32 > 0) & (heads[own, 4] > 0)
    is_new = marked & (heads[own, 5] & 0x80 > 0)
    is_joined = marked & (heads[own, 5] & 0x40 > 0) & (heads[own, 1] & 0x40 > 0)
    is_fine = (step <= 1) | is_new[1:] | (is_joined[1:] & (np.diff(tables) > 0))
    return own, own[1:][~is_fine]


_CHECKS: tuple[tuple[tuple[str, ...], Callable[[mmap.mmap, int], int | None]], ...] = (
    (("matroska", "webm"), _matroska),
    (("avi",), _riff),
    (("ogg",), _ogg),
    (("gif",), _gif),
    (("mxf",), _mxf),
    (("asf",), _asf),
    (("mpegts",), _transport),
)
