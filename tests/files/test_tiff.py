"""TIFF: what is missing or damaged in the first picture is told, where OpenCV would give black or noise."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from picture_bytes import encode

from facealign_cli.errors import InputError
from facealign_cli.files.header import read_header
from facealign_cli.files.pictures import decode_image
from facealign_cli.files.tiff import check_unpacks

ROWS_PER_STRIP = 278
"""OpenCV names this parameter since 4.10."""


def tiff(parts: list[bytes], **tags: int | list[int]) -> bytes:
    """A small TIFF of these strips or tiles; t277=3 sets tag 277. Grey, 8 bits, 20 x 30, one strip, if nothing else."""
    wanted: dict[int, int | list[int]] = {256: 20, 257: 30, 258: 8, 259: 1, 262: 1, 277: 1, 278: 30}
    wanted |= {int(name[1:]): value for name, value in tags.items()}
    places = [8 + sum(map(len, parts[:i])) for i in range(len(parts))]
    wanted |= {273: places, 279: [len(part) for part in parts]}
    body, entries = b"".join(parts), b""
    for tag, value in sorted(wanted.items()):
        values = [value] if isinstance(value, int) else value
        place = 8 + len(body)
        if len(values) > 1:
            body += struct.pack(f"<{len(values)}I", *values)
        entries += struct.pack("<HHII", tag, 4, len(values), values[0] if len(values) == 1 else place)
    directory = struct.pack("<H", len(entries) // 12) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory


GREY = bytes(range(200)) * 3


def test_the_small_tiff_is_read() -> None:
    assert decode_image(tiff([GREY]))[29, 19, 0] == GREY[599]
    halves = [zlib.compress(GREY[:400]), zlib.compress(GREY[400:])]
    assert decode_image(tiff(halves, t259=8, t278=20))[29, 19, 0] == GREY[599]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (tiff([GREY * 2] * 3, t277=3, t284=2, t262=2, t258=16), "16 bits a value, which OpenCV misreads: save it with"),
        (tiff([GREY], t256=14_000, t257=14_000, t278=14_000), "600 bytes cannot hold a TIFF of 14000 x 14000 pixels"),
        (tiff([GREY], t259=5, t256=14_000, t257=14_000, t278=14_000), "600 bytes cannot hold a TIFF of 14000"),
        (tiff([GREY], t259=4, t258=1, t256=14_000, t257=14_000, t278=14_000), "600 bytes cannot hold a TIFF of 14000"),
        (tiff([GREY], t322=14_000, t323=14_000), "600 bytes cannot hold a TIFF of 20 x 30"),
        (tiff([zlib.compress(GREY)[:-9] + bytes(9)], t259=8), "cannot be unpacked"),
        (tiff([zlib.compress(GREY)[:-1] + b"\0"], t259=8), r"cannot be unpacked \(Error -3.*incorrect data check"),
        (tiff([zlib.compress(GREY[:-1])], t259=8), "unpacks to less than its size"),
        (tiff([zlib.compress(GREY[:400])] * 2, t259=8, t278=20, t257=40), None),
        (tiff([zlib.compress(GREY[:400])] * 2, t259=8, t278=30, t257=60), "unpacks to less than its size"),
    ],
)
def test_what_is_not_there(data: bytes, match: str | None) -> None:
    if match is None:
        assert decode_image(data).shape == (40, 20, 3)
        return
    with pytest.raises(InputError, match=match):
        decode_image(data)


def test_parts_and_colours_behind_the_end(small: np.ndarray) -> None:
    planes = tiff([GREY] * 3, t277=3, t284=2, t262=2)
    assert decode_image(planes)[29, 19].tolist() == [GREY[599]] * 3
    place = planes.index(struct.pack("<III", 8, 608, 1208))
    behind = planes[:place] + struct.pack("<III", 8, 608, len(planes) - 599) + planes[place + 12 :]
    with pytest.raises(InputError, match="cut short: a part of the TIFF's picture lies behind its end"):
        decode_image(behind)
    colours = tiff([GREY], t262=3, t320=[0] * 768)
    decode_image(colours)
    at = colours.index(struct.pack("<HHI", 320, 4, 768)) + 8
    with pytest.raises(InputError, match="cut short: a table of the TIFF lies behind its end"):
        decode_image(colours[:at] + struct.pack("<I", len(colours) - 100) + colours[at + 4 :])
    for compression in (1, 5, 8, 32773):
        data = encode(small, ".tiff", cv2.IMWRITE_TIFF_COMPRESSION, compression, ROWS_PER_STRIP, 7)
        np.testing.assert_array_equal(decode_image(data), small)


def test_colours_of_fewer_values_than_pixels_are_no_lack() -> None:
    """YCbCr of 20 x 30 pixels, one pair of colours for four pixels: 900 bytes."""
    for compression, part in ((1, bytes(900)), (8, zlib.compress(bytes(900)))):
        data = tiff([part], t259=compression, t262=6, t277=3)
        assert read_header(data).width == 20
        check_unpacks(data)


def test_places_and_sizes_that_cannot_be() -> None:
    for data, match in (
        (b"II+\0\x08\0\0\0" + b"\xff" * 8, "cut short"),
        (b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1) + struct.pack("<HHQQ", 256, 3, 1 << 63, 1 << 63), "cut short"),
        (b"II*\0" + bytes(200), "a TIFF without a directory"),
        (tiff([GREY], t278=0), "strips or tiles without a size"),
        (tiff([zlib.compress(GREY)], t259=8, t322=0, t323=16), "strips or tiles without a size"),
    ):
        with pytest.raises(InputError, match=match):
            decode_image(data)


@pytest.mark.parametrize(
    "exif",
    [b"II*\0" + bytes(8), b"II+\0\x08\0\0\0" + b"\xff" * 8, b"II*\0\xff\xff\xff\xff", b"II", b"", b"XX*\0" + bytes(8)],
)
def test_an_exif_that_says_nothing_turns_nothing(small: np.ndarray, exif: bytes) -> None:
    """An orientation is a tag of a TIFF."""
    data = encode(small, ".jpg")
    segment = b"\xff\xe1" + struct.pack(">H", 8 + len(exif)) + b"Exif\0\0" + exif
    np.testing.assert_array_equal(decode_image(data[:2] + segment + data[2:]), decode_image(data))


def test_floats_that_32_bits_cannot_hold(capfd: pytest.CaptureFixture[str]) -> None:
    values = struct.pack("<600d", *[1e300] * 300, *[0.5] * 300)
    image = decode_image(tiff([values], t258=64, t339=3))
    assert (image[0, 0, 0], image[29, 19, 0]) == (255, 128)
    assert capfd.readouterr() == ("", "")
