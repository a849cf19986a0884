"""Detectors on crowds in the layout of WIDER FACE: a folder of pictures, and a text file with every picture's boxes.

Format of the file, as WIDER's `wider_face_val_bbx_gt.txt` has it: a picture's path, the number of its faces, then a
line for each: x, y, width, height, blur, expression, illumination, invalid, occlusion, pose. A picture without faces
has one line of zeros. Faces that are invalid or below `SMALLEST` pixels high are neither asked for nor counted false.

Source of layout and average precision: Yang et al., "WIDER FACE: A Face Detection Benchmark", CVPR 2016; the precision
is made monotonic and integrated over the recall, as in PASCAL VOC from 2010 on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from facealign_cli.aligner import Aligner
from facealign_cli.arrays import Image
from facealign_cli.boxes import BBox, Detection
from facealign_cli.datasets import Sample
from facealign_cli.detectors import Detector
from facealign_cli.geometry import bbox_of_shape

SMALLEST = 20.0
EDGES = (20, 40, 80, 160, np.inf)
"""Bounds of the height classes, pixels."""
MATCH_IOU = 0.4
"""Boxes of detectors differ in how much of the forehead they hold: at 0.5 that alone would decide."""
FACE_HEIGHT = 1 / 0.764
"""A face's box over its landmarks' box, in height; both 300-W's and WIDER's boxes begin at the hairline."""


@dataclass(frozen=True)
class Picture:
    """path: of the picture. faces: those asked for. ignored: those that do not count, either way."""

    path: Path
    faces: list[BBox]
    ignored: list[BBox]


@dataclass
class Score:
    """What one detector made of them. found: (height, found or not) of each face. hits: (score, right or not)."""

    label: str
    found: list[tuple[float, bool]] = field(default_factory=list)
    hits: list[tuple[float, bool]] = field(default_factory=list)
    pictures: int = 0
    seconds: float = 0.0

    def take(self, picture: Picture, boxes: Sequence[tuple[BBox, float]], seconds: float) -> None:
        """Count the boxes of a picture, best score first: each face goes to the first that overlaps it best."""
        self.pictures += 1
        self.seconds += seconds
        taken: set[int] = set()
        for box, score in sorted(boxes, key=lambda pair: -pair[1]):
            overlaps = [-1.0 if i in taken else box.iou(face) for i, face in enumerate(picture.faces)]
            best = int(np.argmax(overlaps)) if overlaps else -1
            if best >= 0 and overlaps[best] >= MATCH_IOU:
                taken.add(best)
                self.hits.append((score, True))
            elif box.height >= SMALLEST and not any(box.iou(other) >= MATCH_IOU for other in picture.ignored):
                self.hits.append((score, False))
        heights = [round(face.height, 3) for face in picture.faces]  # 40, not 39.999999 by arithmetic
        self.found += [(height, i in taken) for i, height in enumerate(heights)]

    @property
    def average_precision(self) -> float:
        """Area under the precision over the recall."""
        hits = np.array([right for _, right in sorted(self.hits, key=lambda hit: -hit[0])], float)
        if not hits.size or not self.found:
            return 0.0
        right = np.cumsum(hits)
        precision = np.maximum.accumulate((right / np.arange(1, len(hits) + 1))[::-1])[::-1]
        return float((precision * hits).sum() / len(self.found))

    def row(self, reference: Score) -> str:
        """A line of the table; times as a share of the reference's."""
        classes = []
        for low, high in pairwise(EDGES):
            inside = [found for height, found in self.found if low <= height < high]
            classes.append(f"{100 * np.mean(inside):.1f} of {len(inside)}" if inside else "–")
        false = sum(not right for _, right in self.hits) / max(self.pictures, 1)
        cells = [
            self.label,
            *classes,
            f"{false:.2f}",
            f"{self.average_precision:.3f}",
            f"{1000 * self.seconds / max(self.pictures, 1):.1f}",
            f"{self.seconds / reference.seconds:.2f}",
        ]
        return "| " + " | ".join(cells) + " |"


def read_wider(folder: Path, boxes: Path) -> Iterator[Picture]:
    """The pictures of a file of boxes; paths in it count from the folder. Raises ValueError naming the line."""
    lines = boxes.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        name, at = lines[at].strip(), at + 1
        if not name:
            continue
        try:
            count = int(lines[at])
            rows = [[float(value) for value in line.split()] for line in lines[at + 1 : at + 1 + max(count, 1)]]
            if len(rows) < count:
                raise ValueError(f"{count} boxes are announced, {len(rows)} are there")
            yield _picture(folder / name, rows)
        except (IndexError, ValueError) as error:
            raise ValueError(f"{boxes}, line {at + 1}: not the boxes of {name}: {error}") from error
        at += 1 + max(count, 1)


