"""The packets of a clip's file, on the clip's clock, from the part's beginning on; whether the file came to its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain
from typing import Any

from facealign_cli.errors import InputError
from facealign_cli.files.jpeg import is_motion_jpeg
from facealign_cli.video.base import check_frame_size, import_av
from facealign_cli.video.clock import Clock, CountedTimes, FrameTimes, StatedTimes, look_ahead
from facealign_cli.video.intact import damaged_at
from facealign_cli.video.opening import open_container, shown
from facealign_cli.video.whole import is_whole, joined_at

_PICTURE_FORMATS = ("image2", "_pipe")
_HIDDEN_PICTURES = {"vp8"}
_HELD_BYTES = 64 << 20
"""Packets that are kept, undecoded, while the key frame before the part is looked for."""
_MARGIN = Fraction(1)
"""Seconds before the part from which on no packet is left out: decoding times run ahead of those of showing."""
_NEARLY_ALL = 1 << 16
"""Bytes that may follow the last packet in a whole file: an index, tags."""


class ClipPackets:
    """Opens a clip, takes its video stream, and gives its packets: those of the picture and those of the sound.

    stream: the video. heard: the sound streams that have a decoder. times: when frames are shown; each packet of the
    video has been told to it. start_s: where the part begins that is wanted; a little before it is given. Raises
    InputError.
    """

    def __init__(self, path: str, start_s: Fraction | None, max_pixels: int) -> None:
        self.path, self._av, self._start = shown(path), import_av(), start_s
        self.notes: list[str] = []
        self.problem: str | None = None
        self._last_end = self._picture_end = Fraction(0)
        self._first_byte, self._last_byte = 0 if start_s is None else sys.maxsize, 0
        self.container = open_container(path)
        try:
            self.stream = choose_video(self.container, self.path, self.notes.append)
            prepare_decoder(self.stream, self.path, max_pixels)
            self.heard = [s for s in self.container.streams.audio if s.codec_context is not None and s.rate]
            self._set_clocks()
        except BaseException:
            self.container.close()
            raise

    def __iter__(self) -> Iterator[tuple[Any, Fraction | None]]:
        """Packets of the video and the sound, with their times in seconds: those of decoding where there are no others.

        Afterwards `problem` says what is wrong with the file.
        """
        yield from self._from_start()
        self.problem = self.problem or self._cut_short()

    def _demux(self) -> Iterator[Any]:
        """The file's packets, up to the first damage that FFmpeg does not get over."""
        try:
            yield from self.container.demux()
        except MemoryError:  # PyAV's is one of FFmpeg's errors, too: the file is not damaged
            raise
        except self._av.error.FFmpegError as error:
            self.problem = f"the file is damaged here: {error.strerror}"

    @property
    def length_s(self) -> Fraction:
        """Seconds from the clip's beginning to the end of the pictures that were read until now."""
        return self._picture_end

    def stated_end(self, stream: Any) -> Fraction | None:
        """Seconds, on the clip's clock, at which the file says that one of its streams ends."""
        if stream.duration and not self._may_jump:
            end: Fraction = ((stream.start_time or 0) + stream.duration) * stream.time_base
            return end - self.origin
        return self._file_end() if len(self.container.streams) == 1 else None

    def _file_end(self) -> Fraction | None:
        """Seconds, on the clip's clock, at which the file says that the last of its streams ends."""
        if not self.container.duration or self._may_jump:
            return None
        return Fraction(self.container.duration, self._av.time_base)

    def _set_clocks(self) -> None:
        """See how the clip's times begin, and set the clock of each stream: one for all, if the times are complete."""
        stream, flags = self.stream, self._av.format.Flags
        self._may_jump = bool(self.container.format.flags & flags.ts_discont.value)
        self._demuxed = self._demux()
        self._head, start = look_ahead(self._demuxed, stream)
        self.origin = self._first_time()
        clock = Clock(self.origin, self._may_jump)
        self._clocks = {s.index: clock for s in self.container.streams}
        self.times: FrameTimes = StatedTimes()
        has_pts = start.has_pts and not self._states_decoding_only()
        self._can_seek = has_pts and not self._may_jump and not self.container.format.name.endswith("_pipe")
        if has_pts:
            return
        step = self._step()
        self.times = CountedTimes(step, lambda: stream.codec_context.reorder_depth)
        if (
            start.first is not None
        ):  # those without a time lie before, a frame's length each; the sound begins with them
            self._clocks = {i: Clock(self._first_of(i)) for i in self._clocks}
            self._clocks[stream.index] = Clock((start.first - start.missing * step) * stream.time_base)

    def _states_decoding_only(self) -> bool:
        """Whether times of showing are those of decoding, though frames change places: MXF without an index of that."""
        first = next((p for p in self._head if p.stream is self.stream and p.size), None)
        is_mxf = self.container.format.name == "mxf" and self.stream.codec_context.reorder_depth > 0
        return is_mxf and first is not None and first.pts == first.dts

    def _step(self) -> Fraction:
        """Ticks between two frames: of the stated rate, or what packets state (raw H.264 at another rate than 25)."""
        stream = self.stream
        step = 1 / ((stream.average_rate or stream.guessed_rate or Fraction(25)) * stream.time_base)
        stated = next((p.duration for p in self._head if p.stream is stream and p.duration), None)
        return step if stated is None or abs(stated - step) <= 1 else Fraction(stated)

    def _first_of(self, index: int) -> Fraction:
        times = (p.dts * p.time_base for p in self._head if p.stream_index == index and p.dts is not None)
        return next(times, Fraction(0))

    def _first_time(self) -> Fraction:
        """Seconds that the clip's beginning has in the file: of its earliest stream, as FFmpeg's tools have it."""
        starts: list[Fraction] = [
            s.start_time * s.time_base for s in (self.stream, *self.heard) if s.start_time is not None
        ]
        stated = self.container.start_time
        whole = Fraction(0) if stated is None else Fraction(stated, self._av.time_base)
        if starts and (self._may_jump or stated is None or abs(min(starts) - whole) < Fraction(1, 1000)):
            return min(starts)
        return whole

    def _from_start(self) -> Iterator[tuple[Any, Fraction | None]]:
        if self._start is not None and self._can_seek:
            self._seek(int((self._start + self.origin) / self.stream.time_base))
        placed = self._placed()
        if self._start is not None:
            yield from self._from_key_frame(placed, self._start - _MARGIN)
        yield from placed

    def _seek(self, part: int) -> None:
        """Go to the key frame before `part`, in ticks; what cannot be sought in is read from its beginning."""
        for target in (part, self.stream.start_time or 0):
            try:
                self.container.seek(target, stream=self.stream)
            except self._av.error.FFmpegError:
                return
            self.problem, self._demuxed = None, self._demux()
            self._head, start = look_ahead(self._demuxed, self.stream)
            if start.first is not None and start.first <= part:
                return

    def _from_key_frame(
        self, placed: Iterator[tuple[Any, Fraction | None]], part: Fraction
    ) -> Iterator[tuple[Any, Fraction | None]]:
        """What has to be decoded for `part`: from the last key frame before it on. The rest is passed over."""
        held: list[tuple[Any, Fraction | None]] = []
        size = 0
        for packet, time in placed:
            is_picture, early = packet.stream is self.stream, time is not None and time < part
            if is_picture and packet.is_keyframe and early:
                self.times.forget(sum(self._gives_frame(p) for p, _ in held))
                held, size = [], 0
            if is_picture or not early:
                held.append((packet, time))
                size += packet.size
            if (is_picture and not early) or size > _HELD_BYTES:
                break
        yield from held

    def _placed(self) -> Iterator[tuple[Any, Fraction | None]]:
        """The packets of the video and the sound, on the clip's clock, with their times."""
        wanted = {self.stream.index, *(s.index for s in self.heard)}
        for packet in chain(self._head, self._demuxed):
            if not packet.size:  # a decoder would take it for the end
                continue
            self._clocks[packet.stream_index].place(packet)
            ticks = packet.pts if packet.pts is not None else packet.dts
            if self._gives_frame(packet):
                ticks = self.times.expect(packet)
            time = None if ticks is None else ticks * packet.time_base
            self._note_end(packet, time)
            if packet.stream_index in wanted:
                yield packet, time

    def _gives_frame(self, packet: Any) -> bool:
        is_picture = packet.stream is self.stream and not packet.is_discard
        return is_picture and self.stream.codec_context.name not in _HIDDEN_PICTURES

    def _note_end(self, packet: Any, time: Fraction | None) -> None:
        """Keep in mind how far the file has come."""
        if time is not None:
            end = time + (packet.duration or 0) * packet.time_base
            self._last_end = max(self._last_end, end)
            if packet.stream is self.stream:
                self._picture_end = max(self._picture_end, end)
        if packet.pos is not None:
            if self._start is not None and time is not None and time >= self._start - _MARGIN:
                self._first_byte = min(self._first_byte, packet.pos)
            self._last_byte = max(self._last_byte, packet.pos + packet.size)

    def _cut_short(self) -> str | None:
        """What to say of a file that ends before the end that it states, in bytes or by more than a second."""
        whole = is_whole(self.path, self.container.format.name)
        if whole is False:
            return f"the file is cut short: it ends in the middle of its data, at {float(self._last_end):.3f} s"
        if (byte := joined_at(self.path, self.container.format.name, self._last_byte)) is not None:
            return f"another clip is joined to this one at byte {byte:,}, and is not read: cut the file there"
        byte = damaged_at(self.path, self.container.format.name, self.stream.id)
        if byte is not None and byte >= self._first_byte:
            return (
                f"the file is damaged at byte {byte:,}: frames that were there are missing, and have no rows; another "
                "copy of the file may be whole"
            )
        nearly_all = self._last_byte and self.container.size - self._last_byte < _NEARLY_ALL
        stated, end = self.stated_end(self.stream), self._picture_end
        if stated is None:
            stated, end = self._file_end(), self._last_end
        if stated is None or stated - end <= 1 or (whole and nearly_all):  # a last picture may stand for long
            return None
        return f"the file is cut short: it states {float(stated):.3f} s, and ends at {float(end):.3f} s"


