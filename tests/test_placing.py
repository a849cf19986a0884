"""Placing landmarks: init shapes turned in their boxes, faces tried from other turns, what a detector is unsure of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astronaut import FACE

from facealign_cli.aligner import Aligner
from facealign_cli.boxes import BBox, BoxCalibration, Detection
from facealign_cli.detectors import DetectorOptions, create_detector
from facealign_cli.geometry import CropFrame, SimilarityTransform, bbox_of_shape
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.metrics import nme
from facealign_cli.models.dan import DanPrediction
from facealign_cli.placing import (
    FaceCrops,
    FoundFaces,
    align_crops,
    cut_crops,
    init_shapes,
    place_landmarks,
    turned_init_shape,
)


@pytest.mark.parametrize("quarters", range(4))
def test_any_roll_places_landmarks_on_faces_that_lie_or_stand_on_their_head(
    quarters: int, aligner: Aligner, astronaut: np.ndarray
) -> None:
    (face,) = aligner.align(astronaut)
    x, y = face.landmarks.T
    expected = np.stack([(x, y), (y, 511 - x), (511 - x, 511 - y), (511 - y, x)][quarters], axis=1)
    turned = np.ascontiguousarray(np.rot90(astronaut, quarters))
    (other,) = Aligner(aligner.model, options=DetectorOptions(any_roll=True)).align(turned)
    np.testing.assert_allclose(other.landmarks, expected, atol=0.1)
    assert other.confidence > 0.9


@pytest.mark.parametrize("roll", [0.0, 30.0, 90.0, -90.0, 170.0])
def test_the_init_shape_is_turned_in_its_box(roll: float) -> None:
    """A box twice as high as wide around a face that leans: its middle moves as the calibration says, upright."""
    calibration = BoxCalibration(left=0.1, top=0.3, right=0.0, bottom=0.0)
    box = BBox(100, 200, 140, 240)
    shape = turned_init_shape(box, calibration, roll)
    fit = SimilarityTransform.estimate(MEAN_SHAPE, shape)
    assert (fit.angle_deg - roll + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)
    middle = {0.0: (122, 226), 30.0: (122, 226), 90.0: (114, 222), -90.0: (126, 218), 170.0: (118, 214)}[roll]
    upright = SimilarityTransform.from_parts(angle_deg=-roll, center=middle).apply(shape)
    x1, y1, x2, y2 = bbox_of_shape(upright)
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx(middle, abs=1e-6)


def test_the_most_confident_of_several_rolls_counts(aligner: Aligner, astronaut: np.ndarray) -> None:
    (expected,) = aligner.align_boxes(astronaut, [FACE])
    unsure = Detection(FACE.bbox, 0.9, rolls=(180.0, 0.0, 90.0))
    for faces in (
        aligner.align_boxes(astronaut, [unsure]),
        aligner.align_boxes(astronaut, [Detection(BBox(20, 300, 120, 400), 0.3, (0.0, 90.0)), unsure, FACE])[1:],
    ):
        for face in faces:
            np.testing.assert_allclose(face.landmarks, expected.landmarks, atol=0.05)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_doubtful_face_is_tried_from_the_other_quarter_turns(
    quarters: int, aligner: Aligner, astronaut: np.ndarray
) -> None:
    """A detector that says upright of a head that is not: the result is the same as if it had said how it stands."""
    turned = np.ascontiguousarray(np.rot90(astronaut, quarters))
    (detection,) = create_detector("yunet", any_roll=True).detect(turned)
    roll = {1: -90.0, 2: 180.0, 3: 90.0}[quarters]
    (known,) = aligner.align_boxes(turned, [replace(detection, rolls=(roll,))], aligner.detector.calibration)
    (found,) = aligner.align_boxes(turned, [replace(detection, rolls=(0.0,))], aligner.detector.calibration)
    assert found.confidence > 0.9
    assert nme(found.landmarks[None], known.landmarks[None], "inter-pupil")[0] < 0.01  # its crop is interpolated twice
    assert found.sigma is not None
    assert known.sigma is not None
    assert np.median(found.sigma / known.sigma) == pytest.approx(1, abs=0.1)


def test_other_turns_count_only_beyond_doubt(aligner: Aligner, astronaut: np.ndarray) -> None:
    nothing = Detection(BBox(20, 300, 120, 400), 0.3)
    crops = cut_crops(aligner.model.frame, astronaut, init_shapes([nothing], BoxCalibration()))
    (face,) = aligner.align_boxes(astronaut, [nothing])
    assert face.doubtful
    np.testing.assert_allclose(face.landmarks, align_crops(aligner.model, crops).landmarks[0], atol=0.05)


class SaysWhatItIsTold:
    """Stands for a network: a crop's confidence is its first pixel, in hundredths; it counts the crops that it sees."""

    frame = CropFrame(16)

    def __init__(self) -> None:
        self.seen: list[int] = []

    def padded_to(self, _size: int) -> SaysWhatItIsTold:
        return self

    def predict(self, crops: np.ndarray) -> DanPrediction:
        self.seen.append(len(crops))
        shapes = np.tile(self.frame.shape, (len(crops), 1, 1))
        return DanPrediction(shapes, shapes, crops[:, 0, 0, 0] / 100)


