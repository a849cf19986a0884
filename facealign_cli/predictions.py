"""Predictions by any tool, from a folder of .pts files or facealign's JSON or CSV, matched to annotated faces by name.

Files are read face by face: a face with the wrong number of points, or with NaN, spoils neither its file nor its
neighbours, as it would in `formats`, but is counted and named. Only what is needed has to be there: in JSON each
result's `source` and `faces` with `landmarks`; in CSV the columns `source`, `x_0` …, `y_0` …; `confidence` if any.

A prediction belongs to the picture whose path, without the suffix, ends like its own: "out/ibug/a.pts" and "a" both to
"ibug/a.jpg", if no other picture is called so. NAME_0, NAME_1 … are the faces of NAME.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from facealign_cli.errors import FormatError, InputError
from facealign_cli.files.output import exists_already, make_folder
from facealign_cli.formats.base import read_bytes
from facealign_cli.formats.pts import write_pts
from facealign_cli.landmarks import N_LANDMARKS

Status = Literal["ok", "missed", "no_prediction", "wrong_points", "nan", "no_box", "error"]


@dataclass(frozen=True)
class Irregularity:
    """Something that did not go as it should, beside a face's own status.

    kind: "left out", "extra prediction", "several faces", "ambiguous prediction", … name: the file's or the face's.
    """

    kind: str
    name: str
    detail: str = ""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was predicted for one annotated face.

    stages: each (68, 2) pixels, the last one is the result; empty unless status is "ok". detail: why it is not, or what
    was chosen among several faces. confidence: 0 to 1, if there is one. Raises ValueError where these contradict.
    """

    status: Status
    stages: tuple[np.ndarray, ...] = ()
    confidence: float | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        if (self.status == "ok") != bool(self.stages):
            raise ValueError(f"status {self.status!r} does not go with {len(self.stages)} stages")
        for stage in self.stages:
            if stage.shape != (N_LANDMARKS, 2) or not np.isfinite(stage).all():
                raise ValueError(f"expected stages of ({N_LANDMARKS}, 2) finite numbers, got shape {stage.shape}")


@dataclass(frozen=True, eq=False)
class PredictedFace:
    """One face as a file has it, unchecked. landmarks: (K, 2) pixels, K and values as they are."""

    landmarks: np.ndarray
    confidence: float | None = None

    @property
    def status(self) -> Status:
        """Whether it can be used."""
        if self.landmarks.shape != (N_LANDMARKS, 2):
            return "wrong_points"
        return "ok" if np.isfinite(self.landmarks).all() else "nan"


@dataclass(frozen=True)
class PredictedPicture:
    """All faces that a file has for one picture; none where the tool found none, or failed (error)."""

    source: str
    faces: tuple[PredictedFace, ...]
    error: str | None = None


@dataclass(frozen=True)
class Matched:
    """Annotated face → its prediction (every one has an entry), and what was odd."""

    predictions: Mapping[str, Prediction]
    irregularities: tuple[Irregularity, ...]


def read_predictions(path: Path) -> list[PredictedPicture]:
    """The pictures of a folder of .pts files, at any depth, or of a .json or .csv file.

    Raises InputError if nothing is there that could be predictions, FormatError for a file without a usable structure.
    """
    readers: dict[str, Callable[[Path], list[PredictedPicture]]] = {".json": _read_json, ".csv": _read_csv}
    if path.is_dir():
        pictures = [_read_pts(path, file) for file in sorted(path.rglob("*.pts"))]
    elif path.suffix.lower() in readers:
        pictures = readers[path.suffix.lower()](path)
    else:
        raise InputError(f"{path}: expected predictions: a folder of .pts files, or facealign's .json or .csv")
    if not pictures:
        raise InputError(f"{path}: no predictions in it")
    return pictures


def _read_pts(root: Path, file: Path) -> PredictedPicture:
    name = file.relative_to(root).as_posix()
    text = read_bytes(file, 1 << 20).decode("utf-8", "replace")
    body = re.search(r"\{(.*?)\}", text, re.DOTALL)
    if body is None:
        return PredictedPicture(name, (), "not a .pts file: no points between braces")
    try:
        points = np.array([[float(word) for word in line.split()] for line in body[1].splitlines() if line.strip()])
    except ValueError:  # a word that is no number, or lines of unequal length
        return PredictedPicture(name, (), "not a .pts file: its points are no pairs of numbers")
    return PredictedPicture(name, (PredictedFace(np.round(points - 1, 9)),))  # the format counts from 1


