"""What hard conditions do, on the held-out faces: to the detectors' finds, and to the landmarks' error.

    python benchmarks/hard_faces.py detectors ROOT     # rotated heads, small faces, faces cut by the picture's edge
    python benchmarks/hard_faces.py rolls ROOT         # heads turned by up to 180°: finds and landmarks, --any-roll
    python benchmarks/hard_faces.py confidence ROOT    # of the faces shown, how many have right landmarks
    python benchmarks/hard_faces.py landmarks ROOT     # the same kind, and init boxes that are off, from organisers'
    boxes
    python benchmarks/hard_faces.py covers ROOT        # behind masks, glasses, fingers: hidden points, and the others
    python benchmarks/hard_faces.py pose AFLW2000      # by yaw, inner points, % of the face's size
    python benchmarks/hard_faces.py ages FGNET         # by age, points placed by hand
    python benchmarks/hard_faces.py points NET7876     # hand points of faces that no model was trained on, by pose
    python benchmarks/hard_faces.py groups UTKFACE     # by origin, sex and age: found, believed, steady
    python benchmarks/hard_faces.py masks RWMFD        # real masks: found, believed, steady by part of the face

A detector's box, calibrated, counts as a find at IoU 0.4 with the tight box of the landmarks. Errors are inter-pupil
NME, mean over faces. One thread; what is drawn at random
has a fixed seed. `pose`, `ages`, `points`, `groups` and `masks` take folders of
../shared/data/more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import click
import cv2
import numpy as np
from covered_faces import covers
from face_groups import ages, groups, masks, points, pose
from hard_conditions import FOR_CONFIDENCE, FOR_DETECTORS, FOR_LANDMARKS, Change, rotated

from facealign_cli.aligner import Aligner
from facealign_cli.boxes import BBox, Detection
from facealign_cli.datasets import Sample, held_out_samples
from facealign_cli.detectors import DetectorOptions, create_detector
from facealign_cli.files.pictures import read_image
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.metrics import nme
from facealign_cli.records import Face

ANGLES = (0, 15, 30, 45, 60, 90, 180)
LENIENT_IOU = 0.3
"""From which a box is of a turned face: the calibration is made for upright ones."""


@click.group()
def main() -> None:
    """Hard conditions on the held-out faces."""
    cv2.setNumThreads(1)


for command in (ages, covers, groups, masks, points, pose):
    main.add_command(command)


@main.command()
@click.argument("root", type=click.Path(exists=True, path_type=Path))
@click.option("--step", default=2, show_default=True, help="Take every so many-th face.")
def detectors(root: Path, step: int) -> None:
    """Faces found by each detector."""
    samples = held_out_samples(root)[::step]
    found_by = {
        "yunet": create_detector("yunet"),
        "yunet --any-roll": create_detector("yunet", any_roll=True),
        "mtcnn": create_detector("mtcnn"),
        "dlib-hog": create_detector("dlib-hog"),
    }
    print(f"Faces found of {len(samples)}.\n")
    print("| condition | " + " | ".join(found_by) + " |\n" + "| --- " * (1 + len(found_by)) + "|")
    for name, change in FOR_DETECTORS.items():
        counts = dict.fromkeys(found_by, 0)
        for sample in samples:
            image, points = change(read_image(sample.image_path), sample.landmarks)
            truth = BBox.around(points)
            for key, detector in found_by.items():
                boxes = (detector.calibration.landmarks_bbox(d.bbox) for d in detector.detect(image))
                counts[key] += max(map(truth.iou, boxes), default=0) >= 0.4
        print(f"| {name} | " + " | ".join(map(str, counts.values())) + " |", flush=True)


@main.command()
@click.argument("root", type=click.Path(exists=True, path_type=Path))
@click.option("--step", default=2, show_default=True, help="Take every so many-th face.")
@click.option("--way", "only", help="One column alone: upright init, default or --any-roll.")
def rolls(root: Path, step: int, only: str | None) -> None:
    """Heads turned in the picture: found, and the landmarks of those that are shown (of the usual confidence)."""
    samples = held_out_samples(root)[::step]
    upright = Upright("yunet")
    ways = {
        "upright init": Aligner(detector=upright),
        "default": Aligner(),
        "--any-roll": Aligner(options=DetectorOptions(any_roll=True)),
    }
    ways = {only: ways[only]} if only else ways
    print(f"{len(samples)} faces. For each way: found by the detector; shown with right landmarks, with wrong ones ")
    print("(10 % of the inter-pupil distance and more); NME of those shown, %.\n")
    head = " | ".join(f"{way}: found | right | wrong | NME" for way in ways)
    print(f"| turned by | {head} |\n" + "| --- " * (1 + 4 * len(ways)) + "|")
    for angle in ANGLES:
        cells = [cell for aligner in ways.values() for cell in under_roll(aligner, samples, angle)]
        print(f"| {angle}° | " + " | ".join(cells) + " |", flush=True)


@main.command()
@click.argument("root", type=click.Path(exists=True, path_type=Path))
@click.option("--model", help="Name or file; by default the shipped one.")
@click.option("--step", default=1, show_default=True, help="Take every so many-th face.")
def confidence(root: Path, model: str | None, step: int) -> None:
    """By the least confidence that is asked for: faces shown, how many are right, and right ones that are left out;
    then whether something else than the confidence would tell them apart better."""
    aligner, samples = Aligner(model), held_out_samples(root)[::step]
    groups: dict[str, list[Judged]] = {"whole faces": [], "upside down": [], "covered or cut": []}
    upright, upside_down, half_hidden = groups.values()
    for name, change in (*FOR_DETECTORS.items(), *FOR_CONFIDENCE.items()):
        group = upside_down if "180" in name else half_hidden if "cut" in name or "covered" in name else upright
        for sample in samples:
            image, points = change(read_image(sample.image_path), sample.landmarks)
            group += judged(aligner, image, points)
    print("Right: an error below 10 % of the inter-pupil distance.\n")
    heads = " | ".join(f"{group}: shown | right, % | right ones left out, %" for group in groups)
    print(f"| --min-confidence | {heads} |\n" + "| ---: " * (1 + 3 * len(groups)) + "|")
    for least in (0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        print(f"| {least} | " + " | ".join(cell for found in groups.values() for cell in shown_at(least, found)) + " |")
    print(f"\n| told by | ROC area, {' | '.join(groups)} |\n| --- " + "| ---: " * len(groups) + "|")
    for name, measure in MEASURES.items():
        print(f"| {name} | " + " | ".join(told_by(measure, found) for found in groups.values()) + " |")


@dataclass(frozen=True)
class Judged:
    """A face that was found. error: inter-pupil, a fraction. agreement: the overlap of the detector's box, calibrated,
    with that of the landmarks. sigma: the mean one over the face's size; NaN where the model does not say."""

    error: float
    confidence: float
    score: float
    agreement: float
    sigma: float


