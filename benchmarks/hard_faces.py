"""What hard conditions do, on the held-out faces: to the detectors' finds, and to the landmarks' error.

    python benchmarks/hard_faces.py detectors ROOT     # rotated heads, small faces, faces cut by the picture's edge
    python benchmarks/hard_faces.py rolls ROOT         # heads turned by up to 180°: finds and landmarks, --any-roll
    python benchmarks/hard_faces.py confidence ROOT    # of the faces shown, how many have right landmarks
    python benchmarks/hard_faces.py landmarks ROOT     # the same kind, and init boxes that are off, from organisers'
    boxes

A detector's box, calibrated, counts as a find at IoU 0.4 with the tight box of the landmarks. Errors are inter-pupil
NME, mean over faces. One thread; nothing is random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import cv2
import numpy as np

from facealign_cli.aligner import Aligner
from facealign_cli.datasets import Sample, held_out_samples
from facealign_cli.detectors import DetectorOptions, create_detector
from facealign_cli.files.pictures import read_image
from facealign_cli.geometry import SimilarityTransform, bbox_of_shape, init_shape_from_bbox
from facealign_cli.metrics import nme
from facealign_cli.records import BBox, Detection, Face

ANGLES = (0, 15, 30, 45, 60, 90, 180)
LENIENT_IOU = 0.3
"""From which a box is of a turned face: the calibration is made for upright ones."""

Change = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(H, W, 3) picture and (K, 2) points → both changed alike."""


