"""Reading and writing pictures: whatever OpenCV knows comes back upright, 8-bit, blue-green-red; errors say why.

- Orientation (EXIF) is applied: landmarks refer to the picture as a viewer shows it. (AVIF's own turn is applied too.)
- Grey becomes three equal channels. Transparency (PNG, WebP, AVIF, colour TIFF) is blended onto white, unless every
  pixel is transparent, which is a broken writer's mistake; the other formats as OpenCV composes them.
- More than 8 bits, and floats, become 8 bits as `depth` says. Of several pages or frames the first one counts.
- A file that is cut short is an error, as is one with more pixels than the limit: neither is decoded.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import BinaryIO

import numpy as np

from facealign_cli.arrays import Image, real_number
from facealign_cli.errors import InputError
from facealign_cli.files.base import check_path, no_such_file, read_at_most, without_waiting
from facealign_cli.files.depth import to_8_bit
from facealign_cli.files.header import is_known, read_header, unread_kind
from facealign_cli.files.header_base import ImageHeader
from facealign_cli.files.jpeg import decode_jpeg, plain_jpeg
from facealign_cli.files.output import check_output, write_bytes
from facealign_cli.files.picture_arrays import check_image, to_bgr
from facealign_cli.files.png import plain_png
from facealign_cli.files.tiff import check_unpacks

MAX_PIXELS = 200_000_000
"""The default limit of a picture's size: 200 megapixels."""

MAX_LIMIT = 10**15
"""No limit is higher: sizes of files in bytes are to stay whole numbers of 64 bits."""

STDIN = "-"
"""The path that stands for standard input."""

DRAWING_SUFFIXES = (".jpg", ".png")
_JPEG_SIDE = 65_500
"""The longest side that libjpeg writes."""

_WRITE_OPTIONS: dict[str, tuple[str, int] | None] = {
    ".png": None,
    ".jpg": ("IMWRITE_JPEG_QUALITY", 95),
    ".jpeg": ("IMWRITE_JPEG_QUALITY", 95),
    ".webp": ("IMWRITE_WEBP_QUALITY", 95),
    ".bmp": None,
    ".tif": None,
    ".tiff": None,
}


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read a picture file, or standard input for "-". Returns (H, W, 3) uint8 BGR, upright.

    max_pixels: a larger picture is refused. Raises InputError, which names the file and says what is wrong: it is not
    there, a folder, empty, no picture, cut short, damaged or too large, or there is no permission to read it.
    """
    return read_picture(path, max_pixels=max_pixels).image


def read_picture(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> DecodedPicture:
    """As `read_image`, with what is wrong with the file though it can be read."""
    check_path("path", path)
    _check_limit(max_pixels)
    from_stdin = os.fspath(path) == STDIN
    if not from_stdin and os.path.isdir(path):
        raise InputError(f"{path}: is a folder, not a picture; `facealign batch folder` takes folders")
    try:
        if from_stdin:
            return _read_stream(standard_input(), STDIN, max_pixels)
        with open(path, "rb", opener=without_waiting) as stream:
            return _read_stream(stream, os.fspath(path), max_pixels)
    except FileNotFoundError as error:
        raise InputError(f"{path}: {no_such_file(os.fspath(path), 'facealign batch folder')}") from error
    except PermissionError as error:
        raise InputError(f"{path}: no permission to read it") from error
    except (OSError, ValueError) as error:
        what = _shown(os.fspath(path))
        raise InputError(f"{what}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def standard_input() -> BinaryIO:
    """The bytes that come in by standard input. Raises InputError where the process was started without one."""
    if sys.stdin is None:
        raise InputError('standard input ("-") is closed: nothing can be read from it')
    return sys.stdin.buffer


def read_image_stream(stream: BinaryIO, name: str = STDIN, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read a picture from a binary stream up to its end; `name` stands in the errors. Otherwise as `read_image`."""
    return _read_stream(stream, name, max_pixels).image


