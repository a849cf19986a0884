"""Writing a clip by PyAV: H.264 that every player opens, the source's own times, its sound copied where it can be."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from facealign_cli.arrays import Image, pixels
from facealign_cli.errors import InputError, OutputError
from facealign_cli.files.output import atomic_path, write_reason
from facealign_cli.video.base import SoundPacket, VideoInfo, import_av
from facealign_cli.video.sound import CopiedSound, EncodedSound, SoundPlan, muxer_options

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame as DecodedFrame
    from av.video.stream import VideoStream

_H264 = ("libx264", {"preset": "veryfast", "crf": "18"})
_VP9 = ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "24", "b": "0"})
_LARGE = 16_000_000
"""Pixels of a frame above which the encoder looks at no frame but the present one: else it holds back gigabytes."""
_LARGE_OPTIONS = {"libx264": {"tune": "zerolatency", "preset": "ultrafast"}, "libvpx-vp9": {"lag-in-frames": "0"}}
_FASTSTART = {"movflags": "faststart"}
_CONTAINERS: dict[str, tuple[str, tuple[str, dict[str, str]], dict[str, str]]] = {
    ".mp4": ("mp4", _H264, _FASTSTART),
    ".m4v": ("mp4", _H264, _FASTSTART),
    ".mov": ("mov", _H264, _FASTSTART),
    ".mkv": ("matroska", _H264, {}),
    ".ts": ("mpegts", _H264, {}),
    ".webm": ("webm", _VP9, {}),
}
_REASONS = {
    ".avi": "AVI gives frames no times, so a variable rate and the sound's place would be lost",
    ".gif": "GIF has 256 colours and times in hundredths of a second",
}
_BT709, _BT601, _LIMITED = 1, 6, 1  # FFmpeg's numbers of colour matrices and of the 16–235 range
_SWS_BT709, _SWS_BT601 = 1, 5
_ACCURATE = 2 | 0x40000  # swscale's SWS_BILINEAR | SWS_ACCURATE_RND: without, every picture gets darker by two levels
_SOUND_NAMES = {"aac": "AAC", "libopus": "Opus"}


def is_clip_name(path: str | os.PathLike[str]) -> bool:
    """Whether a file of that name would be a clip, also of a kind that `check_suffix` refuses."""
    return Path(path).suffix.lower() in {*_CONTAINERS, *_REASONS}


def check_suffix(path: str | os.PathLike[str]) -> str:
    """The path's suffix, in small letters. Raises InputError, which lists the known ones."""
    suffix = Path(path).suffix.lower()
    if suffix not in _CONTAINERS:
        why = f" ({_REASONS[suffix]})" if suffix in _REASONS else ""
        raise InputError(f"{path}: clips are written as {', '.join(_CONTAINERS)}, not as {suffix or 'no suffix'}{why}")
    return suffix


def copies_sound(suffix: str, sound: Sequence[Stream], samples: Callable[[Stream], Sequence[Packet[Stream]]]) -> bool:
    """Whether a clip with that suffix holds these sound streams as they are; see `open_sink`."""
    container = _CONTAINERS[suffix][0]
    return all(SoundPlan.of(stream, samples(stream), container).codec is None for stream in sound)


@contextlib.contextmanager
def open_sink(
    path: str | os.PathLike[str],
    info: VideoInfo,
    *,
    sound: Sequence[Stream] = (),
    samples: Callable[[Stream], Sequence[Packet[Stream]]] = lambda _stream: (),
    offset_s: Fraction = Fraction(0),
    overwrite: bool = False,
) -> Iterator[VideoSink]:
    """A sink that becomes `path`, playable, when the body ends well; see `VideoSink`.

    sound: PyAV's streams. samples: gives the first packets of one, with which it is tried whether the container holds
    them; if not, they are encoded anew. Raises InputError for an unknown suffix, OutputError if it cannot be written.
    """
    suffix = check_suffix(path)
    plans = [SoundPlan.of(stream, samples(stream), _CONTAINERS[suffix][0]) for stream in sound]
    with atomic_path(path, overwrite) as temporary:
        sink = VideoSink(temporary, suffix, info, name=os.fspath(path), sound=plans, offset_s=offset_s)
        try:
            yield sink
        except BaseException:
            sink.abandon()
            raise
        sink.close()


