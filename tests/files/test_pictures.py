"""Pictures of every kind come back upright, 8-bit, BGR; what cannot be read says why."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign_cli.errors import InputError, OutputError
from facealign_cli.files.header import read_header
from facealign_cli.files.pictures import decode_image, decode_picture, read_image, read_image_stream, write_image

Image = pytest.importorskip("PIL.Image")
ImageOps = pytest.importorskip("PIL.ImageOps")


@pytest.fixture(scope="module")
def quarters() -> np.ndarray:
    """(40, 60, 3) RGB: four quarters of unlike colour, so that every turn shows."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:20, :30], image[:20, 30:], image[20:, :30], image[20:, 30:] = (
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (255, 255, 0),
    )
    return image


@pytest.fixture(scope="module")
def small(astronaut: np.ndarray) -> np.ndarray:
    return cv2.resize(astronaut, (200, 120))


UNCOMPRESSED = (cv2.IMWRITE_TIFF_COMPRESSION, 1)
"""Of TIFF; OpenCV 4.9 to 4.11 write floats in a lossy way unless they are asked not to."""


def encode(image: np.ndarray, suffix: str, *options: int) -> bytes:
    if suffix == ".gif" and not cv2.haveImageWriter("a.gif"):
        pytest.skip("this OpenCV cannot write .gif")
    return cv2.imencode(suffix, image, options)[1].tobytes()


def save(image: object, fmt: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, fmt, **options)  # type: ignore[attr-defined]
    return stream.getvalue()


def in_mode(quarters: np.ndarray, mode: str) -> object:
    image = Image.fromarray(quarters)
    if mode == "I;16":
        return Image.fromarray(np.array(image.convert("L")).astype(np.uint16) * 257)
    image = image.convert(mode)
    if "A" in mode:
        alpha = np.full(quarters.shape[:2], 255, np.uint8)
        alpha[:10, :10], alpha[10:20, :10] = 0, 100
        image.putalpha(Image.fromarray(alpha))
    return image


