"""Packing a data set: its faces checked, turned grey, cut out and written as one file, which `pack` reads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facealign_cli.arrays import Floats, Image
from facealign_cli.boxes import BBox
from facealign_cli.datasets import LeftOut, Sample, read_samples, unused_files
from facealign_cli.datasets.beside import NAMES_BESIDE, BesideFolders
from facealign_cli.datasets.splits import is_held_out, photo_to_hold_out
from facealign_cli.datasets.unlabelled import FindFace
from facealign_cli.datasets.unlabelled import read as read_unlabelled
from facealign_cli.detectors import create_detector
from facealign_cli.detectors.base import DEFAULT_DETECTOR
from facealign_cli.errors import InputError
from facealign_cli.files.output import check_output
from facealign_cli.files.picture_arrays import to_grey
from facealign_cli.files.pictures import read_image
from facealign_cli.formats.base import find_format
from facealign_cli.geometry import (
    MIRRORED,
    SimilarityTransform,
    bbox_of_shape,
    extent_of_shape,
    is_mirrored,
    warp,
)
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.training.pack import MOST_POINTS, SAME_FACE, encode_grey, eyes_apart, problem_of, write_rows

SPLITS = ("train", "train (rough)", "held out", "not labelled")
_SMALLEST_FACE = 16.0


@dataclass(frozen=True)
class PackReport:
    """What went into a pack: counts per data set and split, and every face left out with its reason.

    warnings: what is wrong with the files of pictures that were used all the same, each picture once.
    held_out_photo: the one that had to be held out since no photo's name says so; None where one does.
    """

    counts: dict[str, dict[str, int]]
    left_out: list[LeftOut]
    warnings: tuple[str, ...] = ()
    held_out_photo: str | None = None


@dataclass(frozen=True, eq=False)
class _Row:
    sample: Sample
    name: str
    jpeg: Image
    landmarks: Floats
    bbox: Floats
    points: Floats
    warning: str | None


def write_pack(
    roots: Sequence[Path],
    path: Path,
    *,
    size: int = 256,
    context: float = 3.0,
    quality: int = 90,
    unlabelled: bool = False,
    overwrite: bool = False,
) -> PackReport:
    """Read, validate and pack every annotated face below `roots`.

    unlabelled: pictures without landmarks, too, for `relabel`; see `datasets.unlabelled`.
    Raises InputError if nothing is left to pack, OutputError if `path` cannot be written.
    """
    check_output(path, overwrite)
    rows: list[_Row] = []
    left_out: list[LeftOut] = []
    seen: dict[str, list[Floats]] = {}
    pictures: dict[str, Path] = {}
    for item in _samples(roots, unlabelled):
        result = item if isinstance(item, LeftOut) else _row(item, size, context, quality, seen)
        if isinstance(result, LeftOut):
            left_out.append(result)
            continue
        rows.append(result)
        picture = result.sample.image_path
        if (first := pictures.setdefault(result.name, picture)) is not picture:
            raise InputError(
                f"{first} and {picture} would both be called {result.name} in the pack: name the folder that both are "
                "in as ROOT"
            )
    if not rows:
        reasons = "; ".join(f"{item.name}: {item.reason}" for item in left_out[:3])
        raise InputError(f"no usable face in {', '.join(map(str, roots))} ({reasons})")
    chosen = photo_to_hold_out(
        row.sample.photo for row in rows if not row.sample.rough and not _is_unlabelled(row.sample)
    )
    for row in [row for row in rows if row.sample.photo == chosen and _hold_out_problem(row.sample)]:
        rows.remove(row)
        left_out.append(LeftOut(row.name, _hold_out_problem(row.sample) or ""))
    _write(path, rows, size, context, overwrite=overwrite, chosen=chosen)
    warnings = tuple(dict.fromkeys(row.warning for row in rows if row.warning is not None))
    return PackReport(_counts(rows, chosen), left_out, warnings, chosen)


def _samples(roots: Sequence[Path], unlabelled: bool) -> Iterable[Sample | LeftOut]:
    beside = BesideFolders()
    for root in (Path(os.path.abspath(root)) for root in roots):
        if root.is_dir():
            yield from (stray for folder in _folders_with_names(root) for stray in beside[folder].stray_names())
        samples: list[Sample] = []
        if not unlabelled or root.is_file() or find_format(root) is not None:
            items = list(read_samples(root, beside=beside))
            yield from items
            samples = [item for item in items if isinstance(item, Sample)]
            yield from unused_files(root, samples, beside)
        if unlabelled and root.is_dir():
            yield from read_unlabelled(root, _largest_face(), beside, {sample.image_path for sample in samples})


def _folders_with_names(root: Path) -> list[Path]:
    """The folders below `root` in which a file names the faces beside it."""
    return sorted({path.parent for path in root.rglob("*.json") if path.name in NAMES_BESIDE})


def _largest_face() -> FindFace:
    """Finds the box that the landmarks of a picture's largest face are expected to fill."""
    detector = create_detector(DEFAULT_DETECTOR)

    def find(path: Path) -> BBox | None:
        boxes = [detector.calibration.landmarks_bbox(found.bbox) for found in detector.detect(read_image(path))]
        return max(boxes, key=lambda box: box.width * box.height, default=None)

    return find


