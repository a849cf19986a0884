"""A tracker whose network and detector follow a script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from facealign_cli.arrays import Floats, Image
from facealign_cli.boxes import BBox, BoxCalibration, Detection
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.records import Face
from facealign_cli.video.tracking import Tracker, TrackingOptions

UNIT = (MEAN_SHAPE - MEAN_SHAPE.mean(axis=0)) / np.ptp(MEAN_SHAPE, axis=0).mean()
SIZE = 64.0
BLANK = np.full((120, 160, 3), 90, np.uint8)
STEP = 1 / 32


def at(x: float, y: float = 100.0, size: float = SIZE, tall: float = 1.0) -> Floats:
    """(68, 2): the mean shape about a place."""
    return UNIT * [size, size * tall] + [x, y]


@dataclass
class Shapes:
    landmarks: Floats
    confidence: Floats
    sigma: Floats


@dataclass
class Script:
    """Stands for aligner and detector. Following leads to the nearest face, and to nowhere if there is none."""

    calibration = BoxCalibration()
    faces: list[Floats] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    sigma: float = np.nan
    looked: bool = False
    source: str | None = None

    @property
    def detector(self) -> Script:
        return self

    def detect(self, _image: Image, source: str | None) -> list[Detection]:
        self.looked, self.source = True, source
        return [Detection(BBox.around(shape), 7.0 + i) for i, shape in enumerate(self.faces)]

    def align_boxes(self, _image: Image, found: Sequence[Detection], _calibration: BoxCalibration) -> list[Face]:
        indices = [int(d.score or 7) - 7 for d in found]
        return [
            Face(i, d.bbox, self.faces[k], self.confidence[k], d.score)
            for i, (k, d) in enumerate(zip(indices, found, strict=True))
        ]

    def align_shapes(self, _image: Image, init_shapes: Sequence[Floats]) -> Shapes:
        landmarks, confidence = [], []
        for shape in init_shapes:
            ways = [float(np.linalg.norm((face - shape).mean(axis=0))) for face in self.faces]
            nearest = int(np.argmin(ways)) if ways else -1
            landmarks.append(self.faces[nearest] if ways else shape)
            confidence.append(self.confidence[nearest] if ways else 0.0)
        n = len(landmarks)
        return Shapes(np.array(landmarks), np.array(confidence), np.full((n, 68), self.sigma))


class Clip:
    """A clip of one tracker. frame: its next frame, with these faces; gives id → landmarks."""

    def __init__(self, step: float = STEP, **options: float) -> None:
        self.script, self.step, self.time_s = Script(), step, 0.0
        self.tracker = Tracker(self.script, TrackingOptions(**options))  # type: ignore[arg-type]
        self.faces: list[Face] = []

    def frame(
        self, *faces: Floats, confidence: float | Sequence[float] = 0.9, count: int = 1, image: Image = BLANK
    ) -> dict[int, Floats]:
        given = [confidence] * len(faces) if isinstance(confidence, float) else list(confidence)
        self.script.faces, self.script.confidence = list(faces), given
        for _ in range(count):
            self.script.looked = False
            self.faces = self.tracker.update(image, self.time_s, "clip.mp4")
            self.time_s += self.step
        return {int(face.track_id or 0): face.landmarks for face in self.faces}

    def looks(self, *faces: Floats, count: int) -> list[int]:
        """In which of the next frames the detector ran."""
        seen = []
        for i in range(count):
            self.frame(*faces)
            if self.script.looked:
                seen.append(i)
        return seen


def centers(found: dict[int, Floats]) -> dict[int, float]:
    return {track: round(float(shape[:, 0].mean()), 1) for track, shape in found.items()}
