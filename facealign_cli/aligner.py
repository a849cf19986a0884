"""Aligner: from a picture to faces with landmarks. Detector → box → init shape → crop → DAN → picture coordinates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facealign_cli.detectors import Detector, DetectorOptions, create_detector
from facealign_cli.detectors.base import DEFAULT_DETECTOR
from facealign_cli.errors import InputError
from facealign_cli.files.pictures import MAX_PIXELS, check_image, read_image
from facealign_cli.geometry import CropFrame, SimilarityTransform, init_shape_from_bbox
from facealign_cli.models.dan import DanModel
from facealign_cli.models.registry import load_model
from facealign_cli.records import BoxCalibration, Detection, Face, FrameResult


@dataclass(frozen=True, eq=False)
class AlignedShapes:
    """landmarks, stage1_landmarks: (N, 68, 2) picture pixels. confidence: (N,), 0 to 1.

    sigma: (N, 68) picture pixels, how far each landmark may be off; NaN where the model does not say.
    """

    landmarks: np.ndarray
    stage1_landmarks: np.ndarray
    confidence: np.ndarray
    sigma: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.sigma is None:
            object.__setattr__(self, "sigma", np.full(self.landmarks.shape[:2], np.nan))

    def face(self, row: int, face_id: int, detection: Detection) -> Face:
        """The record of one of the shapes, found in the detection's box."""
        sigma = self.sigma[row] if np.isfinite(self.sigma[row]).all() else None
        confidence = float(self.confidence[row])
        return Face(face_id, detection.bbox, self.landmarks[row], confidence, detection.score, sigma=sigma)


@dataclass(frozen=True, eq=False)
class FaceCrops:
    """What the network sees of N faces. crops: (N, 1, S, S) uint8 grey. to_picture: for each, crop → picture pixels."""

    crops: np.ndarray
    to_picture: tuple[SimilarityTransform, ...]

    @classmethod
    def joined(cls, parts: Sequence[FaceCrops]) -> FaceCrops:
        """The faces of several pictures, one after the other; at least one part."""
        return cls(np.concatenate([part.crops for part in parts]), tuple(t for part in parts for t in part.to_picture))


def cut_crops(frame: CropFrame, image_bgr: np.ndarray, init_shapes: Sequence[np.ndarray]) -> FaceCrops:
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


class Aligner:
    """Finds faces and places their landmarks.

    model: a shipped model's name, an .onnx file, a loaded DanModel, or None for the default.
    detector: a detector's name or a Detector. options: the detector's, where it is given by name.
    device: "auto", "cpu", "cuda" or "cuda:N", for the landmark network. threads: within an operator.
    Raises InputError for unknown names, ModelError, DeviceError, MissingDependency.
    """

    def __init__(
        self,
        model: str | Path | DanModel | None = None,
        detector: str | Detector = DEFAULT_DETECTOR,
        *,
        options: DetectorOptions | None = None,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        self.model = model if isinstance(model, DanModel) else load_model(model, device=device, threads=threads)
        self.detector = create_detector(detector, options) if isinstance(detector, str) else detector

    def align(self, image_bgr: np.ndarray, source: str | None = None) -> list[Face]:
        """The faces of one picture, best detector score first; an empty list where there is none.

        image_bgr: (H, W, 3) uint8 BGR or (H, W) uint8 grey. source: the picture's path, for the detector `boxes`.
        Raises InputError for another kind of array.
        """
        detections = self.detector.detect(image_bgr, source)
        return self.align_boxes(image_bgr, detections, self.detector.calibration)

    def align_boxes(
        self, image_bgr: np.ndarray, detections: Sequence[Detection], calibration: BoxCalibration | None = None
    ) -> list[Face]:
        """Place landmarks in boxes that are known already.

        calibration: from these boxes to the tight box of the landmarks; None: they are that box.
        """
        calibration = calibration or BoxCalibration()
        shapes = [init_shape_from_bbox(calibration.landmarks_bbox(d.bbox).xyxy) for d in detections]
        aligned = self.align_shapes(image_bgr, shapes)
        return [aligned.face(i, i, detection) for i, detection in enumerate(detections)]

    def align_shapes(self, image_bgr: np.ndarray, init_shapes: Sequence[np.ndarray]) -> AlignedShapes:
        """Place landmarks around init shapes, (68, 2) picture pixels each, such as the last frame's landmarks."""
        return self.align_crops(self.cut_crops(image_bgr, init_shapes))

    def cut_crops(self, image_bgr: np.ndarray, init_shapes: Sequence[np.ndarray]) -> FaceCrops:
        """What the network sees of a picture around init shapes, (68, 2) picture pixels each."""
        return cut_crops(self.model.frame, image_bgr, init_shapes)

    def align_crops(self, faces: FaceCrops) -> AlignedShapes:
        """Place landmarks in crops, of one picture or of several; each face's are in the pixels of its own picture."""
        return align_crops(self.model, faces)


@dataclass(frozen=True, eq=False)
class PictureResult:
    """A record, and the picture it is of: (H, W, 3) uint8 BGR, upright; None where it could not be read."""

    record: FrameResult
    image: np.ndarray | None


def align_pictures(paths: Iterable[str], aligner: Aligner, *, max_pixels: int = MAX_PIXELS) -> Iterator[PictureResult]:
    """Align each picture in turn. A picture that fails gives a record with status "error", and the others go on.

    paths: files, or "-" for standard input.
    """
    for path in paths:
        yield _align_picture(path, aligner, max_pixels)


def _align_picture(path: str, aligner: Aligner, max_pixels: int) -> PictureResult:
    used = {"detector": aligner.detector.name, "model": aligner.model.name, "provider": aligner.model.provider}
    image = None
    try:
        image = read_image(path, max_pixels=max_pixels)
        faces = aligner.align(image, path)
    except (InputError, MemoryError) as error:
        size = {} if image is None else {"height": image.shape[0], "width": image.shape[1]}
        return PictureResult(FrameResult.of_error(path, str(error) or "out of memory", **used, **size), image)
    height, width = image.shape[:2]
    return PictureResult(FrameResult.of_faces(path, faces, width=width, height=height, **used), image)
