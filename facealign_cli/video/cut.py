"""A clip's faces cut out: for each person a steady clip with its sound, or its best shots as pictures.

The clip is read twice. First it is tracked: `FaceCutter.passing` sees the records. Then `FaceCutter.cut` reads it once
more and cuts: by then it is known how each person moves, so that a square need not lag behind, where each one is seen
first and last, and which of its shots are the best. What is kept between the two is small; see `steady` and `best`.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from facealign_cli.arrays import Floats, Image
from facealign_cli.crops import CropOptions, cut_face, cut_square
from facealign_cli.errors import InputError
from facealign_cli.files.output import atomic_write, check_inputs_stay, exists_already, make_folder, write_bytes
from facealign_cli.formats.csv import write_cells
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.records import FrameResult
from facealign_cli.video.base import SoundPacket, VideoFrame, VideoSource, import_av
from facealign_cli.video.best import SHOT_COLUMNS, BestShots, Shot
from facealign_cli.video.sink import VideoSink, copies_sound, open_sink
from facealign_cli.video.steady import Sighted, Sightings, SteadyPath

_OWN = re.compile(r"id\d+(_\d+)?\.(mp4|mkv|csv|jpg|json)|crops\.csv|best\.csv")
"""The names of what a `FaceCutter` writes."""
_SOUND_AHEAD_S = 3
"""Seconds by which a packet of sound may lie before the frame with which it is heard in the file."""
_PRIMING_S = 0.1
"""Seconds of sound before a clip's first frame that go with it, unheard: decoders of sound need them to begin with."""

_MATRIX = ("m_00", "m_01", "m_02", "m_10", "m_11", "m_12")
_POINTS = tuple(f"{axis}_{i}" for axis in "xy" for i in range(N_LANDMARKS))
TABLE_COLUMNS: tuple[str, ...] = ("frame", "timestamp_s", "clip_s", "seen", *_MATRIX, *_POINTS)
"""The columns beside a clip: the matrix picture → crop, and the landmarks in the crop's pixels, empty if not seen."""


@dataclass(frozen=True)
class CutOptions:
    """crop: how faces are cut out. best: so many shots of each person in place of clips; None: clips.

    least_s: persons who are seen for less, from first to last, are left out. Raises InputError.
    """

    crop: CropOptions = field(default_factory=CropOptions)
    best: int | None = None
    least_s: float = 0.5

    def __post_init__(self) -> None:
        if self.best is not None and self.best < 1:
            raise InputError(f"best: expected 1 or more, got {self.best}")


@dataclass(frozen=True)
class CutPerson:
    """What became of one person. frames: in which it is seen. files: how many were written, but for tables."""

    track_id: int
    first_s: float
    last_s: float
    frames: int
    mean_confidence: float
    files: int
    left_out: str | None


