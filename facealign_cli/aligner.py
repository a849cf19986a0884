"""Aligner: from a picture to faces with landmarks. Detector → box → init shape → crop → DAN → picture coordinates."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facealign_cli.arrays import Floats, Image
from facealign_cli.detectors import Detector, DetectorOptions, create_detector
from facealign_cli.detectors.base import DEFAULT_DETECTOR, check_detector, detect_faces, detections_of
from facealign_cli.errors import InputError
from facealign_cli.files.pictures import MAX_PIXELS, check_image, read_image, read_picture
from facealign_cli.models.dan import DanModel
from facealign_cli.models.registry import load_model
from facealign_cli.placing import (
    AlignedShapes,
    FaceCrops,
    FoundFaces,
    align_crops,
    cut_crops,
    init_shapes,
    place_landmarks,
    place_shapes,
)
from facealign_cli.pose import PoseEstimator
from facealign_cli.quality import with_quality
from facealign_cli.records import BBox, BoxCalibration, Detection, Face, FrameResult

Picture = NDArray[np.uint8] | str | os.PathLike[str]
"""A picture: (H, W, 3) BGR or (H, W) grey, uint8, or the path of a file."""

NETWORK_BATCH = 8
"""Faces that go through the network together where pictures are many: no more, and padded, no fewer.

