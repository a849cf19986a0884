"""What sources and sinks of video share: frames, sound packets, the facts of a clip, and PyAV, imported late.

A frame's time is `pts` ticks of the clip's `time_base`; `timestamp_s` is the same in seconds. Pictures are upright:
a clip's rotation or mirroring is applied where it is read, so sizes and landmarks refer to what a player shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from facealign_cli.errors import MissingDependency


@dataclass(frozen=True)
class VideoInfo:
    """The facts of a clip.

    width, height: pixels, upright. time_base: seconds per tick. rate: mean frames a second, None where unknown.
    n_frames: as the file says or as its duration and rate give, None for a live source. end_pts: ticks at which the
    last frame ends. pixel_aspect: width of a pixel over its height. bt709: whose colour matrix
    it has.
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
    """One frame. index: counts from 0. pts, duration: ticks, duration 0 where unknown.

    image_bgr: (H, W, 3) uint8, upright; None where it could not be decoded. error: why, or what is wrong with it.
    """

    index: int
    pts: int
    timestamp_s: float
    image_bgr: np.ndarray | None
    duration: int = 0
    error: str | None = None


@dataclass(frozen=True, eq=False)
class SoundPacket:
    """A packet of sound, as it came out of the file; it is passed on, never decoded."""

    packet: Any


class VideoSource(Protocol):
    """Frames in the order of their times, and the sound's packets between them.

    sound: PyAV's audio streams, templates for a sink. offset_s: what a sink takes off all times, so that a part of
    a clip begins at zero.
    """

    info: VideoInfo
    sound: tuple[Any, ...]
    offset_s: Fraction

    def __iter__(self) -> Iterator[VideoFrame | SoundPacket]: ...

    def close(self) -> None: ...


def import_av() -> ModuleType:
    """PyAV. Raises MissingDependency."""
    try:
        import av
    except ImportError as error:
        raise MissingDependency("video", "av", "video") from error
    return av
