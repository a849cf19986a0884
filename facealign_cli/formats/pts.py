"""The .pts format of ibug and 300-W: one face, 68 lines of x and y, counted from 1 (here: from 0).

    version: 1
    n_points: 68
    {
    116.234 201.500
    …
    }

`read_pts` and `write_pts` deal with one file. `write` puts each face of some results into a folder: NAME.pts for the
only face of a picture, NAME_0.pts, NAME_1.pts, … for several; a video's frame number follows the name: NAME_000012.pts.
Names that are taken already in the same run get -2, -3, … in the order of the results. A picture without a face or
with an error makes no file. A path that ends in .pts takes exactly one face.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from facealign_cli.errors import FormatError, InputError, OutputError
from facealign_cli.files.output import UniqueNames, check_output, make_folder, safe_stem, write_bytes
from facealign_cli.formats.base import PathLike, read_bytes, register_format
from facealign_cli.geometry import bbox_of_shape
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.records import BBox, Face, FrameResult

_MAX_BYTES = 1 << 20
_HEADER = re.compile(r"(version|n_points)\s*:\s*(\S+)")


def read_pts(path: PathLike) -> np.ndarray:
    """The (68, 2) float64 landmarks of a .pts file: x, y in pixels, counted from 0.

    Raises InputError if the file cannot be read, FormatError (a kind of it) if it breaks the format.
    """
    lines = _read_lines(path)
    start = next((i for i, line in enumerate(lines) if line == "{"), None)
    if start is None:
        raise FormatError(f"{path}: no line with an opening brace '{{'")
    _check_header(path, lines[:start])
    if "}" not in lines[start:]:
        raise FormatError(f"{path}: no closing brace '}}': the file is cut short")
    end = lines.index("}", start)
    if lines[end + 1 :]:
        raise FormatError(f"{path}: unexpected text after the closing brace: {lines[end + 1][:40]!r}")
    rows = lines[start + 1 : end]
    if len(rows) != N_LANDMARKS:
        raise FormatError(f"{path}: expected {N_LANDMARKS} points, got {len(rows)}")
    points = np.array([_parse_point(path, number, row) for number, row in enumerate(rows, start=1)])
    return np.round(points - 1, 9)  # rounds away what the subtraction leaves: 101.123 gives 100.123 exactly


def write_pts(path: PathLike, landmarks: np.ndarray, overwrite: bool = False) -> None:
    """Write (68, 2) landmarks, pixels counted from 0. Raises as `encode_pts` does, and OutputError."""
    write_bytes(path, encode_pts(landmarks), overwrite)


def encode_pts(landmarks: np.ndarray) -> bytes:
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
        raise FormatError(f"{path}: empty")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not a text file") from error
    if "\0" in text:
        raise FormatError(f"{path}: not a text file")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _check_header(path: PathLike, lines: list[str]) -> None:
    header: dict[str, str] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None or match[1] in header:
            raise FormatError(f"{path}: unexpected line before the points: {line[:40]!r}")
        header[match[1]] = match[2]
    for key in ("version", "n_points"):
        if key not in header:
            raise FormatError(f"{path}: no '{key}:' line")
    if header["version"] not in ("1", "1.0"):
        raise FormatError(f"{path}: version {header['version'][:20]!r}, only version 1 is known")
    if header["n_points"] != str(N_LANDMARKS):
        raise FormatError(f"{path}: n_points is {header['n_points'][:20]!r}, expected {N_LANDMARKS}")


def _parse_point(path: PathLike, number: int, row: str) -> tuple[float, float]:
    try:
        x, y = (float(word) for word in row.split())
    except ValueError:
        raise FormatError(f"{path}: point {number}: expected two numbers, got {row[:40]!r}") from None
    if not np.isfinite([x, y]).all():
        raise FormatError(f"{path}: point {number}: expected finite numbers, got {row[:40]!r}")
    return x, y


def write(path: PathLike, results: Iterable[FrameResult], overwrite: bool = False) -> list[Path]:
    """Write each face of the results into the folder `path` (or the only face into a .pts file); return the paths.

    Nothing is written if one of the files exists already and `overwrite` is not set. Raises OutputError.
    """
    results = list(results)
    if Path(path).suffix.lower() == ".pts" and not Path(path).is_dir():
        return [_write_only_face(Path(path), results, overwrite)]
    folder = make_folder(path)
    files = [
        (folder / f"{name}.pts", face)
        for result, names in zip(results, file_names(results), strict=True)
        for name, face in zip(names, result.faces, strict=True)
    ]
    for file, _ in files:
        check_output(file, overwrite)
    for file, face in files:
        write_pts(file, face.landmarks, overwrite)
    return [file for file, _ in files]


def file_names(results: Iterable[FrameResult]) -> list[list[str]]:
    """For each result the names, without .pts, of its faces' files: unlike one another, also where case is ignored."""
    names = UniqueNames()
    return [names.claim(_stem(result), _face_suffixes(len(result.faces))) for result in results]


def _face_suffixes(count: int) -> list[str]:
    return [""] if count == 1 else [f"_{i}" for i in range(count)]


def _stem(result: FrameResult) -> str:
    stem = safe_stem(result.source)
    return stem if result.frame is None else f"{stem}_{result.frame:06d}"


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
    files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".pts")
    if not files:
        raise InputError(f"{path}: the folder holds no .pts file")
    return [_read_one(file) for file in files]


def _read_one(path: Path) -> FrameResult:
    landmarks = read_pts(path)
    try:
        bbox = BBox(*bbox_of_shape(landmarks).tolist())
    except ValueError as error:
        raise FormatError(f"{path}: the points do not span a box") from error
    return FrameResult.of_faces(str(path), [Face(0, bbox, landmarks, 1.0)])


register_format("pts", [".pts"], write=write, read=read)