def _read_json(path: Path) -> list[PredictedPicture]:
    try:
        document = json.loads(read_bytes(path).decode("utf-8-sig"))
        results = document["results"]
        return [_picture_from_json(record) for record in results]
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not JSON: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(
            f"{path}: not facealign's JSON: expected results with source and faces ({error!r})"
        ) from error


def _picture_from_json(record: dict[str, Any]) -> PredictedPicture:
    faces = [PredictedFace(_points(face["landmarks"]), _number(face.get("confidence"))) for face in record["faces"]]
    return PredictedPicture(str(record["source"]), tuple(faces), record.get("error") and str(record["error"]))


def _points(values: Any) -> np.ndarray:
    try:
        return np.array(values, float)
    except (ValueError, TypeError):  # lists of unequal length, texts
        return np.empty(0)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def _read_csv(path: Path) -> list[PredictedPicture]:
    reader = csv.DictReader(io.StringIO(read_bytes(path).decode("utf-8-sig", "surrogateescape"), newline=""))
    header = reader.fieldnames or ()
    count = sum(bool(re.fullmatch(r"x_\d+", name)) for name in header)
    columns = [(f"x_{i}", f"y_{i}") for i in range(count)]
    missing = [name for name in ("source", "x_0", *(y for _, y in columns)) if name not in header]
    if missing:
        raise FormatError(f"{path}: not facealign's table: no column {missing[0]}")
    try:
        return [_picture_from_row(row, columns) for row in reader]
    except csv.Error as error:
        raise FormatError(f"{path}: line {reader.line_num}: {error}") from error


def _picture_from_row(row: dict[str, Any], columns: list[tuple[str, str]]) -> PredictedPicture:
    source = re.sub(r"^'(?=[=+\-@\t\r\n'])", "", row["source"] or "")  # the guard that formats.csv sets
    values = [(_cell(row[x]), _cell(row[y])) for x, y in columns if row[x] or row[y]]
    if not values:
        return PredictedPicture(source, (), row.get("error") or None)
    return PredictedPicture(source, (PredictedFace(np.array(values), _number(_cell(row.get("confidence")))),))


