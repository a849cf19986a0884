"""DeepLabCut's multi-animal table (CSV), so that what reads pose tracks reads ours: movement, napari, scripts.

    scorer,facealign,facealign,facealign,…
    individuals,id0,id0,id0,…
    bodyparts,landmark_0,landmark_0,landmark_0,…
    coords,x,y,likelihood,…
    0,112.5,80.25,0.9875,…

A table holds one clip. An individual is a tracked face, `id` and its track's number; where nothing was tracked, `id`
and the face's number in its picture. Individuals stand in the order in which they appear. A frame has one line,
numbered from 0; cells of an individual who is not seen in it are empty. Readers such as movement go by the number of
the line, so frames that the records leave out get an empty line, too. Pictures, which have no frame number, are
numbered as they come. Pixels have three decimals and count from 0. `likelihood` is the face's confidence, the same for
all its points: how likely the landmarks are right. Without any face there is one individual, `id0`, whose cells are all
empty.
Source: DeepLabCut's documentation, "Output file format", and movement's `load_poses.from_dlc_file`.
"""

from __future__ import annotations

import itertools
import math
import re
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.boxes import BBox
from facealign_cli.errors import FormatError, OutputError
from facealign_cli.files.documents import PathLike, read_csv, reason
from facealign_cli.formats.base import OF_THE_RUN, register_format, write_file
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.records import Face, FrameResult, LeftOut

SCORER = "facealign"
BODYPARTS: tuple[str, ...] = tuple(f"landmark_{i}" for i in range(N_LANDMARKS))
COORDS = ("x", "y", "likelihood")

LONGEST_GAP = 1_000_000
"""Frames that records may leave out in a row: as many empty lines are written."""

_WIDTH = len(BODYPARTS) * len(COORDS)
_EMPTY = b"," * _WIDTH
_MEMORY = 64 << 20  # bytes of lines that are held in memory


def dump(results: Iterable[FrameResult], stream: BinaryIO) -> None:
    """Write the table into a binary stream. Raises OutputError for rows of several clips.

    Who appears is known at the end only: until then the lines stand in a temporary file.
    """
    individuals: dict[int, int] = {}  # number of the face → its place
    with tempfile.SpooledTemporaryFile(_MEMORY) as lines:
        for frame, result in _numbered(results):
            cells = {}
            for face in result.faces if result is not None else ():
                number = face.face_id if face.track_id is None else face.track_id
                cells[individuals.setdefault(number, len(individuals))] = _cells(face)
            parts = [cells.get(place, _EMPTY) for place in range(len(individuals))]
            lines.write(b"%d%s\n" % (frame, b"".join(parts)))
        lines.seek(0)
        _write_table(stream, list(individuals) or [0], lines)


def _write_table(stream: BinaryIO, numbers: list[int], lines: Any) -> None:
    columns = [(f"id{number}", part, coord) for number in numbers for part in BODYPARTS for coord in COORDS]
    stream.write(f"scorer{f',{SCORER}' * len(columns)}\n".encode())
    for level, name in enumerate(("individuals", "bodyparts", "coords")):
        stream.write(",".join([name, *(column[level] for column in columns)]).encode() + b"\n")
    for line in lines:
        missing = len(columns) - line.count(b",")  # those who appeared later
        stream.write(line[:-1] + b"," * missing + b"\n")


def _cells(face: Face) -> bytes:
    """The cells of an individual, a comma before each."""
    points = (np.round(face.landmarks, 3) + 0.0).tolist()
    return "".join(f",{x:.3f},{y:.3f},{face.confidence:.4f}" for x, y in points).encode()


def _numbered(results: Iterable[FrameResult]) -> Iterator[tuple[int, FrameResult | None]]:
    """(number, record) of every frame from 0; None for a frame that the records leave out."""
    following, clip = 0, None
    for result in results:
        if result.frame is not None:
            clip = result.source if clip is None else clip
            if result.source != clip or result.frame < following or result.frame > following + LONGEST_GAP:
                raise OutputError(
                    f"a DeepLabCut table holds one clip, frame after frame: frame {result.frame} of {result.source} "
                    f"cannot stand behind frame {following - 1} of {clip}; write a table for each clip"
                )
            yield from ((number, None) for number in range(following, result.frame))
            following = result.frame
        yield following, result
        following += 1


