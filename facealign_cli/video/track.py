"""A clip, frame by frame: each frame becomes a record, also the damaged one. Reading, aligning and writing overlap.

One thread decodes, one runs the network, one draws and encodes; queues of a few frames lie between, so memory does not
grow with the clip. The caller's thread does the rest, and most often writes the records: it is at work on a frame while
the network, which leaves the interpreter to the others, is at work on the next one (`foresight`). Where several clips
are at work in as many processes as there are processors, threads only stand in each other's way:
`VideoOptions.beside` is for that.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from facealign_cli.aligner import Aligner, checked_aligner
from facealign_cli.arguments import check_flags, check_kind
from facealign_cli.arrays import Image
from facealign_cli.files.base import check_path
from facealign_cli.files.output import check_inputs_stay
from facealign_cli.overlay import draw_overlay
from facealign_cli.pose import PoseEstimator
from facealign_cli.quality import with_quality
from facealign_cli.records import Face, FrameResult
from facealign_cli.video import open_source
from facealign_cli.video.base import SoundPacket, VideoFrame, VideoSource
from facealign_cli.video.foresight import Foresight
from facealign_cli.video.lookahead import LookAhead, LookAheadSmoother
from facealign_cli.video.sink import VideoSink, check_suffix, open_sink
from facealign_cli.video.smoothing import FaceSmoother, Smoothing
from facealign_cli.video.threads import Ahead, End, Pipe, bytes_of
from facealign_cli.video.tracking import Tracker, TrackingOptions

HELD_BYTES = 512 << 20
"""Bytes of pictures that wait, to be drawn on, for what the smoothing looks ahead to: 20 frames of 4K."""

Item = TypeVar("Item")
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class VideoOptions:
    """How a clip is worked on.

    tracking: how faces are followed. smoothing: a `LookAhead` for files, a `Smoothing` for cameras, since it needs no
    later frame, or None. pose: estimates the head pose from the smoothed landmarks; None means that faces get no pose.
    blank: whether faces are drawn on black instead of on the frames. sigma: whether a drawing shows how far each point
    may be off. quality: whether faces get the quality of their picture, by their landmarks before smoothing. beside:
    read and run the network in threads of their own, beside the caller's, which takes less time and up to two
    processors; the records are the same.
    """

    tracking: TrackingOptions = field(default_factory=TrackingOptions)
    smoothing: LookAhead | Smoothing | None = field(default_factory=LookAhead)
    pose: PoseEstimator | None = None
    blank: bool = False
    sigma: bool = False
    quality: bool = False
    beside: bool = True

    def __post_init__(self) -> None:
        check_kind("tracking", self.tracking, TrackingOptions)
        check_kind("smoothing", self.smoothing, LookAhead, Smoothing, None, hint="None switches it off")
        check_kind("pose", self.pose, PoseEstimator, None, hint="None switches it off")
        check_flags(blank=self.blank, sigma=self.sigma, quality=self.quality, beside=self.beside)


def track_video(
    source: VideoSource | PathLike,
    aligner: Aligner | None = None,
    options: VideoOptions | None = None,
    *,
    sink: VideoSink | None = None,
    stop: threading.Event | None = None,
    tell: Callable[[str], None] = lambda _sentence: None,
) -> Generator[FrameResult, None, None]:
    """Follow the faces of a clip; the records of its frames come one by one.

    With `LookAhead`, a record comes later than its frame is read, by the time that it looks ahead. With a sink, the
    frames between are held in memory; if they have more than `HELD_BYTES`, it looks less far ahead.

    source: a path that `open_source` takes, or what it returned, which then stays open. aligner: None means the default
    one. options: None means the defaults. sink: gets the frames with their faces drawn, and stays open. When the
    generator ends or is closed, it has all frames whose records were given. stop: if it is set, the clip ends after the
    frame in work. tell: is called with a sentence if smoothing looks less far ahead.
    A frame without a picture has a record with status "error" and is not drawn.
    Raises InputError for a clip that cannot be read, OutputError if the sink fails, and MissingDependency.
    """
    check_kind("options", options, VideoOptions, None)
    aligner = checked_aligner(aligner)
    if isinstance(source, str | os.PathLike):
        with open_source(os.fspath(source)) as opened:
            yield from track_video(opened, aligner, options, sink=sink, stop=stop, tell=tell)
        return
    if not hasattr(source, "info"):
        check_kind("source", source, str, os.PathLike, hint="open_source opens clips, folders of frames and cameras")
    options, stop = options or VideoOptions(), stop or threading.Event()
    smoother = _Smoother(options, tell)
    with _FrameWork(source, aligner, options) as work, _Writer(sink, options) as writer:
        try:
            for item, faces in _until(stop, work.tracked()):
                if isinstance(item, SoundPacket):
                    writer.put(item)
                else:
                    yield from _put(writer, smoother.push(item if sink is not None else None, work.record(item, faces)))
        except Exception:  # what was read before it counts
            yield from _put(writer, smoother.flush())
            raise
        yield from _put(writer, smoother.flush())


def _put(writer: _Writer, ready: Iterable[tuple[VideoFrame | None, FrameResult]]) -> Iterator[FrameResult]:
    for frame, record in ready:
        if frame is not None:
            writer.put((frame, record.faces))
        yield record


def _until(stop: threading.Event, items: Iterable[Item]) -> Iterator[Item]:
    for item in items:
        if stop.is_set():
            return
        yield item


class _Smoother:
    """Between tracking and what takes the records: smooths, and gives faces their pose. A frame may be None."""

    def __init__(self, options: VideoOptions, tell: Callable[[str], None]) -> None:
        smoothing, self._pose = options.smoothing, options.pose
        self._tell, self._held, self._is_short = tell, 0, False
        self._ahead = LookAheadSmoother(smoothing) if isinstance(smoothing, LookAhead) else None
        self._causal = FaceSmoother(smoothing) if isinstance(smoothing, Smoothing) else None
        self._waiting: deque[tuple[VideoFrame | None, FrameResult]] = deque()

    def push(self, frame: VideoFrame | None, record: FrameResult) -> list[tuple[VideoFrame | None, FrameResult]]:
        """Take a frame and its record; returns those that are ready."""
        self._waiting.append((frame, record))
        self._held += bytes_of(frame)
        time = record.timestamp_s or 0.0
        if self._ahead is not None:
            given = self._give(self._ahead.push(record.faces, time))
            while self._held > HELD_BYTES and len(self._waiting) > 1:
                self._say_short()
                given += self._give(self._ahead.give_first())
            return given
        return self._give([record.faces if self._causal is None else self._causal(record.faces, time)])

    def flush(self) -> list[tuple[VideoFrame | None, FrameResult]]:
        """Those that still wait."""
        return [] if self._ahead is None else self._give(self._ahead.flush())

    def _say_short(self) -> None:
        if not self._is_short:
            self._is_short = True
            n, least = len(self._waiting) - 1, HELD_BYTES >> 20
            self._tell(f"The frames are so large that smoothing looks {n} of them ahead: {least} MiB wait at most.")

    def _give(self, ready: Iterable[Sequence[Face]]) -> list[tuple[VideoFrame | None, FrameResult]]:
        given = []
        for smoothed in ready:
            frame, record = self._waiting.popleft()
            self._held -= bytes_of(frame)
            faces = smoothed
            if smoothed and self._pose is not None:
                faces = self._pose(smoothed, record.width, record.height)
            given.append((frame, replace(record, faces=tuple(faces))))
        return given


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
    """Draw the faces onto a clip and write it, while the records of its frames come one by one; see `track_video`.

    Times and sound stay as they are. The clip is whole and can be played when the generator ends, also if it is closed
    early; after an error there is no clip.

    source: as for `track_video`; one that you have opened yourself needs `sound=True` to keep the sound. output: the
    file of the new clip. overwrite: replace a file of that name. tell: is called before the work with a sentence on
    sound that the new clip cannot hold, and after it with one on sound that was damaged.
    Raises what `track_video` raises, and InputError for a suffix that no clip has, and OutputError.
    """
    check_path("output", output)
    check_suffix(output)
    check_kind("options", options, VideoOptions, None)
    aligner = checked_aligner(aligner)
    if isinstance(source, str | os.PathLike):
        check_inputs_stay([output], [source])
        with open_source(os.fspath(source), sound=True) as opened:
            yield from overlay_video(opened, output, aligner, options, overwrite=overwrite, stop=stop, tell=tell)
        return
    sound: dict[str, Any] = {"sound": source.sound, "samples": source.sound_samples} if source.sound else {}
    with open_sink(output, source.info, **sound, offset_s=source.offset_s, overwrite=overwrite) as sink:
        for note in sink.notes:
            tell(note)
        records = track_video(source, aligner, options, sink=sink, stop=stop, tell=tell)
        with contextlib.suppress(GeneratorExit), contextlib.closing(records):  # threads end before the sink does
            yield from records
        if sink.lost_sound:
            tell(f"{output}: {sink.lost_sound} packets of the sound are damaged and left out.")


class _FrameWork:
    """From frames to records, not yet smoothed; leaving the context ends its threads."""

    def __init__(self, source: VideoSource, aligner: Aligner, options: VideoOptions) -> None:
        self._source, self._name = source, source.info.name
        self._ahead = Ahead(source, "facealign-decode") if options.beside else None
        self._foresight = Foresight(aligner) if options.beside else None
        self._tracker, self._quality = Tracker(aligner, options.tracking, self._foresight), options.quality
        self._threads = contextlib.ExitStack()
        self._used = {
            "detector": aligner.detector.name,
            "model": aligner.model.name,
            "provider": aligner.model.provider,
        }

    def __enter__(self) -> _FrameWork:
        for thread in (self._ahead, self._foresight):
            if thread is not None:
                self._threads.enter_context(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.close()

    def tracked(self) -> Iterator[tuple[VideoFrame | SoundPacket, list[Face]]]:
        """Each item of the source, with the faces of its picture."""
        for item in self._ahead or self._source:
            picture, faces = _picture_of(item), list[Face]()
            if picture is not None:
                image_bgr, time_s = picture
                faces = self._tracker.update(image_bgr, time_s, self._name, upcoming=self._upcoming())
                faces = with_quality(image_bgr, faces) if self._quality else faces
            yield item, faces

    def _upcoming(self) -> tuple[Image, float] | None:
        """The next picture and its time, if they are there; they are not waited for, as a camera may send them late."""
        items = [] if self._ahead is None else self._ahead.waiting()
        return next((picture for item in items if (picture := _picture_of(item)) is not None), None)

    def record(self, frame: VideoFrame, faces: list[Face]) -> FrameResult:
        """The record of a frame with the faces that were tracked in it."""
        facts: dict[str, Any] = {**self._used, "frame": frame.index, "timestamp_s": frame.timestamp_s}
        facts["warning"] = frame.warning
        if frame.image_bgr is not None:
            facts |= {"height": frame.image_bgr.shape[0], "width": frame.image_bgr.shape[1]}
        if frame.error is not None or frame.image_bgr is None:
            return FrameResult.of_error(self._name, frame.error or "no picture", **facts)
        return FrameResult.of_faces(self._name, faces, **facts)


def _picture_of(item: VideoFrame | SoundPacket | End) -> tuple[Image, float] | None:
    """The picture of an undamaged frame, and its time; None for everything else."""
    if not isinstance(item, VideoFrame) or item.error is not None or item.image_bgr is None:
        return None
    return item.image_bgr, item.timestamp_s


class _Writer:
    """Draws and encodes in a thread of its own; leaving the context waits until all that was put is written."""

    def __init__(self, sink: VideoSink | None, options: VideoOptions) -> None:
        self._sink, self._options = sink, options
        self._queue: Pipe[tuple[VideoFrame, tuple[Face, ...]] | SoundPacket | End] = Pipe()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(sink,), name="facealign-encode", daemon=True)

    def __enter__(self) -> _Writer:
        if self._sink is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._sink is None:
            return
        self._queue.put(End())
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def put(self, item: tuple[VideoFrame, tuple[Face, ...]] | SoundPacket) -> None:
        """Hand an item over. Raises what the thread failed with."""
        if self._sink is not None and not self._queue.put(item) and self._error is not None:
            raise self._error

    def _run(self, sink: VideoSink) -> None:
        try:
            while not isinstance(item := self._queue.get(), End):
                if isinstance(item, SoundPacket):
                    sink.write_sound(item)
                else:
                    self._draw(sink, *item)
        except BaseException as problem:  # noqa: BLE001 - raised again in the caller's thread
            self._error = problem
            self._queue.close()

    def _draw(self, sink: VideoSink, frame: VideoFrame, faces: tuple[Face, ...]) -> None:
        if frame.image_bgr is not None:
            image = np.zeros_like(frame.image_bgr) if self._options.blank else frame.image_bgr
            sink.write(draw_overlay(image, faces, sigma=self._options.sigma), frame.pts, frame.duration)
