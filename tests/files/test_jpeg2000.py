"""JPEG 2000: tiles that are not there, and sizes that are not meant, are told before anything is decoded."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from picture_bytes import encode

from facealign_cli.errors import InputError
from facealign_cli.files.pictures import decode_image


def sized(data: bytes, size: tuple[int, int], tile: tuple[int, int]) -> bytes:
    """The file with another size, in its box and its codestream, and another size of its tiles."""
    place, box = data.index(b"\xff\x4f\xff\x51") + 8, data.index(b"ihdr") + 4
    changed = bytearray(data)
    changed[place : place + 8] = struct.pack(">II", *size)
    changed[place + 16 : place + 24] = struct.pack(">II", *tile)
    changed[box : box + 8] = struct.pack(">II", *size[::-1])
    return bytes(changed)


def test_tiles_and_sizes(small: np.ndarray) -> None:
    data = encode(small, ".jp2")
    assert decode_image(sized(data, (200, 120), (200, 120))).shape == small.shape
    for size, tile, match in (
        ((200, 120), (10, 10), "239 of its 240 tiles are missing"),
        ((200, 120), (0, 10), "tiles without a size"),
        ((14_000, 14_000), (14_000, 14_000), "bytes cannot hold a JPEG 2000 of 14000 x 14000 pixels"),
    ):
        with pytest.raises(InputError, match=match):
            decode_image(sized(data, size, tile))
    with pytest.raises(InputError, match="cut short: it ends within a tile"):
        decode_image(data[:-20])
    start = data.index(b"\xff\x90")
    with pytest.raises(InputError, match="no marker where one has to be"):
        decode_image(data[:start] + b"\0" + data[start:])


def test_a_vast_avif_of_few_bytes_is_not_laid_out(small: np.ndarray) -> None:
    data = bytearray(encode(small, ".avif"))
    place = data.index(b"ispe") + 8
    data[place : place + 8] = struct.pack(">II", 14_000, 14_000)
    with pytest.raises(InputError, match="bytes cannot hold an AVIF of 14000 x 14000 pixels"):
        decode_image(bytes(data))