def _row(sample: Sample, size: int, context: float, quality: int, seen: dict[str, list[Floats]]) -> _Row | LeftOut:
    name = f"{sample.photo.split('/')[0]}:{sample.name}"
    if is_held_out(sample.photo) and (problem := _hold_out_problem(sample)):
        return LeftOut(name, problem)
    try:
        picture = sample.picture()
    except InputError as error:
        return LeftOut(name, str(error))
    problem = _problem(sample, picture.image.shape[:2], seen.setdefault(sample.photo, []))
    if problem:
        return LeftOut(name, problem)
    box = bbox_of_shape(sample.landmarks)
    scale = size / (context * extent_of_shape(sample.landmarks))
    center = (box[:2] + box[2:]) / 2
    shift = (size - 1) / 2 - scale * center
    transform = SimilarityTransform(scale, 0.0, float(shift[0]), float(shift[1]))
    grey = warp(to_grey(picture.image), transform, size)
    bbox = np.full(4, np.nan)
    if sample.bbox is not None:
        bbox = transform.apply(np.array(sample.bbox.xyxy).reshape(2, 2)).reshape(4)
    points = np.full((MOST_POINTS, 2), np.nan)
    if sample.points is not None:
        points[: len(sample.points)] = transform.apply(sample.points)
    jpeg, landmarks = encode_grey(grey, quality), transform.apply(sample.landmarks)
    row = _Row(sample, name, jpeg, landmarks, bbox, points, picture.warning)
    problem = problem_of(_columns([row]))
    return LeftOut(name, f"it has {problem}") if problem else row


def _is_unlabelled(sample: Sample) -> bool:
    return sample.weights is not None and not sample.weights.any()


def _hold_out_problem(sample: Sample) -> str | None:
    """Why a face whose photo is held out is neither trained on nor measured on, or None."""
    kind = "not" if _is_unlabelled(sample) else "roughly" if sample.rough else None
    return kind and f"{kind} labelled, and its photo is held out"


def _problem(sample: Sample, size: tuple[int, int], same_photo: list[Floats]) -> str | None:
    """Why a face cannot be trained on, or None; `same_photo` gathers the photo's faces to find one given twice."""
    box = bbox_of_shape(sample.landmarks)
    extent = extent_of_shape(sample.landmarks)
    if extent < _SMALLEST_FACE:
        return f"the face is {extent:.1f} pixels large; at least {_SMALLEST_FACE:.0f} are needed"
    height, width = size
    outside = (sample.landmarks < -0.5).any(axis=1) | (sample.landmarks > [width - 0.5, height - 0.5]).any(axis=1)
    if outside.mean() > 0.5:
        return "more than half of its points lie outside the picture"
    if is_mirrored(sample.landmarks[None]).all() and not _is_unlabelled(sample):
        return MIRRORED
    if not eyes_apart(sample.landmarks[None]).all():
        return "its two eyes are in one place"
    normalised = (sample.landmarks - box[:2]) / extent
    if any(np.abs(normalised - other).max() < SAME_FACE for other in same_photo):
        return "the same face as another of this photo"
    same_photo.append(normalised)
    return None


def _counts(rows: list[_Row], chosen: str | None) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        entry = counts.setdefault(row.sample.dataset, dict.fromkeys(SPLITS, 0))
        entry[_split_of(row.sample, chosen)] += 1
    return counts


def _split_of(sample: Sample, chosen: str | None) -> str:
    if _is_unlabelled(sample):
        return "not labelled"
    held_out = is_held_out(sample.photo) or sample.photo == chosen
    return "held out" if held_out else "train (rough)" if sample.rough else "train"


def _write(path: Path, rows: list[_Row], size: int, context: float, *, overwrite: bool, chosen: str | None) -> None:
    jpegs, names, columns = (row.jpeg for row in rows), [row.name for row in rows], _columns(rows, chosen)
    write_rows(path, jpegs, columns, names, attributes={"size": size, "context": context}, overwrite=overwrite)


def _columns(rows: Sequence[_Row], chosen: str | None = None) -> dict[str, NDArray[Any]]:
    whole = np.ones(N_LANDMARKS, np.float32)
    return {
        "landmarks": np.stack([row.landmarks for row in rows]).astype(np.float32),
        "bbox": np.stack([row.bbox for row in rows]).astype(np.float32),
        "rough": np.array([row.sample.rough for row in rows]),
        "held_out": np.array([is_held_out(row.sample.photo) or row.sample.photo == chosen for row in rows]),
        "weights": np.stack([whole if row.sample.weights is None else row.sample.weights for row in rows]),
        "yaw": np.array([row.sample.yaw for row in rows], np.float32),
        "points": np.stack([row.points for row in rows]).astype(np.float32),
    }
