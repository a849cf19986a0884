"""Measures the detectors: their calibration on the training faces, and what they find on the held-out ones.

    python benchmarks/detectors.py calibrate ROOT
    python benchmarks/detectors.py compare ROOT PHOTOS -o FILE.md [--sheets FOLDER]
    python benchmarks/detectors.py mosaics ROOT FOLDER      # crowds of held-out faces in WIDER FACE's layout
    python benchmarks/detectors.py wider FOLDER BOXES.txt   # recall by size, false boxes, AP, time

ROOT: 300-W training folders (afw, helen, lfpw: pictures with .pts); rough labels are left out. PHOTOS: the folder of
the five photos in `photo_faces.json`. Everything runs on one thread, and times are its processor time, so that other
work on the machine does not count. The split is `facealign_cli.datasets.splits`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import click
import cv2
import numpy as np
import wider as wider_layout

from facealign_cli.boxes import BBox, Detection
from facealign_cli.datasets import Sample, held_out_samples, read_samples
from facealign_cli.datasets.splits import is_held_out
from facealign_cli.detectors import Detector, create_detector
from facealign_cli.errors import FacealignError

CALIBRATE_IOU, FOUND_IOU = 0.3, 0.4
PHOTO_FACES = Path(__file__).with_name("photo_faces.json")
"""Faces of the photos, marked by eye: {photo: {"clear": [[x, y, size], …], "hard": […]}}, centre and size."""
COMPARED: tuple[tuple[str, dict[str, float]], ...] = (
    ("yunet", {"min_face": 20}),
    ("yunet", {"min_face": 30}),
    ("yunet", {"min_face": 40}),
    ("yunet", {"min_face": 30, "score": 0.7}),
    ("mtcnn", {"min_face": 20}),
    ("mtcnn", {"min_face": 40}),
    ("dlib-hog", {"upsample": 0}),
    ("dlib-hog", {"upsample": 1}),
)

REFERENCE = "mtcnn min_face=40"

FALSE_BY_EYE = {
    "yunet min_face=20": "1, 2 unclear",
    "yunet min_face=30": "0, 3 unclear",
    "yunet min_face=40": "0, 3 unclear",
    "yunet min_face=30 score=0.7": "0, 1 unclear",
    "mtcnn min_face=20": "2, 1 unclear",
    "mtcnn min_face=40": "2",
    "dlib-hog upsample=0": "0",
    "dlib-hog upsample=1": "0",
}
"""How many of the other boxes show no face, counted by hand on the contact sheets of November 2026: a necklace, a piece
of a face in place of the whole (mtcnn 20); a burning poster, a goat (mtcnn 40; a goat: yunet 20). Unclear: heads out of
focus. Count anew when a detector changes."""


def training_samples(root: Path) -> list[Sample]:
    """The hand-labelled faces that are not held out."""
    samples = [s for s in read_samples(root) if isinstance(s, Sample) and not s.rough]
    return [s for s in samples if not is_held_out(s.photo)]


def landmarks_bbox(sample: Sample) -> BBox:
    """The tight box around a sample's landmarks."""
    return BBox.around(sample.landmarks)


def best_match(boxes: list[BBox], truth: BBox) -> tuple[BBox | None, float]:
    """The box of the highest IoU with the truth."""
    best = max(boxes, key=truth.iou, default=None)
    return best, truth.iou(best) if best else 0.0


def edge_offsets(bbox: BBox, truth: BBox) -> np.ndarray:
    """(4,) left, top, right, bottom: from the box's edges to the truth's, in shares of the box's width and height."""
    size = np.array([bbox.width, bbox.height] * 2)
    return (np.array(truth.xyxy) - np.array(bbox.xyxy)) / size


def measure_offsets(detector: Detector, samples: list[Sample]) -> np.ndarray:
    """(N, 4) offsets of the faces that were matched."""
    offsets = []
    for sample in samples:
        truth = landmarks_bbox(sample)
        found = detector.detect(cv2.imread(str(sample.image_path)), str(sample.image_path))
        bbox, iou = best_match([d.bbox for d in found], truth)
        if bbox and iou >= CALIBRATE_IOU:
            offsets.append(edge_offsets(bbox, truth))
    return np.array(offsets).reshape(-1, 4)


