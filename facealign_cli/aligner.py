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
from facealign_cli.detectors.base import DEFAULT_DETECTOR, check_detector
from facealign_cli.errors import InputError
from facealign_cli.files.pictures import MAX_PIXELS, check_image, read_image, read_picture
from facealign_cli.geometry import CropFrame, SimilarityTransform, bbox_of_shape, init_shape_from_bbox
from facealign_cli.models.dan import DanModel
from facealign_cli.models.registry import load_model
from facealign_cli.pose import PoseEstimator
from facealign_cli.quality import with_quality
from facealign_cli.records import BBox, BoxCalibration, Detection, Face, FrameResult, detections_of

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


@dataclass(frozen=True, eq=False)
class AlignedShapes:
    """landmarks, stage1_landmarks: (N, 68, 2) picture pixels. confidence: (N,), 0 to 1.

    sigma: (N, 68) picture pixels, how far each landmark may be off; NaN where the model does not say.
    """

    landmarks: Floats
    stage1_landmarks: Floats
    confidence: Floats
    sigma: Floats = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.sigma is None:
            object.__setattr__(self, "sigma", np.full(self.landmarks.shape[:2], np.nan))

    def face(self, row: int, face_id: int, detection: Detection) -> Face:
        """The record of one of the shapes, found in the detection's box."""
        sigma = self.sigma[row] if np.isfinite(self.sigma[row]).all() else None
        confidence = float(self.confidence[row])
        return Face(face_id, detection.bbox, self.landmarks[row], confidence, detection.score, sigma=sigma)

    def __getitem__(self, faces: slice) -> AlignedShapes:
        """Of some of the faces."""
        return AlignedShapes(
            self.landmarks[faces], self.stage1_landmarks[faces], self.confidence[faces], self.sigma[faces]
        )


@dataclass(frozen=True, eq=False)
class FaceCrops:
    """What the network sees of N faces. crops: (N, 1, S, S) uint8 grey. to_picture: for each, crop → picture pixels."""

    crops: Image
    to_picture: tuple[SimilarityTransform, ...]

    @classmethod
    def joined(cls, parts: Sequence[FaceCrops]) -> FaceCrops:
        """The faces of several pictures, one after the other; at least one part."""
        return cls(np.concatenate([part.crops for part in parts]), tuple(t for part in parts for t in part.to_picture))


@dataclass(frozen=True, eq=False)
class FoundFaces:
    """The faces that were found in a picture, cut out for the network. detections: N of them. crops: as many."""

    detections: tuple[Detection, ...]
    crops: FaceCrops


def cut_crops(frame: CropFrame, image_bgr: Image, init_shapes: Sequence[Floats]) -> FaceCrops:
    """What a network with that frame sees of a picture around init shapes, (68, 2) picture pixels each."""
    image = check_image(image_bgr)
    crops = np.zeros((len(init_shapes), 1, frame.size, frame.size), np.uint8)
    to_picture = []
    for i, shape in enumerate(init_shapes):
        crops[i, 0], transform = frame.crop(image, shape, grey=True)
        to_picture.append(transform.inverse())
    return FaceCrops(crops, tuple(to_picture))


def align_crops(model: DanModel, faces: FaceCrops) -> AlignedShapes:
    """Place landmarks in crops, of one picture or of several; each face's are in the pixels of its own picture."""
    prediction = model.predict(faces.crops)
    matrices = np.array([back.matrix for back in faces.to_picture]).reshape(-1, 2, 3)
    linear, shift = matrices[:, :, :2].transpose(0, 2, 1), matrices[:, None, :, 2]
    landmarks, stage1 = (shapes @ linear + shift for shapes in (prediction.landmarks, prediction.stage1_landmarks))
    sigma = prediction.sigma * np.array([back.scale for back in faces.to_picture]).reshape(-1, 1)
    return AlignedShapes(landmarks, stage1, prediction.confidence.clip(0, 1), sigma)


def init_shapes(detections: Sequence[Detection], calibration: BoxCalibration) -> list[Floats]:
    """(68, 2) where the landmarks of each detection start, as often as it has rolls; `faces_of` chooses."""
    return [turned_init_shape(d.bbox, calibration, roll) for d in detections for roll in d.rolls]


def turned_init_shape(bbox: BBox, calibration: BoxCalibration, roll_deg: float) -> Floats:
    """(68, 2) the init shape in a detector's box around a face that is turned by `roll_deg`, x towards y.

    The calibration holds for upright faces, so it is applied in that quarter turn of the picture in which the face is
    the nearest to upright; the rest of the turn is about the middle of the landmarks' box.
    """
    quarters = round(roll_deg / 90)
    to_upright = SimilarityTransform.from_parts(angle_deg=-90 * quarters)
    upright = BBox(*bbox_of_shape(to_upright.apply(np.array(bbox.xyxy).reshape(2, 2))))
    x1, y1, x2, y2 = calibration.landmarks_bbox(upright).xyxy
    rest = SimilarityTransform.from_parts(angle_deg=roll_deg - 90 * quarters, center=((x1 + x2) / 2, (y1 + y2) / 2))
    return rest.then(to_upright.inverse()).apply(init_shape_from_bbox((x1, y1, x2, y2)))


def faces_of(detections: Sequence[Detection], aligned: AlignedShapes) -> list[Face]:
    """The faces of the detections of one picture; aligned: from their `init_shapes`, the most confident ones count."""
    faces, end = [], 0
    for i, detection in enumerate(detections):
        begin, end = end, end + len(detection.rolls)
        best = begin + int(aligned.confidence[begin:end].argmax())
        faces.append(aligned.face(best, i, detection))
    return faces


def place_landmarks(model: DanModel, pictures: Sequence[FoundFaces]) -> list[list[Face]]:
    """The faces of some pictures, through the network together; a list for each picture, in the detections' order."""
    if not pictures:
        return []
    aligned = align_crops(model, FaceCrops.joined([found.crops for found in pictures]))
    faces, end = [], 0
    for found in pictures:
        begin, end = end, end + len(found.crops.crops)
        faces.append(faces_of(found.detections, aligned[begin:end]))
    return faces


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
        return self.cut_boxes(array, detections_of(self.detector.detect(array, source)), self.detector.calibration)

    def cut_boxes(
        self, image_bgr: Image, detections: Sequence[Detection], calibration: BoxCalibration | None = None
    ) -> FoundFaces:
        """Detections cut out for `place_landmarks`; calibration as in `align_boxes`."""
        shapes = init_shapes(detections, calibration or BoxCalibration())
        return FoundFaces(tuple(detections), self.cut_crops(image_bgr, shapes))

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
