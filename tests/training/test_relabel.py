"""Rough labels averaged with a model's: offsets taken out, bad faces left out, the rest of the pack as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from facealign_cli.errors import InputError
from facealign_cli.geometry import CropFrame
from facealign_cli.landmarks import MIRROR_ORDER
from facealign_cli.metrics import nme
from facealign_cli.models.dan import DanPrediction
from facealign_cli.training.augmentation import Augmentation
from facealign_cli.training.pack import FORMAT, Pack, read_pack
from facealign_cli.training.relabel import opinion, opinions, relabel_pack


class InitModel:
    """Says that the face is where the init shape was."""

    def __init__(self, confidence: float = 1.0) -> None:
        self.frame = CropFrame(64)
        self.confidence = confidence
        self.crops: list[np.ndarray] = []

    def predict(self, crops: np.ndarray) -> DanPrediction:
        """The frame's mean shape for every crop."""
        self.crops.append(crops)
        shapes = np.repeat(self.frame.shape[None], len(crops), axis=0).astype(np.float32)
        return DanPrediction(shapes, shapes, np.full(len(crops), self.confidence, np.float32))


def write(path: Path, pack: Pack) -> Path:
    import cv2

    with h5py.File(path, "w") as file:
        file.attrs.update({"format": FORMAT, "size": pack.images.shape[1], "context": 3.0})
        jpeg = file.create_dataset("jpeg", (len(pack),), dtype=h5py.vlen_dtype(np.uint8))
        for i, image in enumerate(pack.images):
            jpeg[i] = cv2.imencode(".jpg", image)[1].ravel()
        for column in ("landmarks", "bbox", "rough", "held_out", "weights", "yaw", "points"):
            file[column] = getattr(pack, column)
        file.create_dataset("name", data=pack.names, dtype=h5py.string_dtype())
    return path


@pytest.fixture
def upright() -> Pack:
    """Twelve faces of the mean shape's form, six of them rough: four frames of one person, two of another."""
    shape = CropFrame(96, 1 / 3).shape.astype(np.float32)
    rng = np.random.default_rng(0)
    landmarks = shape + rng.normal(0, 8, (12, 1, 2)).astype(np.float32)
    names = (
        [f"lfpw:{i}.jpg" for i in range(6)]
        + [f"ytf:A_B_{i}.jpg" for i in range(4)]
        + ["ytf:C_D_0.jpg", "ytf:C_D_1.jpg"]
    )
    rough = np.array([name.startswith("ytf") for name in names])
    images = rng.integers(0, 255, (12, 96, 96), np.uint8)
    points = np.full((12, 5, 2), np.nan, np.float32)
    bbox, yaw = np.full((12, 4), np.nan, np.float32), np.full(12, np.nan, np.float32)
    return Pack(images, landmarks, bbox, rough, np.arange(12) == 2, np.ones((12, 68), np.float32), yaw, points, names)


def rough_labels(pack: Pack, offset: np.ndarray, noise: float) -> Pack:
    """The pack with a constant offset and noise on the rough faces' labels."""
    change = offset + np.random.default_rng(1).normal(0, noise, pack.landmarks.shape)
    return replace(
        pack, landmarks=np.where(pack.rough[:, None, None], pack.landmarks + change, pack.landmarks).astype(np.float32)
    )