class FaceCutter:
    """Cuts the faces of one clip into a folder, which is made; see the module. It has to be closed.

    notes: sentences for the person who gave the clip, once it was cut. clip: its path. Raises OutputError where files
    of these names are there already, and with `overwrite` where the clip is one of them.
    """

    def __init__(
        self, folder: str | Path, options: CutOptions | None = None, *, clip: str = "", overwrite: bool = False
    ) -> None:
        self.folder, self.options = make_folder(folder), options or CutOptions()
        self._overwrite = overwrite
        self._old = [file for file in sorted(self.folder.iterdir()) if _OWN.fullmatch(file.name)]
        if self._old and not overwrite:
            raise exists_already(self._old[0])
        check_inputs_stay(self._old, [clip])
        self._sighted = Sighted(self.folder, self.options.crop)
        self._shots = BestShots(self.options.crop) if self.options.best is not None else None
        self._files: dict[int, int] = {}
        self.notes: list[str] = []

    def passing(self, records: Iterable[FrameResult]) -> Iterator[FrameResult]:
        """The records of the clip, each seen as it passes; for best shots their faces need their quality."""
        for record in records:
            self._sighted.add(record)
            if self._shots is not None:
                self._shots.add(record)
            yield record

    def close(self) -> None:
        """Let what was kept go."""
        self._sighted.close()

    @property
    def n_frames(self) -> int:
        """How many records have passed."""
        return self._sighted.n_frames

    @property
    def persons(self) -> list[CutPerson]:
        """All that were seen, by id."""
        return [self._person(seen) for _, seen in sorted(self._sighted.persons.items())]

    def _person(self, seen: Sightings) -> CutPerson:
        brief = not self._is_long_enough(seen)
        why = f"seen for {seen.seconds:.2f} s, less than {self.options.least_s:g} s" if brief else None
        count, confidence = len(seen.times), round(seen.confidence / len(seen.times), 4)
        first, last = round(seen.times[0], 6), round(seen.times[-1], 6)
        return CutPerson(seen.track_id, first, last, count, confidence, self._files.get(seen.track_id, 0), why)

    def _is_long_enough(self, seen: Sightings) -> bool:
        return seen.seconds >= self.options.least_s

    def cut(self, source: VideoSource, stop: threading.Event | None = None) -> Iterator[VideoFrame]:
        """Cut the faces out of the clip, read anew; the frames pass as they are done. Tables are written at the end.

        source: as the one whose records have passed; of clips with its sound. stop: ends it after the frame in work;
        clips can be played up to there. Raises InputError, OutputError.
        """
        stop = stop or threading.Event()
        for file in self._old:
            file.unlink(missing_ok=True)
        persons = {k: seen for k, seen in self._sighted.persons.items() if self._is_long_enough(seen)}
        if self._shots is None:
            yield from self._clips(source, persons, stop)
        else:
            shots = [shot for shot in self._shots.best(self.options.best or 1) if shot.track_id in persons]
            yield from self._pictures(source, shots, stop)
            rows = [[_shot_name(shot), *shot.values()] for shot in shots]
            self._write_table("best.csv", ("file", *SHOT_COLUMNS), rows)
        names = tuple(one.name for one in fields(CutPerson))
        self._write_table("crops.csv", names, [astuple(person) for person in self.persons])

    def _write_table(self, name: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
        with atomic_write(self.folder / name, self._overwrite) as stream:
            write_cells(stream, list(columns), [list(row) for row in rows])

    def _pictures(self, source: VideoSource, shots: list[Shot], stop: threading.Event) -> Iterator[VideoFrame]:
        wanted: dict[int, list[Shot]] = {}
        for shot in shots:
            wanted.setdefault(shot.frame, []).append(shot)
        frames = iter(self._sighted.landmarks(sorted(wanted)))
        for item in source if wanted else ():
            if isinstance(item, SoundPacket):
                continue
            if item.index in wanted and item.image_bgr is not None:
                facts = {"source": source.info.name, "frame": item.index, "timestamp_s": round(item.timestamp_s, 6)}
                self._write_shots(item.image_bgr, facts, wanted.pop(item.index), next(frames))
            yield item
            if not wanted or stop.is_set():
                return

    def _write_shots(
        self, image_bgr: Image, facts: dict[str, Any], shots: list[Shot], landmarks: dict[int, Floats]
    ) -> None:
        for shot in shots:
            crop = cut_face(image_bgr, landmarks[shot.track_id], self.options.crop)
            own = {"track_id": shot.track_id, "rank": shot.rank, "score": round(shot.score, 4)}
            for suffix, data in crop.files(**facts, **own).items():
                write_bytes((self.folder / _shot_name(shot)).with_suffix(suffix), data, self._overwrite)
            self._files[shot.track_id] = self._files.get(shot.track_id, 0) + 1

    def _clips(self, source: VideoSource, persons: dict[int, Sightings], stop: threading.Event) -> Iterator[VideoFrame]:
        """Each clip is open from its first frame until a while after its last one, for the sound that follows."""
        if not persons:
            return
        sound, waiting = _Sound(source), deque[SoundPacket]()
        self.notes += sound.notes
        last_frame = max(seen.frames[-1] for seen in persons.values())
        begin: dict[int, list[Sightings]] = {}
        for seen in persons.values():
            begin.setdefault(seen.frames[0], []).append(seen)
        frames = _Landmarks(self._sighted, persons)
        with contextlib.ExitStack() as stack:
            clips: list[_Clip] = []
            for item in source:
                if isinstance(item, SoundPacket):
                    waiting.append(item)
                    clips = [clip for clip in clips if not clip.take_sound(item)]
                    continue
                while waiting and _time_of(waiting[0]) < item.timestamp_s - _SOUND_AHEAD_S:
                    waiting.popleft()
                for seen in begin.get(item.index, ()):
                    clips.append(self._open(stack, source, sound, seen, item))
                    for packet in waiting:
                        clips[-1].take_sound(packet)
                found = frames.of(item.index)
                for clip in clips:
                    clip.take(item, found)
                clips = [clip for clip in clips if not clip.is_over(item.timestamp_s)]
                yield item
                if stop.is_set() or (item.index > last_frame and not clips):
                    break

    def _open(
        self, stack: contextlib.ExitStack, source: VideoSource, sound: _Sound, seen: Sightings, first: VideoFrame
    ) -> _Clip:
        size = self.options.crop.side
        info = replace(source.info, width=size, height=size, end_pts=None, n_frames=None)
        own = stack.enter_context(contextlib.ExitStack())
        stem = self.folder / f"id{seen.track_id}"
        offset = first.pts * info.time_base
        how: dict[str, Any] = {"sound": sound.streams, "samples": sound.samples, "offset_s": offset}
        sink = own.enter_context(open_sink(f"{stem}{sound.suffix}", info, **how, overwrite=self._overwrite))
        table = own.enter_context(atomic_write(f"{stem}.csv", self._overwrite))
        self._files[seen.track_id] = 1
        return _Clip(own, sink, table, seen, self.options.crop, offset)


class _Landmarks:
    """The landmarks of the frames, asked for in their order, each once."""

    def __init__(self, sighted: Sighted, persons: dict[int, Sightings]) -> None:
        self._frames = sorted({frame for seen in persons.values() for frame in seen.frames})
        self._found = iter(sighted.landmarks(self._frames))
        self._next = 0

    def of(self, frame: int) -> dict[int, Floats]:
        """Id → (68, 2) picture pixels; empty where nobody is seen."""
        found: dict[int, Floats] = {}
        while self._next < len(self._frames) and self._frames[self._next] <= frame:
            landmarks = next(self._found)
            found = landmarks if self._frames[self._next] == frame else found
            self._next += 1
        return found


class _Sound:
    """The sound of the clips: copied, into .mp4 or, where that cannot hold it, .mkv; else left out, with a note."""

    def __init__(self, source: VideoSource) -> None:
        self._samples = {id(stream): source.sound_samples(stream) for stream in source.sound}
        self.streams, self.suffix, self.notes = source.sound, ".mp4", list[str]()
        if not source.sound or copies_sound(".mp4", source.sound, self.samples):
            return
        self.suffix = ".mkv"
        if copies_sound(".mkv", source.sound, self.samples):
            self.notes = [f"{source.info.name}: .mp4 cannot hold its sound, so the clips are written as .mkv."]
        else:
            self.streams, self.suffix = (), ".mp4"
            self.notes = [f"{source.info.name}: neither .mp4 nor .mkv can hold its sound, so it is left out."]

    def samples(self, stream: Any) -> list[Any]:
        """The first packets of a stream."""
        return self._samples[id(stream)]


@dataclass(eq=False)
class _Clip:
    """One person's clip while it is written, with the table beside it. stack: closes both. offset: of its begin."""

    stack: contextlib.ExitStack
    sink: VideoSink
    table: BinaryIO
    seen: Sightings
    crop: CropOptions
    offset: Fraction

    def __post_init__(self) -> None:
        self._last_frame, self._end_s = self.seen.frames[-1], self.seen.times[-1]
        self._path: SteadyPath = self.seen.steady()
        write_cells(self.table, TABLE_COLUMNS, ())

    def take(self, frame: VideoFrame, landmarks: dict[int, Floats]) -> None:
        """Cut the person out of the next frame; frames after the last one, and damaged ones, are passed over."""
        if frame.index > self._last_frame or frame.image_bgr is None:
            return
        seen, transform = landmarks.get(self.seen.track_id), self._path.transform(frame.timestamp_s)
        points = np.zeros((N_LANDMARKS, 2)) if seen is None else seen
        crop = cut_square(frame.image_bgr, points, transform, self.crop)
        self.sink.write(crop.image, frame.pts, frame.duration)
        step = float(frame.duration * self.sink.time_base)
        self._end_s = max(self._end_s, frame.timestamp_s + step)
        own = [None] * len(_POINTS) if seen is None else np.round(crop.landmarks, 3).T.ravel().tolist()
        clip_s = round(frame.timestamp_s - float(self.offset), 6)
        matrix = np.round(transform.matrix, 8).ravel().tolist()
        facts = [frame.index, round(frame.timestamp_s, 6), clip_s, int(seen is not None)]
        write_cells(self.table, None, [[*facts, *matrix, *own]])

    def take_sound(self, sound: SoundPacket) -> bool:
        """A packet of sound, if it belongs into the clip; whether the clip is over by now, and closed."""
        time = _time_of(sound)
        if float(self.offset) - _PRIMING_S <= time < self._end_s:
            self.sink.write_sound(_copied(sound))
        return self.is_over(time)

    def is_over(self, time_s: float) -> bool:
        """Close the clip if nothing that belongs into it can follow."""
        over = time_s > self._end_s + _SOUND_AHEAD_S
        if over:
            self.stack.close()
        return over


def _time_of(sound: SoundPacket) -> float:
    packet = sound.packet
    return float((sound.dts if packet.pts is None else packet.pts) * packet.time_base)


def _copied(sound: SoundPacket) -> SoundPacket:
    """The packet once more: a sink moves its times, and several clips may want it."""
    old = sound.packet
    packet = import_av().Packet(bytes(old))
    packet.stream, packet.time_base = old.stream, old.time_base
    packet.pts, packet.dts, packet.duration = old.pts, old.dts, old.duration
    packet.is_keyframe = old.is_keyframe
    return SoundPacket(packet)


def _shot_name(shot: Shot) -> str:
    return f"id{shot.track_id}_{shot.rank}.jpg"