def _picture(path: Path, rows: list[list[float]]) -> Picture:
    faces: list[BBox] = []
    ignored: list[BBox] = []
    for x, y, width, height, *facts in rows:
        if width <= 0 or height <= 0:
            continue
        wanted = height >= SMALLEST and not (len(facts) > 3 and facts[3])
        (faces if wanted else ignored).append(BBox.from_xywh(x, y, width, height))
    return Picture(path, faces, ignored)


def measure(detectors: dict[str, Detector], pictures: Sequence[Picture]) -> list[Score]:
    """Every picture by every detector, turn about, so that the times can be compared."""
    scores = {label: Score(label) for label in detectors}
    for picture in pictures:
        image = cv2.imread(str(picture.path))
        if image is None:
            raise ValueError(f"{picture.path}: cannot be read")
        for label, detector in detectors.items():
            begin = time.thread_time()
            found = detector.detect(image, str(picture.path))
            seconds = time.thread_time() - begin
            scores[label].take(picture, [(d.bbox, d.score or 0.0) for d in found], seconds)
    return list(scores.values())


def table(scores: Sequence[Score]) -> str:
    """Markdown; the last one is the reference of the times."""
    names = [f"{low:g} to {high:g} px" if np.isfinite(high) else f"{low:g} px on" for low, high in pairwise(EDGES)]
    head = ["detector", *(f"found, %, {name}" for name in names), "false boxes a picture", "AP", "ms", "time"]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join([*lines, *(score.row(scores[-1]) for score in scores)]) + "\n"


def write_mosaics(
    orders: Sequence[Sequence[Sample]], folder: Path, heights: Sequence[int], size: tuple[int, int]
) -> Path:
    """Pictures of (height, width) `size`, each full of faces of one height, and `boxes.txt`. Returns that file.

    orders: the samples, in one or more orders; each gives pictures of its own. A tile is 2.6 faces wide and high, out
    of the sample's picture; what else it shows is not annotated, so of the false boxes some are faces.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for order, samples in enumerate(orders):
        at = 0
        for height in heights:
            tiles = max(size[0] // tile_side(height), 1) * max(size[1] // tile_side(height), 1)
            for number in range(-(-60 // tiles)):
                part = [samples[(at + i) % len(samples)] for i in range(tiles)]
                at += tiles
                name = f"{order}_{height:03d}_{number:02d}.jpg"
                image, boxes = mosaic(part, height, size)
                cv2.imwrite(str(folder / name), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
                rows = [f"{b.x1:.2f} {b.y1:.2f} {b.width:.2f} {b.height:.2f} 0 0 0 0 0 0" for b in boxes]
                lines += [name, str(len(rows)), *rows]
    path = folder / "boxes.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def tile_side(height: int) -> int:
    """Pixels of a tile around a face of that height."""
    return round(2.6 * height)


def mosaic(samples: Sequence[Sample], height: int, size: tuple[int, int]) -> tuple[np.ndarray, list[BBox]]:
    """Tiles with the samples' faces, each `height` pixels high, row by row, and the faces' boxes."""
    image = np.full((*size, 3), 110, np.uint8)
    side, boxes = tile_side(height), []
    places = [(x, y) for y in range(0, size[0] - side + 1, side) for x in range(0, size[1] - side + 1, side)]
    for sample, (x, y) in zip(samples, places, strict=False):
        picture = cv2.imread(str(sample.image_path))
        x1, y1, x2, y2 = bbox_of_shape(sample.landmarks)
        top = y2 - (y2 - y1) * FACE_HEIGHT
        scale = height / (y2 - top)
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        middle = (np.array([x1 + x2, top + y2]) / 2 + 0.5) * scale
        left, upper = np.maximum(np.round(middle - side / 2), 0).astype(int)
        tile = small[upper : upper + side, left : left + side]
        image[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
        corners = (np.array([x1, top, x2, y2]) + 0.5) * scale - 0.5
        boxes.append(BBox(*(corners + np.array([x - left, y - upper] * 2))))
    return image, boxes


def shuffled(count: int, seed: int) -> list[int]:
    """The numbers below `count` in an order of the seed's."""
    order = list(range(count))
    np.random.default_rng(seed).shuffle(order)  # type: ignore[arg-type]
    return order


class Shown:
    """What facealign shows by default: the detector's boxes, sorted by the landmarks' confidence, as a detector."""

    name = "shown"

    def __init__(self) -> None:
        self._aligner = Aligner()
        self.calibration = self._aligner.detector.calibration

    def detect(self, image: Image, source: str | None = None) -> list[Detection]:
        """See `Detector.detect`."""
        return [Detection(face.bbox, face.detector_score) for face in self._aligner.align(image, source)]
