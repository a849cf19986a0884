"""The pictures and thumbnails that the page shows: JPEG, upright, made when asked for, a few kept in memory."""

from __future__ import annotations

import stat
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from facealign_cli.arrays import Image, pixels
from facealign_cli.errors import InputError
from facealign_cli.files.pictures import encode_image, read_image

_MAX_SIDE = 4096
"""Larger pictures are shown smaller; coordinates stay those of the file."""

_THUMBNAIL_HEIGHT = 72
_AT_ONCE = 2
_PICTURES_KEPT_BYTES = 128 << 20
_THUMBNAILS_KEPT_BYTES = 64 << 20


_Key = tuple[Path, int, int]
"""A file as it is now: its path, when it was changed, its bytes."""


class _Kept:
    """The bytes that were used last, up to a limit. Safe among threads."""

    def __init__(self, limit: int) -> None:
        self._limit, self._size, self._lock = limit, 0, threading.Lock()
        self._entries: OrderedDict[_Key, bytes] = OrderedDict()

    def get(self, path: Path, make: Callable[[], bytes]) -> bytes:
        """What was made of the file as it is now. Raises InputError if it is not there, and what `make` raises."""
        key = _key(path)
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        data = make()
        with self._lock:
            self._size += len(data) - len(self._entries.get(key, b""))
            self._entries[key] = data
            while self._size > self._limit and len(self._entries) > 1:
                self._size -= len(self._entries.popitem(last=False)[1])
        return data


def _key(path: Path) -> _Key:
    try:
        now = path.stat()
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if not stat.S_ISREG(now.st_mode):  # a pipe would be waited for, maybe for ever
        raise InputError(f"{path}: is not a file")
    return path, now.st_mtime_ns, now.st_size


class Shown:
    """Makes what the page shows; at most two pictures are decoded at once, so that memory stays bounded."""

    def __init__(self) -> None:
        self._pictures, self._thumbnails = _Kept(_PICTURES_KEPT_BYTES), _Kept(_THUMBNAILS_KEPT_BYTES)
        self._turns = threading.Semaphore(_AT_ONCE)

    def read(self, path: Path) -> Image:
        """The picture, (H, W, 3) uint8 BGR, upright. Raises InputError."""
        _key(path)
        with self._turns:
            return read_image(path)

    def picture(self, path: Path, width: int = 0, height: int = 0) -> bytes:
        """A JPEG of the picture. width, height: of the picture in which the faces lie; 0 if that is not known.

        Raises InputError if it cannot be read, or if it has another size now.
        """
        return self._pictures.get(path, lambda: self._jpeg(path, lambda h, w: _MAX_SIDE / max(h, w), (width, height)))

    def thumbnail(self, path: Path) -> bytes:
        """A small JPEG of the picture. Raises InputError."""
        return self._thumbnails.get(path, lambda: self._jpeg(path, lambda h, _w: _THUMBNAIL_HEIGHT / h))

    def _jpeg(self, path: Path, scale_of: Callable[[int, int], float], expected: tuple[int, int] = (0, 0)) -> bytes:
        import cv2

        with self._turns:
            image = read_image(path)
            height, width = image.shape[:2]
            if expected[0] and expected != (width, height):
                raise InputError(
                    f"{path}: it has {width} x {height} pixels, but its faces were found in {expected[0]} x "
                    f"{expected[1]}. Skip it, or find its faces anew."
                )
            scale = scale_of(height, width)
            if scale < 1:
                size = (max(1, round(width * scale)), max(1, round(height * scale)))
                image = pixels(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
            return encode_image(image, ".jpg", str(path))