ONNX Runtime takes other kernels for a batch of one (measured on a CPU: dan-light's landmarks move by 0.0003 px,
dan-light-int8's by up to 0.7 px; batches of 2 to 32 agree to the bit). With one size only, a face's landmarks cannot
depend on which pictures happened to come together.
"""

MIN_CONFIDENCE = 0.5
"""Faces of less confidence are left out: hardly one of them is a face with right landmarks."""


def checked_min_confidence(value: float | None, detector: str) -> float:
    """What `Aligner` takes for its `min_confidence` with a detector of that name. Raises InputError."""
    if value is None:
        return 0.0 if detector == "boxes" else MIN_CONFIDENCE
    if not 0 <= value <= 1:
        raise InputError(f"min_confidence: expected 0 to 1, got {value}")
    return float(value)


def confident(faces: Iterable[Face], min_confidence: float) -> list[Face]:
    """Those of at least that confidence, with ids that count from 0."""
    kept = [face for face in faces if face.confidence >= min_confidence]
    return [replace(face, face_id=i) for i, face in enumerate(kept)]


class Aligner:
    """Finds faces and places their landmarks.

    It can be used from several threads at once, and be pickled: the copy loads its model and its detector anew.
    model: a shipped model's name, an .onnx file, a loaded DanModel, or None for the default.
    detector: a detector's name or a Detector. options: the detector's, where it is given by name.
    device: "auto", "cpu", "cuda" or "cuda:N", for the landmark network. threads: within an operator.
    min_confidence: faces of less are left out, 0 to 1; None: `MIN_CONFIDENCE`, but 0 where the boxes are given.
    Raises InputError for unknown names and for a detector that lacks something, ModelError, DeviceError,
    MissingDependency.
    """

    def __init__(
        self,
        model: str | Path | DanModel | None = None,
        detector: str | Detector = DEFAULT_DETECTOR,
        *,
        options: DetectorOptions | None = None,
        device: str = "auto",
        threads: int = 1,
        min_confidence: float | None = None,
    ) -> None:
        self.model = model if isinstance(model, DanModel) else load_model(model, device=device, threads=threads)
        self.detector = create_detector(detector, options) if isinstance(detector, str) else check_detector(detector)
        self.min_confidence = checked_min_confidence(min_confidence, self.detector.name)

    def align(self, image: Picture, source: str | None = None) -> list[Face]:
        """The faces of one picture of at least `min_confidence`, best detector score first; [] where there is none.

        image: (H, W, 3) uint8 BGR or (H, W) uint8 grey, or the path of a file. source: the picture's path, which the
        detector `boxes` needs beside an array. Raises InputError for another kind of array and for a file that cannot
        be read.
        """
        return confident(self.align_all(image, source), self.min_confidence)

    def align_all(self, image: Picture, source: str | None = None) -> list[Face]:
        """What the detector finds, whatever the confidence; otherwise as `align`."""
        (faces,) = place_landmarks(self.model, [self.find(image, source)])
        return faces

    def align_many(self, images: Iterable[Picture]) -> Iterator[list[Face]]:
        """The faces of many pictures, a list for each in their order; the faces of several share a network batch.

        images: each as for `align`; they are taken as they are needed, so there may be any number. A face's landmarks
        do not depend on the other pictures: they are to the bit those of `facealign batch folder`. Raises InputError
        for a picture that cannot be used, after the faces of the pictures before it; the message has its number.
        """
        model = self.model.padded_to(NETWORK_BATCH)
        waiting: list[FoundFaces] = []
        for number, image in enumerate(images):
            try:
                waiting.append(self.find(image))
            except InputError as error:
                yield from self._shown(model, waiting)
                raise InputError(f"picture {number} (counted from 0): {error}") from error
            if len(waiting) >= _WAITING or sum(len(found.detections) for found in waiting) >= NETWORK_BATCH:
                yield from self._shown(model, waiting)
                waiting = []
        yield from self._shown(model, waiting)

    def _shown(self, model: DanModel, pictures: Sequence[FoundFaces]) -> Iterator[list[Face]]:
        for faces in place_landmarks(model, pictures):
            yield confident(faces, self.min_confidence)

    def align_boxes(
        self,
        image: Picture,
        boxes: Sequence[Detection | BBox | Sequence[float]] | ArrayLike,
        calibration: BoxCalibration | None = None,
    ) -> list[Face]:
        """Place landmarks in boxes that are known already; the faces are in the boxes' order.

        boxes: detections, boxes, (x1, y1, x2, y2) in pixels, or an (N, 4) array of these. calibration: from these boxes
        to the tight box of the landmarks; None: they are that box. Raises InputError for other things.
        """
        array, _ = _read(image, None)
        (faces,) = place_landmarks(self.model, [self.cut_boxes(array, detections_of(boxes), calibration)])
        return faces

    def find(self, image: Picture, source: str | None = None) -> FoundFaces:
        """The faces that the detector finds, cut out for `place_landmarks`; arguments as those of `align`."""
        array, source = _read(image, source)
        return self.cut_boxes(array, detect_faces(self.detector, array, source), self.detector.calibration)

    def cut_boxes(
        self, image_bgr: Image, detections: Sequence[Detection], calibration: BoxCalibration | None = None
    ) -> FoundFaces:
        """Detections cut out for `place_landmarks`; calibration as in `align_boxes`."""
        calibration = calibration or BoxCalibration()
        crops = self.cut_crops(image_bgr, init_shapes(detections, calibration))
        return FoundFaces(tuple(detections), crops, calibration)

    def align_detections(self, image_bgr: Image, detections: Sequence[Detection]) -> AlignedShapes:
        """The shape of each face that this aligner's detector has found, chosen as `align` does it."""
        return place_shapes(self.model, [self.cut_boxes(image_bgr, detections, self.detector.calibration)])

    def align_shapes(self, image_bgr: Image, init_shapes: Sequence[Floats]) -> AlignedShapes:
        """Place landmarks around init shapes, (68, 2) picture pixels each, such as the last frame's landmarks."""
        return self.align_crops(self.cut_crops(image_bgr, init_shapes))

    def cut_crops(self, image_bgr: Image, init_shapes: Sequence[Floats]) -> FaceCrops:
        """What the network sees of a picture around init shapes, (68, 2) picture pixels each."""
        return cut_crops(self.model.frame, image_bgr, init_shapes)

    def align_crops(self, faces: FaceCrops) -> AlignedShapes:
        """Place landmarks in crops, of one picture or of several; each face's are in the pixels of its own picture."""
        return align_crops(self.model, faces)


_WAITING = 64
"""Pictures of `align_many` whose faces may wait for others."""


def _read(image: Any, source: str | None) -> tuple[NDArray[np.uint8], str | None]:
    """The picture as an array, and its path where there is one."""
    if isinstance(image, str | os.PathLike):
        return read_image(image), source or os.fspath(image)
    return check_image(image), source


@dataclass(frozen=True, eq=False)
class PictureResult:
    """A record, and the picture it is of: (H, W, 3) uint8 BGR, upright; None where it could not be read."""

    record: FrameResult
    image: Image | None


def align_pictures(
    paths: Iterable[str],
    aligner: Aligner,
    *,
    max_pixels: int = MAX_PIXELS,
    pose: PoseEstimator | None = None,
    quality: bool = False,
) -> Iterator[PictureResult]:
    """Align each picture in turn. A picture that fails gives a record with status "error", and the others go on.

    paths: files, or "-" for standard input. pose: what gives faces their pose; None: they get none. quality: whether
    they get the quality of their picture.
    """
    for path in paths:
        yield _align_picture(path, aligner, max_pixels, pose, quality)


def _align_picture(
    path: str, aligner: Aligner, max_pixels: int, pose: PoseEstimator | None, quality: bool
) -> PictureResult:
    used = {"detector": aligner.detector.name, "model": aligner.model.name, "provider": aligner.model.provider}
    image, facts = None, dict[str, Any](used)
    try:
        picture = read_picture(path, max_pixels=max_pixels)
        image = picture.image
        facts |= {"height": image.shape[0], "width": image.shape[1], "warning": picture.warning}
        found = aligner.align_all(image, path)
    except (InputError, MemoryError) as error:
        return PictureResult(FrameResult.of_error(path, str(error) or "out of memory", **facts), image)
    faces = confident(found, aligner.min_confidence)
    facts["left_out"] = len(found) - len(faces)
    if pose is not None:
        faces = pose(faces, image.shape[1], image.shape[0])
    if quality:
        faces = with_quality(image, faces)
    return PictureResult(FrameResult.of_faces(path, faces, **facts), image)
