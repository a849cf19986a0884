"""Aligner: where a face is must not matter for what its landmarks are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from astronaut import FACE

import facealign_cli
from facealign_cli.aligner import Aligner, align_pictures
from facealign_cli.boxes import BBox, BoxCalibration, Detection
from facealign_cli.detectors import DetectorOptions
from facealign_cli.errors import InputError
from facealign_cli.files.pictures import write_image
from facealign_cli.geometry import CropFrame, bbox_of_shape, init_shape_from_bbox
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.metrics import nme
from facealign_cli.models.dan import DanModel, DanPrediction
from facealign_cli.models.registry import load_model
from facealign_cli.placing import (
    align_crops,
    cut_crops,
)


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


def test_a_model_that_does_not_say_gives_no_sigma(
    aligner: Aligner, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = DanModel.predict
    silent = lambda model, crops: replace(said := predict(model, crops), sigma=np.full_like(said.sigma, np.nan))  # noqa: E731
    monkeypatch.setattr(DanModel, "predict", silent)
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


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        ([MEAN_SHAPE, MEAN_SHAPE[17:]], r"init_shapes\[1\]: expected \(68, 2\) numbers, got \(51, 2\)"),
        (MEAN_SHAPE, r"init_shapes\[0\]: expected \(68, 2\) numbers, got \(2,\)"),
        ([None], r"init_shapes\[0\]: .*, got NoneType"),
        ([MEAN_SHAPE * np.nan], r"init_shapes\[0\]: expected finite numbers"),
        ([MEAN_SHAPE * 0], r"init_shapes\[0\]: .* got a line"),
        (None, "init_shapes: expected a list of .*, got NoneType"),
    ],
)
def test_init_shapes_that_are_no_faces(aligner: Aligner, shapes: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        aligner.align_shapes(np.zeros((99, 99, 3), np.uint8), shapes)  # type: ignore[arg-type]


def test_boxes_in_shares_of_the_picture(aligner: Aligner) -> None:
    with pytest.raises(InputError, match=r"boxes\[0\]: bbox: expected pixels, got fractions of one"):
        aligner.align_boxes(np.zeros((99, 99, 3), np.uint8), [(0.2, 0.2, 0.7, 0.8)])


def test_a_loaded_model_is_taken_as_it_is() -> None:
    model = load_model()
    assert Aligner(model).model is model


class NextToNothing:
    """Finds the face, and a box without one."""

    name, calibration = "next to nothing", BoxCalibration()

    def detect(self, image: np.ndarray, source: str | None = None) -> list[Detection]:
        return [Detection(BBox(20, 300, 120, 400), 0.95), FACE]


def test_faces_of_little_confidence_are_left_out_and_counted(
    aligner: Aligner, astronaut: np.ndarray, tmp_path: Path
) -> None:
    picky = Aligner(aligner.model, NextToNothing())
    (face,) = picky.align(astronaut)
    assert (face.face_id, face.bbox) == (0, FACE.bbox)
    assert [len(faces) for faces in picky.align_many([astronaut, astronaut])] == [1, 1]
    assert len(Aligner(aligner.model, NextToNothing(), min_confidence=0).align(astronaut)) == 2
    assert Aligner(aligner.model, NextToNothing(), min_confidence=1).align(astronaut) == []
    write_image(tmp_path / "a.png", astronaut)
    (result,) = align_pictures([str(tmp_path / "a.png")], picky)
    assert (len(result.record.faces), result.record.left_out) == (1, 1)


def test_given_boxes_all_get_landmarks(aligner: Aligner, astronaut: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text('{"a.png": [[20, 300, 120, 400]]}')
    given = Aligner(aligner.model, "boxes", options=DetectorOptions(boxes_file=tmp_path / "b.json"))
    (face,) = given.align(astronaut, "a.png")
    assert face.confidence < 0.5
    assert face.doubtful


def test_min_confidence_is_a_probability(aligner: Aligner) -> None:
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="min_confidence: expected 0 to 1"):
            Aligner(aligner.model, min_confidence=wrong)


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"threads": 3}, "threads: the model is loaded already, with 1, and not with 3"),
        ({"device": "cuda"}, "device: the model is loaded already, with 'auto', and not with 'cuda'"),
        ({"detector": NextToNothing(), "options": DetectorOptions()}, "options: they are for a detector's name"),
    ],
)
def test_what_would_have_no_effect_is_refused(aligner: Aligner, wishes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Aligner(aligner.model, **wishes)
    assert Aligner(aligner.model, device="cpu", threads=1).model is aligner.model  # as it is loaded
