"""A source of which only some frames are taken: their numbers and times stay those of the clip, the sound stays whole.

A damaged frame is always passed on, so that damage between the frames that are taken is told, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from facealign_cli.arguments import check_number
from facealign_cli.errors import InputError
from facealign_cli.video.base import OpenedSource, SoundPacket, VideoFrame, VideoSource

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream

_NEARLY = 1e-6
"""Seconds: times that differ by less are the same."""


def check_thinning(every: int, most_fps: float | None) -> None:
    """Raise InputError unless `every` is 1 or more, `most_fps` a number above 0, and only one of them asked for."""
    check_number("every", every, 1, whole=True)
    if most_fps is not None:
        check_number("most_fps", most_fps, 1e-6, 1e6)
    if every > 1 and most_fps is not None:
        raise InputError("every and most_fps (--every and --fps) both say which frames are taken: give one of them")


class ThinnedSource(OpenedSource):
    """Every so many-th frame of a source, or the first one of each 1 / `most_fps` seconds from its first frame on."""

    def __init__(self, source: VideoSource, every: int = 1, most_fps: float | None = None) -> None:
        check_thinning(every, most_fps)
        self._source, self._every, self._most_fps = source, every, most_fps
        info, self.sound, self.offset_s = source.info, source.sound, source.offset_s
        rate = None if info.rate is None else info.rate / every
        if most_fps is not None:
            most = Fraction(most_fps).limit_denominator(60_000)
            rate = most if rate is None else min(rate, most)
        share = 1.0 if rate is None or info.rate is None else float(rate / info.rate)
        n_frames = None if info.n_frames is None else max(1, math.ceil(info.n_frames * share))
        self.info = replace(info, rate=rate, n_frames=n_frames)

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of the source."""
        return self._source.notes

    def __iter__(self) -> Iterator[VideoFrame | SoundPacket]:
        first: float | None = None
        slot = -1
        for item in self._source:
            if isinstance(item, SoundPacket) or item.image_bgr is None or item.error is not None:
                yield item
                continue
            first = item.timestamp_s if first is None else first
            if self._most_fps is not None:
                own = math.floor((item.timestamp_s - first + _NEARLY) * self._most_fps)
                if own > slot:
                    slot = own
                    yield replace(item, duration=0)
            elif item.index % self._every == 0:
                yield replace(item, duration=item.duration * self._every)

    def sound_samples(self, stream: Stream) -> list[Packet[Stream]]:
        """The source's."""
        return self._source.sound_samples(stream)

    def close(self) -> None:
        """Close the source."""
        self._source.close()
