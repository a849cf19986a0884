"""Pictures as a clip: a folder, or a numbered pattern such as frames/%04d.png."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from facealign_cli.arrays import Image, pixels
from facealign_cli.errors import InputError
from facealign_cli.files.pictures import DecodedPicture, read_picture
from facealign_cli.video.base import MAX_FRAME_PIXELS, Fitting, OpenedSource, VideoFrame, VideoInfo, beyond_end

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream

DEFAULT_RATE = 25.0
_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
_NUMBER = re.compile(r"%(0\d+)?d")


class SequenceSource(OpenedSource):
    """Pictures one after another, `rate` of them a second; all are fitted into the size of the first readable one.

    One that cannot be read is a frame with an error. Raises InputError where there is none that can be read.
    """

    sound: tuple[Stream, ...] = ()

    def __init__(
        self,
        path: str,
        *,
        rate: float = DEFAULT_RATE,
        start_s: float | None = None,
        end_s: float | None = None,
        max_pixels: int = MAX_FRAME_PIXELS,
    ) -> None:
        files, self._max_pixels = picture_files(path), max_pixels
        exact = Fraction(rate).limit_denominator(1001)
        first, last = math.ceil((start_s or 0.0) * exact), len(files)
        if end_s is not None:
            last = min(last, math.ceil(end_s * exact))
        if first >= len(files):
            raise InputError(f"{path}: {beyond_end(len(files) / exact, first / exact)}")
        self._files = list(enumerate(files))[first:last]
        self.offset_s = first / exact
        self._fitting = Fitting(self._first_size(path))
        self._warned, self._first_warning = 0, ""
        width, height = self._fitting.size
        self.info = VideoInfo(path, width, height, 1 / exact, exact, len(self._files))

    def _first_size(self, path: str) -> tuple[int, int]:
        problem = "no pictures in this part"
        for _, file in self._files:
            try:
                height, width = self._picture(file).image.shape[:2]
            except InputError as error:
                problem = str(error)
                continue
            return width, height
        raise InputError(f"{path}: no frame that can be decoded: {problem}")

    def __iter__(self) -> Iterator[VideoFrame]:
        for index, (number, file) in enumerate(self._files):
            time = float(number * self.info.time_base)
            try:
                picture = self._picture(file)
            except InputError as error:
                yield VideoFrame(index, number, time, None, 1, str(error))
                continue
            if picture.warning is not None:
                self._warned += 1
                self._first_warning = self._first_warning or picture.warning
            yield VideoFrame(index, number, time, self._fitted(picture.image), 1, warning=picture.warning)

    def _picture(self, file: Path) -> DecodedPicture:
        if file.exists() and not file.is_file():  # a pipe would be waited for, maybe for ever
            raise InputError(f"{file}: is not a file")
        return read_picture(file, max_pixels=self._max_pixels)

    def _fitted(self, image: Image) -> Image:
        size = image.shape[1], image.shape[0]
        if size == self._fitting.size:
            return image
        return self._fitting.lay(pixels(cv2.resize(image, self._fitting.inner(size), interpolation=cv2.INTER_AREA)))

    @property
    def notes(self) -> tuple[str, ...]:
        """Which other sizes came until now, and how many pictures have a warning."""
        notes = list(self._fitting.notes)
        if self._warned:
            count = "1 picture has a warning" if self._warned == 1 else f"{self._warned:,} pictures have warnings"
            notes.append(f"{count}, the first one: {self._first_warning}")
        return tuple(f"{self.info.name}: {note}." for note in notes)

    def sound_samples(self, _stream: Stream) -> list[Packet[Stream]]:
        """Pictures have no sound."""
        return []

    def close(self) -> None:
        """Nothing stays open."""


def is_sequence(path: str) -> bool:
    """Whether a path means pictures: a folder, or a pattern that is not itself a file."""
    return Path(path).is_dir() or (_NUMBER.search(Path(path).name) is not None and not Path(path).exists())


def picture_files(path: str) -> list[Path]:
    """The files of a folder, by name with numbers in their order, or those that a pattern means.

    Raises InputError where there is none.
    """
    folder = Path(path)
    if folder.is_dir():
        files = sorted((f for f in folder.iterdir() if f.suffix.lower() in _SUFFIXES), key=_natural)
        if not files:
            many = f"`facealign batch videos {shlex.quote(path)} -o rows`"
            raise InputError(f"{path}: a folder without pictures is no clip; {many} takes a folder of clips")
        return files
    before, after = folder.name[: (number := _pattern(path)).start()], folder.name[number.end() :]
    pattern = re.compile(rf"{re.escape(before)}(\d+){re.escape(after)}")
    if not folder.parent.is_dir():
        raise InputError(f"{path}: no such folder")
    found = [(int(match[1]), f) for f in folder.parent.iterdir() if (match := pattern.fullmatch(f.name))]
    if not found:
        raise InputError(f"{path}: no file has such a name with a number in it")
    return [f for _, f in sorted(found)]


def _pattern(path: str) -> re.Match[str]:
    found = _NUMBER.search(Path(path).name)
    if found is None:
        raise InputError(f"{path}: no such file or folder")
    return found


def _natural(file: Path) -> list[tuple[int, str]]:
    parts = re.split(r"([0-9]+)", file.name)  # every second one is a number; "①" is a digit, too, but not for int()
    return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts)]
