"""What stands beside the pictures of a data set's folder: .pts files, and JSON files by the pictures' names.

boxes.json: picture → face box, or a list of them. weights.json: NAME → how far each of the 68 points is to be trusted.
points.json: NAME → points placed by hand in a scheme of the source's own. info.json: NAME → facts, of which `yaw` and
`box` are used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.boxes import BBox
from facealign_cli.errors import FormatError
from facealign_cli.files.documents import read_json, structured
from facealign_cli.formats.pts import PTS_FILES, split_face_stem
from facealign_cli.landmarks import LARGEST_COORDINATE, N_LANDMARKS
from facealign_cli.records import LeftOut

T = TypeVar("T")

_PLAIN = (".jpg", ".png", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".avif", ".jp2", ".ppm", ".pgm")
IMAGE_SUFFIXES = tuple(suffix for plain in _PLAIN for suffix in (plain, plain.upper(), f".{plain[1:].capitalize()}"))
"""Of the pictures that stand in a data set's folder; of several of a name the first that is there counts."""
SCHEMES: dict[int, tuple[tuple[int, ...], ...]] = {
    5: ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47), (30,), (48,), (54,)),
    4: ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47), (33,), (51, 57, 62, 66)),
}
"""Number of hand points → the ibug points whose mean stands for each."""


NAMES_BESIDE = ("boxes.json", "weights.json", "points.json", "info.json")
LARGEST_YAW = 180.0
"""In degrees, to either side."""
_Box: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True)
class Facts:
    """What an info.json says of a face, as far as it is used.

    yaw: degrees to a side; None where it is not known. box: as it stands there. Raises ValueError for a yaw beyond
    `LARGEST_YAW`.
    """

    yaw: float | None = None
    box: Any = None

    def __post_init__(self) -> None:
        if self.yaw is not None and not abs(self.yaw) <= LARGEST_YAW:
            raise ValueError(f"a yaw of {self.yaw:g} degrees")

    @property
    def yaw_deg(self) -> float:
        """The yaw; NaN where it is not known."""
        return math.nan if self.yaw is None else self.yaw

    def bbox(self) -> BBox | None:
        """The box; None where there is none. Raises ValueError for what is no box."""
        return None if self.box is None else _boxes([self.box])[0]


