"""Clips in files, read by PyAV: every packet of the picture gives one frame, also the one that cannot be decoded.

A damaged frame is told by its packet: what went into the decoder, and did not come out when a later frame did, is
missing. The decoder does not say which frames it made from a damaged one: those up to the next key frame may be such,
and are told in a note.
(VP8 packets may hold no picture of their own, so there only what comes out is counted.)
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, islice
from typing import Any

from facealign_cli.arrays import Image
from facealign_cli.errors import InputError
from facealign_cli.video.base import (
    MAX_FRAME_PIXELS,
    OpenedSource,
    SoundPacket,
    VideoFrame,
    VideoInfo,
    beyond_end,
    import_av,
)
from facealign_cli.video.opening import open_container, shown
from facealign_cli.video.packets import ClipPackets
from facealign_cli.video.upright import UprightPictures

DAMAGED = "the frame is damaged"
_SAMPLES = 64
"""Packets of sound that are enough to try a container with."""


class ContainerSource(OpenedSource):
    """A clip of any container and codec that FFmpeg reads, GIF included.

    start_s, end_s: only frames with start_s <= time < end_s, counted from the clip's beginning; frames count from 0
    there. sound: pass the sound's packets on. Raises InputError: no such file, no video, no frame, a still picture,
    frames of more than `max_pixels`. A clip is read once: who goes on after a break gets the frames that follow, and
    going through it again after its end, or after `close`, raises InputError.
    """

    def __init__(
        self,
        path: str,
        *,
        start_s: float | None = None,
        end_s: float | None = None,
        sound: bool = False,
        max_pixels: int = MAX_FRAME_PIXELS,
    ) -> None:
        self._place, self.path, self._av = path, shown(path), import_av()
        self._start, self._end = _seconds(start_s), _seconds(end_s)
        self._packets = ClipPackets(path, self._start, max_pixels)
        self._stream, self._times = self._packets.stream, self._packets.times
        self._upright, self._smear = UprightPictures(), _Smear()
        self._in_use, self._has_ended = threading.Lock(), False
        try:
            self.sound: tuple[Any, ...] = tuple(self._packets.heard) if sound else ()
            self.offset_s = self._start or Fraction(0)
            self._items = self._read()
            head, first = self._first_picture()
            self.info = self._info(first)
        except BaseException:
            self._packets.container.close()
            raise
        self._items = chain(head, self._items)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was chosen or changed."""
        notes = *self._packets.notes, *self._upright.notes, *self._smear.notes
        return tuple(f"{self.path}: {note}." for note in notes)

    def __iter__(self) -> Iterator[VideoFrame | SoundPacket]:
        if self._has_ended:
            raise InputError(f"{self.path}: was read to its end already, or closed: open_source opens it again")
        while True:
            with self._in_use:
                item = next(self._items, None)
            if item is None:
                self._has_ended = True
                return
            yield item

    def close(self) -> None:
        """Close the file, also while another thread iterates: its iteration ends, as FFmpeg would crash."""
        with self._in_use:
            self._items, self._has_ended = iter(()), True
            self._packets.container.close()
        gc.collect()  # PyAV's side data and its frame hold each other: else a picture stays for every file

    def sound_samples(self, stream: Any) -> list[Any]:
        """The first packets of one of the sound streams; none where the file cannot be read twice."""
        found: list[Any] = []
        try:
            with open_container(self._place) as again:
                for packet in islice(again.demux(again.streams[stream.index]), _SAMPLES):
                    if packet.size and packet.dts is not None and (not found or packet.dts > found[-1].dts):
                        found.append(packet)
            return found
        except (InputError, self._av.error.FFmpegError, IndexError):
            return []

    def _first_picture(self) -> tuple[list[VideoFrame | SoundPacket], Image]:
        head: list[VideoFrame | SoundPacket] = []
        for item in self._items:
            head.append(item)
            if isinstance(item, VideoFrame) and item.image_bgr is not None:
                return head, item.image_bgr
        if self._start is not None and 0 < self._packets.length_s <= self._start:
            raise InputError(f"{self.path}: {beyond_end(self._packets.length_s, self._start)}")
        part = "" if self._start is None and self._end is None else " between --start and --end"
        reason = f": {self._packets.problem}" if self._packets.problem else ""
        raise InputError(f"{self.path}: no frame that can be decoded{part}{reason}")

    def _info(self, first: Image) -> VideoInfo:
        stream, end = self._stream, self._packets.stated_end(self._stream)
        rate = stream.average_rate or stream.guessed_rate or None
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        return VideoInfo(
            name=self.path,
            width=first.shape[1],
            height=first.shape[0],
            time_base=stream.time_base,
            rate=rate,
            n_frames=self._n_frames(rate),
            end_pts=None if end is None else round(end / stream.time_base),
            pixel_aspect=1 / aspect if self._upright.transposed else aspect,
            bt709=self._upright.bt709,
            metadata=tuple(sorted(self._packets.container.metadata.items())),
        )

    def _n_frames(self, rate: Fraction | None) -> int | None:
        """How many frames to expect, for the progress."""
        stream, container = self._stream, self._packets.container
        length: Fraction | None = stream.duration * stream.time_base if stream.duration else None
        if length is None and container.duration:
            length = Fraction(container.duration, self._av.time_base)
        count: int | None = stream.frames or (round(length * rate) if length and rate else None)
        if count and length and (self._start is not None or self._end is not None):
            kept = min(self._end or length, length) - (self._start or 0)
            return max(1, round(count * kept / length))
        return count

    def _read(self) -> Iterator[VideoFrame | SoundPacket]:
        self._index, self._last = 0, -1
        is_over = False
        for packet, time in self._packets:
            if packet.stream is not self._stream:
                if packet.stream in self.sound and packet.dts is not None and self._is_wanted(time):
                    yield SoundPacket(packet, self._packets.stated_end(packet.stream))
                continue
            yield from self._pictures(self._decode(packet))
            if is_over := self._is_over(packet, time):
                break
        yield from self._pictures(self._decode(None))
        yield from self._missing(self._times.rest())
        if self._packets.problem is not None and not is_over and (self._index or self._end is None):
            yield self._frame(self._last + 1, None, self._packets.problem)

    def _is_over(self, packet: Any, time: Fraction | None) -> bool:
        """No frame of a later packet can lie before the end: decoding times never exceed showing times."""
        due = time if packet.dts is None else packet.dts * packet.time_base
        return self._end is not None and due is not None and due >= self._end

    def _decode(self, packet: Any) -> list[Any]:
        """The frames that come out; what cannot be decoded stays due, and is told as missing. None: the last ones."""
        try:
            return list(self._stream.codec_context.decode(packet))
        except MemoryError:  # PyAV's is one of FFmpeg's errors, too: the frame is not damaged
            raise
        except self._av.error.FFmpegError:
            return []

    def _pictures(self, frames: list[Any]) -> Iterator[VideoFrame]:
        while frames:
            frame = frames.pop(0)
            missing, pts = self._times.came(frame.pts)
            yield from self._missing(missing)
            duration, error = frame.duration or 0, DAMAGED if frame.is_corrupt else None
            pts = self._last + max(1, duration) if pts is None else pts
            time = pts * self._stream.time_base
            is_wanted = self._is_wanted(time)
            self._smear.came(time, is_key=bool(frame.key_frame), is_damaged=error is not None, is_wanted=is_wanted)
            if is_wanted:
                image = self._upright(frame)
                del frame  # the decoder would have to copy it while this one waits
                yield self._frame(pts, image, error, duration)

    def _missing(self, times: list[int]) -> Iterator[VideoFrame]:
        """A record of each frame that should have come out by now."""
        for pts in times:
            if pts <= self._last:
                continue
            self._smear.missed()
            if self._is_wanted(pts * self._stream.time_base):
                yield self._frame(pts, None, DAMAGED)

    def _is_wanted(self, time: Fraction | None) -> bool:
        return time is None or (
            (self._start is None or time >= self._start) and (self._end is None or time < self._end)
        )

    def _frame(self, pts: int, image: Image | None, error: str | None, duration: int = 0) -> VideoFrame:
        pts, index = max(pts, self._last + 1), self._index
        self._last, self._index = pts, index + 1
        return VideoFrame(index, pts, float(pts * self._stream.time_base), image, duration, error)


class _Smear:
    """Counts the frames between a damaged one and the next key frame: the decoder may have made them from it.

    They come in the order in which they are shown.
    """

    def __init__(self) -> None:
        self._goes_on, self._count, self._first = False, 0, Fraction(0)

    def missed(self) -> None:
        self._goes_on = True

    def came(self, time: Fraction, *, is_key: bool, is_damaged: bool, is_wanted: bool) -> None:
        self._goes_on = is_damaged or (self._goes_on and not is_key)
        if self._goes_on and is_wanted and not is_damaged:
            self._first = self._first if self._count else time
            self._count += 1

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence on those that came until now."""
        if not self._count:
            return ()
        frames = f"{self._count:,} frames, the first" if self._count > 1 else "1 frame,"
        return (
            f"{frames} at {float(self._first):.3f} s, came between a damaged frame and the next key frame; such "
            "pictures may be made from the damaged one, and faces in them be wrong or not be found",
        )


def _seconds(value: float | None) -> Fraction | None:
    return None if value is None else Fraction(value).limit_denominator(1_000_000)
