"""Clips made for tests, and the facts of a clip as PyAV tells them when it is opened again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

SIZE = (64, 48)


def pictures(count: int, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """(H, W, 3) uint8, each with a grey and a colour of its own, and a bright upper left corner."""
    width, height = size
    found = []
    for i in range(count):
        image = np.full((height, width, 3), 40 + 3 * (i % 40), np.uint8)
        image[: height // 3, : width // 3] = (40, 220, 60)
        image[:, (5 * i) % width] = 250
        found.append(image)
    return found


def noisy_pictures(count: int) -> list[np.ndarray]:
    """`pictures` that do not compress well: every frame takes some bytes."""
    rng = np.random.default_rng(0)
    return [np.clip(i + rng.normal(0, 20, i.shape), 0, 255).astype(np.uint8) for i in pictures(count)]


def write_clip(
    path: Path,
    images: Iterable[np.ndarray],
    *,
    ticks: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    codec: str = "libx264",
    rotation: int = 0,
    matrix: Sequence[int] | None = None,
    sound: str | None = None,
    gop: int | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A clip whose frames are shown at `ticks` of `time_base`; sound: the codec of a tone that goes with it.

    gop: frames from one key frame to the next.
    """
    images = list(images)
    ticks = range(len(images)) if ticks is None else ticks
    height, width = images[0].shape[:2]
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if codec == "libx264" and (width % 2 or height % 2):
            stream.pix_fmt = "yuv444p"
        if codec == "gif":
            stream.pix_fmt = "rgb8"
        stream.time_base = stream.codec_context.time_base = time_base
        if (rotation or matrix) and not hasattr(stream, "set_display_rotation"):
            pytest.skip(f"PyAV {av.__version__} cannot mark a clip as rotated: 18 can")
        if matrix:
            stream.set_display_matrix(matrix)
        if rotation:
            stream.set_display_rotation(rotation)
        if gop is not None:
            stream.codec_context.gop_size = gop
            stream.codec_context.options = {"sc_threshold": "0"}  # no others where much changes
        tone = container.add_stream(sound, rate=48000) if sound else None
        if tone is not None and sound == "wmav2":
            tone.bit_rate = 128_000
        for image, pts in zip(images, ticks, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
            frame.pts, frame.time_base = pts, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone is not None:
            seconds = float((ticks[-1] + 1) * time_base)
            _add_tone(container, tone, seconds)
    return path


def _add_tone(container: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    samples, position = int(48000 * seconds), 0
    wave = (8000 * np.sin(np.arange(samples) * 0.06) + np.arange(samples) % 997).astype(np.int16)
    while position < samples:
        part = wave[position : position + 1024]
        frame = av.AudioFrame.from_ndarray(part[None], format="s16", layout="mono")
        frame.rate, frame.pts, frame.time_base = 48000, position, Fraction(1, 48000)
        container.mux(stream.encode(frame))
        position += len(part)
    container.mux(stream.encode(None))


def write_truncated(path: Path) -> Path:
    """50 noisy frames, of whose file the last two fifths are missing."""
    write_clip(path, noisy_pictures(50), options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: int(0.6 * len(data))])
    return path


def write_damaged(path: Path, **how: Any) -> Path:
    """50 noisy frames; of the packet in the middle only the first bytes are left, the others are zero."""
    with av.open(str(write_clip(path, noisy_pictures(50), **how))) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    position, size = packets[len(packets) // 2]
    data = bytearray(path.read_bytes())
    data[position + 8 : position + size] = bytes(size - 8)
    path.write_bytes(data)
    return path


@dataclass(frozen=True)
class Facts:
    """times: seconds of the frames. sound: the packets' bytes. length: seconds of the picture's track, of the file."""

    times: list[float]
    sizes: set[tuple[int, int]]
    rotation: int
    sound: list[bytes]
    length: float
    file_length: float
    codec: str
    pixels: str


def facts(path: Path | str) -> Facts:
    """Open a clip anew and read all of it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [(f.time, (f.width, f.height), f.rotation) for f in container.decode(video=0)]
        times = [time for time, _, _ in frames]
        length = float((stream.duration or 0) * stream.time_base)
        file_length, codec, pixels = container.duration / av.time_base, stream.codec_context.name, stream.pix_fmt
    with av.open(str(path)) as container:
        sound = [bytes(packet) for packet in container.demux(audio=0)] if container.streams.audio else []
    return Facts(
        times,
        {size for _, size, _ in frames},
        frames[0][2],
        [s for s in sound if s],
        length,
        file_length,
        codec,
        pixels,
    )
