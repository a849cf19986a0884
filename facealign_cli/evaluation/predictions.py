"""Predictions matched to annotated faces by the names of their pictures, and written under such names.

A prediction belongs to the picture whose path ends like its own: "out/ibug/a.pts" and "a" both to "ibug/a.jpg", if no
other picture is called so; "a.jpg.pts" and "a.jpg" to "a.jpg" also where there is an "a.png". NAME#0, NAME#1 … are the
faces of NAME, as `formats.pts` names them.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.evaluation.base import Irregularity, Prediction, end_alike
from facealign_cli.evaluation.foreign import PredictedFace, PredictedPicture
from facealign_cli.files.output import exists_already, make_folder
from facealign_cli.formats.pts import face_suffix, split_face_stem, write_pts
from facealign_cli.landmarks import N_LANDMARKS


@dataclass(frozen=True)
class Matched:
    """Annotated face → its prediction (every one has an entry), and what was odd."""

    predictions: Mapping[str, Prediction]
    irregularities: tuple[Irregularity, ...]


def match_predictions(truths: Mapping[str, Floats], pictures: Iterable[PredictedPicture]) -> Matched:
    """Give every annotated face its prediction.

    truths: name of the face, "PICTURE" or "PICTURE#NUMBER" → (68, 2) pixels. Where a picture has several predictions,
    each annotated face takes the one nearest to it (least mean distance), the closest pair first, each only once.
    """
    pictures = list(pictures)
    names = _Names(truths, {_path(picture.source) for picture in pictures})
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
    for picture, faces in names.faces.items():
        predictions |= _match_picture(picture, {name: truths[name] for name in faces}, found.get(picture), odd)
    return Matched(predictions, tuple(odd))


class _Names:
    """Finds the annotated picture that a prediction's path means."""

    def __init__(self, truths: Iterable[str], sources: Set[str]) -> None:
        self._sources = sources
        self.faces: dict[str, list[str]] = defaultdict(list)
        self._by_end: dict[str, set[str]] = defaultdict(set)
        for name in truths:
            self.faces[_path(split_face_stem(name)[0])].append(name)
        for picture in self.faces:
            for path in (picture, _bare(picture)):
                self._by_end[path.rpartition("/")[2]].add(picture)

    def find(self, source: str) -> list[str]:
        """The picture; none where there is no such one, several where it could be each of them."""
        path = _path(source)
        bare = path.removesuffix(".pts")
        picture, number = split_face_stem(bare, lambda name: not self._sources.isdisjoint((name, f"{name}.pts")))
        return (self._of_path(picture) if number is not None else []) or self._of_path(bare)

    def _of_path(self, path: str) -> list[str]:
        """The pictures of that very name, else those of that name without a suffix."""
        for name, short in ((path, False), (path, True), (_bare(path), True)):
            parts = name.split("/")
            found = [
                picture
                for picture in self._by_end.get(parts[-1], ())
                if end_alike((_bare(picture) if short else picture).split("/"), parts)
            ]
            if found:
                whole = [picture for picture in found if (_bare(picture) if short else picture) == name]
                return whole or sorted(found)
        return []


def prediction_files(names: Iterable[str]) -> dict[str, str]:
    """For each annotated face the relative path of its .pts file, from which `match_predictions` finds it again."""
    names = list(names)
    pictures: dict[str, set[str]] = defaultdict(set)
    for name in names:
        picture = _path(split_face_stem(name)[0])
        pictures[_bare(picture).casefold()].add(picture)
    files = {}
    for name in names:
        picture, number = split_face_stem(name)
        stem = _bare(_path(picture))
        stem = _path(picture) if len(pictures[stem.casefold()]) > 1 else stem
        files[name] = f"{stem}{face_suffix(stem, number)}.pts"
    return files


def check_predictions(folder: Path, names: Iterable[str], overwrite: bool = False) -> None:
    """Raise OutputError if `write_predictions` would replace a file: to be asked before long work, not after it."""
    taken = next((path for file in prediction_files(names).values() if (path := folder / file).exists()), None)
    if taken is not None and not overwrite:
        raise exists_already(taken)


def write_predictions(folder: Path, landmarks: Mapping[str, Floats], overwrite: bool = False) -> None:
    """Write a .pts file for each face, in the layout of the data set.

    landmarks: name of the annotated face → (68, 2) pixels. Raises OutputError, before anything is written if a file
    exists already.
    """
    make_folder(folder)
    check_predictions(folder, landmarks, overwrite)
    for name, file in prediction_files(landmarks).items():
        make_folder((folder / file).parent)
        write_pts(folder / file, landmarks[name], overwrite)


def _path(path: str) -> str:
    """The path with "/", without "." and ".."."""
    return "/".join(part for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("/", ".", ".."))


def _bare(path: str) -> str:
    """The path without a suffix of the kinds that pictures have."""
    stem, suffix = os.path.splitext(path)
    return stem if re.fullmatch(r"\.[A-Za-z]\w{1,4}", suffix) else path


def _match_picture(
    key: str,
    truths: dict[str, Floats],
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
            Irregularity("several faces", key, f"{len(faces)} predicted, {len(truths)} annotated; the nearest counts")
        )
    rest = _unusable(pictures, faces, usable)
    return {
        name: Prediction("ok", (usable[chosen[name]].landmarks,), usable[chosen[name]].confidence)
        if name in chosen
        else rest
        for name in truths
    }


def _nearest_pairs(truths: dict[str, Floats], faces: list[PredictedFace]) -> Iterator[tuple[str, int]]:
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
