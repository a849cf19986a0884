"""The sound of a clip that is written: copied packet by packet where the container can hold it, else encoded anew.

Whether it can is tried with the first packets, in a temporary file, before the work: FFmpeg says some of it only at
the end.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from facealign_cli.video.base import SoundPacket, import_av

_RATES = {
    "aac": (96000, 88200, 64000, 48000, 44100, 32000),
    "libopus": (48000,),
}
"""Sampling rates that are kept; others become 48000: at low ones the encoder's first packet lasts for very long."""
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
_BITS_A_CHANNEL = 80_000
_PRIMING = Fraction(15, 100)
"""Seconds of sound before 0 that a decoder may need to begin with; if there is more, an edit list has cut it away."""
_KEEP_SOUND_BEFORE_0 = {"mp4", "mov"}
"""Containers with edit lists: they say themselves that what lies before 0 is not played."""


@dataclass(frozen=True)
class SoundPlan:
    """How one sound stream is written. codec: of the encoder, None if packets are copied. writer: see `muxer_for`."""

    stream: Any
    writer: str
    codec: str | None = None

    @classmethod
    def of(cls, stream: Any, samples: Sequence[Any], container: str) -> SoundPlan:
        """samples: the stream's first packets. container: FFmpeg's name of the format that is written."""
        writer = muxer_for(stream, samples, container)
        if writer is not None:
            return cls(stream, writer)
        return cls(stream, container, "libopus" if container == "webm" else "aac")


def muxer_for(stream: Any, samples: Sequence[Any], container: str) -> str | None:
    """FFmpeg's writer that takes the packets as they are: `container` itself, "fifo" before it, or None.

    PyAV refuses some sound that FFmpeg writes into Matroska (G.711, WMA); behind "fifo" it cannot know.
    """
    if container == "mp4" and stream.codec_context.name.startswith("pcm_"):
        return None  # allowed since 2023, and hardly any player knows it
    writers = (container, "fifo") if container == "matroska" else (container,)
    return next((writer for writer in writers if _is_held(stream, samples, writer, container)), None)


def muxer_options(writer: str, container: str, flags: dict[str, str]) -> dict[str, str]:
    """Options of FFmpeg's writer. flags: those of the container."""
    if writer != "fifo":
        return dict(flags)
    return {"fifo_format": container, "format_opts": ":".join(f"{key}={value}" for key, value in flags.items())}


def _is_held(stream: Any, samples: Sequence[Any], writer: str, container: str) -> bool:
    """Whether the packets, once written, are found again as what they were; without any, whether there is a header."""
    av = import_av()
    with tempfile.TemporaryDirectory(prefix="facealign-") as folder:
        path = str(Path(folder, "sound"))
        try:
            with av.open(path, "w", format=writer, options=muxer_options(writer, container, {})) as output:
                track = output.add_stream_from_template(stream)
                output.start_encoding()
                for packet in samples:
                    packet.stream = track
                    output.mux(packet)
            if not samples:
                return True
            with av.open(path) as back:
                found = back.streams.audio[0].codec_context
                return found is not None and _family(found.name) == _family(stream.codec_context.name)
        except (av.error.FFmpegError, ValueError, IndexError):
            return False
        finally:
            for packet in samples:
                packet.stream = stream


def _family(codec: str) -> str:
    """Codecs that one decoder plays count as one: MP4 calls all layers of MPEG audio the same."""
    return "mpeg" if codec.removesuffix("float") in ("mp1", "mp2", "mp3") else codec