MEASURES: dict[str, Callable[[Judged], float]] = {
    "confidence": lambda face: face.confidence,
    "detector's score": lambda face: face.score,
    "agreement of the two boxes": lambda face: face.agreement,
    "confidence × score": lambda face: face.confidence * face.score,
    "confidence × agreement": lambda face: face.confidence * face.agreement,
    "sigma": lambda face: -face.sigma,
}
"""What could tell right landmarks from wrong ones; higher is better."""


def judged(aligner: Aligner, image: np.ndarray, points: np.ndarray) -> list[Judged]:
    """What is found of the annotated face of a picture, one face or none; those beside it are not judged."""
    truth = BBox.around(points)
    face = max(aligner.align_all(image), key=lambda face: truth.iou(calibrated(face, aligner)), default=None)
    if face is None or truth.iou(calibrated(face, aligner)) < 0.1:
        return []
    error = float(nme(face.landmarks[None], points[None], "inter-pupil")[0])
    own = BBox.around(face.landmarks)
    sigma = np.nan if face.sigma is None else float(face.sigma.mean()) / own.size
    return [Judged(error, face.confidence, face.detector_score or 0.0, own.iou(calibrated(face, aligner)), sigma)]


def _right(found: list[Judged]) -> np.ndarray:
    return np.array([face.error < 0.1 for face in found])


