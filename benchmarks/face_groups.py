"""The commands of `hard_faces.py` that compare groups of people: by yaw, age, pose, by origin and sex, and in masks."""

from __future__ import annotations

import re
from pathlib import Path

import click
import numpy as np
from convention import INNER, convention

from facealign_cli.aligner import AlignedShapes, Aligner
from facealign_cli.boxes import BBox
from facealign_cli.cli.options import stacked
from facealign_cli.datasets import Sample, held_out_samples, read_samples
from facealign_cli.datasets.splits import is_held_out
from facealign_cli.datasets.unlabelled import points_of_shape
from facealign_cli.datasets.unlabelled import read as read_unlabelled
from facealign_cli.detectors import Detector, create_detector
from facealign_cli.detectors.base import DEFAULT_DETECTOR
from facealign_cli.files.documents import read_json
from facealign_cli.files.pictures import read_image
from facealign_cli.geometry import bbox_of_shape, init_shape_from_bbox

SMALL_ERROR, BELIEVED = 0.05, 0.5
"""An inner error below this share of the face's size is small; a confidence from this on passes."""


def tight_misses(aligner: Aligner, sample: Sample, points: np.ndarray) -> tuple[np.ndarray, float]:
    """How far off the trusted points among `points` (68,) bool are, (K, 2) in sizes of the face; the confidence.

    The start is the tight box of the landmarks; the size is the square root of that box's area.
    """
    trusted = points if sample.weights is None else points & (sample.weights > 0)
    shape = init_shape_from_bbox(bbox_of_shape(sample.landmarks))
    aligned = aligner.align_shapes(read_image(sample.image_path), [shape])
    missed = (aligned.landmarks[0] - sample.landmarks)[trusted]
    return missed / np.sqrt(np.ptp(sample.landmarks, axis=0).prod()), float(aligned.confidence[0])


def tight_errors(aligner: Aligner, sample: Sample, points: np.ndarray) -> tuple[float, float]:
    """As `tight_misses`, but the mean distance."""
    missed, confidence = tight_misses(aligner, sample, points)
    return float(np.linalg.norm(missed, axis=1).mean()), confidence


_measured = stacked(
    click.argument("root", type=click.Path(exists=True, path_type=Path)),
    click.option("--model", help="Name or file; by default the shipped one."),
    click.option("--all", "whole", is_flag=True, help="All faces, also those that models here are trained on."),
)
"""Of which faces, and by which model."""


@click.command()
@_measured
def pose(root: Path, model: str | None, whole: bool) -> None:
    """Error by yaw, of the inner points without the bridge of the nose.

    The labels of a whole data set may stand elsewhere than 300-W's hand-made ones would, the same for all its faces.
    Two more columns are without that. Shifted: by two numbers, the median, over the measured faces, of the mean
    difference. Placed: by three numbers a point, which say where on a head 300-W has it (`convention`); they turn with
    the head, and are found on the training faces alone.
    """
    aligner, samples = Aligner(model), [s for s in _samples(root, True) if abs(s.yaw) < 90]
    misses, confidences = zip(*(tight_misses(aligner, sample, INNER) for sample in samples), strict=True)
    yaw, missed, believed = np.array([s.yaw for s in samples]), np.array(misses), np.array(confidences) >= BELIEVED
    held_out = np.array([is_held_out(sample.photo) for sample in samples])
    placed = missed - convention(missed[~held_out], yaw[~held_out], yaw)
    if not whole:
        yaw, missed, placed, believed = yaw[held_out], missed[held_out], placed[held_out], believed[held_out]
    shift = np.median(missed.mean(axis=1), axis=0)
    errors = [np.linalg.norm(differences, axis=2).mean(axis=1) for differences in (missed, missed - shift, placed)]
    print(
        "| yaw, degrees | faces | inner error, % of the face's size | with the labels shifted | with them placed | "
        "of faces with an error under 5 %, believed |\n" + "| --- " * 6 + "|"
    )
    for low, high in ((0, 30), (30, 60), (60, 90)):
        within = (low <= np.abs(yaw)) & (np.abs(yaw) < high)
        if within.any():
            good = within & (errors[0] < SMALL_ERROR)
            share = f"{100 * believed[good].mean():.1f} % of {good.sum()}" if good.any() else ""
            means = " | ".join(f"{100 * error[within].mean():.2f}" for error in errors)
            print(f"| {low}-{high} | {within.sum()} | {means} | {share} |")
    right, down = 100 * shift
    print(f"\nThe labels were shifted by {right:+.2f} % of the face's size to the right and {down:+.2f} % down.")


