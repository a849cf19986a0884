"""The pictures and thumbnails that the page shows: JPEG, upright, made when asked for, a few kept in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from facealign_cli.arrays import Image, pixels
from facealign_cli.files.pictures import encode_image, read_image

_MAX_SIDE = 4096
"""Larger pictures are shown smaller; coordinates stay those of the file."""

_THUMBNAIL_HEIGHT = 72
_AT_ONCE = 2
_PICTURES_KEPT_BYTES = 128 << 20
_THUMBNAILS_KEPT_BYTES = 64 << 20


class _Kept:
    """The bytes that were used last, up to a limit. Safe among threads."""

    def __init__(self, limit: int) -> None:
        self._limit, self._size, self._lock = limit, 0, threading.Lock()
        self._entries: OrderedDict[Path, bytes] = OrderedDict()

    def get(self, path: Path, make: Callable[[], bytes]) -> bytes:
        with self._lock:
            if path in self._entries:
                self._entries.move_to_end(path)
                return self._entries[path]
        data = make()
        with self._lock:
            self._size += len(data) - len(self._entries.get(path, b""))
            self._entries[path] = data
            while self._size > self._limit and len(self._entries) > 1:
                self._size -= len(self._entries.popitem(last=False)[1])
        return data


class Shown:
    """Makes what the page shows; at most two pictures are decoded at once, so that memory stays bounded."""

    def __init__(self) -> None:
        self._pictures, self._thumbnails = _Kept(_PICTURES_KEPT_BYTES), _Kept(_THUMBNAILS_KEPT_BYTES)
        self._turns = threading.Semaphore(_AT_ONCE)

    def read(self, path: Path) -> Image:
        """The picture, (H, W, 3) uint8 BGR, upright. Raises InputError."""
        with self._turns:
            return read_image(path)

    def picture(self, path: Path) -> bytes:
        """A JPEG of the picture. Raises InputError."""
        return self._pictures.get(path, lambda: self._jpeg(path, lambda h, w: min(1.0, _MAX_SIDE / max(h, w)), path))

    def thumbnail(self, path: Path) -> bytes:
        """A small JPEG of the picture. Raises InputError."""
        return self._thumbnails.get(path, lambda: self._jpeg(path, lambda h, _w: min(1.0, _THUMBNAIL_HEIGHT / h), path))

    def _jpeg(self, path: Path, scale_of: Callable[[int, int], float], name: Path) -> bytes:
        import cv2

        with self._turns:
            image = read_image(path)
            scale = scale_of(*image.shape[:2])
            if scale < 1:
                size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
                image = pixels(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
            return encode_image(image, ".jpg", str(name))
