"""The one clock of a clip: it begins at 0, never goes back, and agrees with what `ffmpeg -c copy` writes.

Containers state times in many ways: from any number on, with jumps where two recordings were joined, decoding times
only (AVI), or none at all (raw H.264). `Clock` brings the packets of all streams onto one scale; a `FrameTimes` then
says when each picture is shown, and which pictures never came out of the decoder.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream

_BACK = Fraction(1, 10)
_FORWARD = Fraction(10)
"""Seconds by which a stream may go back, or leave out, before it counts as a jump: FFmpeg's `-c copy` has the same."""


@dataclass
class Clock:
    """Shifts the times of packets so that the clip begins at 0 and runs on where the stated times jump.

    origin: seconds that the clip's beginning has in the file. gaps_are_jumps: a gap of more than ten seconds is no
    pause but a jump, too; so it is in containers whose times may start anew (MPEG-TS, MPEG-PS, Ogg).
    """

    origin: Fraction
    gaps_are_jumps: bool = False
    _expected: dict[int, tuple[Fraction, Fraction]] = field(default_factory=dict)

    def place(self, packet: Packet[Stream]) -> None:
        """Set the packet's pts and dts, in ticks of its own time base."""
        base = packet.time_base
        if packet.dts is not None:
            self._run_on(packet.stream_index, packet.dts * base, (packet.duration or 0) * base)
        shift = round(self.origin / base)
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift

    def _run_on(self, stream: int, dts: Fraction, duration: Fraction) -> None:
        """Move the origin, for all streams, where the first of them jumps."""
        time = dts - self.origin
        if stream in self._expected:
            last, following = self._expected[stream]
            if time + _BACK < last or (self.gaps_are_jumps and abs(time - following) > _FORWARD):
                self.origin += time - following
                time = following
        self._expected[stream] = (time, time + duration)


class FrameTimes(Protocol):
    """When the frames of a clip are shown, in ticks."""

    def expect(self, packet: Packet[Stream]) -> int | None:
        """A packet, on the clip's clock, is to give a frame: its pts becomes what `came` wants to have back.

        Returns about when: its time of showing or, where it has none, of decoding.
        """

    def came(self, ticket: int | None) -> tuple[list[int], int | None]:
        """A frame came out of the decoder, with the pts of its packet: times of the missing before it, and its own."""

    def rest(self) -> list[int]:
        """Times of those that never came."""

    def forget(self, count: int) -> None:
        """The first so many of what is expected are not decoded after all."""


class StatedTimes:
    """Each packet states when its frame is shown."""

    def __init__(self) -> None:
        self._due: list[int] = []

    def expect(self, packet: Packet[Stream]) -> int | None:
        if packet.pts is None:
            return None if packet.dts is None else int(packet.dts)
        bisect.insort(self._due, packet.pts)
        return int(packet.pts)

    def came(self, ticket: int | None) -> tuple[list[int], int | None]:
        if ticket is None:
            return [], None
        count = bisect.bisect_left(self._due, ticket)
        missing, self._due = self._due[:count], self._due[count:]
        if self._due and self._due[0] == ticket:
            del self._due[0]
        return missing, ticket

    def rest(self) -> list[int]:
        missing, self._due = self._due, []
        return missing

    def forget(self, count: int) -> None:
        del self._due[:count]


class CountedTimes:
    """Packets state decoding times or none: the frame that is shown as the n-th has the n-th time.

    step: ticks between two frames where packets state nothing. depth: how many frames the decoder holds back, at
    present, to put them into order; of the packets before one whose frame came out, no more can be still to come.
    """

    def __init__(self, step: Fraction, depth: Callable[[], int]) -> None:
        self._step, self._depth = step, depth
        self._times: list[int] = []
        self._inside: list[int] = []  # packets in the decoder, by number
        self._next, self._count = Fraction(0), 0

    def expect(self, packet: Packet[Stream]) -> int | None:
        stated = packet.pts if packet.pts is not None else packet.dts
        time = Fraction(stated) if stated is not None else self._next
        self._next = max(self._next, time + self._step)
        heapq.heappush(self._times, round(time))
        self._inside.append(self._count)
        packet.pts, self._count = self._count, self._count + 1
        return round(time)

    def came(self, ticket: int | None) -> tuple[list[int], int | None]:
        before = len(self._inside) if ticket is None else bisect.bisect_left(self._inside, ticket)
        if ticket is not None and before < len(self._inside) and self._inside[before] == ticket:
            del self._inside[before]
        lost = max(0, before - self._depth()) if ticket is not None else 0
        del self._inside[:lost]
        missing = [heapq.heappop(self._times) for _ in range(min(lost, len(self._times)))]
        return missing, heapq.heappop(self._times) if self._times else None

    def rest(self) -> list[int]:
        missing, self._times, self._inside = sorted(self._times), [], []
        return missing

    def forget(self, count: int) -> None:
        del self._inside[:count]
        self._times = sorted(self._times)[count:]  # a sorted list is a heap


_LOOK_AHEAD = 4096
"""Packets that are read to find a first time, where a stream begins without."""
_REORDERED = 17
"""Within so many packets the earliest time is among them: no decoder holds back more than sixteen frames."""


@dataclass(frozen=True)
class Start:
    """How a stream's times begin. missing: packets without a time before the first with one. first: its ticks."""

    has_pts: bool
    missing: int = 0
    first: int | None = None


def look_ahead(packets: Iterator[Packet[Stream]], stream: Stream) -> tuple[list[Packet[Stream]], Start]:
    """Read on until it is clear how the stream's times begin; gives back what was read."""
    held: list[Packet[Stream]] = []
    pictures: list[Packet[Stream]] = []
    for packet in packets:
        held.append(packet)
        if packet.stream is stream and packet.size:
            pictures.append(packet)
            if pictures[0].pts is not None or pictures[0].dts is not None or len(pictures) >= _LOOK_AHEAD:
                break
            known = next((i for i, p in enumerate(pictures) if p.pts is not None), None)
            if known is not None and len(pictures) >= known + _REORDERED:
                break
    return held, _start(pictures)


def _start(pictures: Sequence[Packet[Stream]]) -> Start:
    if pictures and pictures[0].pts is not None:
        return Start(True, 0, pictures[0].pts)
    if pictures and pictures[0].dts is not None:
        return Start(False)
    times = [packet.pts for packet in pictures if packet.pts is not None]
    if not times:
        return Start(False)
    missing = next(i for i, packet in enumerate(pictures) if packet.pts is not None)
    return Start(False, missing, min(times[:_REORDERED]))