def picture_of(*confidences: float, rolls: tuple[float, ...] = (0.0,)) -> FoundFaces:
    crops = np.zeros((len(confidences) * len(rolls), 1, 16, 16), np.uint8)
    crops[:, 0, 0, 0] = np.repeat(np.array(confidences) * 100, len(rolls))
    crops[:, 0, 0, -1] = 95  # where a quarter turn's first pixel comes from
    same = SimilarityTransform(1.0, 0.0, 0.0, 0.0)
    box = Detection(BBox(*bbox_of_shape(CropFrame(16).shape)), 0.9, rolls)
    return FoundFaces((box,) * len(confidences), FaceCrops(crops, (same,) * len(crops)), BoxCalibration())


@pytest.mark.parametrize(
    ("pictures", "again"),
    [
        ([()], 0),
        ([(0.95, 0.81)], 0),
        ([(0.95, 0.2)], 0),  # beside a sure face, only what is half believed
        ([(0.95, 0.6)], 1),
        ([(0.2, 0.1)], 2),
        ([(0.95,), (0.2,), ()], 1),  # each picture for itself
    ],
)
def test_which_faces_are_tried_from_other_turns(pictures: list[tuple[float, ...]], again: int) -> None:
    network = SaysWhatItIsTold()
    place_landmarks(network, [picture_of(*confidences) for confidences in pictures])  # type: ignore[arg-type]
    assert network.seen == [sum(map(len, pictures)), *([3 * again] if again else [])]


def test_the_result_from_another_turn_goes_to_its_own_face() -> None:
    network = SaysWhatItIsTold()
    ((sure, turned),) = place_landmarks(network, [picture_of(0.92, 0.6)])  # type: ignore[arg-type]
    assert (sure.confidence, turned.confidence) == pytest.approx((0.92, 0.95))
    assert not np.allclose(turned.landmarks, sure.landmarks)


def test_faces_that_were_tried_from_all_turns_are_not_tried_again() -> None:
    network = SaysWhatItIsTold()
    ((face,),) = place_landmarks(network, [picture_of(0.3, rolls=(0.0, 90.0))])  # type: ignore[arg-type]
    assert face.confidence == pytest.approx(0.3)
    assert network.seen == [2]


def unsure(picture: FoundFaces, *numbers: int, apart: float = 100.0) -> FoundFaces:
    """The same with detections that the detector is unsure of, and with faces so many pixels apart."""
    marked = tuple(replace(d, unsure=i in numbers) for i, d in enumerate(picture.detections))
    places = tuple(SimilarityTransform(1.0, 0.0, apart * i, 0.0) for i in range(len(marked)))
    return replace(picture, detections=marked, crops=FaceCrops(picture.crops.crops, places))


def test_what_the_detector_is_unsure_of_counts_only_beyond_doubt() -> None:
    """Neither is it tried from other turns. The others' numbers have no gap, and each picture keeps its own faces."""
    network = SaysWhatItIsTold()
    pictures = [unsure(picture_of(0.95, 0.89, 0.2, 0.91), 1, 2, 3), unsure(picture_of(0.7), 0), picture_of(0.85)]
    placed = place_landmarks(network, pictures)  # type: ignore[arg-type]
    assert [[(f.face_id, round(f.confidence, 2)) for f in faces] for faces in placed] == [
        [(0, 0.95), (1, 0.91)],
        [],
        [(0, 0.85)],
    ]
    assert network.seen == [6]


def test_what_the_detector_is_unsure_of_is_no_second_face_in_the_same_place() -> None:
    width = np.ptp(CropFrame(16).shape[:, 0])
    for apart, count in ((0.0, 1), (0.4 * width, 1), (0.45 * width, 2)):  # an IoU of 1, 0.43 and 0.38
        picture = unsure(picture_of(0.95, 0.95), 1, apart=apart)
        (faces,) = place_landmarks(SaysWhatItIsTold(), [picture])  # type: ignore[arg-type]
        assert len(faces) == count
    (both,) = place_landmarks(SaysWhatItIsTold(), [unsure(picture_of(0.95, 0.95), apart=0.0)])  # type: ignore[arg-type]
    assert len(both) == 2  # of these the detector is sure
