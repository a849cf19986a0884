"""What sources and sinks of video share: frames, sound packets, the facts of a clip, and PyAV, imported late.

A frame's time is `pts` ticks of the clip's `time_base`, counted from the clip's beginning; `timestamp_s` is the same
in seconds. Pictures are upright: a clip's rotation or mirroring is applied where it is read, so sizes and landmarks
refer to what a player shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, Self, cast

import numpy as np

from facealign_cli.arrays import Image
from facealign_cli.errors import InputError, MissingDependency

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream

MAX_FRAME_PIXELS = 40_000_000
"""The default limit of a frame: 40 megapixels (8K has 33), a fifth of a picture's, as several are in work at once."""

LIVE_TICKS = 90_000
"""Ticks a second of a live source's times."""


@dataclass(frozen=True)
class VideoInfo:
    """The facts of a clip.

    width, height: pixels, upright. time_base: seconds in a tick. rate: frames a second, in the mean; None if unknown.
    n_frames: as the file says, or else as its duration and rate give; None for a live source. end_pts: the tick at
    which the last frame ends. pixel_aspect: the width of a pixel over its height. bt709: whether its colour matrix is
    that of BT.709.
    """

    name: str
    width: int
    height: int
    time_base: Fraction
    rate: Fraction | None = None
    n_frames: int | None = None
    end_pts: int | None = None
    pixel_aspect: Fraction = Fraction(1)
    bt709: bool = False
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One frame of a clip.

    index: counts from 0. pts, duration: ticks of the clip's time base; a duration of 0 is unknown. timestamp_s: seconds
    from the clip's beginning. image_bgr: (H, W, 3) uint8, upright; None if it could not be decoded. error: why not, or
    what is wrong with the picture, which is then not used. warning: what is wrong with one that is used.
    """

    index: int
    pts: int
    timestamp_s: float
    image_bgr: Image | None
    duration: int = 0
    error: str | None = None
    warning: str | None = None


@dataclass(frozen=True, eq=False)
class SoundPacket:
    """A packet of sound out of the file, on the clip's clock. end: seconds at which the clip says that it ends."""

    packet: Packet[Stream]
    end: Fraction | None = None

    @property
    def dts(self) -> int:
        """When it is decoded, in ticks of its time base. A source leaves packets out that do not say when."""
        return cast(int, self.packet.dts)


class VideoSource(Protocol):
    """The frames of a clip in the order of their times, and the packets of its sound between them.

    sound: PyAV's audio streams, which a sink takes as templates. offset_s: what a sink takes off all times, so that a
    part of a clip begins at zero. notes: sentences for the person who gave the clip, on what was chosen or changed.
    """

    info: VideoInfo
    sound: tuple[Stream, ...]
    offset_s: Fraction

    @property
    def notes(self) -> tuple[str, ...]: ...

    def sound_samples(self, stream: Stream) -> list[Packet[Stream]]:
        """The first packets of one of the sound streams, with which it is tried whether a container can hold them."""

    def __iter__(self) -> Iterator[VideoFrame | SoundPacket]: ...

    def close(self) -> None: ...


class OpenedSource(VideoSource, Protocol):
    """A source that a `with` statement closes at its end; those of this package derive from it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def import_av() -> ModuleType:
    """PyAV. Raises MissingDependency."""
    try:
        import av
    except ImportError as error:
        raise MissingDependency("video", "av", "video") from error
    return av


def check_frame_size(name: str, width: int, height: int, max_pixels: int = MAX_FRAME_PIXELS) -> None:
    """Raise InputError if a clip's frames have more pixels than the limit."""
    if width * height > max_pixels:
        raise InputError(
            f"{name}: frames of {width} x {height} pixels are more than the limit of {max_pixels / 1e6:g} million; "
            "--max-pixels sets it"
        )


class Fitting:
    """Fits pictures of other sizes into the first one's: not distorted, in the middle, black where nothing lies.

    size: width and height of the first one.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size, self._others = size, list[tuple[int, int]]()

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each other size that came until now."""
        width, height = self.size
        return tuple(
            f"some of its frames have {w} x {h} pixels; they are fitted into the {width} x {height} of the first one, "
            "and their landmarks are pixels of that"
            for w, h in self._others
        )

    def inner(self, size: tuple[int, int]) -> tuple[int, int]:
        """The width and height that a picture of another size has to be scaled to."""
        if size not in self._others:
            self._others.append(size)
        scale = min(self.size[0] / size[0], self.size[1] / size[1])
        return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))

    def lay(self, image: Image) -> Image:
        """A scaled picture in the middle of one of the first size."""
        (width, height), (h, w) = self.size, image.shape[:2]
        left, top = (width - w) // 2, (height - h) // 2
        whole = np.zeros((height, width, 3), np.uint8)
        whole[top : top + h, left : left + w] = image
        return whole


def beyond_end(length_s: Fraction, start_s: Fraction) -> str:
    """Words for the error about a part of a clip that begins where the clip has ended."""
    return f"the clip is {float(length_s):.3f} s long, and nothing of it comes after {float(start_s):g} s"
