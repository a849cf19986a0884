"""Bytes that are cut short, damaged, too large or no picture: what cannot be read says why."""

from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from picture_bytes import encode

from facealign_cli.errors import InputError
from facealign_cli.files.header import read_header
from facealign_cli.files.pictures import decode_image, decode_picture, read_image, read_image_stream


@pytest.mark.parametrize(
    "suffix",
    [".jpg", ".png", ".bmp", ".webp", ".tiff", ".gif", ".jp2", ".avif", ".ppm", ".pam", ".pfm", ".hdr", ".ras"],
)
def test_cut_short_or_with_more_behind(small: np.ndarray, suffix: str) -> None:
    image = (small / 255).astype(np.float32) if suffix in (".pfm", ".hdr") else small
    data = encode(image, suffix)
    assert read_header(data).width == 200
    assert read_header(data).height == 120
    whole = decode_image(data)
    cuts = [*range(1, len(data), len(data) // 30), len(data) - (3 if suffix == ".jpg" else 1)]
    for length in cuts:
        with pytest.raises(InputError, match=r"^x\.img: "):
            decode_image(data[:length], "x.img")
    np.testing.assert_array_equal(decode_image(data + b"trailing \xff\xd8 bytes"), whole)
    with pytest.raises(InputError, match=r"200 x 120 pixels are more than the limit of 0\.02 million"):
        decode_image(data, max_pixels=20_000)


@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 4)])
def test_jpeg_kinds(small: np.ndarray, options: tuple[int, ...]) -> None:
    data = encode(small, ".jpg", *options)
    whole = decode_image(data)
    for length in (len(data) - 1, len(data) - 2):
        picture = decode_picture(data[:length], "x.jpg")
        np.testing.assert_array_equal(picture.image, whole)
        assert picture.warning == "x.jpg: the JPEG lacks its end marker, but nothing of its picture"
    with pytest.raises(InputError, match="cut short"):
        decode_image(data[:-3])
    with pytest.raises(InputError, match="a part of its picture is missing"):
        decode_image(data[: len(data) // 2] + data[-2:])
    thumbnail = encode(small[:8, :8], ".jpg")  # a whole JPEG inside of a segment must not pass for the end
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    np.testing.assert_array_equal(decode_image(data[:2] + segment + data[2:]), whole)
    with pytest.raises(InputError, match="cut short"):
        decode_image(data[:2] + segment + data[2 : len(data) // 2])
    np.testing.assert_array_equal(decode_image(data + encode(small[:50], ".jpg")), whole)  # MPO


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_bomb_is_not_decoded() -> None:
    rows = zlib.compress(b"\0" * 10_000_000)
    for side, depth, match in (
        (60_000, 8, "bytes cannot hold a PNG of 60000 x 60000 pixels"),
        (15_000, 1, "15000 x 15000 pixels are more than the limit of 200 million"),
    ):
        header = struct.pack(">IIBBBBB", side, side, depth, 0, 0, 0, 0)
        body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows * (3 if depth == 1 else 1))
        with pytest.raises(InputError, match=match):
            decode_image(b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b""))


def test_a_header_of_spaces_takes_no_time() -> None:
    """A pattern that can go back over white space in two ways took minutes here."""
    for header in (b"P6" + b" " * 60_000 + b"x", b"P7\n" + b"WIDTH " * 9999, b"#?RADIANCE\n" + b"-Y\n " * 9999):
        begin = time.process_time()
        with pytest.raises(InputError, match="damaged"):
            decode_image(header)
        assert time.process_time() - begin < 1


def test_little_data_of_a_huge_claim(small: np.ndarray) -> None:
    """libjpeg would make up the rest, and OpenCV lay out 600 MB for it."""
    jpeg, gif = bytearray(encode(small, ".jpg")), bytearray(encode(small, ".gif"))
    place = jpeg.index(b"\xff\xc0")
    jpeg[place + 5 : place + 9] = struct.pack(">HH", 14_000, 14_000)
    gif[6:10] = struct.pack("<HH", 14_000, 14_000)
    for data, kind in ((jpeg, "JPEG"), (gif, "GIF")):
        with pytest.raises(InputError, match=f"bytes cannot hold a {kind} of 14000 x 14000 pixels"):
            decode_image(bytes(data))


def test_the_flattest_picture_is_no_lie() -> None:
    """The bounds on what a byte can hold leave room for what encoders make of one colour."""
    flat = np.full((3000, 3000, 3), 7, np.uint8)
    for suffix in (".jpg", ".png", ".webp", ".gif"):
        assert decode_image(encode(flat, suffix)).shape == flat.shape
    progressive = encode(flat, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_OPTIMIZE, 1)
    assert decode_image(progressive).shape == flat.shape


def test_a_damaged_jpeg_is_read_and_says_so(small: np.ndarray, capfd: pytest.CaptureFixture[str]) -> None:
    data = encode(small, ".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
    cut = data.index(b"\xff\xd3")
    picture = decode_picture(data[:cut] + b"\x55" * 40 + data[cut:], "x.jpg")
    assert picture.image.shape == small.shape
    assert picture.warning is not None
    assert picture.warning.startswith("x.jpg: the JPEG is damaged: Corrupt JPEG data")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("place", "more", "match"),
    [
        (20, b"\x11" * 30, "Corrupt JPEG data: 30 extraneous bytes before marker 0xdb"),
        (11, b"\x0f", "Warning: unknown JFIF revision number 15"),
    ],
)
def test_what_is_odd_in_the_header_of_a_jpeg(
    small: np.ndarray, capfd: pytest.CaptureFixture[str], place: int, more: bytes, match: str
) -> None:
    """OpenCV reads such a file, and libjpeg prints on standard error what it thinks of it."""
    data = encode(small, ".jpg")
    odd = data[:place] + more + data[place + (len(more) == 1) :]
    picture = decode_picture(odd, "x.jpg")
    np.testing.assert_array_equal(picture.image, decode_image(data))
    assert picture.warning is not None
    assert picture.warning.startswith(f"x.jpg: the JPEG is damaged: {match}")
    with pytest.raises(InputError, match=r"^x\.jpg: the JPEG is damaged: "):
        decode_image(odd.replace(b"\xff\xc0", b"\xff\xc3"), "x.jpg")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture, which is not read here: convert it to JPEG first"),
        (b"<!DOCTYPE html><html>404", "a web page, which is not read here: it came in place"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
        (b"PK\x03\x04" + b"\0" * 50, "a packed file"),
        (b"\0\0\1\0\1\0", "a Windows icon"),
        (b"\0" * 500, "a file of nothing but zeros"),
        (b"\xff\x0a\xfa\x1f", "a JPEG XL picture"),
        (b"\0\0\0\x20ftypisom\0\0\2\0", "a clip, which is not read here: `facealign video track` reads clips"),
        (b"%PDF-1.7", "a PDF"),
        (b"<svg xmlns=", "XML"),
    ],
)
def test_other_kinds_are_named(content: bytes, match: str) -> None:
    with pytest.raises(InputError, match=match):
        decode_image(content + bytes(64))


def test_png_damage(small: np.ndarray) -> None:
    data = bytearray(encode(small, ".png"))
    data[2000] ^= 255
    with pytest.raises(InputError, match="checksum of the PNG's IDAT"):
        decode_image(bytes(data))


def test_nothing_on_stderr(small: np.ndarray, capfd: pytest.CaptureFixture[str]) -> None:
    data = encode(small, ".png")
    profile = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile")) + png_chunk(b"tEXt", b"a\0b")[:-1] + b"!"
    np.testing.assert_array_equal(decode_image(data[:33] + profile + data[33:]), small)
    for suffix in (".bmp", ".tiff", ".gif", ".jp2"):
        if not cv2.haveImageWriter(f"a{suffix}"):
            continue
        with pytest.raises(InputError):
            decode_image(encode(small, suffix)[:3000])
    assert capfd.readouterr() == ("", "")


def png(rows: bytes, *, size: tuple[int, int] = (20, 30), color: int = 0, **parts: bytes) -> bytes:
    """A PNG of 8 bits whose data unfolds to these rows; parts stand before it, and everything has its checksum."""
    header = struct.pack(">IIBBBBB", *size, 8, color, 0, 0, 0)
    body = [png_chunk(b"IHDR", header), *(png_chunk(kind.encode(), part) for kind, part in parts.items())]
    data = zlib.compress(rows)
    body += [png_chunk(b"IDAT", data[:9]), png_chunk(b"IDAT", data[9:]), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


ROWS = b"".join(b"\0" + bytes(range(i, i + 20)) for i in range(30))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (png(ROWS[:-1]), "cut short: the PNG's data ends before its picture does"),
        (png(ROWS, size=(20, 60)), "cut short: the PNG's data ends before its picture does"),
        (png(ROWS[: 21 * 7] + b"\5" + ROWS[21 * 7 + 1 :]), "a row of a filter that there is not"),
        (png(ROWS, color=3), "the PNG's colours are missing"),
        (png(ROWS, color=3, PLTE=bytes(767)), "the PNG's colours are missing"),
        (png(ROWS, color=5), "a kind of picture that there is not"),
        (png(ROWS).replace(b"IHDR", b"CgBI"), "of Apple's own kind"),
        (png(ROWS).replace(zlib.compress(ROWS)[9:], b"x"), "cut short|checksum"),
    ],
)
def test_a_png_whose_checksums_hold_is_wrong_without_a_word_of_libpng(
    content: bytes, match: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=match):
        decode_image(content)
    assert capfd.readouterr() == ("", "")