def _cell(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def match_predictions(truths: Mapping[str, np.ndarray], pictures: Iterable[PredictedPicture]) -> Matched:
    """Give every annotated face its prediction.

    truths: name of the face, "PICTURE" or "PICTURE#NUMBER" → (68, 2) pixels. Where a picture has several predictions,
    each annotated face takes the one nearest to it (least mean distance), the closest pair first, each only once.
    """
    names = _Names(truths)
    found: dict[str, list[PredictedPicture]] = defaultdict(list)
    odd: list[Irregularity] = []
    for predicted in pictures:
        keys = names.find(predicted.source)
        if len(keys) == 1:
            found[keys[0]].append(predicted)
        else:
            kind = "ambiguous prediction" if keys else "extra prediction"
            detail = f"could be {' or '.join(keys[:3])}" if keys else "no annotated face of that name"
            odd.append(Irregularity(kind, predicted.source, detail))
    predictions: dict[str, Prediction] = {}
    for key, faces in names.faces.items():
        predictions |= _match_picture(key, {name: truths[name] for name in faces}, found.get(key), odd)
    return Matched(predictions, tuple(odd))


class _Names:
    """Finds the annotated picture that a prediction's path means."""

    def __init__(self, truths: Iterable[str]) -> None:
        self.faces: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for name in truths:
            self.faces[_key(re.sub(r"#\d+$", "", name))].append(name)
        for key in self.faces:
            self._by_stem[key.rpartition("/")[2]].append(key)

    def find(self, source: str) -> list[str]:
        """The key of the picture; none where there is no such picture, several where it could be each of them."""
        key = _key(source)
        return self._ending_alike(key) or self._ending_alike(re.sub(r"_\d+$", "", key))

    def _ending_alike(self, key: str) -> list[str]:
        if key in self.faces:
            return [key]
        parts = key.split("/")
        return [other for other in self._by_stem.get(parts[-1], ()) if _end_alike(other.split("/"), parts)]


def _end_alike(one: list[str], other: list[str]) -> bool:
    """Whether the shorter path is the end of the longer one."""
    count = min(len(one), len(other))
    return one[-count:] == other[-count:]


def prediction_file(name: str) -> str:
    """The relative path of an annotated face's .pts file, from which `match_predictions` finds the face again."""
    picture, _, number = name.partition("#")
    return f"{_key(picture)}{number and '_'}{number}.pts"


def check_predictions(folder: Path, names: Iterable[str], overwrite: bool = False) -> None:
    """Raise OutputError if `write_predictions` would replace a file: to be asked before long work, not after it."""
    taken = next((file for name in names if (file := folder / prediction_file(name)).exists()), None)
    if taken is not None and not overwrite:
        raise exists_already(taken)


def write_predictions(folder: Path, landmarks: Mapping[str, np.ndarray], overwrite: bool = False) -> None:
    """Write a .pts file for each face, in the layout of the data set.

    landmarks: name of the annotated face → (68, 2) pixels. Raises OutputError, before anything is written if a file
    exists already.
    """
    make_folder(folder)
    check_predictions(folder, landmarks, overwrite)
    for name, points in landmarks.items():
        file = folder / prediction_file(name)
        make_folder(file.parent)
        write_pts(file, points, overwrite)


def _key(path: str) -> str:
    """The path with "/" and without a suffix of the kinds that pictures and points have, "." and ".."."""
    stem, suffix = os.path.splitext(path.replace("\\", "/"))
    stem = stem if re.fullmatch(r"\.[A-Za-z]\w{1,4}", suffix) else stem + suffix
    return "/".join(part for part in PurePosixPath(stem).parts if part not in ("/", ".", ".."))


def _match_picture(
    key: str,
    truths: dict[str, np.ndarray],
    pictures: list[PredictedPicture] | None,
    odd: list[Irregularity],
) -> dict[str, Prediction]:
    if pictures is None:
        return {name: Prediction("no_prediction", detail="no prediction of that name") for name in truths}
    faces = [face for picture in pictures for face in picture.faces]
    usable = [face for face in faces if face.status == "ok"]
    chosen = dict(_nearest_pairs(truths, usable))
    if len(faces) > len(truths):
        odd.append(
            Irregularity("several faces", key, f"{len(faces)} for {len(truths)}; the nearest to the truth counts")
        )
    rest = _unusable(pictures, faces, usable)
    return {
        name: Prediction("ok", (usable[chosen[name]].landmarks,), usable[chosen[name]].confidence)
        if name in chosen
        else rest
        for name in truths
    }


def _nearest_pairs(truths: dict[str, np.ndarray], faces: list[PredictedFace]) -> Iterator[tuple[str, int]]:
    distances = {
        (name, i): float(np.linalg.norm(face.landmarks - truth, axis=1).mean())
        for name, truth in truths.items()
        for i, face in enumerate(faces)
    }
    names, numbers = set(truths), set(range(len(faces)))
    for name, i in sorted(distances, key=lambda pair: distances[pair]):
        if name in names and i in numbers:
            names.remove(name)
            numbers.remove(i)
            yield name, i


def _unusable(pictures: list[PredictedPicture], faces: list[PredictedFace], usable: list[PredictedFace]) -> Prediction:
    """What stands for an annotated face that got none of the usable predictions."""
    broken = next((face for face in faces if face.status != "ok"), None)
    errors = [picture.error for picture in pictures if picture.error]
    if broken is not None and broken.status == "nan":
        return Prediction("nan", detail="points that are not finite")
    if broken is not None:
        shape = " x ".join(map(str, broken.landmarks.shape))
        return Prediction("wrong_points", detail=f"{shape} numbers; expected {N_LANDMARKS} x 2")
    if errors:
        return Prediction("error", detail=errors[0])
    return Prediction("missed", detail="fewer predictions than faces" if usable else "no face found")