@click.command()
@_measured
def ages(root: Path, model: str | None, whole: bool) -> None:
    """Error by age, of the points that were placed by hand at the very point; names end on aNN, the age."""
    aligner, samples = Aligner(model), _samples(root, whole)
    detector = create_detector(DEFAULT_DETECTOR)
    print("| age | faces | found | error of exact points, % of the face's size | believed |")
    print("| --- | --- | --- | --- | --- |")
    for low, high in ((0, 4), (4, 10), (10, 18), (18, 40), (40, 100)):
        within = [s for s in samples if (age := _age(s)) is not None and low <= age < high]
        if within:
            found = np.mean([_is_found(detector, sample) for sample in within])
            errors, confidences = np.array([tight_errors(aligner, s, _exact(s)) for s in within]).T
            shares = f"{100 * errors.mean():.2f} | {100 * (confidences >= BELIEVED).mean():.1f} %"
            print(f"| {low}-{high - 1} | {len(within)} | {100 * found:.1f} % | {shares} |", flush=True)


def _samples(root: Path, whole: bool) -> list[Sample]:
    return [s for s in read_samples(root) if isinstance(s, Sample)] if whole else held_out_samples(root)


def _age(sample: Sample) -> int | None:
    match = re.search(r"a(\d+)", sample.image_path.stem.lower())
    return int(match.group(1)) if match else None


def _exact(sample: Sample) -> np.ndarray:
    return np.ones(68, bool) if sample.weights is None else sample.weights == 1


def _is_found(detector: Detector, sample: Sample) -> bool:
    truth = BBox(*bbox_of_shape(sample.landmarks))
    boxes = (detector.calibration.landmarks_bbox(d.bbox) for d in detector.detect(read_image(sample.image_path)))
    return max(map(truth.iou, boxes), default=0) >= 0.4