def write(path: PathLike, results: Iterable[FrameResult], overwrite: bool = False) -> None:
    """Write the table to a file, atomically. Raises OutputError."""
    write_file(path, results, dump, overwrite)


def scan(path: PathLike) -> Iterator[FrameResult | LeftOut]:
    """The frames of a table whose body parts are the 68 landmarks; the source is the table's own path.

    The box is the tight one around the points, the confidence the mean likelihood. An individual of whom a frame has
    only some points, or such as are no face, is left out of it, and named. Raises InputError if it cannot be read,
    FormatError if it breaks the rules.
    """
    rows = read_csv(path, strict=True)
    header = [cells for _, cells in itertools.islice(rows, 4)]
    numbers = _individuals(path, header)
    for line, cells in rows:
        values = _values(path, line, cells, len(numbers))
        frame, tracks = int(values[0]), values[1:].reshape(len(numbers), N_LANDMARKS, len(COORDS))
        faces: list[Face] = []
        for number, track in zip(numbers, tracks, strict=True):
            missing = np.isnan(track).any(axis=1)
            if missing.all():
                continue
            if missing.any():
                yield LeftOut(f"{path}: frame {frame}: id{number}", f"no {BODYPARTS[int(np.argmax(missing))]}")
                continue
            try:
                faces.append(_face(number, len(faces), track))
            except ValueError as error:
                yield LeftOut(f"{path}: frame {frame}: id{number}", reason(error))
        yield FrameResult.of_faces(str(path), faces, frame=frame)


def _face(number: int, place: int, track: Floats) -> Face:
    box = BBox.around(track[:, :2])
    return Face(place, box, track[:, :2], float(track[:, 2].mean()), track_id=number)


def _individuals(path: PathLike, header: list[list[str]]) -> list[int]:
    """The numbers of the individuals. Raises FormatError unless the header is that of such a table."""
    names = [cells[0].strip() for cells in header if cells]
    if names != ["scorer", "individuals", "bodyparts", "coords"]:
        raise FormatError(f"{path}: not a table of DeepLabCut with several individuals: its first lines are {names}")
    _, individuals, bodyparts, coords = (cells[1:] for cells in header)
    count = len(individuals) // _WIDTH
    if not count or bodyparts != [part for part in BODYPARTS for _ in COORDS] * count:
        raise FormatError(f"{path}: expected the body parts landmark_0 to landmark_67 for each individual")
    if coords != list(COORDS) * (len(BODYPARTS) * count):
        raise FormatError(f"{path}: expected the coords x, y and likelihood of each body part")
    chosen = individuals[::_WIDTH]
    if individuals != [name for name in chosen for _ in range(_WIDTH)] or len(set(chosen)) < count:
        raise FormatError(f"{path}: expected the columns of an individual side by side")
    matches = [re.fullmatch(r"id(\d{1,18})", name) for name in chosen]
    return [int(match[1]) for match in matches if match] if all(matches) else list(range(count))


def _values(path: PathLike, line: int, cells: list[str], individuals: int) -> Floats:
    """(1 + individuals · 204,) the frame, and the numbers of a line; NaN for an empty cell."""
    expected = 1 + individuals * _WIDTH
    if len(cells) != expected:
        raise FormatError(f"{path}: line {line}: expected {expected} cells, got {len(cells)}")
    try:
        values = np.array([float(cell) if cell.strip() else math.nan for cell in cells])
    except ValueError as error:
        raise FormatError(f"{path}: line {line}: {error}") from None
    if not 0 <= values[0] < 2**53 or values[0] % 1 or np.isinf(values).any():
        raise FormatError(f"{path}: line {line}: expected a frame that counts from 0, and finite numbers")
    return values


def _recognises(start: Any) -> bool:
    return isinstance(start, str) and start.startswith("scorer,")


_LOSES = (
    "the names of pictures, times, the picture's size, the box, the detector's score, points that cannot be seen, "
    f"{OF_THE_RUN}; errors become empty lines"
)
register_format("dlc", [], write=write, scan=scan, dump=dump, recognises=_recognises, loses=_LOSES, grows=False)