class Beside:
    """What the files beside a folder's pictures say. Each is read when it is asked for, and once.

    A file that is not there says nothing. Asking raises FormatError for a file of another form.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._objects: dict[str, dict[str, Any]] = {}

    @cached_property
    def boxes(self) -> dict[str, list[BBox]]:
        """Picture name → its boxes, from boxes.json."""
        return self._table("boxes.json", "[x1, y1, x2, y2] or [[x1, y1, x2, y2], …]", _boxes)

    @cached_property
    def weights(self) -> dict[str, Floats]:
        """Name without suffix → (68,) weights in [0, 1], from weights.json."""
        return self._table("weights.json", f"{N_LANDMARKS} numbers between 0 and 1", _weights)

    @cached_property
    def info(self) -> dict[str, Facts]:
        """Name without suffix → what info.json says of it."""
        form = f"{{fact: value}}, of which yaw is null or degrees of -{LARGEST_YAW:g} to {LARGEST_YAW:g}"
        return self._table("info.json", form, lambda value: structured(value, Facts))

    @cached_property
    def points(self) -> dict[str, Floats]:
        """Name without suffix → (K, 2) points of one of `SCHEMES`, from points.json."""
        return self._table("points.json", "[[x, y], …] with 4 or 5 points, in pixels of the picture", _points)

    def stray_names(self) -> Iterator[LeftOut]:
        """For each of the files: which of its names nothing in the folder has, if there are any."""
        files = list(self.folder.iterdir())
        faces = {path for path in files if path.match(PTS_FILES)}
        labelled = {picture_of(pts)[0] for pts in faces}
        stems = {path.stem for path in files if path in faces or path not in labelled}
        for file in NAMES_BESIDE:
            known, how = stems, "without its suffix, and one of its several faces as NAME#0, as in the .pts file's name"
            if file == "boxes.json":
                known, how = {path.name for path in files}, "with its suffix"
            names = self._object(file, "a value")
            if stray := [one for one in names if one not in known]:
                count = f"{len(stray)} of its {len(names)} names, such as {stray[0]!r:.80}"
                reason = f"no file in the folder goes with {count}; a picture's name stands in it {how}"
                yield LeftOut(f"{self.folder.name}/{file}", reason)

    def unused(self) -> Iterator[LeftOut]:
        """What belongs to faces with .pts files and is not used: their hand points, and other pictures of their names.

        NAME.pts is of one picture, though NAME.jpg and NAME.png may both be there. Raises FormatError for a points.json
        of another form.
        """
        files = sorted(self.folder.iterdir())
        faces = [path for path in files if path.match(PTS_FILES)]
        names, labelled = self._object("points.json", "points"), {path.stem for path in faces}
        if both := [name for name in names if name in labelled]:
            count = f"{len(both)} of its {len(names)} names, such as {both[0]!r:.80}"
            reason = f"not used for {count}: these faces have a .pts file, and only the points in it count"
            yield LeftOut(f"{self.folder.name}/points.json", reason)
        taken = {image.stem: image for pts in faces if (image := _picture_of_stem(pts)) is not None}
        pairs = [(path, taken[path.stem]) for path in files if path.suffix in IMAGE_SUFFIXES and path.stem in taken]
        if others := [(path, image) for path, image in pairs if path.is_file() and not path.samefile(image)]:
            (path, image), first = others[0], ", ".join(path.name for path, _ in others[:3])
            pictures = "1 picture is" if len(others) == 1 else f"{len(others):,} pictures are"
            reason = (
                f"{pictures} not used ({first}{', …' if len(others) > 3 else ''}): a .pts file is of one picture, and "
                f"{image.stem}.pts is taken as that of {image.name}; {path.name}.pts would be that of {path.name}"
            )
            yield LeftOut(self.folder.name, reason)

    def _table(self, file: str, form: str, make: Callable[[Any], T]) -> dict[str, T]:
        """Name → what `make`, which raises ValueError, makes of its value; `form` says in an error how values look."""
        table: dict[str, T] = {}
        for name, value in self._object(file, form).items():
            try:
                table[name] = make(value)
            except ValueError as error:
                raise FormatError(f"{self.folder / file}: {name:.80}: expected {form}: {error}") from error
        return table

    def _object(self, file: str, form: str) -> dict[str, Any]:
        """A JSON object with names as keys, empty where there is no file."""
        if file not in self._objects:
            path = self.folder / file
            content = read_json(path) if path.exists() else {}
            if not isinstance(content, dict):
                raise FormatError(f"{path}: expected {{name: {form}}}, got {type(content).__name__}")
            self._objects[file] = content
        return self._objects[file]


class BesideFolders(dict[Path, Beside]):
    """Folder → what stands beside its pictures, kept, so that several readers of a folder read its files once."""

    def __missing__(self, folder: Path) -> Beside:
        self[folder] = Beside(folder)
        return self[folder]


def picture_of(pts: Path) -> tuple[Path | None, int | None]:
    """The picture beside a .pts file, None where there is none; and the face's number, where it is one of several."""
    stem, number = split_face_stem(pts.stem, lambda name: pts.with_name(f"{name}.pts").exists())
    image = picture_called(pts.parent, stem)
    if image is None and number is not None:
        own = picture_called(pts.parent, pts.stem)
        return own, None if own else number
    return image, number


def _picture_of_stem(pts: Path) -> Path | None:
    """The picture beside a .pts file that does not name the picture's suffix; None for one that does."""
    image = picture_of(pts)[0]
    return None if image is None or pts.stem.startswith(image.name) else image


def picture_called(folder: Path, name: str) -> Path | None:
    """The picture of that name, with its suffix or without it, in a folder; None where there is none."""
    whole = folder / name
    if whole.suffix in IMAGE_SUFFIXES and whole.exists():
        return whole
    return next((image for suffix in IMAGE_SUFFIXES if (image := folder / f"{name}{suffix}").exists()), None)


def _boxes(value: Any) -> list[BBox]:
    several = isinstance(value, list) and (not value or isinstance(value[0], list))
    return [BBox(*box) for box in structured(value if several else [value], list[_Box])]


def _weights(value: Any) -> Floats:
    weights = np.array(structured(value, list[float]))
    if weights.shape != (N_LANDMARKS,):
        raise ValueError(f"got {len(weights)} numbers")
    if not ((weights >= 0) & (weights <= 1)).all():
        raise ValueError(f"got {weights.min():g} to {weights.max():g}")
    return weights.astype(np.float32)


def _points(value: Any) -> Floats:
    points = np.array(structured(value, list[tuple[float, float]]))
    if len(points) not in SCHEMES:
        raise ValueError(f"got {len(points)} points")
    if np.abs(points).max() > LARGEST_COORDINATE:
        raise ValueError(f"got {np.abs(points).max():g}")
    return points