class CopiedSound:
    """Passes packets on. lost: how many the container did not take."""

    def __init__(self, container: Any, plan: SoundPlan, mux: Callable[[Any], None], format_name: str) -> None:
        self._av, self._mux = import_av(), mux
        self._track = container.add_stream_from_template(plan.stream)
        self._keeps_all = format_name in _KEEP_SOUND_BEFORE_0
        self._last: SoundPacket | None = None
        self._last_dts: int | None = None
        self._is_cut: bool | None = None
        self.lost = 0

    def write(self, sound: SoundPacket) -> None:
        packet = sound.packet
        if self._is_cut is None:
            self._is_cut = not self._keeps_all and sound.dts * packet.time_base < -_PRIMING
        if self._is_cut and sound.dts < 0:
            return
        if self._last_dts is not None:  # a container needs growing times; ffmpeg -c copy does the same
            packet.dts = max(sound.dts, self._last_dts + math.ceil(self._track.time_base / packet.time_base))
        packet.pts = sound.dts if packet.pts is None else max(packet.pts, sound.dts)
        self._last_dts = sound.dts
        packet.stream = self._track
        before, self._last = self._last, sound
        if before is not None:
            self._pass_on(before.packet)

    def close(self) -> None:
        """The last packet may end before its samples do, where the clip said so."""
        if self._last is None:
            return
        packet, end = self._last.packet, self._last.end
        if end is not None and packet.pts is not None:
            rest = round(end / packet.time_base) - packet.pts
            packet.duration = rest if 0 < rest < (packet.duration or 0) else packet.duration
        self._pass_on(packet)

    def _pass_on(self, packet: Any) -> None:
        try:
            self._mux(packet)
        except (self._av.error.InvalidDataError, self._av.error.ArgumentError):
            self.lost += 1  # damaged: the picture goes on


class EncodedSound:
    """Decodes packets, and encodes them with a codec that the container holds; gaps become silence."""

    def __init__(self, container: Any, plan: SoundPlan, mux: Callable[[Any], None], _format_name: str) -> None:
        self._av, self._mux, self._decoder = import_av(), mux, plan.stream.codec_context
        codec = plan.codec or "aac"
        rate = self._decoder.sample_rate if self._decoder.sample_rate in _RATES[codec] else 48000
        layout = _LAYOUTS.get(self._decoder.channels, "stereo")
        layout = "stereo" if codec == "libopus" and layout == "5.1" else layout
        self._track = container.add_stream(codec, rate=rate, layout=layout)
        self._track.bit_rate = _BITS_A_CHANNEL * self._track.codec_context.layout.nb_channels
        self._track.time_base = Fraction(1, rate)
        self._graph: Any = None
        self._kind: tuple[Any, ...] = ()
        self._next = -(1 << 62)  # the sample that comes next
        self.lost = 0

    def write(self, sound: SoundPacket) -> None:
        try:
            frames = self._decoder.decode(sound.packet)
        except self._av.error.FFmpegError:
            self.lost += 1
            return
        for frame in frames:
            self._filter(frame)

    def close(self) -> None:
        """Encode what is still held back."""
        try:
            for frame in self._decoder.decode(None):
                self._filter(frame)
        except self._av.error.FFmpegError:
            self.lost += 1
        self._drain()
        if self._kind:
            self._encode(None)

    def _filter(self, frame: Any) -> None:
        kind = (frame.sample_rate, frame.format.name, frame.layout.name, frame.time_base)
        if kind != self._kind:
            self._drain()
            self._graph, self._kind = self._new_graph(*kind), kind
        self._graph.push(frame)
        self._pull()

    def _drain(self) -> None:
        if self._graph is not None:
            self._graph.push(None)
            self._pull()

    def _new_graph(self, rate: int, form: str, layout: str, time_base: Fraction) -> Any:
        context, graph = self._track.codec_context, self._av.filter.Graph()
        source = graph.add_abuffer(sample_rate=rate, format=form, layout=layout, time_base=time_base)
        steps = [
            graph.add("aresample", "async=1000"),
            graph.add(
                "aformat",
                f"sample_fmts={context.format.name}:sample_rates={context.sample_rate}:channel_layouts={context.layout.name}",
            ),
            graph.add("asetnsamples", f"n={_FRAME_SAMPLES[context.name]}:p=0"),
            graph.add("abuffersink"),
        ]
        for before, after in zip([source, *steps], steps, strict=False):
            before.link_to(after)
        graph.configure()
        return graph

    def _pull(self) -> None:
        for frame in self._filtered():
            frame.pts = self._next if frame.pts is None else max(frame.pts, self._next)
            self._next = frame.pts + frame.samples
            self._encode(frame)

    def _filtered(self) -> Iterator[Any]:
        while True:
            try:
                yield self._graph.pull()
            except (self._av.error.BlockingIOError, self._av.error.EOFError):
                return

    def _encode(self, frame: Any) -> None:
        for packet in self._track.encode(frame):
            self._mux(packet)


_FRAME_SAMPLES = {"aac": 1024, "libopus": 960}