def test_what_libpng_would_comment_on_is_passed_over(capfd: pytest.CaptureFixture[str]) -> None:
    whole = decode_image(png(ROWS))
    assert whole[3, :, 0].tolist() == list(range(3, 23))
    odd = png(ROWS + b"more", PLTE=bytes(5), tRNS=bytes(7), eXIf=b"none", iCCP=b"x")
    np.testing.assert_array_equal(decode_image(odd), whole)
    assert capfd.readouterr() == ("", "")


def test_the_rows_of_an_interlaced_png() -> None:
    """Of the seven passes, the third has no pixel in a picture of 5 x 3."""
    data = zlib.compress(b"\0\1" + b"\0\5" + b"\0\3" + b"\0\6\7\x08" + b"\0\2\4" * 2 + b"\0\x0a\x0b\x0c\x0d\x0e")
    parts = ((b"IHDR", struct.pack(">IIBBBBB", 5, 3, 8, 0, 0, 0, 1)), (b"IDAT", data), (b"IEND", b""))
    image = decode_image(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts))
    assert image[1, :, 0].tolist() == [10, 11, 12, 13, 14]


def test_a_jpeg_with_a_hole_is_damaged_not_cut_short(small: np.ndarray) -> None:
    data = encode(small, ".jpg")
    middle = len(data) // 2
    with pytest.raises(InputError, match=r"^x\.jpg: the JPEG is damaged: a part of its picture is missing, though"):
        decode_image(data[:middle] + data[-2:], "x.jpg")
    with pytest.raises(InputError, match=r"^x\.jpg: the file is cut short: the JPEG has no end"):
        decode_image(data[:middle], "x.jpg")
    scan = data.index(b"\xff\xda")
    head = data[: scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")]
    with pytest.raises(InputError, match=r"short: it is the beginning of a JPEG of 200 x 120 pixels, without"):
        decode_image(head, "x.jpg")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", r"the file is empty"),
        (b"hello, world", r"not a picture"),
        (b"%PDF-1.7 " * 9999, r"a PDF, which is not read here"),
        (b"\xff\xd8\xff", r"cut short"),
        (b"\xff\xd8\xff\xd9", r"without a frame"),
        (b"\x89PNG\r\n\x1a\n", r"cut short"),
        (b"BM" + b"\0" * 100, r"damaged"),
        (b"II*\0\x08\0\0\0\0\0", r"without a size"),
        (b"P6\nabc", r"no size"),
        (b"P7\nWIDTH x\n", r"damaged"),
        (b"#?RADIANCE\n", r"no size"),
        (b"\0\0\0\x1cftypavif" + b"\0" * 40, r"without a size"),
        (b"RIFF\x04\0\0\0WEBPVP8 ", r"cut short"),
    ],
)
def test_no_picture(tmp_path: Path, content: bytes, match: str) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(InputError, match=rf"x\.jpg: .*{match}"):
        read_image(tmp_path / "x.jpg")


def test_an_endless_stream_is_given_up() -> None:
    with pytest.raises(InputError, match="a file of nothing but zeros"):
        read_image("/dev/zero")
    endless = io.BytesIO(b"BM" + b"\0" * (70 << 20))
    with pytest.raises(InputError, match="too large"):
        read_image_stream(endless, max_pixels=1000)
