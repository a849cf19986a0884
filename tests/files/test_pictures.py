"""Pictures of every kind come back upright, 8-bit, BGR, and are written; files that cannot be used say why."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from picture_bytes import encode

from facealign_cli.errors import InputError, OutputError
from facealign_cli.files.pictures import decode_image, decode_picture, read_image, read_image_stream, write_image

Image = pytest.importorskip("PIL.Image")
ImageOps = pytest.importorskip("PIL.ImageOps")
TiffImagePlugin = pytest.importorskip("PIL.TiffImagePlugin")


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


UNCOMPRESSED = (cv2.IMWRITE_TIFF_COMPRESSION, 1)
"""Of TIFF; OpenCV 4.9 to 4.11 write floats in a lossy way unless they are asked not to."""


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


def test_grey_floats_as_imagej_writes_them(tmp_path: Path) -> None:
    grey = np.linspace(0, 200, 64 * 64, dtype=np.float32).reshape(64, 64)
    assert cv2.imwrite(str(tmp_path / "grey.tif"), grey)
    image = read_image(tmp_path / "grey.tif")
    assert image.shape == (64, 64, 3)
    assert np.abs(image[..., 0] - grey / grey.max() * 255).max() <= 0.5


def test_files(small: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "Gesicht 顔 é.png"
    write_image(path, small)
    np.testing.assert_array_equal(read_image(path), small)
    np.testing.assert_array_equal(read_image(str(path)), small)
    odd = os.fsencode(tmp_path) + b"/\xe9.png"
    path.rename(os.fsdecode(odd))
    np.testing.assert_array_equal(read_image(os.fsdecode(odd)), small)


def test_no_file(tmp_path: Path) -> None:
    (tmp_path / "b.png").touch()
    with pytest.raises(InputError, match=r"it is a pattern, .* `facealign batch folder '.*/\*\.png' -o rows` takes it"):
        read_image(tmp_path / "*.png")
    with pytest.raises(InputError, match=r"no such file, and none that this pattern matches"):
        read_image(tmp_path / "[ac].png")
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


def test_no_memory_is_laid_out_for_a_longer_file_than_there_is(small: np.ndarray) -> None:
    """Asked for 1.6 GB, Python takes so much for the shortest file, which fails where memory is limited."""
    asked = []

    class Stream(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(size)
            return super().read(size)

    np.testing.assert_array_equal(read_image_stream(Stream(encode(small, ".png"))), small)
    assert all(0 <= size <= 1 << 20 for size in asked)


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
    with pytest.raises(InputError, match="uint8"):
        write_image(tmp_path / "a.png", small.astype(float))
    assert not list(tmp_path.iterdir())


def test_reads_the_photos(shared_data: Path) -> None:
    for path in sorted((shared_data / "photos").glob("*.jpg")):
        np.testing.assert_array_equal(read_image(path), cv2.imread(str(path)))


@pytest.mark.parametrize("data", [None, "a.jpg", np.frombuffer(b"\xff\xd8\xff", np.uint8)])
def test_what_is_no_bytes_is_refused(data: object) -> None:
    with pytest.raises(InputError, match="expected the bytes of a picture file"):
        decode_image(data)  # type: ignore[arg-type]


@pytest.mark.parametrize("image", [None, [[0, 0]], "a.jpg"])
def test_what_is_no_array_is_not_written(image: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected .* uint8, got"):
        write_image(tmp_path / "a.png", image)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "more"), [("GIF", "frames"), ("WEBP", "frames"), ("PNG", "frames"), ("TIFF", "pages"), ("AVIF", "frames")]
)
def test_of_several_frames_or_pages_the_first_one_is_used_and_that_is_told(kind: str, more: str) -> None:
    colours = [Image.new("RGB", (32, 24), (200, 40 * i, 0)) for i in range(3)]
    for others in (colours[1:], []):
        stream = io.BytesIO()
        more_options = {"save_all": True, "append_images": others} if others else {}
        try:
            colours[0].save(stream, kind, **more_options)
        except KeyError:
            pytest.skip(f"this Pillow cannot write {kind}")
        if cv2.imdecode(np.frombuffer(stream.getvalue(), np.uint8), cv2.IMREAD_COLOR) is None:
            pytest.skip(f"OpenCV {cv2.__version__} cannot read this {kind}")
        picture = decode_picture(stream.getvalue(), "x")
        assert picture.warning == (f"x: of its {more}, only the first one is used" if others else None)
        assert picture.image[5, 5].tolist() == pytest.approx([0, 0, 200], abs=6)


def test_of_motion_jpeg_the_first_frame_is_used_and_that_is_told(small: np.ndarray) -> None:
    one, smaller = encode(small, ".jpg"), encode(small[::2, ::2], ".jpg")
    index = b"\xff\xe2\0\x08MPF\0\0\0"
    assert decode_picture(one + one + one, "x").warning == "x: of its frames, only the first one is used"
    for still in (one, one + b"\0\0", one + one[:4], one + smaller, one[:2] + index + one[2:] + one):
        picture = decode_picture(still, "x")
        assert picture.warning is None
        assert picture.image.shape == small.shape


@pytest.mark.parametrize("subfile", [0, 1])
def test_a_smaller_copy_in_a_tiff_is_no_page(subfile: int) -> None:
    stream, tags = io.BytesIO(), TiffImagePlugin.ImageFileDirectory_v2()
    tags[254] = subfile
    with TiffImagePlugin.AppendingTiffWriter(stream, True) as pages:
        Image.new("L", (32, 24)).save(pages, "TIFF")
        pages.newFrame()
        Image.new("L", (16, 12)).save(pages, "TIFF", tiffinfo=tags)
        pages.newFrame()
    assert (decode_picture(stream.getvalue(), "x").warning is None) == bool(subfile)
