"""What hard conditions do, on the held-out faces: to the detectors' finds, and to the landmarks' error.

    python benchmarks/hard_faces.py detectors ROOT     # rotated heads, small faces, faces cut by the picture's edge
    python benchmarks/hard_faces.py rolls ROOT         # heads turned by up to 180°: finds and landmarks, --any-roll
    python benchmarks/hard_faces.py confidence ROOT    # of the faces shown, how many have right landmarks
    python benchmarks/hard_faces.py landmarks ROOT     # the same kind, and init boxes that are off, from organisers'
    boxes
    python benchmarks/hard_faces.py pose AFLW2000      # by yaw, inner points, % of the face's size
    python benchmarks/hard_faces.py ages FGNET         # by age, points placed by hand
    python benchmarks/hard_faces.py points NET7876     # hand points of faces that no model was trained on, by pose
    python benchmarks/hard_faces.py groups UTKFACE     # by origin, sex and age: found, believed, steady

A detector's box, calibrated, counts as a find at IoU 0.4 with the tight box of the landmarks. Errors are inter-pupil
NME, mean over faces. One thread; nothing is random. `pose`, `ages`, `points` and `groups` take folders of
../shared/data/more.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import click
import cv2
import numpy as np

from facealign_cli.aligner import Aligner
from facealign_cli.datasets import Sample, held_out_samples, read_samples
from facealign_cli.datasets.beside import read_info
from facealign_cli.datasets.unlabelled import points_of_shape
from facealign_cli.datasets.unlabelled import read as read_unlabelled
from facealign_cli.detectors import Detector, DetectorOptions, create_detector
from facealign_cli.detectors.base import DEFAULT_DETECTOR
from facealign_cli.files.pictures import read_image
from facealign_cli.geometry import SimilarityTransform, bbox_of_shape, init_shape_from_bbox
from facealign_cli.landmarks import INNER_WITHOUT_BRIDGE
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
    truth = BBox(*bbox_of_shape(points))
    face = max(aligner.align_all(image), key=lambda face: truth.iou(calibrated(face, aligner)), default=None)
    if face is None or truth.iou(calibrated(face, aligner)) < 0.1:
        return []
    error = float(nme(face.landmarks[None], points[None], "inter-pupil")[0])
    own = BBox(*bbox_of_shape(face.landmarks))
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


INNER = np.isin(np.arange(68), INNER_WITHOUT_BRIDGE)
SMALL_ERROR, BELIEVED = 0.05, 0.5
"""An inner error below this share of the face's size is small; a confidence from this on passes."""


def tight_errors(aligner: Aligner, sample: Sample, points: np.ndarray) -> tuple[float, float]:
    """Mean error of the trusted points among `points` (68,) bool, in shares of the face's size, and the confidence.

    The start is the tight box of the landmarks; the size is the square root of that box's area.
    """
    trusted = points if sample.weights is None else points & (sample.weights > 0)
    shape = init_shape_from_bbox(bbox_of_shape(sample.landmarks))
    aligned = aligner.align_shapes(read_image(sample.image_path), [shape])
    distance = np.linalg.norm(aligned.landmarks[0] - sample.landmarks, axis=1)[trusted]
    return float(distance.mean() / np.sqrt(np.ptp(sample.landmarks, axis=0).prod())), float(aligned.confidence[0])


@main.command()
@click.argument("root", type=click.Path(exists=True, path_type=Path))
@click.option("--model", help="Name or file; by default the shipped one.")
@click.option("--all", "whole", is_flag=True, help="All faces, also those that models here are trained on.")
def pose(root: Path, model: str | None, whole: bool) -> None:
    """Error by yaw, of the inner points without the bridge of the nose."""
    aligner, samples = Aligner(model), _samples(root, whole)
    print("| yaw, degrees | faces | inner error, % of the face's size | of faces with an error under 5 %, believed |")
    print("| --- | --- | --- | --- |")
    for low, high in ((0, 30), (30, 60), (60, 90)):
        within = [sample for sample in samples if low <= abs(sample.yaw) < high]
        if within:
            errors, confidences = np.array([tight_errors(aligner, sample, INNER) for sample in within]).T
            believed = (confidences >= BELIEVED)[errors < SMALL_ERROR]
            share = f"{100 * believed.mean():.1f} % of {len(believed)}" if len(believed) else ""
            print(f"| {low}-{high} | {len(within)} | {100 * errors.mean():.2f} | {share} |", flush=True)


@main.command()
@click.argument("root", type=click.Path(exists=True, path_type=Path))
@click.option("--model", help="Name or file; by default the shipped one.")
@click.option("--all", "whole", is_flag=True, help="All faces, also those that models here are trained on.")
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


@main.command()
@click.argument("root", type=click.Path(exists=True, path_type=Path))
@click.option("--model", help="Name or file; by default the shipped one.")
@click.option("--step", default=1, show_default=True, help="Take every so many-th face.")
def points(root: Path, model: str | None, step: int) -> None:
    """Distance from points placed by hand (points.json), by the pose class of info.json, of the face's size.

    The start is the mean shape laid onto the hand points; the size is that of its box. The eyes' and the mouth's
    points are means of landmarks, so that the schemes themselves differ by one or two percent.
    """
    aligner, info = Aligner(model), read_info(root / "info.json")
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


@main.command()
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


def _looked(aligner: Aligner, path: Path) -> tuple[float, float, float]:
    """Whether a face is found (0 or 1), whether its landmarks are believed, how far apart two starts end."""
    image = read_image(path)
    boxes = [aligner.detector.calibration.landmarks_bbox(d.bbox) for d in aligner.detector.detect(image)]
    if not boxes:
        return 0.0, np.nan, np.nan
    box = np.array(max(boxes, key=lambda b: b.size).xyxy)
    step = 0.08 * float((box[2:] - box[:2]).mean()) * np.array([1, 0, 1, 0])
    aligned = aligner.align_shapes(image, [init_shape_from_bbox(b) for b in (box, box - step, box + step)])
    size = np.sqrt(np.ptp(aligned.landmarks[0], axis=0).prod())
    apart = np.linalg.norm(aligned.landmarks[1] - aligned.landmarks[2], axis=1).mean() / size
    return 1.0, float(aligned.confidence[0] >= BELIEVED), float(apart)


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