@click.command()
@click.argument("root", type=click.Path(exists=True, path_type=Path))
@click.option("--model", help="Name or file; by default the shipped one.")
@click.option("--step", default=1, show_default=True, help="Take every so many-th face.")
def points(root: Path, model: str | None, step: int) -> None:
    """Distance from points placed by hand (points.json), by the pose class of info.json, of the face's size.

    The start is the mean shape laid onto the hand points; the size is that of its box. The eyes' and the mouth's
    points are means of landmarks, so that the schemes themselves differ by one or two percent.
    """
    aligner, info = Aligner(model), read_json(root / "info.json")
    by_pose: dict[str, list[tuple[float, float]]] = {}
    for sample in list(read_unlabelled(root, lambda path: None))[::step]:
        if isinstance(sample, Sample) and sample.points is not None:
            aligned = aligner.align_shapes(read_image(sample.image_path), [sample.landmarks])
            seen = points_of_shape(aligned.landmarks[0], len(sample.points))
            size = np.sqrt(np.ptp(sample.landmarks, axis=0).prod())
            miss = float(np.linalg.norm(seen - sample.points, axis=1).mean() / size)
            pose = _POSES.get(info.get(sample.image_path.stem, {}).get("pose"), "not known")
            by_pose.setdefault(pose, []).append((miss, float(aligned.confidence[0])))
    print(
        "| pose | faces | median miss, % | mean miss, % | miss under 5 % | believed of those | believed of the others |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for pose, values in sorted(by_pose.items()):
        miss, believed = np.array([m for m, _ in values]), np.array([c >= BELIEVED for _, c in values])
        good = miss < SMALL_ERROR
        shares = [f"{100 * part.mean():.1f} %" if len(part) else "" for part in (good, believed[good], believed[~good])]
        means = f"{100 * np.median(miss):.2f} | {100 * miss.mean():.2f}"
        print(f"| {pose} | {len(values)} | {means} | {' | '.join(shares)} |", flush=True)


_POSES = {1: "profile", 2: "half", 3: "frontal", 4: "half", 5: "profile"}
_ORIGINS = ("White", "Black", "Asian", "Indian", "other")  # what the data set calls them, by its numbers
_SEXES = ("male", "female")


@click.command()
@click.argument("root", type=click.Path(exists=True, path_type=Path))
@click.option("--model", help="Name or file; by default the shipped one.")
@click.option("--step", default=1, show_default=True, help="Take every so many-th face.")
def groups(root: Path, model: str | None, step: int) -> None:
    """Share of faces found and believed, and how far apart the landmarks of two starts are; no truth is needed.

    Names are age_sex_origin_date. The starts are the detector's box moved by 8 % of its size to either side.
    """
    aligner, rows = Aligner(model), []
    for path in sorted(root.glob("*.jpg"))[::step]:
        parts = path.stem.split("_")
        if len(parts) == 4 and parts[2].isdigit():
            rows.append(
                (_age_band(int(parts[0])), _SEXES[int(parts[1])], _ORIGINS[int(parts[2])], *_looked(aligner, path))
            )
    print("| group | faces | found | believed of found | two starts differ by, % of the face's size |")
    print("| --- | --- | --- | --- | --- |")
    for column in (2, 1, 0):
        for name in sorted({row[column] for row in rows}):
            group = np.array([row[3:] for row in rows if row[column] == name], float)
            found = group[group[:, 0] > 0]
            believed, apart = 100 * found[:, 1].mean(), 100 * np.median(found[:, 2])
            print(
                f"| {name} | {len(group)} | {100 * group[:, 0].mean():.1f} % | {believed:.1f} % | {apart:.2f} |",
                flush=True,
            )


def _age_band(age: int) -> str:
    return next(f"{low:02d}-{high - 1}" for low, high in ((0, 4), (4, 18), (18, 40), (40, 65), (65, 200)) if age < high)


@click.command()
@click.argument("root", type=click.Path(exists=True, path_type=Path))
@click.option("--model", help="Name or file; by default the shipped one.")
@click.option("--step", default=1, show_default=True, help="Take every so many-th picture.")
def masks(root: Path, model: str | None, step: int) -> None:
    """Covered faces: share found and believed, then by part of the face how far apart two starts end and sigma.

    Nobody has placed points on these pictures, so this shows how steady the landmarks are and what the model says of
    them, not how right they are. The starts are those of `groups`; NaN stands for a model without sigma.
    """
    aligner = Aligner(model)
    paths = sorted(root.glob("*.jpg"))[::step]
    seen = [looks for path in paths if (looks := _two_starts(aligner, path)) is not None]
    confidences = np.array([aligned.confidence[0] for aligned in seen])
    believed = confidences >= BELIEVED
    found, shown = 100 * len(seen) / len(paths), 100 * believed.mean()
    print(f"{len(paths)} pictures. Found: a face in {found:.1f} %. Believed: {shown:.1f} % of those found; median")
    print(f"confidence {np.median(confidences):.3f}. Of the faces that are believed, in % of the face's size:\n")
    print("| part of the face | two starts differ by, median, 95th percentile | sigma, median |\n| --- | --- | --- |")
    apart, sigma = (np.array(values)[believed] for values in zip(*map(_apart_and_sigma, seen), strict=True))
    for name, rows in _PARTS.items():
        ends = apart[:, rows].mean(axis=1)
        middle, worst = 100 * np.median(ends), 100 * np.percentile(ends, 95)
        print(f"| {name} | {middle:.2f}, {worst:.2f} | {100 * np.median(sigma[:, rows].mean(axis=1)):.2f} |")


_PARTS = {
    "brows and eyes, mostly open": np.r_[17:27, 36:48],
    "nose, mostly covered": np.r_[27:36],
    "mouth, mostly covered": np.r_[48:68],
    "jaw, partly covered": np.r_[0:17],
}


def _apart_and_sigma(aligned: AlignedShapes) -> tuple[np.ndarray, np.ndarray]:
    """(68,) how far apart the two moved starts end, and (68,) the sigma of the first, in shares of the face's size."""
    size = np.sqrt(np.ptp(aligned.landmarks[0], axis=0).prod())
    return np.linalg.norm(aligned.landmarks[1] - aligned.landmarks[2], axis=1) / size, aligned.sigma[0] / size


def _looked(aligner: Aligner, path: Path) -> tuple[float, float, float]:
    """Whether a face is found (0 or 1), whether its landmarks are believed, how far apart two starts end."""
    aligned = _two_starts(aligner, path)
    if aligned is None:
        return 0.0, np.nan, np.nan
    return 1.0, float(aligned.confidence[0] >= BELIEVED), float(_apart_and_sigma(aligned)[0].mean())


def _two_starts(aligner: Aligner, path: Path) -> AlignedShapes | None:
    """A picture's largest face from the detector's box, and from that box moved to either side; None: none found."""
    image = read_image(path)
    boxes = [aligner.detector.calibration.landmarks_bbox(d.bbox) for d in aligner.detector.detect(image)]
    if not boxes:
        return None
    box = np.array(max(boxes, key=lambda b: b.size).xyxy)
    step = 0.08 * float((box[2:] - box[:2]).mean()) * np.array([1, 0, 1, 0])
    return aligner.align_shapes(image, [init_shape_from_bbox(b) for b in (box, box - step, box + step)])
