"""The .pts format of ibug and 300-W: one face, 68 lines of x and y, counted from 1 (here: from 0).

    version: 1
    n_points: 68
    {
    116.234 201.500
    …
    }

`read_pts` and `write_pts` deal with one file. `write` puts each face of some results into a folder, under names from
which the picture can be told again: NAME.pts for the only face of NAME.jpg, NAME#0.pts, NAME#1.pts, … for
several. Where several pictures have one NAME, their files are called by the whole path: a/NAME.jpg.pts, b/NAME.png.pts.
A video's frame number follows the name: NAME_000012.pts. What would still be one name gets -2, -3, … in the order of
the results. A picture without a face or with an error makes no file. A path that ends in .pts takes exactly one face.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.boxes import BBox
from facealign_cli.errors import FormatError, InputError, OutputError
from facealign_cli.files.documents import PathLike, as_utf8, read_bytes
from facealign_cli.files.output import (
    UniqueNames,
    check_output,
    exists_already,
    make_folder,
    picture_stems,
    write_bytes,
)
from facealign_cli.formats.base import OF_THE_RUN, register_format
from facealign_cli.formats.labelling import why_failed
from facealign_cli.landmarks import LARGEST_COORDINATE, MEAN_SHAPE, N_LANDMARKS
from facealign_cli.records import Face, FrameResult

_MAX_BYTES = 1 << 20
_NUMBERED = re.compile(r"(.+)#(\d{1,9})", re.DOTALL)


PTS_FILES = "*.[pP][tT][sS]"
"""The glob of such files, whatever the case of their suffix."""


def read_pts(path: PathLike) -> Floats:
    """The (68, 2) float64 landmarks of a .pts file: x, y in pixels, counted from 0.

    Raises InputError if the file cannot be read, FormatError (a kind of it) if it breaks the format.
    """
    count, points = _read(path)
    if count not in (None, N_LANDMARKS):
        raise FormatError(f"{path}: n_points is {count}, expected {N_LANDMARKS}")
    if len(points) != N_LANDMARKS:
        raise FormatError(f"{path}: expected {N_LANDMARKS} points, got {len(points)}")
    wrong = np.flatnonzero(~(np.abs(points) <= LARGEST_COORDINATE).all(axis=1))
    if len(wrong):
        raise FormatError(f"{path}: point {wrong[0] + 1}: expected finite numbers, got {points[wrong[0]] + 1}")
    return points


def read_points(path: PathLike) -> Floats:
    """(K, 2) float64, the points of a .pts file as they are, also another number of them, or NaN; counted from 0.

    Raises as `read_pts`.
    """
    return _read(path)[1]


def _read(path: PathLike) -> tuple[int | None, Floats]:
    """The number that the header states, and the points. The header's lines may be missing: many tools write none."""
    lines = _read_lines(path)
    start = next((i for i, line in enumerate(lines) if line == "{"), None)
    if start is None:
        raise FormatError(f"{path}: no line with an opening brace '{{'")
    count = _check_header(path, lines[:start])
    if "}" not in lines[start:]:
        raise FormatError(f"{path}: no closing brace '}}': the file is cut short")
    end = lines.index("}", start)
    if lines[end + 1 :]:
        raise FormatError(f"{path}: unexpected text after the closing brace: {lines[end + 1][:40]!r}")
    rows = lines[start + 1 : end]
    points = np.array([_parse_point(path, number, row) for number, row in enumerate(rows, start=1)]).reshape(-1, 2)
    return count, np.round(points - 1, 9)  # rounds away what the subtraction leaves: 101.123 gives 100.123 exactly


def write_pts(path: PathLike, landmarks: Floats, overwrite: bool = False) -> None:
    """Write (68, 2) landmarks, pixels counted from 0. Raises as `encode_pts` does, and OutputError."""
    write_bytes(path, encode_pts(landmarks), overwrite)


def encode_pts(landmarks: Floats) -> bytes:
    """The file of (68, 2) landmarks, pixels counted from 0, with three decimals.

    Raises ValueError for another shape or values that are not finite.
    """
    landmarks = np.asarray(landmarks, float)
    if landmarks.shape != (N_LANDMARKS, 2):
        raise ValueError(f"landmarks: expected shape ({N_LANDMARKS}, 2), got {landmarks.shape}")
    if not np.isfinite(landmarks).all():
        raise ValueError("landmarks: expected finite numbers, got NaN or infinity")
    rows = "".join(f"{x:.3f} {y:.3f}\n" for x, y in (landmarks + 1).tolist())
    return f"version: 1\nn_points: {N_LANDMARKS}\n{{\n{rows}}}\n".encode("ascii")