def unchanged(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The reference."""
    return image, points


def rotated(angle: float) -> Change:
    """Turned about the picture's middle."""

    def change(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = image.shape[:2]
        center = ((width - 1) / 2, (height - 1) / 2)
        transform = SimilarityTransform.from_parts(1.0, angle, center=center)
        turned = cv2.warpAffine(image, transform.matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
        return turned, transform.apply(points)

    return change


def resized(pixels: float) -> Change:
    """Scaled until the points' box is so many pixels high."""

    def change(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        box = bbox_of_shape(points)
        scale = pixels / float(box[3] - box[1])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return small, (points + 0.5) * scale - 0.5

    return change


def cut(share: float) -> Change:
    """The picture ends within the face: so much of it is missing on the left."""

    def change(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        box = bbox_of_shape(points)
        x = max(int(box[0] + share * (box[2] - box[0])), 0)
        return np.ascontiguousarray(image[:, x:]), points - [x, 0]

    return change


def compressed(quality: int) -> Change:
    """Through JPEG."""

    def change(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if decoded is None:
            raise ValueError("OpenCV could not read its own JPEG")
        return decoded, points

    return change


def covered(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lower left quarter of the face grey."""
    x1, y1, x2, y2 = bbox_of_shape(points).astype(int).clip(0)
    image = image.copy()
    image[(y1 + y2) // 2 : y2, x1 : (x1 + x2) // 2] = 128
    return image, points


FOR_DETECTORS: dict[str, Change] = {
    "unchanged": unchanged,
    **{f"rotated by {angle}°": rotated(angle) for angle in (15, 30, 45, 60, 90)},
    **{f"landmarks' box {pixels} px high": resized(pixels) for pixels in (80, 40, 30, 20)},
    **{f"left {share:.0%} cut by the edge": cut(share) for share in (0.1, 0.2, 0.3)},
}
FOR_CONFIDENCE: dict[str, Change] = {
    "rotated by 180°": rotated(180),
    "JPEG quality 20": compressed(20),
    "a quarter of the face covered": covered,
}
FOR_LANDMARKS: dict[str, tuple[Change, float, float]] = {
    "unchanged": (unchanged, 0, 1),
    "box moved by 10 % of its size": (unchanged, 0.1, 1),
    "box 15 % larger": (unchanged, 0, 1.15),
    "box 15 % smaller": (unchanged, 0, 0.85),
    "head rotated by +30°": (rotated(30), 0, 1),
    "head rotated by -30°": (rotated(-30), 0, 1),
    "face of 40 px": (resized(40), 0, 1),
    "JPEG quality 20": (compressed(20), 0, 1),
    "a quarter of the face covered": (covered, 0, 1),
}
"""Condition → change of the picture, shift of the box along both axes in its sizes, scale of the box."""


@click.group()
def main() -> None:
    """Hard conditions on the held-out faces."""
    cv2.setNumThreads(1)


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
            truth = BBox(*bbox_of_shape(points))
            for key, detector in found_by.items():
                boxes = (detector.calibration.landmarks_bbox(d.bbox) for d in detector.detect(image))
                counts[key] += max(map(truth.iou, boxes), default=0) >= 0.4
        print(f"| {name} | " + " | ".join(map(str, counts.values())) + " |", flush=True)


@main.command()
@click.argument("root", type=click.Path(exists=True, path_type=Path))
@click.option("--step", default=2, show_default=True, help="Take every so many-th face.")
def rolls(root: Path, step: int) -> None:
    """Heads turned in the picture: found, and the landmarks of those that are shown (of the usual confidence)."""
    samples = held_out_samples(root)[::step]
    upright = Upright("yunet")
    ways = {
        "upright init": Aligner(detector=upright),
        "default": Aligner(),
        "--any-roll": Aligner(options=DetectorOptions(any_roll=True)),
    }
    print(f"{len(samples)} faces. For each way: found by the detector; shown with right landmarks, with wrong ones ")
    print("(10 % of the inter-pupil distance and more); NME of those shown, %.\n")
    head = " | ".join(f"{way}: found | right | wrong | NME" for way in ways)
    print(f"| turned by | {head} |\n" + "| --- " * (1 + 4 * len(ways)) + "|")
    for angle in ANGLES:
        cells = [cell for aligner in ways.values() for cell in under_roll(aligner, samples, angle)]
        print(f"| {angle}° | " + " | ".join(cells) + " |", flush=True)


@main.command()
@click.argument("root", type=click.Path(exists=True, path_type=Path))
@click.option("--step", default=4, show_default=True, help="Take every so many-th face.")
def confidence(root: Path, step: int) -> None:
    """By the least confidence that is asked for: faces shown, how many are right, and right ones that are left out."""
    aligner, samples = Aligner(), held_out_samples(root)[::step]
    groups: dict[str, list[tuple[float, float]]] = {"whole faces": [], "covered or cut by the edge": []}
    for name, change in (*FOR_DETECTORS.items(), *FOR_CONFIDENCE.items()):
        group = "covered or cut by the edge" if "cut" in name or "covered" in name else "whole faces"
        for sample in samples:
            image, points = change(read_image(sample.image_path), sample.landmarks)
            truth = BBox(*bbox_of_shape(points))
            for face in aligner.align_all(image):
                if truth.iou(calibrated(face, aligner)) >= 0.1:
                    error = float(nme(face.landmarks[None], points[None], "inter-pupil")[0])
                    groups[group].append((face.confidence, error))
    print("Right: an error below 10 % of the inter-pupil distance.\n")
    heads = " | ".join(f"{group}: shown | right, % | right ones left out, %" for group in groups)
    print(f"| --min-confidence | {heads} |\n" + "| ---: " * (1 + 3 * len(groups)) + "|")
    for least in (0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        print(f"| {least} | " + " | ".join(cell for found in groups.values() for cell in shown_at(least, found)) + " |")


def shown_at(least: float, found: list[tuple[float, float]]) -> list[str]:
    """Shown, right of these in percent, and right ones that are not shown in percent. found: (confidence, error)."""
    scores, right = np.array([score for score, _ in found]), np.array([error < 0.1 for _, error in found])
    shown = scores >= least
    return [str(shown.sum()), f"{100 * right[shown].mean():.1f}", f"{100 * (~shown[right]).mean():.1f}"]


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
        truth = BBox(*bbox_of_shape(points))
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
