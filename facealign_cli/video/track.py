"""A clip, frame by frame: each frame becomes a record, also the damaged one. Reading, aligning and writing overlap.

One thread decodes, the caller's thread tracks, one thread draws and encodes; queues of a few frames lie between, so
memory does not grow with the clip.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from facealign_cli.aligner import Aligner
from facealign_cli.overlay import draw_overlay
from facealign_cli.records import Face, FrameResult
from facealign_cli.video import open_source
from facealign_cli.video.base import SoundPacket, VideoFrame, VideoSource
from facealign_cli.video.sink import VideoSink, check_suffix, open_sink
from facealign_cli.video.smoothing import FaceSmoother, Smoothing
from facealign_cli.video.tracking import Tracker, TrackingOptions

QUEUED, QUEUED_BYTES = 8, 256 << 20
"""Frames, and bytes of pictures, that may wait between two steps; one frame may always."""

Item = TypeVar("Item")
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class VideoOptions:
    """smoothing: None for none. blank: draw on black instead of on the frames."""

    tracking: TrackingOptions = field(default_factory=TrackingOptions)
    smoothing: Smoothing | None = field(default_factory=Smoothing)
    blank: bool = False


def track_video(
    source: VideoSource | PathLike,
    aligner: Aligner | None = None,
    options: VideoOptions | None = None,
    *,
    sink: VideoSink | None = None,
    stop: threading.Event | None = None,
) -> Generator[FrameResult, None, None]:
    """The records of a clip's frames, as they come; with a sink, the overlay is drawn into it.

    source: what `open_source` opens, or what it gave; then it stays open. aligner: None for the default one. stop: ends
    the clip after the frame in work. When the generator ends or is closed, all frames whose records it gave are in the
    sink, which stays open. A frame without a picture has a record with status "error" and is not drawn.
    Raises InputError for a clip that cannot be read, OutputError where the sink fails, MissingDependency.
    """
    if isinstance(source, str | os.PathLike):
        with contextlib.closing(open_source(os.fspath(source))) as opened:
            yield from track_video(opened, aligner, options, sink=sink, stop=stop)
        return
    options, stop = options or VideoOptions(), stop or threading.Event()
    work = _FrameWork(source.info.name, aligner or Aligner(), options)
    with _Reader(source) as items, _Writer(sink, options.blank) as writer:
        for item in items:
            if stop.is_set():
                return
            if isinstance(item, SoundPacket):
                writer.put(item)
                continue
            record = work(item)
            writer.put((item, record.faces))
            yield record


def overlay_video(
    source: VideoSource | PathLike,
    output: PathLike,
    aligner: Aligner | None = None,
    options: VideoOptions | None = None,
    *,
    overwrite: bool = False,
    stop: threading.Event | None = None,
    tell: Callable[[str], None] = lambda _sentence: None,
) -> Generator[FrameResult, None, None]:
    """Draw the faces onto a clip, which becomes `output`, while the records of its frames come; see `track_video`.

    Times and sound stay as they are; a source that was opened by the caller has to have its sound. The clip is written
    and can be played when the generator ends, also when it is closed early; after an error there is none. tell: called
    with a sentence on sound that the clip cannot hold, before the work, and on sound that was damaged, after it.
    Raises as `track_video` does, InputError for a suffix that no clip has, OutputError.
    """
    check_suffix(output)
    if isinstance(source, str | os.PathLike):
        with contextlib.closing(open_source(os.fspath(source), sound=True)) as opened:
            yield from overlay_video(opened, output, aligner, options, overwrite=overwrite, stop=stop, tell=tell)
        return
    sound: dict[str, Any] = {"sound": source.sound, "samples": source.sound_samples} if source.sound else {}
    with open_sink(output, source.info, **sound, offset_s=source.offset_s, overwrite=overwrite) as sink:
        for note in sink.notes:
            tell(note)
        records = track_video(source, aligner, options, sink=sink, stop=stop)
        with contextlib.suppress(GeneratorExit), contextlib.closing(records):  # threads end before the sink does
            yield from records
        if sink.lost_sound:
            tell(f"{output}: {sink.lost_sound} packets of the sound are damaged and left out.")


class _FrameWork:
    """From frames to records."""

    def __init__(self, name: str, aligner: Aligner, options: VideoOptions) -> None:
        self._name = name
        self._tracker = Tracker(aligner, options.tracking)
        self._smoother = None if options.smoothing is None else FaceSmoother(options.smoothing)
        self._used = {
            "detector": aligner.detector.name,
            "model": aligner.model.name,
            "provider": aligner.model.provider,
        }

    def __call__(self, frame: VideoFrame) -> FrameResult:
        facts: dict[str, Any] = {**self._used, "frame": frame.index, "timestamp_s": frame.timestamp_s}
        if frame.image_bgr is not None:
            facts |= {"height": frame.image_bgr.shape[0], "width": frame.image_bgr.shape[1]}
        if frame.error is not None or frame.image_bgr is None:
            return FrameResult.of_error(self._name, frame.error or "no picture", **facts)
        faces = self._tracker.update(frame.image_bgr, frame.timestamp_s, self._name)
        if self._smoother is not None:
            faces = self._smoother(faces, frame.timestamp_s)
        return FrameResult.of_faces(self._name, faces, **facts)


@dataclass(frozen=True)
class _End:
    """The last thing in a queue. error: what the thread that filled it ended with."""

    error: BaseException | None = None


class _Reader:
    """Iterates a source in a thread of its own; leaving the context stops it."""

    def __init__(self, source: VideoSource) -> None:
        self._source = source
        self._queue: _Pipe[VideoFrame | SoundPacket | _End] = _Pipe()
        self._thread = threading.Thread(target=self._run, name="facealign-decode", daemon=True)

    def __enter__(self) -> Iterator[VideoFrame | SoundPacket]:
        self._thread.start()
        return self._items()

    def __exit__(self, *_: object) -> None:
        self._queue.close()
        self._thread.join()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._source:
                if not self._queue.put(item):
                    return
        except BaseException as problem:  # noqa: BLE001 - raised again in the caller's thread
            error = problem
        self._queue.put(_End(error))

    def _items(self) -> Iterator[VideoFrame | SoundPacket]:
        while not isinstance(item := self._queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error


class _Writer:
    """Draws and encodes in a thread of its own; leaving the context waits until all that was put is written."""

    def __init__(self, sink: VideoSink | None, blank: bool) -> None:
        self._sink, self._blank = sink, blank
        self._queue: _Pipe[tuple[VideoFrame, tuple[Face, ...]] | SoundPacket | _End] = _Pipe()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(sink,), name="facealign-encode", daemon=True)

    def __enter__(self) -> _Writer:
        if self._sink is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._sink is None:
            return
        self._queue.put(_End())
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def put(self, item: tuple[VideoFrame, tuple[Face, ...]] | SoundPacket) -> None:
        """Hand an item over. Raises what the thread failed with."""
        if self._sink is not None and not self._queue.put(item) and self._error is not None:
            raise self._error

    def _run(self, sink: VideoSink) -> None:
        try:
            while not isinstance(item := self._queue.get(), _End):
                if isinstance(item, SoundPacket):
                    sink.write_sound(item)
                else:
                    self._draw(sink, *item)
        except BaseException as problem:  # noqa: BLE001 - raised again in the caller's thread
            self._error = problem
            self._queue.close()

    def _draw(self, sink: VideoSink, frame: VideoFrame, faces: tuple[Face, ...]) -> None:
        if frame.image_bgr is not None:
            image = np.zeros_like(frame.image_bgr) if self._blank else frame.image_bgr
            sink.write(draw_overlay(image, faces), frame.pts, frame.duration)


class _Pipe(Generic[Item]):
    """A short queue, bounded in frames and bytes. Once an end closes it, nothing goes in and who waits is let go."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Item, int]] = deque()
        self._bytes, self._closed = 0, False
        self._changed = threading.Condition()

    def put(self, item: Item) -> bool:
        """Wait for room; False if the other end has closed."""
        size = _bytes_of(item)
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room(size))
            if not self._closed:
                self._waiting.append((item, size))
                self._bytes += size
                self._changed.notify_all()
            return not self._closed

    def get(self) -> Item:
        """Wait for the next one."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting))
            item, size = self._waiting.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return item

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        return not self._waiting or (len(self._waiting) < QUEUED and self._bytes + size <= QUEUED_BYTES)


def _bytes_of(item: object) -> int:
    """Of an item's picture; everything else is small."""
    frame = item[0] if isinstance(item, tuple) else item
    return frame.image_bgr.nbytes if isinstance(frame, VideoFrame) and frame.image_bgr is not None else 0