def _read_stream(stream: BinaryIO, name: str, max_pixels: int) -> DecodedPicture:
    start = stream.read(4096)
    if start and not is_known(start):  # an endless or huge stream is not read any further
        raise InputError(f"{_shown(name)}: {unread_kind(start)}")
    limit = max_file_bytes(max_pixels)
    data = start + read_at_most(stream, limit - len(start) + 1) if start else b""
    if len(data) > limit:
        raise InputError(f"{_shown(name)}: more than {limit >> 20} MiB, too large for a picture within the limit")
    return decode_picture(data, name, max_pixels=max_pixels)


def _check_limit(max_pixels: int) -> None:
    if not isinstance(max_pixels, Integral) or not 1 <= real_number(max_pixels) <= MAX_LIMIT:
        raise InputError(f"max_pixels: expected a whole number, 1 to {MAX_LIMIT}, got {max_pixels!r:.40}")


def max_file_bytes(max_pixels: int = MAX_PIXELS) -> int:
    """No picture within the limit has a longer file: 16-bit RGBA, not compressed, and room for what goes with it."""
    return 8 * max_pixels + (64 << 20)


@dataclass(frozen=True, eq=False)
class DecodedPicture:
    """A picture that was read.

    image: (H, W, 3) uint8 BGR, upright. warning: what is wrong with its file, if at all. orientation: EXIF's, 1 to 8,
    by which it was turned.
    """

    image: Image
    warning: str | None = None
    orientation: int = 1


def decode_image(data: bytes, name: str = "picture", *, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode the bytes of a picture file. Returns (H, W, 3) uint8 BGR, upright.

    name: what errors call the picture. Raises InputError as `read_image` does for a file of these bytes.
    """
    return decode_picture(data, name, max_pixels=max_pixels).image


def decode_picture(data: bytes, name: str = "picture", *, max_pixels: int = MAX_PIXELS) -> DecodedPicture:
    """Decode the bytes of a picture file; `name` stands in the errors. Otherwise as `read_image`."""
    _check_limit(max_pixels)
    if not isinstance(name, str):
        raise InputError(f"name: expected a text, got {type(name).__name__}")
    name = _shown(name)
    if not isinstance(data, bytes | bytearray | memoryview):
        what = type(data).__name__
        raise InputError(f"{name}: expected the bytes of a picture file, got {what}; an array of bytes has .tobytes()")
    if isinstance(data, memoryview):
        data = data.tobytes()  # it may leave bytes out, or count in larger items
    if not data:
        raise InputError(f"{name}: the file is empty")
    if not is_known(data[:128]):
        raise InputError(f"{name}: {unread_kind(data[:128])}")
    try:
        header = read_header(data)
        if header.width * header.height > max_pixels:
            raise ValueError(
                f"{header.width} x {header.height} pixels are more than the limit of {max_pixels / 1e6:g} million"
            )
        image, warning = _decode(_checked(data, header), header)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error
    if image is None or image.size == 0:
        raise InputError(f"{name}: damaged or of a kind that OpenCV cannot read ({header.format})")
    if header.more is not None:
        warning = "; ".join(filter(None, (warning, f"of its {header.more}, only the first one is used")))
    return DecodedPicture(np.ascontiguousarray(image), warning and f"{name}: {warning}", header.orientation)


def write_image(path: str | os.PathLike[str], image: Image, overwrite: bool = False) -> None:
    """Write a picture in the format of the path's suffix. image: (H, W, 3) BGR or (H, W) grey, uint8.

    Raises InputError for an unknown suffix, for another kind of array, and for a picture that is too large for the
    format, and OutputError if it cannot be written.
    """
    check_path("path", path)
    suffix = image_suffix(path)
    check_output(path, overwrite)
    write_bytes(path, encode_image(image, suffix, os.fspath(path)), overwrite)


def encode_image(image: Image, suffix: str, name: str = "picture") -> bytes:
    """The file's content for `write_image`; `suffix`: a known one; `name` stands in the errors.

    Raises InputError for a picture that is too large for the format, and for another kind of array.
    """
    import cv2

    image = check_image(image)
    option = _WRITE_OPTIONS[suffix]
    try:
        with quiet_opencv():
            done, data = cv2.imencode(suffix, image, [getattr(cv2, option[0]), option[1]] if option else [])
    except cv2.error:
        done = False
    if not done:
        raise InputError(f"{name}: {image.shape[1]} x {image.shape[0]} pixels do not go into {suffix}; .png holds them")
    return data.tobytes()


def drawing_suffix(image: Image) -> str:
    """The suffix of a file that can hold a picture of that size: .jpg, or .png where a side is too long for it."""
    return DRAWING_SUFFIXES[max(image.shape[:2]) > _JPEG_SIDE]


def image_suffix(path: str | os.PathLike[str]) -> str:
    """The path's suffix, in small letters. Raises InputError, which lists the known ones, if none is meant."""
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITE_OPTIONS:
        raise InputError(f"{path}: pictures are written as {', '.join(_WRITE_OPTIONS)}, not as {suffix or 'no suffix'}")
    return suffix


def _checked(data: bytes, header: ImageHeader) -> bytes:
    """What OpenCV is to decode. Raises ValueError for damage that it would pass over, or that its libraries print."""
    if header.format == "TIFF":
        check_unpacks(data)
    return plain_png(data) if header.format == "PNG" else data


def _decode(data: bytes, header: ImageHeader) -> tuple[Image | None, str | None]:
    """(H, W, 3) uint8, or None if OpenCV refuses; and what is wrong with the file. Raises TruncatedError."""
    import cv2

    if header.format == "JPEG":
        image, warning = decode_jpeg(data, header)
        if image is not None:
            return _upright(image, header.orientation), warning
        data = plain_jpeg(data)
    if header.alpha:
        image = _imdecode(data, cv2.IMREAD_UNCHANGED)
        if image is not None and image.ndim == 3 and image.shape[2] == 4:
            premultiplied = header.format == "TIFF" and image.dtype == np.uint8  # libtiff's way
            whole, warning = to_8_bit(image, header)
            return _upright(_on_white(whole, premultiplied), header.orientation), warning
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    turned_here = header.format in ("AVIF", "WebP")  # OpenCV turns the others; WebP it turns from 4.13 on
    image = _imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION if turned_here else flags)
    if image is None and header.format == "TIFF":  # grey floats, as ImageJ writes them
        image = _imdecode(data, cv2.IMREAD_ANYDEPTH)
    if image is None:
        return None, None
    whole, warning = to_8_bit(image, header)
    return _upright(to_bgr(whole), header.orientation if turned_here else 1), warning