def spread(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations of the centre (x, y; in box sizes) and of the size ratio (width, height)."""
    centre = (offsets[:, :2] + offsets[:, 2:]) / 2
    ratio = 1 + offsets[:, 2:] - offsets[:, :2]
    return centre.std(axis=0), (ratio / ratio.mean(axis=0)).std(axis=0)


@click.group()
def main() -> None:
    """Measure the face detectors."""
    cv2.setNumThreads(1)


@main.command()
@click.argument("root", type=click.Path(exists=True, path_type=Path))
@click.option("--yunet", type=click.Path(path_type=Path), help="Model file of another YuNet than the shipped one.")
@click.option("--haar", type=click.Path(path_type=Path), help="Cascade file (needs OpenCV 4).")
@click.option("--only", help="The name of one detector.")
@click.option("--step", default=1, help="Take every so many-th face only.")
def calibrate(root: Path, yunet: Path | None, haar: Path | None, only: str | None, step: int) -> None:
    """Print each detector's edge offsets from its box to the landmarks' box: the medians are its constants."""
    samples = training_samples(root)[::step]
    click.echo("| detector | faces | matched | left | top | right | bottom | centre σ x, y | size σ w, h |")
    click.echo("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, model_file in (("yunet", yunet), ("mtcnn", None), ("dlib-hog", None), ("haar", haar)):
        if only not in (None, name):
            continue
        try:
            offsets = measure_offsets(create_detector(name, model_file=model_file), samples)
        except FacealignError as error:
            click.echo(f"{name}: not to be had here: {error}", err=True)
            continue
        _print_offsets(name, offsets, len(samples))
    given = [(s.bbox, landmarks_bbox(s)) for s in samples if s.bbox]
    _print_offsets("300-W boxes", np.array([edge_offsets(*pair) for pair in given]), len(samples))


def _print_offsets(name: str, offsets: np.ndarray, faces: int) -> None:
    edges = " | ".join(f"{value:+.3f}" for value in np.median(offsets, axis=0))
    centre, size = (", ".join(f"{v:.3f}" for v in values) for values in spread(offsets))
    click.echo(f"| {name} | {faces} | {len(offsets)} | {edges} | {centre} | {size} |")


@dataclass
class Tally:
    """What one detector made of the held-out faces and of the photos."""

    label: str
    faces: int = 0
    found: int = 0
    ious: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    others: list[tuple[Path, Detection]] = field(default_factory=list)
    photos: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    photo_seconds: float = 0.0

    def row(self, photos: list[str], reference: Tally) -> str:
        """A Markdown table row; the times beside the reference's."""
        cells = [
            self.label,
            f"{self.found}/{self.faces} ({100 * self.found / self.faces:.1f} %)",
            f"{np.mean(self.ious):.3f}",
            f"{len(self.others)} ({FALSE_BY_EYE.get(self.label, 'not counted')})",
            *(f"{self.photos[p][0]} + {self.photos[p][1]}, {self.photos[p][2]}" for p in photos),
            f"{1e3 * np.median(self.seconds):.1f}",
            f"{np.median(np.array(self.seconds) / np.array(reference.seconds)):.2f}",
            f"{1e3 * self.photo_seconds / len(photos):.0f}",
            f"{self.photo_seconds / reference.photo_seconds:.2f}",
        ]
        return "| " + " | ".join(cells) + " |"


def tally_held_out(tallies: list[tuple[Tally, Detector]], samples: list[Sample]) -> None:
    """Held-out faces found, picture by picture by all detectors, so that their times can be compared."""
    for sample in samples:
        image, truth = cv2.imread(str(sample.image_path)), landmarks_bbox(sample)
        for tally, detector in tallies:
            start = time.thread_time()
            detections = detector.detect(image)
            tally.seconds.append(time.thread_time() - start)
            tally_sample(tally, detector, sample, detections, truth)


def tally_sample(tally: Tally, detector: Detector, sample: Sample, found: list[Detection], truth: BBox) -> None:
    """Whether the face was found; every box that is not the annotated face goes to `others`."""
    ious = [truth.iou(detector.calibration.landmarks_bbox(d.bbox)) for d in found]
    tally.faces += 1
    best = int(np.argmax(ious)) if ious and max(ious) >= FOUND_IOU else None
    if best is not None:
        tally.found += 1
        tally.ious.append(ious[best])
    tally.others += [(sample.image_path, d) for i, d in enumerate(found) if i != best]


def is_marked_face(bbox: BBox, face: list[float]) -> bool:
    """Whether a box is that face: its centre within half a face of the face's, its size within a factor of two."""
    x, y, size = face
    off = np.hypot((bbox.x1 + bbox.x2) / 2 - x, (bbox.y1 + bbox.y2) / 2 - y)
    return bool(off <= 0.5 * size and 0.5 <= bbox.size / size <= 2)


def tally_photos(
    tallies: list[tuple[Tally, Detector]],
    folder: Path,
    marked: dict[str, dict[str, list[list[float]]]],
    rounds: int = 5,
) -> None:
    """(clear faces found, hard faces found, false boxes) of each photo; the time is the median of some rounds."""
    for name, faces in marked.items():
        image = cv2.imread(str(folder / name))
        seconds: dict[str, list[float]] = {tally.label: [] for tally, _ in tallies}
        for _ in range(rounds):
            for tally, detector in tallies:
                start = time.thread_time()
                found = detector.detect(image)
                seconds[tally.label].append(time.thread_time() - start)
                tally.photos[name] = tally_photo([d.bbox for d in found], faces)
        for tally, _ in tallies:
            tally.photo_seconds += float(np.median(seconds[tally.label]))


def tally_photo(boxes: list[BBox], faces: dict[str, list[list[float]]]) -> tuple[int, int, int]:
    """Clear faces found, hard faces found, false boxes."""
    clear, hard = (sum(any(is_marked_face(b, f) for b in boxes) for f in faces[k]) for k in ("clear", "hard"))
    false = sum(not any(is_marked_face(b, f) for f in faces["clear"] + faces["hard"]) for b in boxes)
    return clear, hard, false


def contact_sheet(others: list[tuple[Path, Detection]], path: Path, size: int = 128, columns: int = 10) -> None:
    """Tiles of the boxes, each cut with some surroundings, best score first."""
    tiles = []
    for picture, detection in sorted(others, key=lambda o: -(o[1].score or 0))[:100]:
        bbox = detection.bbox
        centre, side = ((bbox.x1 + bbox.x2) / 2, (bbox.y1 + bbox.y2) / 2), round(1.6 * max(bbox.width, bbox.height))
        tile = cv2.getRectSubPix(cv2.imread(str(picture)), (side, side), centre)
        tile = cv2.resize(tile, (size, size), interpolation=cv2.INTER_AREA)
        cv2.putText(tile, f"{len(tiles)} {detection.score:.2f}", (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 255, 255))
        tiles.append(tile)
    tiles += [np.zeros((size, size, 3), np.uint8)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    if rows:
        cv2.imwrite(str(path), np.vstack(rows))


def overlay(image: np.ndarray, detections: list[Detection]) -> np.ndarray:
    """The picture with numbered boxes."""
    image = image.copy()
    for number, detection in enumerate(detections):
        x1, y1, x2, y2 = (round(v) for v in detection.bbox.xyxy)
        cv2.rectangle(image, (x1, y1), (x2, y2), (0, 255, 0), 1)
        cv2.putText(image, str(number), (x1, y1 - 2), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 255, 255))
    return image


def write_sheets(folder: Path, tally: Tally, detector: Detector, photos: Path, names: list[str]) -> None:
    """The contact sheet of a detector's other boxes, and its overlays on the photos."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = "".join(c if c.isalnum() else "_" for c in tally.label)
    contact_sheet(tally.others, folder / f"others_{stem}.png")
    for name in names:
        image = cv2.imread(str(photos / name))
        cv2.imwrite(str(folder / f"{Path(name).stem}_{stem}.png"), overlay(image, detector.detect(image)))


def table(tallies: list[Tally], marked: dict[str, dict[str, list[list[float]]]]) -> str:
    """The comparison in Markdown."""
    heads = [f"{Path(n).stem} ({len(f['clear'])} + {len(f['hard'])})" for n, f in marked.items()]
    head = [
        "detector",
        f"held-out faces found (IoU ≥ {FOUND_IOU})",
        "mean IoU",
        "other boxes (no face, by eye)",
        *heads,
        "ms",
        "ratio",
        "ms/photo",
        "ratio",
    ]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    reference = next(tally for tally in tallies if tally.label == REFERENCE)
    lines += [tally.row(list(marked), reference) for tally in tallies]
    note = """
Found: the calibrated box against the tight box of the annotated landmarks. Other boxes: all that are not that face; the
pictures are crops of three face sizes out of photos that may show further faces, so most of them are faces nobody
annotated; in brackets those that show none, counted by hand on the contact sheets. Photos: clear + hard faces found,
false boxes; in the head what was marked by eye. ms: median per held-out picture (crops of at most 512 px), and per
photo (about 1 megapixel), one thread, decoding not counted. ratio: over the default of facealign 0.1,
`mtcnn --min-face 40`, in the same run, picture by picture.
"""
    return "\n".join(lines) + "\n" + note


@main.command()
@click.argument("root", type=click.Path(exists=True, path_type=Path))
@click.argument("photos", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Markdown file to write.")
@click.option("--sheets", type=click.Path(path_type=Path), help="Folder for contact sheets and overlays (PNG).")
@click.option("--step", default=1, help="Take every so many-th face only.")
def compare(root: Path, photos: Path, output: Path, sheets: Path | None, step: int) -> None:
    """Count found faces, other boxes and milliseconds of each detector and setting."""
    samples = held_out_samples(root)[::step]
    marked = {k: v for k, v in json.loads(PHOTO_FACES.read_text(encoding="utf-8")).items() if k != "note"}
    tallies = []
    for name, options in COMPARED:
        label = " ".join([name, *(f"{k}={v}" for k, v in options.items())])
        tallies.append((Tally(label), create_detector(name, **options)))
    tally_held_out(tallies, samples)
    tally_photos(tallies, photos, marked)
    for tally, detector in tallies:
        if sheets:
            write_sheets(sheets, tally, detector, photos, list(marked))
    text = table([tally for tally, _ in tallies], marked)
    output.write_text(text, encoding="utf-8")
    click.echo(text)


@main.command()
@click.argument("root", type=click.Path(exists=True, path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--heights", default="24,32,40,50,64,80,120,200", show_default=True, help="Of the faces, pixels.")
@click.option("--seeds", default="0", show_default=True, help="Of the faces' orders; each gives pictures of its own.")
def mosaics(root: Path, folder: Path, heights: str, seeds: str) -> None:
    """Make crowds of the held-out faces: pictures and boxes.txt for `wider`."""
    samples, pixels = held_out_samples(root), [int(height) for height in heights.split(",")]
    orders = [[samples[i] for i in wider_layout.shuffled(len(samples), int(seed))] for seed in seeds.split(",")]
    click.echo(wider_layout.write_mosaics(orders, folder, pixels, (768, 1024)))


@main.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.argument("boxes", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--limit", type=int, help="Take so many pictures only, evenly spread.")
def wider(folder: Path, boxes: Path, limit: int | None) -> None:
    """Recall by size, false boxes, AP and time on pictures in WIDER FACE's layout, old and new default among them."""
    pictures = list(wider_layout.read_wider(folder, boxes))
    pictures = pictures[:: max(1, len(pictures) // limit)] if limit else pictures
    settings: dict[str, tuple[str, dict[str, float]]] = {
        **{f"yunet --min-face {size}": ("yunet", {"min_face": size}) for size in (20, 25, 30, 40)},
        "yunet --score 0.5": ("yunet", {"score": 0.5}),
        "mtcnn --min-face 40": ("mtcnn", {"min_face": 40}),
    }
    detectors: dict[str, Detector] = {"shown by default, with the landmarks": wider_layout.Shown()}
    detectors |= {label: create_detector(name, **options) for label, (name, options) in settings.items()}
    click.echo(f"{len(pictures)} pictures; one thread, turn about.\n")
    click.echo(wider_layout.table(wider_layout.measure(detectors, pictures)), nl=False)


if __name__ == "__main__":
    main()
