"""From faces that were found to landmarks: init shapes, crops, the network, and back to the picture's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facealign_cli.arrays import Floats, Image
from facealign_cli.files.pictures import check_image
from facealign_cli.geometry import CropFrame, SimilarityTransform, bbox_of_shape, init_shape_from_bbox
from facealign_cli.models.dan import DanModel
from facealign_cli.records import BBox, BoxCalibration, Detection, Face


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