def test_offset_goes_and_noise_halves(tmp_path: Path, upright: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a model that is always right."""
    given = rough_labels(upright, np.array([2.0, -1.5]), 0.4)
    truth = upright.landmarks[6:].astype(float)
    monkeypatch.setattr("facealign_cli.training.relabel.opinion", lambda *_: (truth, np.ones(6)))
    source = write(tmp_path / "a.h5", given)
    report = relabel_pack(source, tmp_path / "b.h5", [SimpleNamespace()], per_photo=9)  # type: ignore[arg-type]
    relabelled = read_pack(tmp_path / "b.h5")
    assert report.sets["ytf"][:2] == (6, 0)
    assert not relabelled.rough.any()
    assert relabelled.names == upright.names
    np.testing.assert_array_equal(relabelled.landmarks[:6], upright.landmarks[:6])
    np.testing.assert_array_equal(relabelled.held_out, upright.held_out)
    before = nme(given.landmarks[6:], upright.landmarks[6:], "inter-pupil")
    after = nme(relabelled.landmarks[6:], upright.landmarks[6:], "inter-pupil")
    assert (after < before / 2).all()


def test_a_person_s_frames_are_thinned_evenly(tmp_path: Path, upright: Pack) -> None:
    model: Any = InitModel()
    relabel_pack(write(tmp_path / "a.h5", upright), tmp_path / "b.h5", [model], per_photo=2)
    kept = [name for name in read_pack(tmp_path / "b.h5").names if name.startswith("ytf")]
    assert kept == ["ytf:A_B_0.jpg", "ytf:A_B_3.jpg", "ytf:C_D_0.jpg", "ytf:C_D_1.jpg"]


def test_a_face_that_model_and_label_see_elsewhere_is_left_out(tmp_path: Path, upright: Pack) -> None:
    landmarks = upright.landmarks.copy()
    landmarks[7] = landmarks[7, ::-1]  # no face looks like this
    source = write(tmp_path / "a.h5", replace(upright, landmarks=landmarks))
    model: Any = InitModel()
    report = relabel_pack(source, tmp_path / "b.h5", [model])
    assert report.sets["ytf"][:2] == (5, 1)
    assert upright.names[7] not in read_pack(tmp_path / "b.h5").names


def test_faces_the_model_does_not_believe_in_are_left_out(tmp_path: Path, upright: Pack) -> None:
    model: Any = InitModel(confidence=0.2)
    report = relabel_pack(write(tmp_path / "a.h5", upright), tmp_path / "b.h5", [model])
    assert report.sets["ytf"][:2] == (0, 6)
    assert len(read_pack(tmp_path / "b.h5")) == 6


def test_hand_made_labels_take_the_models_share(tmp_path: Path, upright: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models, one that sees all points 3 px further right and one 1 px: their mean counts, on training faces."""

    def seen(model: Any, images: Any, given: np.ndarray, *_: Any) -> tuple[np.ndarray, np.ndarray]:
        return given + np.array([model.shift, 0.0]), np.ones(len(given))

    monkeypatch.setattr("facealign_cli.training.relabel.opinion", seen)
    models: Any = [SimpleNamespace(shift=3.0), SimpleNamespace(shift=1.0)]
    report = relabel_pack(write(tmp_path / "a.h5", upright), tmp_path / "b.h5", models, hand=0.25, per_photo=9)
    moved = read_pack(tmp_path / "b.h5").landmarks - upright.landmarks
    by_hand = ~upright.rough & ~upright.held_out
    assert report.sets["by hand"][:2] == (5, 0)
    assert report.sets["held out"][0] == 0
    assert report.sets["held out"][2] == pytest.approx(report.sets["by hand"][2], rel=0.2)  # the models' error
    np.testing.assert_allclose(moved[by_hand], np.broadcast_to([0.5, 0.0], (5, 68, 2)), atol=1e-4)
    np.testing.assert_array_equal(moved[upright.held_out], 0)


def test_a_pack_without_rough_faces_can_have_its_hand_made_labels_softened(tmp_path: Path, upright: Pack) -> None:
    source = write(tmp_path / "a.h5", replace(upright, rough=np.zeros(12, bool)))
    model: Any = InitModel()
    assert list(relabel_pack(source, tmp_path / "b.h5", [model], hand=1.0).sets) == ["by hand", "held out"]


def test_a_pack_without_rough_faces_is_refused(tmp_path: Path, upright: Pack) -> None:
    source = write(tmp_path / "a.h5", replace(upright, rough=np.zeros(12, bool)))
    with pytest.raises(InputError, match="no roughly labelled face"):
        relabel_pack(source, tmp_path / "b.h5", [SimpleNamespace()])  # type: ignore[arg-type]


def test_the_opinion_averages_the_face_and_its_mirror_image(upright: Pack) -> None:
    """Half of the crops are of mirrored pictures, and their landmarks come back in the right order and place."""
    model: Any = InitModel()
    shapes, confidence = opinion(model, upright.images[:3], upright.landmarks[:3], 3, np.random.default_rng(2))
    assert len(model.crops) == 1 + 2 * 3
    assert confidence.tolist() == [1, 1, 1]
    difference = nme(shapes, upright.landmarks[:3].astype(float), "inter-pupil")
    assert (difference < 0.15).all()  # the model gives back its perturbed inits; their mean is near the face


def test_mirror_images_are_taken_back_to_the_labels_convention(upright: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that learnt labels which stand to the right says so of a face and of its mirror image alike."""
    images, faces = upright.images[:3], upright.landmarks[:3].astype(float)
    off = np.zeros((3, 1, 2))
    off[:, 0, 0] = Augmentation.label_shift * np.ptp(faces, axis=1).max(axis=1)

    def predict(_model: object, pictures: np.ndarray, _inits: object) -> tuple[np.ndarray, np.ndarray]:
        if np.array_equal(pictures, images):
            return faces + off, np.ones(3)
        assert np.array_equal(pictures, images[:, :, ::-1])
        return ([95, 0] + [-1, 1] * faces)[:, list(MIRROR_ORDER)] + off, np.ones(3)

    monkeypatch.setattr("facealign_cli.training.relabel._predict", predict)
    said, _ = opinions(SimpleNamespace(), images, faces, 2, np.random.default_rng(0))  # type: ignore[arg-type]
    np.testing.assert_allclose(said, np.broadcast_to(faces + off, said.shape), atol=1e-9)


def test_faces_without_labels_are_not_taken_for_hand_made_ones(tmp_path: Path, upright: Pack) -> None:
    held_out, rough = np.arange(12) % 2 == 0, np.zeros(12, bool)
    weights = np.repeat(np.arange(12) < 4, 68).reshape(12, 68).astype(np.float32)
    path = write(tmp_path / "a.h5", replace(upright, rough=rough, held_out=held_out, weights=weights))
    report = relabel_pack(path, tmp_path / "b.h5", [InitModel()], hand=0.5, rounds=1)  # type: ignore[list-item]
    assert report.sets["by hand"][0] == 2
    assert np.array_equal(read_pack(tmp_path / "b.h5").landmarks[4:], read_pack(path).landmarks[4:])
    write(tmp_path / "c.h5", replace(upright, rough=rough, weights=weights * 0))
    with pytest.raises(InputError, match="no labelled face in it to train on"):
        relabel_pack(tmp_path / "c.h5", tmp_path / "d.h5", [InitModel()], hand=0.5)  # type: ignore[list-item]
