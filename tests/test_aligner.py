"""Aligner: where a face is must not matter for what its landmarks are."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import facealign_cli
from facealign_cli.aligner import Aligner, align_crops, cut_crops
from facealign_cli.errors import InputError
from facealign_cli.geometry import CropFrame, bbox_of_shape, init_shape_from_bbox
from facealign_cli.metrics import nme
from facealign_cli.models.dan import DanPrediction
from facealign_cli.models.registry import load_model
from facealign_cli.records import BBox, BoxCalibration, Detection

FACE = Detection(BBox(177, 87, 266, 178), 0.9)
"""The astronaut's landmarks box, by eye."""


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    return Aligner()


def error(landmarks: np.ndarray, expected: np.ndarray) -> float:
    return float(nme(landmarks[None], expected[None], "inter-ocular")[0])


def test_the_package_offers_it() -> None:
    assert facealign_cli.Aligner is Aligner
    with pytest.raises(AttributeError, match="Alligner"):
        _ = facealign_cli.Alligner


def test_a_face_that_is_moved_takes_its_landmarks_along(aligner: Aligner, astronaut: np.ndarray) -> None:
    (face,) = aligner.align_boxes(astronaut, [FACE])
    moved = cv2.copyMakeBorder(astronaut, 40, 0, 70, 0, cv2.BORDER_REPLICATE)
    (other,) = aligner.align_boxes(moved, [Detection(BBox(247, 127, 336, 218))])
    np.testing.assert_allclose(other.landmarks, face.landmarks + np.array([70, 40]), atol=0.05)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_a_face_of_another_size(aligner: Aligner, astronaut: np.ndarray, scale: float) -> None:
    (face,) = aligner.align_boxes(astronaut, [FACE])
    resized = cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    box = (np.array(FACE.bbox.xyxy) + 0.5) * scale - 0.5
    (other,) = aligner.align_boxes(resized, [Detection(BBox(*box))])
    assert error(other.landmarks, (face.landmarks + 0.5) * scale - 0.5) < 0.01


def test_faces_come_back_in_order_with_their_boxes(aligner: Aligner, astronaut: np.ndarray) -> None:
    background = Detection(BBox(20, 300, 120, 400), 0.3)
    faces = aligner.align_boxes(astronaut, [background, FACE])
    assert [face.face_id for face in faces] == [0, 1]
    assert [face.bbox for face in faces] == [background.bbox, FACE.bbox]
    assert [face.detector_score for face in faces] == [0.3, 0.9]
    assert faces[0].confidence < 0.5 < faces[1].confidence


def test_the_calibration_leads_to_the_landmarks_box(aligner: Aligner, astronaut: np.ndarray) -> None:
    (face,) = aligner.align_boxes(astronaut, [FACE])
    x1, y1, x2, y2 = FACE.bbox.xyxy
    low = Detection(BBox(x1, y1 + 0.5 * (y2 - y1), x2, y2 + 0.5 * (y2 - y1)))
    (other,) = aligner.align_boxes(astronaut, [low], BoxCalibration(top=-0.5, bottom=-0.5))
    np.testing.assert_allclose(other.landmarks, face.landmarks, atol=1e-6)


def test_detection_finds_the_same_face(aligner: Aligner, astronaut: np.ndarray) -> None:
    (face,) = aligner.align(astronaut)
    assert BBox(*bbox_of_shape(face.landmarks)).iou(FACE.bbox) > 0.8
    (grey,) = aligner.align(cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY))
    assert error(grey.landmarks, face.landmarks) < 0.01


def test_landmarks_as_init_lead_to_themselves(aligner: Aligner, astronaut: np.ndarray) -> None:
    (face,) = aligner.align_boxes(astronaut, [FACE])
    again = aligner.align_shapes(astronaut, [face.landmarks])
    assert again.stage1_landmarks.shape == (1, 68, 2)
    assert error(again.landmarks[0], face.landmarks) < 0.02


class SigmaModel:
    """Says that every point may be off by its number, in crop pixels."""

    frame = CropFrame(160, 0.5)

    def predict(self, crops: np.ndarray) -> DanPrediction:
        shapes = np.repeat(self.frame.shape[None], len(crops), axis=0).astype(np.float32)
        sigma = np.tile(np.arange(68, dtype=np.float32), (len(crops), 1))
        return DanPrediction(shapes, shapes, np.ones(len(crops), np.float32), sigma)


def test_sigma_is_in_the_picture_s_pixels(astronaut: np.ndarray) -> None:
    """A face of 240 pixels in a crop where it has 80: what is a pixel there is three here."""
    model = SigmaModel()
    shape = init_shape_from_bbox([100, 60, 340, 300])
    aligned = align_crops(model, cut_crops(model.frame, astronaut, [shape]))  # type: ignore[arg-type]
    scale = np.ptp(shape, axis=0).max() / np.ptp(model.frame.shape, axis=0).max()
    assert 2.5 < scale < 3.5
    np.testing.assert_allclose(aligned.sigma[0], np.arange(68) * scale, rtol=1e-6)
    face = aligned.face(0, 4, FACE)
    assert face.sigma is not None
    np.testing.assert_allclose(face.sigma, aligned.sigma[0])
    assert (face.face_id, face.bbox, face.confidence) == (4, FACE.bbox, 1.0)


def test_a_model_that_does_not_say_gives_no_sigma(aligner: Aligner, astronaut: np.ndarray) -> None:
    (face,) = aligner.align_boxes(astronaut, [FACE])
    assert face.sigma is None
    assert np.isnan(aligner.align_shapes(astronaut, [face.landmarks]).sigma).all()


def test_nothing_in_nothing_out(aligner: Aligner, astronaut: np.ndarray) -> None:
    assert aligner.align(np.zeros((64, 64, 3), np.uint8)) == []
    assert aligner.align_boxes(astronaut, []) == []
    assert aligner.align_shapes(astronaut, []).landmarks.shape == (0, 68, 2)


def test_boxes_outside_the_picture_are_no_error(aligner: Aligner, astronaut: np.ndarray) -> None:
    (face,) = aligner.align_boxes(astronaut, [Detection(BBox(-5000, -5000, -4900, -4900))])
    assert face.confidence < 0.5


def test_another_array_is_an_input_error(aligner: Aligner) -> None:
    with pytest.raises(InputError):
        aligner.align(np.zeros((64, 64, 3), np.float32))


def test_a_loaded_model_is_taken_as_it_is() -> None:
    model = load_model()
    assert Aligner(model).model is model