def choose_video(container: Any, name: str, note: Callable[[str], None] = lambda text: None) -> Any:
    """The video stream that is meant: the default one, else the first. note: is told, if there are several.

    Raises InputError if there is none, or a still picture.
    """
    kind = container.format.name
    is_film = kind == "jpeg_pipe" and os.path.isfile(name) and is_motion_jpeg(name)
    if not is_film and any(kind == part or kind.endswith(part) for part in _PICTURE_FORMATS):
        moving = ", or an animated WebP, which cannot be read: make a GIF or a clip of it" if "webp" in kind else ""
        raise InputError(f"{name}: a still picture{moving}; for pictures there is: facealign detect image")
    flags = import_av().stream.Disposition
    streams = [s for s in container.streams.video if not s.disposition & (flags.attached_pic | flags.timed_thumbnails)]
    if not streams:
        raise InputError(f"{name}: has no video stream")
    stream = next((s for s in streams if s.disposition & flags.default), streams[0])
    if len(streams) > 1:
        why = "is marked as the default" if stream.disposition & flags.default else "is the first"
        note(f"of its {len(streams)} video streams, number {stream.index} is taken: it {why}")
    return stream


def prepare_decoder(stream: Any, name: str, max_pixels: int) -> None:
    """Have the stream decoded by two threads, and nothing larger than the limit. Raises InputError."""
    context = stream.codec_context
    if context is None:
        raise InputError(f"{name}: no decoder for its video")
    check_frame_size(name, context.width, context.height, max_pixels)
    context.options = {"max_pixels": str(max_pixels)}  # the size may grow later on
    stream.thread_type, context.thread_count = "AUTO", 2
