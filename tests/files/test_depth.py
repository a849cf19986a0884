"""Pictures of more than 8 bits: what is white, and when a warning tells it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from picture_bytes import encode

from facealign_cli.files.pictures import decode_picture

UNCOMPRESSED = (cv2.IMWRITE_TIFF_COMPRESSION, 1)
GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


def of_bits(bits: int, kind: type[np.generic]) -> np.ndarray:
    """The 256 greys as values of so many bits."""
    return np.rint(GREY / 255.0 * ((1 << bits) - 1)).astype(kind)


@pytest.mark.parametrize(
    ("suffix", "kind", "bits", "full"),
    [
        (".png", np.uint16, 8, 65_535),
        (".png", np.uint16, 10, 65_535),
        (".png", np.uint16, 12, 65_535),
        (".tiff", np.uint16, 14, 65_535),
        (".tiff", np.int16, 8, 32_767),
        (".tiff", np.int16, 12, 32_767),
        (".tiff", np.int32, 8, 2_147_483_647),
        (".tiff", np.int32, 16, 2_147_483_647),
        (".tiff", np.int32, 20, 2_147_483_647),
    ],
)
def test_fewer_bits_than_the_type_has(suffix: str, kind: type[np.generic], bits: int, full: int) -> None:
    options = UNCOMPRESSED if suffix == ".tiff" else ()
    picture = decode_picture(encode(of_bits(bits, kind), suffix, *options), "x")
    np.testing.assert_array_equal(picture.image[..., 1], GREY)
    most = (1 << bits) - 1
    assert picture.warning is not None
    assert picture.warning.startswith(f"x: its values go up to {most:,}, though the file could hold {full:,}: ")
    assert f"as {bits}-bit values, with {most:,} as white" in picture.warning


@pytest.mark.parametrize(("most", "white"), [(0, 65_535), (1, 255), (256, 1023), (16_383, 16_383), (16_384, 65_535)])
def test_what_no_value_exceeds_is_white(most: int, white: int) -> None:
    picture = decode_picture(encode(np.array([[0, most]], np.uint16), ".png"), "x")
    assert picture.image[0, 1, 0] == round(most / white * 255)
    assert (picture.warning is None) == (white == 65_535)


@pytest.mark.parametrize(("kind", "bits"), [(np.uint16, 16), (np.int16, 15), (np.int32, 31), (np.int8, 7)])
def test_a_full_range_is_kept_without_a_word(kind: type[np.generic], bits: int) -> None:
    picture = decode_picture(encode(of_bits(bits, kind), ".tiff", *UNCOMPRESSED), "x")
    assert picture.warning is None
    assert np.abs(picture.image[..., 0].astype(int) - GREY).max() <= (kind is np.int8)


def test_colours_under_an_alpha_plane_of_all_bits() -> None:
    deep = np.dstack([of_bits(12, np.uint16)] * 3 + [np.full((16, 16), 65_535, np.uint16)])
    picture = decode_picture(encode(deep, ".png"), "x")
    np.testing.assert_array_equal(picture.image[..., 0], GREY)
    assert picture.warning is not None and "12-bit" in picture.warning


@pytest.mark.parametrize(
    "header",
    [
        "P5\n# 16 bits\n16 16\n{}\n",
        "P5 16 16 {}\n",
        "P7\nWIDTH 16\nHEIGHT 16\nDEPTH 1\nMAXVAL {}\nTUPLTYPE GRAYSCALE\nENDHDR\n",
    ],
)
def test_pnm_states_its_white(header: str) -> None:
    data = header.format(20_000).encode() + (GREY.astype(np.uint16) * 39).astype(">u2").tobytes()
    picture = decode_picture(data, "x")
    assert picture.image.max() == round(255 * 39 / 20_000 * 255)
    assert picture.warning is None


@pytest.mark.parametrize("bits", [10, 12])
def test_avif_states_its_bits(bits: int) -> None:
    data = encode(of_bits(bits, np.uint16).repeat(4, 0).repeat(4, 1) // 8, ".avif", cv2.IMWRITE_AVIF_DEPTH, bits)
    picture = decode_picture(data, "x")
    assert picture.image.max() == pytest.approx(255 / 8, abs=3)
    assert picture.warning is None


@pytest.mark.parametrize("kind", [np.float32, np.int16])
def test_what_is_below_zero_is_told(kind: type[np.generic]) -> None:
    values = (GREY / 127.5 - 1) * (1 if kind is np.float32 else 32_767)
    picture = decode_picture(encode(values.astype(kind), ".tiff", *UNCOMPRESSED), "x")
    lowest = "-1" if kind is np.float32 else "-32767"
    assert picture.warning == (
        f"x: 50% of its values are below 0 (the lowest is {lowest}), and become black: scale them to 0 and above first"
    )
    few = np.where(GREY < 2, -0.1, GREY / 255).astype(np.float32)
    assert decode_picture(encode(few, ".tiff", *UNCOMPRESSED), "x").warning is None
