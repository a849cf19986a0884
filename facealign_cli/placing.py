"""From faces that were found to landmarks: init shapes, crops, the network, and back to the picture's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facealign_cli.arrays import Floats, Image
from facealign_cli.boxes import BBox, BoxCalibration, Detection
from facealign_cli.files.picture_arrays import check_image
from facealign_cli.geometry import CropFrame, SimilarityTransform, init_shape_from_bbox, warp
from facealign_cli.models.dan import DanModel
from facealign_cli.records import DOUBTFUL, Face


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

    def __getitem__(self, faces: Sequence[int]) -> AlignedShapes:
        """Copies of some of the faces."""
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
    """The faces that were found in a picture, cut out for the network.

    detections: N of them. crops: one for each of their rolls. calibration: from their boxes to the landmarks' boxes.
    """

    detections: tuple[Detection, ...]
    crops: FaceCrops
    calibration: BoxCalibration


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
    """(68, 2) where the landmarks of each detection start, as often as it has rolls; `place_shapes` chooses."""
    return [turned_init_shape(d.bbox, calibration, roll) for d in detections for roll in d.rolls]


def turned_init_shape(bbox: BBox, calibration: BoxCalibration, roll_deg: float) -> Floats:
    """(68, 2) the init shape in a detector's box around a face that is turned by `roll_deg`, x towards y.

    The calibration holds for upright faces, so it is applied in that quarter turn of the picture in which the face is
    the nearest to upright; the rest of the turn is about the middle of the landmarks' box.
    """
    quarters = round(roll_deg / 90)
    to_upright = SimilarityTransform.from_parts(angle_deg=-90 * quarters)
    upright = BBox.around(to_upright.apply(np.array(bbox.xyxy).reshape(2, 2)))
    x1, y1, x2, y2 = calibration.landmarks_bbox(upright).xyxy
    rest = SimilarityTransform.from_parts(angle_deg=roll_deg - 90 * quarters, center=((x1 + x2) / 2, (y1 + y2) / 2))
    return rest.then(to_upright.inverse()).apply(init_shape_from_bbox((x1, y1, x2, y2)))


def place_landmarks(model: DanModel, pictures: Sequence[FoundFaces]) -> list[list[Face]]:
    """The faces of some pictures, through the network together; a list for each picture, in the detections' order.

    What a detector was unsure of is left out unless its landmarks are beyond doubt and lie on no face before it.
    """
    if not pictures:
        return []
    shapes, faces, row = place_shapes(model, pictures), [], 0
    for found in pictures:
        kept: list[Face] = []
        for i, detection in enumerate(found.detections, row):
            face = shapes.face(i, len(kept), detection)
            is_double = detection.unsure and any(_is_same(face, other) for other in kept)
            if counts(detection, face.confidence) and not is_double:
                kept.append(face)
        faces.append(kept)
        row += len(found.detections)
    return faces


def counts(detection: Detection, confidence: float) -> bool:
    """Whether a detection is a face, by the confidence of its landmarks: what is unsure has to be beyond doubt."""
    return not detection.unsure or confidence >= DOUBTFUL


def _is_same(face: Face, other: Face) -> bool:
    """Whether the landmarks of two faces lie in the same place."""
    box, another = (BBox.around(one.landmarks) for one in (face, other))
    return box.iou(another) > 0.4


def place_shapes(model: DanModel, pictures: Sequence[FoundFaces]) -> AlignedShapes:
    """One shape for each detection of one or more pictures: of those from its init shapes the most confident one.

    A face of little confidence may lie on its side or stand on its head: detectors find some of these, and call them
    upright. So it is tried from the three other quarter turns, too (`_worth_another_look`); what comes out beyond doubt
    takes the place of the first result.
    """
    faces = FaceCrops.joined([found.crops for found in pictures])
    aligned = align_crops(model, faces)
    counts = [len(detection.rolls) for found in pictures for detection in found.detections]
    starts = np.cumsum([0, *counts])[:-1]
    best = [i + int(aligned.confidence[i : i + n].argmax()) for i, n in zip(starts, counts, strict=True)]
    shapes = aligned[best]
    again = _worth_another_look(pictures, shapes.confidence)
    if again:
        crops = [turned_crops(model.frame, found, one, faces, starts[row]) for row, found, one in again]
        # three at a time: a face's result does not depend on which others are doubtful
        turned = align_crops(model.padded_to(len(TURNS)), FaceCrops.joined(crops))
        _take_sure_ones(shapes, [row for row, _, _ in again], turned)
    return shapes


def _worth_another_look(pictures: Sequence[FoundFaces], confidence: Floats) -> list[tuple[int, FoundFaces, Detection]]:
    """The faces that are tried from the other quarter turns, with their rows.

    A face that is hardly believed at all is mostly none, or a head behind the others, and three more crops take four
    times as long as the first; so it is looked at again only where its picture has no sure face.
    """
    again, end = [], 0
    for found in pictures:
        begin, end = end, end + len(found.detections)
        none_is_sure = not (confidence[begin:end] >= LOOK_AGAIN).any()
        for row, detection in enumerate(found.detections, begin):
            if (
                len(detection.rolls) == 1
                and not detection.unsure
                and (none_is_sure or confidence[row] >= HARDLY)
                and confidence[row] < LOOK_AGAIN
            ):
                again.append((row, found, detection))
    return again


LOOK_AGAIN = 0.8
"""Below this confidence a face may be turned. Of 137 upside-down training faces that YuNet finds, 96 % are below it, of
907 upright ones none. Below 0.9 all of the first would be, but pictures with several faces would take twice as many
looks.
"""
HARDLY = 0.5
"""Below this confidence a face is hardly believed at all."""
TURNS = (90.0, 180.0, 270.0)
"""Degrees by which a doubtful face is turned."""


def turned_crops(frame: CropFrame, found: FoundFaces, detection: Detection, faces: FaceCrops, row: int) -> FaceCrops:
    """A detection's crop, which stands in that row, from the other quarter turns. The picture is no longer needed."""
    crop, to_picture = faces.crops[row, 0], faces.to_picture[row]
    from_picture, crops, back = to_picture.inverse(), [], []
    for turn in TURNS:
        shape = turned_init_shape(detection.bbox, found.calibration, detection.rolls[0] + turn)
        transform = frame.transform_from(from_picture.apply(shape))
        crops.append(warp(crop, transform, frame.size))
        back.append(transform.inverse().then(to_picture))
    return FaceCrops(np.stack(crops)[:, None], tuple(back))


def _take_sure_ones(shapes: AlignedShapes, rows: Sequence[int], turned: AlignedShapes) -> None:
    """Write the most confident of each row's turned results over it, where it is beyond doubt."""
    best = turned.confidence.reshape(-1, len(TURNS)).argmax(axis=1)
    for number, row in enumerate(rows):
        one = number * len(TURNS) + best[number]
        if turned.confidence[one] >= DOUBTFUL:
            for name in ("landmarks", "stage1_landmarks", "confidence", "sigma"):
                getattr(shapes, name)[row] = getattr(turned, name)[one]
