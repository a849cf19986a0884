"""What hard conditions do, on the held-out faces: to the detectors' finds, and to the landmarks' error.

    python benchmarks/hard_faces.py detectors ROOT     # rotated heads, small faces, faces cut by the picture's edge
    python benchmarks/hard_faces.py landmarks ROOT     # the same kind, and init boxes that are off, from organisers'
    boxes

A detector's box, calibrated, counts as a find at IoU 0.4 with the tight box of the landmarks. Errors are inter-pupil
NME, mean over faces. One thread; nothing is random.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import cv2
import numpy as np

from facealign_cli.aligner import Aligner
from facealign_cli.datasets import Sample, held_out_samples
from facealign_cli.detectors import create_detector
from facealign_cli.files.pictures import read_image
from facealign_cli.geometry import SimilarityTransform, bbox_of_shape, init_shape_from_bbox
from facealign_cli.metrics import nme
from facealign_cli.records import BBox

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
    **{f"rotated by {angle}°": rotated(angle) for angle in (15, 30, 45, 60)},
    **{f"landmarks' box {pixels} px high": resized(pixels) for pixels in (80, 40, 30, 20)},
    **{f"left {share:.0%} cut by the edge": cut(share) for share in (0.1, 0.2, 0.3)},
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
        "mtcnn": create_detector("mtcnn"),
        "mtcnn --min-face 20": create_detector("mtcnn", min_face=20),
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