class VideoSink:
    """Takes frames and sound packets in the order in which a source gave them.

    Odd sizes get their last row or column twice, since 4:2:0 colour needs even ones; nothing is moved or scaled.
    """

    def __init__(
        self, path: Path, suffix: str, info: VideoInfo, *, name: str, sound: Sequence[SoundPlan], offset_s: Fraction
    ) -> None:
        self._av, self._name, self._info, self._offset = import_av(), name, info, offset_s
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        self._plans, self._suffix = sound, suffix
        container, (codec, options), flags = _CONTAINERS[suffix]
        writer = next((plan.writer for plan in sound if plan.writer != container), container)
        with self._errors():
            settings = muxer_options(writer, container, flags)
            self._container = self._av.open(f"file:{path}", "w", format=writer, options=settings)
        try:
            self._container.metadata.update(dict(info.metadata))
            self._stream = self._video_stream(codec, options, has_header=container != "mpegts")
            with self._errors():
                self._sound = {id(plan.stream): self._sound_track(plan, container) for plan in sound}
                self._container.start_encoding()
        except BaseException:
            self.abandon()
            raise
        self._durations: dict[int, int] = {}  # ticks of the frames that the encoder still holds back
        self._first_dts: int | None = None
        self._first = self._last = self._last_duration = 0
        self._is_empty = True

    @property
    def time_base(self) -> Fraction:
        """Seconds of a tick."""
        return self._info.time_base

    @property
    def notes(self) -> tuple[str, ...]:
        """What is written otherwise than it was: sentences for the person who gave the clip."""
        notes = []
        for plan in self._plans:
            if plan.codec is not None:
                was, now = plan.stream.codec_context.name, _SOUND_NAMES[plan.codec]
                why = f"{self._suffix} cannot hold {was} sound, so it is encoded as {now}"
                notes.append(f"{self._name}: {why}; --no-sound leaves it out.")
        return tuple(notes)

    @property
    def lost_sound(self) -> int:
        """Packets of sound that could not be copied or decoded: they are damaged."""
        return sum(track.lost for track in self._sound.values())

    def _video_stream(self, codec: str, options: dict[str, str], *, has_header: bool) -> VideoStream:
        info, rate = self._info, (self._info.rate or Fraction(30)).limit_denominator(60_000)
        large = _LARGE_OPTIONS[codec] if info.width * info.height > _LARGE else {}
        stream: VideoStream = self._container.add_stream(codec, rate=rate, options=options | large)
        stream.width, stream.height = info.width + info.width % 2, info.height + info.height % 2
        stream.pix_fmt, stream.time_base = "yuv420p", info.time_base
        context = stream.codec_context
        context.time_base, context.sample_aspect_ratio = info.time_base, info.pixel_aspect
        context.colorspace, context.color_range = _BT709 if info.bt709 else _BT601, _LIMITED
        if info.bt709:
            context.color_primaries = context.color_trc = _BT709
        if has_header:  # PyAV sees to it, but not behind "fifo"
            context.flags |= self._av.codec.context.Flags.global_header.value
        return stream

    def _sound_track(self, plan: SoundPlan, container: str) -> CopiedSound | EncodedSound:
        kind = CopiedSound if plan.codec is None else EncodedSound
        return kind(self._container, plan, self._container.mux, container)

    def write(self, image_bgr: Image, pts: int, duration: int = 0) -> None:
        """Encode an (H, W, 3) picture to be shown at `pts` ticks of the source."""
        height, width = image_bgr.shape[:2]
        if height % 2 or width % 2:
            image_bgr = pixels(cv2.copyMakeBorder(image_bgr, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE))
        frame = self._av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(image_bgr), format="bgr24")
        matrix = _SWS_BT709 if self._info.bt709 else _SWS_BT601
        how = {"dst_colorspace": matrix, "dst_color_range": _LIMITED, "interpolation": _ACCURATE}
        frame = self._reformatter.reformat(frame, format="yuv420p", **how)
        frame.pts = pts - int(self._offset / self._info.time_base)
        frame.time_base = self._info.time_base
        if self._is_empty:
            self._first, self._is_empty = frame.pts, False
        else:
            self._durations[self._last] = frame.pts - self._last
        self._last, self._last_duration = frame.pts, duration
        self._mux(self._encode(frame))

    def write_sound(self, sound: SoundPacket) -> None:
        """A packet of one of the sound streams."""
        packet, shift = sound.packet, int(self._offset / sound.packet.time_base)
        packet.dts = sound.dts - shift
        packet.pts = None if packet.pts is None else packet.pts - shift
        with self._errors():
            self._sound[id(packet.stream)].write(replace(sound, end=None if shift else sound.end))

    def _encode(self, frame: DecodedFrame | None) -> list[Packet[VideoStream]]:
        with self._errors():
            packets = list(self._stream.encode(frame))
        for packet in packets:
            packet.duration = self._durations.pop(cast(int, packet.pts), 0) or packet.duration
        return packets

    def _mux(self, packets: Iterable[Packet[VideoStream]]) -> None:
        with self._errors():
            for packet in packets:
                if packet.stream is self._stream and self._first_dts is None:
                    self._first_dts = packet.dts
                self._container.mux(packet)

    def close(self) -> None:
        """Encode what is still held back, and end the file."""
        try:
            if not self._is_empty:
                self._end_picture()
            with self._errors():
                for track in self._sound.values():
                    track.close()
        finally:
            with self._errors():
                self._container.close()

    def _end_picture(self) -> None:
        """MP4 has no end of its own: the last packet's duration, in decoding order, makes it."""
        length = self._duration_of_last(self._last)
        self._durations[self._last] = max(1, length)
        packets = self._encode(None)
        if packets and self._first_dts is not None:
            total, before = self._last + length - self._first, cast(int, packets[-1].dts) - self._first_dts
            packets[-1].duration = total - before if total > before else packets[-1].duration
        self._mux(packets)

    def _duration_of_last(self, last: int) -> int:
        """Up to the end that the clip states, unless that lies so far off that more frames were to come."""
        info = self._info
        usual = self._last_duration or round(1 / ((info.rate or 30) * info.time_base)) or 1
        if info.end_pts is None:
            return usual
        rest = info.end_pts - int(self._offset / info.time_base) - last
        return rest if abs(rest) <= 3 * usual else usual

    def abandon(self) -> None:
        """Let go of the file; what it holds is of no use."""
        with contextlib.suppress(self._av.error.FFmpegError, OSError, ValueError):
            self._container.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (self._av.error.FFmpegError, OSError, ValueError) as error:
            raise OutputError(f"cannot write {self._name}: {write_reason(error)}") from error
