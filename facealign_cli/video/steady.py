"""Where a person's face is cut out over time: squares that move calmly, and what is kept of each frame for that.

Each frame's landmarks give a square (`facealign_cli.crops`). A mouth that opens, or noise, would shake it; so its
middle, its logarithmic size and its turn are fitted by straight lines through their neighbours in time, `STEADY_S` to
each side, as `lookahead` fits landmarks: steady motion does not lag. Where the person is out of sight for a while, the
square goes on in a straight line to where it is seen again.

Memory: 48 bytes for each face of each frame. The landmarks themselves lie in a temporary file.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.crops import CropOptions, crop_transform
from facealign_cli.errors import OutputError
from facealign_cli.files.output import write_reason
from facealign_cli.geometry import SimilarityTransform
from facealign_cli.records import Face, FrameResult
from facealign_cli.video.lookahead import line_weights

STEADY_S = 0.5
"""Seconds to each side over which a square's motion is fitted."""

_ROW = np.dtype([("frame", "<i8"), ("track", "<i8"), ("landmarks", "<f4", (68, 2))])


@dataclass(eq=False)
class Sightings:
    """One person's squares, frame by frame: middle x, y in picture pixels, log of the scale, turn in radians."""

    track_id: int
    options: CropOptions
    times: array[float] = field(default_factory=lambda: array("d"))
    frames: array[int] = field(default_factory=lambda: array("q"))
    squares: array[float] = field(default_factory=lambda: array("d"))  # four numbers a frame
    confidence: float = 0.0

    def add(self, frame: int, time_s: float, face: Face) -> None:
        """Take the next frame's."""
        transform = crop_transform(face, self.options)
        middle = (self.options.side - 1) / 2
        x, y = transform.inverse().apply(np.array([middle, middle])).tolist()
        turn = math.radians(transform.angle_deg)
        if self.squares:  # no jump from 180 to -180 degrees
            turn += 2 * math.pi * round((self.squares[-1] - turn) / (2 * math.pi))
        self.times.append(time_s)
        self.frames.append(frame)
        self.squares.extend((x, y, math.log(transform.scale), turn))
        self.confidence += face.confidence

    @property
    def seconds(self) -> float:
        """From the first sight to the last."""
        return self.times[-1] - self.times[0]

    def steady(self) -> SteadyPath:
        """The squares, calmed."""
        times, squares = np.array(self.times), np.array(self.squares).reshape(-1, 4)
        return SteadyPath(times, steadied(times, squares), self.options.side)


def steadied(times_s: Floats, values: Floats, width_s: float = STEADY_S) -> Floats:
    """(N, K) values at rising times, each replaced by a straight line's fitted to its neighbours within `width_s`."""
    first = np.searchsorted(times_s, times_s - width_s)
    last = np.searchsorted(times_s, times_s + width_s, side="right")
    fitted = np.empty_like(values)
    for i, (begin, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        fitted[i] = line_weights(times_s[begin:end] - times_s[i], width_s) @ values[begin:end]
    return fitted


@dataclass(frozen=True, eq=False)
class SteadyPath:
    """times: (N,) rising. squares: (N, 4), see `Sightings`. size: the crop's side in pixels."""

    times: Floats
    squares: Floats
    size: int

    def transform(self, time_s: float) -> SimilarityTransform:
        """Picture → crop at a time, in between two that are known on a straight line."""
        x, y, scale, turn = (float(np.interp(time_s, self.times, column)) for column in self.squares.T)
        a, b = math.exp(scale) * math.cos(turn), math.exp(scale) * math.sin(turn)
        middle = (self.size - 1) / 2
        return SimilarityTransform(a, b, middle - a * x + b * y, middle - b * x - a * y)


class Sighted:
    """All persons of a clip, from its records as they pass, and their landmarks in a temporary file in `folder`."""

    def __init__(self, folder: Path, options: CropOptions) -> None:
        self._folder, self._options = folder, options
        self.persons: dict[int, Sightings] = {}
        self.n_frames = 0
        try:
            self._spool: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as this does
        except OSError as error:
            raise OutputError(f"cannot write into {folder}: {write_reason(error)}") from error

    def add(self, record: FrameResult) -> None:
        """Take the next frame's. Raises OutputError where the disk is full."""
        self.n_frames += 1
        for face in record.faces:
            if face.track_id is None or record.frame is None or record.timestamp_s is None:
                continue
            person = self.persons.setdefault(face.track_id, Sightings(face.track_id, self._options))
            person.add(record.frame, record.timestamp_s, face)
            row = np.zeros(1, _ROW)
            row["frame"], row["track"], row["landmarks"] = record.frame, face.track_id, face.landmarks
            with self._disk_errors():
                self._spool.write(row.tobytes())

    def landmarks(self, frames: Iterable[int]) -> Iterator[dict[int, Floats]]:
        """For each of these frames, in rising order: id → (68, 2) picture pixels."""
        with self._disk_errors():  # seeking writes what still waits
            self._spool.seek(0)
        rows = self._rows()
        row = next(rows, None)
        for frame in frames:
            found: dict[int, Floats] = {}
            while row is not None and row["frame"] <= frame:
                if row["frame"] == frame:
                    found[int(row["track"])] = row["landmarks"].astype(np.float64)
                row = next(rows, None)
            yield found

    def _rows(self) -> Iterator[np.void]:
        while len(rows := np.frombuffer(self._spool.read(1000 * _ROW.itemsize), _ROW)):
            yield from rows

    def close(self) -> None:
        """Let the temporary file go."""
        with contextlib.suppress(OSError):  # what could not be written there is not needed any more
            self._spool.close()

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = f"cannot keep the landmarks in a temporary file in {self._folder}: {write_reason(error)}"
            raise OutputError(why) from error
