"""A stream on the network, followed as it comes: RTSP of a camera, motion JPEG or MPEG-TS over HTTP, a clip at a URL.

A thread reads all the time, since what a live stream sends does not wait. Frames that come faster than they are taken
are left out, the oldest first, and counted. If the connection breaks or falls silent, it is made anew, after pauses
that grow. A clip, which states its length or its size, is no live stream: nothing of it is left out, and it is
read once.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from facealign_cli.arrays import Image
from facealign_cli.errors import InputError
from facealign_cli.video.base import LIVE_TICKS, MAX_FRAME_PIXELS, OpenedSource, VideoFrame, VideoInfo, import_av
from facealign_cli.video.opening import open_container, shown, url_reason
from facealign_cli.video.packets import choose_video, prepare_decoder
from facealign_cli.video.upright import UprightPictures

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream

RECONNECTS = 10
"""Tries in a row, by default, to make a broken connection anew."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
"""Seconds before the first try, and at most: each pause is twice the one before."""

_WAITING = 4
"""Frames that wait to be taken."""
_DRIFT_S = 5.0
"""Seconds by which a live stream's own times may be off before they are not believed."""
_UNTIMED_FORMATS = {"mpjpeg", "mjpeg"}
"""Formats without times: FFmpeg counts 25 frames a second, whatever comes."""
_LOOK_S = 0.2


class _Arrived(NamedTuple):
    """A frame out of the reading thread. image: None where there is none; error then says why."""

    number: int
    seconds: float
    image: Image | None
    error: str | None = None