def by_pillow(data: bytes) -> np.ndarray:
    """The reference: Pillow turns the picture and lays it on white."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode.startswith("I"):
        image = Image.fromarray(np.rint(np.array(image) / 257).astype(np.uint8))
    if "A" in image.getbands():
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("RGBA"))
        image = ground
    return np.array(image.convert("RGB"))[..., ::-1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("fmt", "modes"),
    [
        ("JPEG", ["RGB", "L", "CMYK"]),
        ("PNG", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"]),
        ("WEBP", ["RGB", "RGBA"]),
        ("TIFF", ["RGB", "RGBA", "L", "P", "1", "I;16", "CMYK"]),
        ("AVIF", ["RGB", "RGBA", "L"]),
    ],
)
def test_upright_in_every_mode(quarters: np.ndarray, fmt: str, modes: list[str], orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    for mode in modes:
        try:
            data = save(in_mode(quarters, mode), fmt, exif=exif, **({"lossless": True} if fmt == "WEBP" else {}))
        except KeyError:
            pytest.skip(f"this Pillow cannot write {fmt}")
        if fmt == "AVIF" and cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is None:
            pytest.skip("this OpenCV cannot read AVIF")
        got = decode_image(data, f"{mode}.{fmt}")
        expected = by_pillow(data)
        assert got.shape == expected.shape, mode
        assert got.dtype == np.uint8
        assert got.flags["C_CONTIGUOUS"]
        assert np.abs(got.astype(int) - expected).max() <= 6, mode


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bits_are_scaled(small: np.ndarray, suffix: str) -> None:
    deep = small.astype(np.uint16) * 257
    np.testing.assert_array_equal(decode_image(encode(deep, suffix)), small)
    np.testing.assert_array_equal(decode_image(encode(deep[..., 0], suffix))[..., 2], small[..., 0])


def test_16_bits_with_alpha(small: np.ndarray) -> None:
    deep = np.dstack([small, np.full(small.shape[:2], 255, np.uint8)]).astype(np.uint16) * 257
    deep[:5, :, 3] = 0
    got = decode_image(encode(deep, ".png"))
    assert (got[:5] == 255).all()
    np.testing.assert_array_equal(got[5:], small[5:])


def test_a_wholly_transparent_picture_is_shown(small: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_image(encode(np.dstack([small, small[..., 0] * 0]), ".png")), small)


def test_floats(small: np.ndarray) -> None:
    fractions = (small / 255).astype(np.float32)
    for suffix in (".tiff", ".pfm"):
        assert np.abs(decode_image(encode(fractions, suffix, *UNCOMPRESSED)).astype(int) - small).max() <= 1
    bright = fractions.copy() * 255
    bright[0, 0] = 255, np.nan, 0
    assert np.abs(decode_image(encode(bright, ".tiff", *UNCOMPRESSED))[1:].astype(int) - small[1:]).max() <= 1
    assert np.abs(decode_image(encode(fractions, ".hdr")).astype(int) - small).max() <= 3


@pytest.mark.parametrize(
    "suffix",
    [".jpg", ".png", ".bmp", ".webp", ".tiff", ".gif", ".jp2", ".avif", ".ppm", ".pam", ".pfm", ".hdr", ".ras"],
)
def test_cut_short_or_with_more_behind(small: np.ndarray, suffix: str) -> None:
    image = (small / 255).astype(np.float32) if suffix in (".pfm", ".hdr") else small
    try:
        data = encode(image, suffix)
    except cv2.error:
        pytest.skip(f"this OpenCV cannot write {suffix}")
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
    with pytest.raises(InputError, match="cut short"):
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


def test_grey_floats_as_imagej_writes_them(tmp_path: Path) -> None:
    grey = np.linspace(0, 200, 64 * 64, dtype=np.float32).reshape(64, 64)
    assert cv2.imwrite(str(tmp_path / "grey.tif"), grey)
    image = read_image(tmp_path / "grey.tif")
    assert image.shape == (64, 64, 3)
    assert np.abs(image[..., 0] - grey / grey.max() * 255).max() <= 0.5


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture, which is not read here: convert it to JPEG first"),
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


def test_files(small: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "Gesicht 顔 é.png"
    write_image(path, small)
    np.testing.assert_array_equal(read_image(path), small)
    np.testing.assert_array_equal(read_image(str(path)), small)
    odd = os.fsencode(tmp_path) + b"/\xe9.png"
    path.rename(os.fsdecode(odd))
    np.testing.assert_array_equal(read_image(os.fsdecode(odd)), small)


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


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.jpg: no such file"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"is a folder, not a picture"):
        read_image(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_image("a\0.jpg")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"(?i)cannot be read: not a directory|no such file"):
        read_image(tmp_path / "file" / "a.jpg")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch(0)
    with pytest.raises(InputError, match="no permission"):
        read_image(tmp_path / "a.jpg")


def test_standard_input(small: np.ndarray) -> None:
    code = "from facealign_cli.files.pictures import read_image; print(read_image('-').shape)"
    done = subprocess.run([sys.executable, "-c", code], input=encode(small, ".png"), capture_output=True, check=True)
    assert done.stdout.strip() == b"(120, 200, 3)"
    with pytest.raises(InputError, match="standard input: the file is empty"):
        read_image_stream(io.BytesIO())


def test_an_endless_stream_is_given_up() -> None:
    with pytest.raises(InputError, match="not a picture"):
        read_image("/dev/zero")
    endless = io.BytesIO(b"BM" + b"\0" * (70 << 20))
    with pytest.raises(InputError, match="too large"):
        read_image_stream(endless, max_pixels=1000)


def test_importing_loads_no_opencv() -> None:
    code = "import sys, facealign_cli.files.pictures, facealign_cli.overlay, facealign_cli.formats.base as b"
    code += "; b.format_names(); print('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"False"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".webp", ".bmp", ".tif"])
def test_write_image(small: np.ndarray, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_image(path, small)
    assert np.abs(read_image(path).astype(int) - small).mean() < 4
    with pytest.raises(OutputError, match="exists already"):
        write_image(path, small)
    write_image(path, small[..., 0], overwrite=True)
    assert os.listdir(tmp_path) == [path.name]


def test_write_image_refuses(small: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"written as \.png, .*not as \.txt"):
        write_image(tmp_path / "a.txt", small)
    with pytest.raises(InputError, match="no suffix"):
        write_image(tmp_path / "a", small)
    with pytest.raises(InputError, match=r"70000 x 1 pixels do not go into \.jpg"):
        write_image(tmp_path / "a.jpg", np.zeros((1, 70_000, 3), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        write_image(tmp_path / "a.png", small.astype(float))
    assert not list(tmp_path.iterdir())


def test_reads_the_photos(shared_data: Path) -> None:
    for path in sorted((shared_data / "photos").glob("*.jpg")):
        np.testing.assert_array_equal(read_image(path), cv2.imread(str(path)))