def shown_at(least: float, found: list[Judged]) -> list[str]:
    """Shown, right of these in percent, and right ones that are not shown in percent."""
    right, shown = _right(found), np.array([face.confidence >= least for face in found])
    return [str(shown.sum()), _percent(right[shown]), _percent(~shown[right])]


def _percent(facts: np.ndarray) -> str:
    return f"{100 * facts.mean():.1f}" if facts.size else "–"


def told_by(measure: Callable[[Judged], float], found: list[Judged]) -> str:
    """The chance that a right face has more of it than a wrong one; a dash where there is nothing to tell apart."""
    from confidence import area_under_roc

    values, right = np.array([measure(face) for face in found]), _right(found)
    if not np.isfinite(values).all() or right.all() or not right.any():
        return "–"
    return f"{area_under_roc(values[right], values[~right]):.4f}"


class Upright:
    """A detector whose faces are all said to be upright."""

    def __init__(self, name: str) -> None:
        self._detector = create_detector(name)
        self.name, self.calibration = name, self._detector.calibration

    def detect(self, image: np.ndarray, source: str | None = None) -> list[Detection]:
        """See `Detector.detect`."""
        return [replace(d, rolls=(0.0,)) for d in self._detector.detect(image, source)]


def under_roll(aligner: Aligner, samples: list[Sample], angle: float) -> list[str]:
    """Found, right, wrong, and the error in percent, of heads turned by an angle."""
    found, errors = 0, []
    for sample in samples:
        image, points = rotated(angle)(read_image(sample.image_path), sample.landmarks)
        truth = BBox.around(points)
        best = max(aligner.align_all(image), key=lambda face: truth.iou(calibrated(face, aligner)), default=None)
        if best is None or truth.iou(calibrated(best, aligner)) < LENIENT_IOU:
            continue
        found += 1
        if best.confidence >= aligner.min_confidence:
            errors.append(float(nme(best.landmarks[None], points[None], "inter-pupil")[0]))
    right = sum(error < 0.1 for error in errors)
    mean = f"{100 * np.mean(errors):.2f}" if errors else "–"
    return [str(found), str(right), str(len(errors) - right), mean]


def calibrated(face: Face, aligner: Aligner) -> BBox:
    """The detector's box as the landmarks' box of an upright face."""
    return aligner.detector.calibration.landmarks_bbox(face.bbox)


@main.command()
@click.argument("root", type=click.Path(exists=True, path_type=Path))
@click.option("--model", help="Name or file; by default the shipped one.")
def landmarks(root: Path, model: str | None) -> None:
    """Error of the landmarks."""
    aligner, samples = Aligner(model), held_out_samples(root)
    print("| condition | inter-pupil NME, % | stage 1 | of the unchanged |\n| --- | --- | --- | --- |")
    reference = None
    for name, (change, shift, scale) in FOR_LANDMARKS.items():
        errors = np.mean([errors_under(aligner, sample, change, shift, scale) for sample in samples], axis=0) * 100
        reference = errors[1] if reference is None else reference
        print(f"| {name} | {errors[1]:.2f} | {errors[0]:.2f} | ×{errors[1] / reference:.2f} |", flush=True)


def errors_under(aligner: Aligner, sample: Sample, change: Change, shift: float, scale: float) -> tuple[float, float]:
    """Inter-pupil NME of one face after stage 1 and after the last stage."""
    if sample.bbox is None:
        raise click.ClickException(f"{sample.name}: no box for it")
    corners = np.array(sample.bbox.xyxy).reshape(2, 2)
    image, points = change(read_image(sample.image_path), np.vstack([sample.landmarks, corners]))
    truth, (first, second) = points[:68], points[68:]
    resize = np.linalg.norm(second - first) / np.linalg.norm(corners[1] - corners[0])
    half = (corners[1] - corners[0]) / 2 * resize * scale  # upright again, as a detector would give it
    center = (first + second) / 2 + shift * 2 * half
    aligned = aligner.align_shapes(image, [init_shape_from_bbox([*(center - half), *(center + half)])])
    stage1, last = (
        float(nme(shape, truth[None], "inter-pupil")[0]) for shape in (aligned.stage1_landmarks, aligned.landmarks)
    )
    return stage1, last


if __name__ == "__main__":
    main()