def _read_lines(path: PathLike) -> list[str]:
    """The stripped lines that are not empty."""
    data = read_bytes(path, _MAX_BYTES)
    if not data.strip():
        raise FormatError(f"{path}: the file is empty")
    try:
        text = as_utf8(data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not a text file") from error
    if "\0" in text:
        raise FormatError(f"{path}: not a text file")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _check_header(path: PathLike, lines: list[str]) -> int | None:
    """The number of points that it states, if it does. Raises FormatError."""
    header: dict[str, str] = {}
    for line in lines:
        key, colon, value = (part.strip() for part in line.partition(":"))
        if key not in ("version", "n_points") or not colon or key in header:
            raise FormatError(f"{path}: unexpected line before the points: {line[:40]!r}")
        header[key] = value
    if header.get("version", "1") not in ("1", "1.0"):
        raise FormatError(f"{path}: version {header['version'][:20]!r}, only version 1 is known")
    count = header.get("n_points")
    if count is not None and not (count.isdecimal() and len(count) < 7):
        raise FormatError(f"{path}: n_points is {count[:20]!r}, expected a number")
    return None if count is None else int(count)


def _parse_point(path: PathLike, number: int, row: str) -> tuple[float, float]:
    try:
        x, y = (float(word) for word in row.split())
    except ValueError:
        raise FormatError(f"{path}: point {number}: expected two numbers, got {row[:40]!r}") from None
    return x, y


def write(
    path: PathLike, results: Iterable[FrameResult], overwrite: bool = False, root: PathLike | None = None
) -> list[Path]:
    """Write each face of the results into the folder `path` (or the only face into a .pts file); return the paths.

    root: a folder of pictures: the files lie in `path` as their pictures lie in it.

    Nothing is written if one of the files exists already and `overwrite` is not set. Raises OutputError.
    """
    results = list(results)
    if Path(path).suffix.lower() == ".pts" and not Path(path).is_dir():
        return [_write_only_face(Path(path), results, overwrite)]
    folder = make_folder(path)
    files = [
        (folder / f"{name}.pts", face)
        for result, names in zip(results, file_names(results, root), strict=True)
        for name, face in zip(names, result.faces, strict=True)
    ]
    for file, _ in files:
        if file.parent.exists():
            check_output(file, overwrite)
    for file, face in files:
        make_folder(file.parent)
        write_pts(file, face.landmarks, overwrite)
    return [file for file, _ in files]


def check(path: PathLike, sources: Sequence[str], overwrite: bool = False) -> None:
    """Raise OutputError where `write` could not write the faces of these pictures, be it one of each or several."""
    if Path(path).suffix.lower() == ".pts" and not Path(path).is_dir():
        check_output(path, overwrite)
        return
    folder, two = make_folder(path), [Face(i, BBox.around(MEAN_SHAPE), MEAN_SHAPE, 1.0) for i in range(2)]
    for faces in (two[:1], two):
        for names in file_names([FrameResult.of_faces(source, faces) for source in sources]):
            taken = next((file for name in names if os.path.lexists(file := folder / f"{name}.pts")), None)
            if taken is not None and not overwrite:
                raise exists_already(taken)


def file_names(results: Iterable[FrameResult], root: PathLike | None = None) -> list[list[str]]:
    """For each result the names, without .pts, of its faces' files: unlike one another, also where case is ignored.

    They may have folders, with "/". root: as `write` has it.
    """
    results, names = list(results), UniqueNames()
    claimed = []
    for result, stem in zip(results, picture_stems([r.source for r in results], root), strict=True):
        whole = stem if result.frame is None else f"{stem}_{result.frame:06d}"
        numbers: list[int | None] = [None] if len(result.faces) == 1 else [*range(len(result.faces))]
        claimed.append(names.claim(whole, [face_suffix(whole, number) for number in numbers]))
    return claimed


def face_suffix(stem: str, number: int | None) -> str:
    """What follows the picture's name, in the name of a face's file: nothing for the only face, else "#0", "#1", …

    A picture that is called so itself, x#1.jpg, always has a number, x#1#0.pts, so that no name can mean two faces.
    stem: the picture's name without its suffix. number: from 0; None for the only one.
    """
    if number is None and _NUMBERED.fullmatch(stem):
        number = 0
    return "" if number is None else f"#{number}"


def split_face_stem(stem: str, is_there: Callable[[str], bool] = lambda _stem: False) -> tuple[str, int | None]:
    """The picture's name and the face's number in the name of a file, without .pts; no number where it is the only one.

    is_there: whether there is a .pts file of a name. Other tools' NAME.pts beside NAME#0.pts are two pictures' files.
    """
    match = _NUMBERED.fullmatch(stem)
    if match is None or (is_there(match[1]) and not _NUMBERED.fullmatch(match[1])):
        return stem, None
    return match[1], int(match[2])


def _write_only_face(path: Path, results: list[FrameResult], overwrite: bool) -> Path:
    faces = [face for result in results for face in result.faces]
    if len(faces) != 1:
        raise OutputError(f"cannot write {path}: a .pts file holds one face, here are {len(faces)}; give a folder")
    write_pts(path, faces[0].landmarks, overwrite)
    return path


def read(path: PathLike) -> list[FrameResult]:
    """Each .pts file of a folder, or the one at `path`, as a result with one face.

    The format knows neither box nor confidence: the box is the tight one around the points, the confidence 1.
    Raises InputError, FormatError.
    """
    path = Path(path)
    if not path.is_dir():
        return [_read_one(path)]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() == ".pts")
    if not files:
        raise InputError(f"{path}: the folder holds no .pts file")
    return [_read_one(file) for file in files]


def _read_one(path: Path) -> FrameResult:
    landmarks = read_pts(path)
    return FrameResult.of_faces(str(path), [Face(0, tight_box(path, landmarks), landmarks, 1.0)])


def tight_box(path: PathLike, landmarks: Floats) -> BBox:
    """The box around the points of a file. Raises FormatError where they span none."""
    try:
        return BBox.around(landmarks)
    except ValueError as error:
        raise FormatError(f"{path}: its points are no face: all of them have the same x or the same y") from error


def _recognises(folder: Any) -> bool:
    return isinstance(folder, Path) and any(folder.rglob(PTS_FILES))


_LOSES = (
    "the picture's size, the box, the detector's score, the confidence, points that cannot be seen, "
    f"{OF_THE_RUN}; pictures without a face make no file"
)
register_format(
    "pts",
    [".pts"],
    write=write,
    read=read,
    check=check,
    why_not=why_failed,
    recognises=_recognises,
    loses=_LOSES,
    holds_size=False,
    takes_root=True,
    faces_alone=True,
)
