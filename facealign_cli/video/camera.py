"""A camera as a source that never ends by itself, read by OpenCV; times count from its first frame."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from facealign_cli.arrays import Image
from facealign_cli.errors import InputError
from facealign_cli.files.pictures import quiet_opencv
from facealign_cli.video.base import LIVE_TICKS, OpenedSource, VideoFrame, VideoInfo

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream


class CameraSource(OpenedSource):
    """The camera with a number, 0 being the first. end_s: stop then. Raises InputError where there is none."""

    sound: tuple[Stream, ...] = ()
    offset_s = Fraction(0)
    notes: tuple[str, ...] = ()

    def __init__(self, device_index: int = 0, *, end_s: float | None = None) -> None:
        self._capture, self._end = _open(device_index), end_s
        done, image = self._capture.read()
        if not done:
            self.close()
            raise InputError(f"camera {device_index}: gives no picture")
        self._first: Image = image
        self.info = VideoInfo(f"camera:{device_index}", image.shape[1], image.shape[0], Fraction(1, LIVE_TICKS))

    def __iter__(self) -> Iterator[VideoFrame]:
        begin, image, index = time.monotonic(), self._first, 0
        seconds, last = 0.0, -1
        while self._end is None or seconds < self._end:
            pts = max(last + 1, round(seconds * LIVE_TICKS))
            yield VideoFrame(index, pts, pts / LIVE_TICKS, image)
            last, index = pts, index + 1
            done, image = self._capture.read()
            seconds = time.monotonic() - begin
            if not done:
                return  # unplugged

    def sound_samples(self, _stream: Stream) -> list[Packet[Stream]]:
        """A camera gives no sound."""
        return []

    def close(self) -> None:
        """Give the camera back."""
        self._capture.release()


def _open(device_index: int) -> Any:
    import cv2

    with quiet_opencv():
        capture = cv2.VideoCapture(device_index)
    if not capture.isOpened():
        raise InputError(f"camera {device_index}: not there, in use, or not allowed")
    return capture
