"""Clips in files, read by PyAV: every packet of the picture gives one frame, also the one that cannot be decoded.

A damaged frame is told by its packet: what went into the decoder with some time, and did not come out when a frame of a
later time did, is missing. (VP8 packets may hold no picture of their own, so there only what comes out is counted.)
"""

from __future__ import annotations

import bisect
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from facealign_cli.errors import InputError
from facealign_cli.video.base import SoundPacket, VideoFrame, VideoInfo, import_av

DAMAGED = "the frame is damaged"
_PICTURE_FORMATS = ("image2", "_pipe")
_HIDDEN_PACKETS = {"vp8"}
_BT709 = 1  # FFmpeg's AVCOL_SPC_BT709


class ContainerSource:
    """A clip of any container and codec that FFmpeg reads, GIF included.

    start_s, end_s: only frames with start_s <= time < end_s, in the clip's own time; frames count from 0 there.
    sound: pass the sound's packets on. Raises InputError: no such file, no video, no frame, a still picture.
    """

    def __init__(
        self, path: str, *, start_s: float | None = None, end_s: float | None = None, sound: bool = False
    ) -> None:
        self.path, self._av = path, import_av()
        self._start, self._end = _seconds(start_s), _seconds(end_s)
        self._container = self._open()
        try:
            self._stream = self._video_stream()
            self.sound: tuple[Any, ...] = tuple(self._container.streams.audio) if sound else ()
            self.offset_s = self._start or Fraction(0)
            self._items = self._read()
            head, first = self._first_picture()
            self.info = self._info(first)
        except BaseException:
            self._container.close()
            raise
        self._items = chain(head, self._items)

    def __iter__(self) -> Iterator[VideoFrame | SoundPacket]:
        return iter(self._items)

    def close(self) -> None:
        """Close the file."""
        self._items = iter(())
        self._container.close()
        gc.collect()  # PyAV's side data and its frame hold each other: else a picture stays for every file

    def _open(self) -> Any:
        if "://" not in self.path and Path(self.path).is_dir():
            raise InputError(f"{self.path}: is a folder, not a clip")
        try:
            return self._av.open(self.path)
        except self._av.error.FileNotFoundError as error:
            raise InputError(f"{self.path}: no such file") from error
        except (self._av.error.FFmpegError, OSError, ValueError) as error:
            reason = "not a video, or damaged at its start"
            if isinstance(error, PermissionError):
                reason = "no permission to read it"
            raise InputError(f"{self.path}: cannot be read: {reason}") from error

    def _video_stream(self) -> Any:
        name = self._container.format.name
        if any(name == part or name.endswith(part) for part in _PICTURE_FORMATS):
            raise InputError(f"{self.path}: a still picture; for pictures there is: facealign detect image")
        cover = self._av.stream.Disposition.attached_pic
        streams = [s for s in self._container.streams.video if not s.disposition & cover]
        if not streams:
            raise InputError(f"{self.path}: has no video stream")
        stream = streams[0]
        if stream.codec_context is None:
            raise InputError(f"{self.path}: no decoder for its video")
        stream.thread_type, stream.codec_context.thread_count = "AUTO", 2
        return stream

    def _first_picture(self) -> tuple[list[VideoFrame | SoundPacket], np.ndarray]:
        head: list[VideoFrame | SoundPacket] = []
        for item in self._items:
            head.append(item)
            if isinstance(item, VideoFrame) and item.image_bgr is not None:
                return head, item.image_bgr
        part = "" if self._start is None and self._end is None else " between --start and --end"
        raise InputError(f"{self.path}: no frame that can be decoded{part}")

    def _info(self, first: np.ndarray) -> VideoInfo:
        stream = self._stream
        rate = stream.average_rate or stream.guessed_rate or None
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        return VideoInfo(
            name=self.path,
            width=first.shape[1],
            height=first.shape[0],
            time_base=stream.time_base,
            rate=rate,
            n_frames=self._n_frames(rate),
            end_pts=None if stream.duration is None else (stream.start_time or 0) + stream.duration,
            pixel_aspect=1 / aspect if self._turn.transposed else aspect,
            bt709=stream.codec_context.colorspace == _BT709,
            metadata=tuple(sorted(self._container.metadata.items())),
        )

    def _n_frames(self, rate: Fraction | None) -> int | None:
        """How many frames to expect, for the progress."""
        stream = self._stream
        length = stream.duration * stream.time_base if stream.duration else None
        if length is None and self._container.duration:
            length = Fraction(self._container.duration, self._av.time_base)
        count = stream.frames or (round(length * rate) if length and rate else None)
        if count and length and (self._start is not None or self._end is not None):
            kept = min(self._end or length, length) - (self._start or 0)
            return max(1, round(count * kept / length))
        return count

    def _read(self) -> Iterator[VideoFrame | SoundPacket]:
        self._turn, self._index, self._size = _Turn(), 0, (0, 0)
        self._due: list[int] = []  # times of packets whose frame has not come out yet
        self._last = -(1 << 62)
        self._seek()
        try:
            for packet in self._container.demux([self._stream, *self.sound]):
                if packet.stream is not self._stream:
                    if packet.dts is not None and self._is_inside(packet):
                        yield SoundPacket(packet)
                    continue
                yield from self._pictures(self._decode(packet))
                if self._is_over(packet):
                    break
        except self._av.error.FFmpegError as error:
            yield from self._pictures(self._flush())
            yield from self._missing(None)
            yield self._frame(self._last + 1, None, f"the file is damaged here: {error.strerror}")
            return
        yield from self._pictures(self._flush())
        yield from self._missing(None)
        yield from self._cut_short()

    def _cut_short(self) -> Iterator[VideoFrame]:
        """A record that says so where the file ends a second or more before the length that it states."""
        stream, length = self._stream, None
        if stream.duration:
            length = ((stream.start_time or 0) + stream.duration) * stream.time_base
        elif self._container.duration and len(self._container.streams) == 1:
            length = Fraction(self._container.duration + (self._container.start_time or 0), self._av.time_base)
        end = self._last * stream.time_base
        if length is not None and self._end is None and self._index and length - end > 1:
            problem = f"the file is cut short: it states {float(length):.3f} s, and ends at {float(end):.3f} s"
            yield self._frame(self._last + 1, None, problem)

    def _seek(self) -> None:
        if self._start is None:
            return
        try:
            self._container.seek(int(self._start / self._stream.time_base), stream=self._stream)
        except self._av.error.FFmpegError:
            return  # what cannot be sought in is read from its beginning

    def _is_inside(self, packet: Any) -> bool:
        time = (packet.dts if packet.pts is None else packet.pts) * packet.time_base
        return (self._start is None or time >= self._start) and (self._end is None or time < self._end)

    def _is_over(self, packet: Any) -> bool:
        """No frame of a later packet can lie before the end: decoding times never exceed showing times."""
        return self._end is not None and packet.dts is not None and packet.dts * packet.time_base >= self._end

    def _decode(self, packet: Any) -> list[Any]:
        expected = packet.pts is not None and packet.size and not packet.is_discard
        if expected and self._stream.codec_context.name not in _HIDDEN_PACKETS:
            bisect.insort(self._due, packet.pts)
        try:
            return packet.decode()
        except self._av.error.EOFError:
            return []
        except self._av.error.FFmpegError:
            return []  # its time stays due, and is told as missing

    def _flush(self) -> list[Any]:
        try:
            return self._stream.codec_context.decode(None)
        except self._av.error.FFmpegError:
            return []

    def _pictures(self, frames: list[Any]) -> Iterator[VideoFrame]:
        for frame in frames:
            pts = frame.pts if frame.pts is not None else self._last + max(1, frame.duration or 1)
            yield from self._missing(pts)
            if not self._is_wanted(pts):
                continue
            error = DAMAGED if frame.is_corrupt else None
            yield self._frame(max(pts, self._last + 1), self._picture(frame), error, frame.duration or 0)

    def _missing(self, before: int | None) -> Iterator[VideoFrame]:
        """A record of each frame that should have come out by now."""
        count = len(self._due) if before is None else bisect.bisect_left(self._due, before)
        missing, self._due = self._due[:count], self._due[count:]
        if self._due and self._due[0] == before:
            del self._due[0]
        for pts in missing:
            if self._is_wanted(pts) and pts > self._last:
                yield self._frame(pts, None, DAMAGED)

    def _is_wanted(self, pts: int) -> bool:
        time = pts * self._stream.time_base
        return (self._start is None or time >= self._start) and (self._end is None or time < self._end)

    def _frame(self, pts: int, image: np.ndarray | None, error: str | None, duration: int = 0) -> VideoFrame:
        pts = max(pts, 0) if self._last < -(1 << 61) and image is None else pts
        self._last, index = pts, self._index
        self._index += 1
        return VideoFrame(index, pts, float(pts * self._stream.time_base), image, duration, error)

    def _picture(self, frame: Any) -> np.ndarray:
        """(H, W, 3) BGR, upright, of the size of the first one."""
        if self._size == (0, 0):
            self._size, self._turn = (frame.width, frame.height), _Turn.of(frame)
        width, height = self._size
        return self._turn(frame.to_ndarray(format="bgr24", width=width, height=height))


@dataclass(frozen=True)
class _Turn:
    """How a player shows the stored picture: axes exchanged, then mirrored left to right and top to bottom."""

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False

    @classmethod
    def of(cls, frame: Any) -> _Turn:
        """From the frame's display matrix (a, b, u, c, d, v, …): stored x, y show at a·x + c·y, b·x + d·y."""
        for data in frame.side_data:
            if data.type.name == "DISPLAYMATRIX":
                a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
                across = abs(b) + abs(c) > abs(a) + abs(d)
                return cls(True, c < 0, b < 0) if across else cls(False, a < 0, d < 0)
        return cls()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        image = image.swapaxes(0, 1) if self.transposed else image
        image = image[:, ::-1] if self.mirrored else image
        return np.ascontiguousarray(image[::-1] if self.upside_down else image)


def _seconds(value: float | None) -> Fraction | None:
    return None if value is None else Fraction(value).limit_denominator(1_000_000)