def _imdecode(data: bytes, flags: int) -> np.ndarray | None:
    import cv2

    try:
        with quiet_opencv():
            return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, MemoryError):
        return None


def _on_white(bgra: Image, premultiplied: bool) -> Image:
    """Blend (H, W, 4) uint8 onto white; where all of it is transparent, the alpha is taken for a mistake."""
    bgr, alpha = bgra[..., :3], bgra[..., 3:]
    if alpha.min() == 255 or alpha.max() == 0:
        return bgr
    blended = np.empty_like(bgr)
    for row in range(0, len(bgr), 256):  # in strips: a large picture would need six times its size in 16 bits
        part = slice(row, row + 256)
        opacity = alpha[part].astype(np.uint16)
        color = bgr[part] if premultiplied else (bgr[part] * opacity + 127) // 255
        blended[part] = np.minimum(color + (255 - opacity), 255)
    return blended


def _upright(image: Image, orientation: int) -> Image:
    """Apply EXIF's orientation 1–8."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image


_quiet_lock = threading.Lock()
_quiet_state = {"users": 0, "level": 0}


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """OpenCV logs to stderr what our errors already say; the level is the process's, so the last thread restores it."""
    import cv2

    logging = getattr(cv2.utils, "logging", cv2)  # OpenCV 4.9 to 4.12 have these functions at the top
    with _quiet_lock:
        if _quiet_state["users"] == 0:
            _quiet_state["level"] = logging.getLogLevel()
            logging.setLogLevel(0)
        _quiet_state["users"] += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_state["users"] -= 1
            if _quiet_state["users"] == 0:
                logging.setLogLevel(_quiet_state["level"])


def _shown(name: str) -> str:
    return "standard input" if name == STDIN else name