class StreamSource(OpenedSource):
    """The stream at a URL; times count from its first frame, and run on by the clock while it is broken.

    end_s: stop then. reconnects: tries in a row to make a broken connection anew; 0: its end is the end. stop: when it
    is set, the source ends, even while nothing comes. tell: is given a sentence on each break and each return.
    A stream that does not come back ends with a frame that has an error. Raises InputError where nothing can be read.
    """

    sound: tuple[Stream, ...] = ()
    offset_s = Fraction(0)

    def __init__(
        self,
        url: str,
        *,
        end_s: float | None = None,
        reconnects: int = RECONNECTS,
        max_pixels: int = MAX_FRAME_PIXELS,
        stop: threading.Event | None = None,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._url, self.name, self._end, self._reconnects = url, shown(url), end_s, reconnects
        self._max_pixels, self._tell, self._stop = max_pixels, tell, stop or threading.Event()
        self._pictures = UprightPictures()
        self._connection = _Connection(url, max_pixels, self._pictures)
        self._box = _Box(live=self._connection.is_live)
        try:
            first = self._connection.first_picture()
        except BaseException:
            self._connection.close()
            raise
        height, width = first.shape[:2]
        self.info = VideoInfo(self.name, width, height, Fraction(1, LIVE_TICKS), bt709=self._pictures.bt709)
        self._begin, self._count, self._last = time.monotonic(), 0, 0.0
        self._thread = threading.Thread(target=self._read, name="facealign-stream", daemon=True)
        self._thread.start()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was chosen or changed."""
        return tuple(f"{self.name}: {note}." for note in (*self._connection.notes, *self._pictures.notes))

    def sound_samples(self, _stream: Stream) -> list[Packet[Stream]]:
        """A stream's sound is not taken."""
        return []

    def __iter__(self) -> Iterator[VideoFrame]:
        begin, last = time.monotonic(), -1
        first = self._box.take(self._stop.is_set)
        if first is None:
            return
        self._box.left_out = 0  # until now nobody tracked anything

        def is_over() -> bool:
            late = self._box.live and self._end is not None and time.monotonic() - begin > self._end + _DRIFT_S
            return late or self._stop.is_set()

        item: _Arrived | None = first
        while item is not None:
            seconds = item.seconds - first.seconds
            if self._end is not None and seconds >= self._end:
                break
            last = max(last + 1, round(seconds * LIVE_TICKS))
            yield VideoFrame(item.number - first.number, last, last / LIVE_TICKS, item.image, error=item.error)
            item = self._box.take(is_over)
        self._box.close()
        if self._box.left_out:
            self._tell(
                f"{self.name}: {self._box.left_out:,} frames were left out: they came faster than they were tracked."
            )

    def close(self) -> None:
        """End the reading; a connection that is silent just then is closed when its wait is over."""
        self._box.close()
        self._thread.join(_LOOK_S)

    def _read(self) -> None:
        """The reading thread: one connection after another."""
        connection: _Connection | None = self._connection
        error: BaseException | None = None
        try:
            while connection is not None:
                with contextlib.closing(connection):
                    self._follow(connection)
                if connection.problem is None and not self._box.live:
                    break
                connection = None if self._gone() else self._again(connection.problem or "it ended")
        except BaseException as problem:  # noqa: BLE001 - raised again where the frames are taken
            error = problem
        self._box.end(error)

    def _follow(self, connection: _Connection) -> None:
        """Put a connection's frames where they are taken."""
        times = _Times(self._since(), live=self._box.live)
        for stated, image in connection:
            self._last = max(self._last, times.at(stated, self._since()))
            error = None if image is not None else "the frame is damaged"
            if self._gone() or not self._box.put(_Arrived(self._count, self._last, image, error)):
                return
            self._count += 1

    def _again(self, reason: str) -> _Connection | None:
        """A new connection; None if it does not come, which is a frame of its own, or is not wanted any more."""
        pause, broken = FIRST_PAUSE_S, time.monotonic()
        tries = self._reconnects if self._box.live else 0
        for number in range(1, tries + 1):
            self._tell(f"{self.name}: the stream broke off ({reason}); try {number} of {tries} in {pause:g} s.")
            until = time.monotonic() + pause
            while time.monotonic() < until:
                if self._gone():
                    return None
                time.sleep(min(_LOOK_S, max(0.0, until - time.monotonic())))
            try:
                connection = _Connection(self._url, self._max_pixels, self._pictures)
            except InputError as error:
                reason = str(error).removeprefix(f"{self.name}: ").removeprefix("cannot be read: ")
                pause = min(2 * pause, LONGEST_PAUSE_S)
                continue
            self._tell(f"{self.name}: is back after {time.monotonic() - broken:.1f} s.")
            return connection
        after = f", and did not come back in {tries} tries" if tries else ""
        self._box.put(_Arrived(self._count, max(self._last, 0.0), None, f"the stream broke off ({reason}){after}"))
        return None

    def _since(self) -> float:
        return time.monotonic() - self._begin

    def _gone(self) -> bool:
        """Whether nobody wants any more frames."""
        return self._stop.is_set() or self._box.closed


class _Connection:
    """One connection to a URL: its frames. is_live: it states neither length nor size. problem: what ended it.

    Raises InputError.
    """

    def __init__(self, url: str, max_pixels: int, pictures: UprightPictures) -> None:
        self._name, self._pictures, self._av = shown(url), pictures, import_av()
        self.problem: str | None = None
        self.notes: list[str] = []
        self._container = open_container(url)
        try:
            self._stream = choose_video(self._container, self._name, self.notes.append)
            prepare_decoder(self._stream, self._name, max_pixels)
        except BaseException:
            self.close()
            raise
        self._is_timed = self._container.format.name not in _UNTIMED_FORMATS
        self._stated_end = self._container.duration / self._av.time_base if self._container.duration else None
        self.is_live = self._stated_end is None and self._container.size <= 0
        self._frames = self._decoded()
        self._first: list[tuple[float | None, Image | None]] = []

    def first_picture(self) -> Image:
        """Read until there is one, which then comes first. Raises InputError."""
        for stated, image in self._frames:
            if image is not None:
                self._first = [(stated, image)]
                return image
        raise InputError(f"{self._name}: no frame that can be decoded" + (f" ({self.problem})" if self.problem else ""))

    def __iter__(self) -> Iterator[tuple[float | None, Image | None]]:
        """(seconds as the stream states them, picture); None for what is not known, or could not be decoded."""
        yield from self._first
        yield from self._frames

    def close(self) -> None:
        """Close it; not while another thread reads."""
        self._container.close()

    def _decoded(self) -> Iterator[tuple[float | None, Image | None]]:
        begun, last = False, 0.0
        try:
            for packet in self._container.demux(self._stream):
                try:
                    frames = list(packet.decode())
                except self._av.error.InvalidDataError:
                    if begun:  # before the first key frame, nothing can be decoded
                        yield None, None
                    continue
                for frame in frames:
                    begun, last = True, last if frame.time is None else float(frame.time)
                    image = None if frame.is_corrupt else self._pictures(frame)
                    yield (float(frame.time) if self._is_timed and frame.time is not None else None), image
        except MemoryError:  # PyAV's is one of FFmpeg's errors, too: the stream has not broken off
            raise
        except (self._av.error.FFmpegError, OSError) as error:
            self.problem = url_reason(error)
        if self.problem is None and self._stated_end is not None and last < self._stated_end - 1.0:
            self.problem = f"it states {self._stated_end:.1f} s and ended at {last:.1f} s"


class _Times:
    """When a connection's frames were taken, in seconds of the run.

    The stream's own times count, as frames come in bursts. If a live stream has none, or they are off by more than
    `_DRIFT_S`, the clock on the wall counts from there on.
    """

    def __init__(self, begin: float, *, live: bool) -> None:
        self._live, self._begin = live, begin if live else 0.0
        self._origin: float | None = None

    def at(self, stated: float | None, now: float) -> float:
        """Seconds of a frame. stated: as the stream has it. now: seconds of the run."""
        if stated is None:
            return now if self._live else 0.0
        if self._origin is None:
            self._origin = stated - self._begin
        seconds = stated - self._origin
        if self._live and abs(seconds - now) > _DRIFT_S:
            self._origin, seconds = stated - now, now
        return seconds


class _Box:
    """Frames between the reading thread and who takes them. live: a full box loses its oldest; else `put` waits."""

    def __init__(self, *, live: bool) -> None:
        self.live, self.left_out, self.closed = live, 0, False
        self._waiting: deque[_Arrived] = deque()
        self._ended = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def put(self, item: _Arrived) -> bool:
        """False if nobody takes it any more."""
        with self._changed:
            if not self.live:
                self._changed.wait_for(lambda: self.closed or len(self._waiting) < _WAITING)
            elif len(self._waiting) >= _WAITING:
                self._waiting.popleft()
                self.left_out += 1
            self._waiting.append(item)
            self._changed.notify_all()
            return not self.closed

    def take(self, is_over: Callable[[], bool]) -> _Arrived | None:
        """The next one; None at the end. Raises what ended the reading."""
        with self._changed:
            while not self._waiting:
                if is_over() or self.closed:
                    return None
                if self._ended:
                    if self._error is not None:
                        raise self._error
                    return None
                self._changed.wait(_LOOK_S)
            item = self._waiting.popleft()
            self._changed.notify_all()
            return item

    def end(self, error: BaseException | None) -> None:
        """Nothing more comes. error: why, if that is none of the stream's doing."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more is taken."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
