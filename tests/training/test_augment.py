"""Augmented crops: from the seed alone, with the landmarks where the picture shows them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import cv2
import numpy as np
import pytest

from facealign_cli.geometry import CropFrame, SimilarityTransform, bbox_of_shape
from facealign_cli.landmarks import MIRROR_ORDER
from facealign_cli.metrics import nme
from facealign_cli.training.augment import Batch, make_batch, mirrored, perturbed_init
from facealign_cli.training.augmentation import PAPER, Augmentation
from facealign_cli.training.pack import Pack
from tests.training.packs import pack_of

FRAME = CropFrame(64, 0.5)
NONE = Augmentation(**dict.fromkeys((field.name for field in fields(Augmentation)), 0.0))
NOSE, EYE = 30, 36


def batch_of(pack: Pack, augmentation: Augmentation, count: int = 24, seed: int = 0) -> Batch:
    rows = np.arange(count) % len(pack)
    return make_batch(pack, rows, FRAME, augmentation, np.random.default_rng(seed))


def one_blob(index: int) -> Pack:
    """One dark picture of 192 pixels with a blob on one landmark only."""
    shape = SimilarityTransform.from_parts(1, 6, center=(95.5, 95.5)).apply(CropFrame(192, 1 / 3).shape)
    y, x = np.mgrid[:192, :192]
    image = 250 * np.exp(-((x - shape[index, 0]) ** 2 + (y - shape[index, 1]) ** 2) / (2 * 2.5**2))
    return pack_of(image, shape, "blob")


class TestDeterminism:
    def test_same_seed_same_batch(self, tiny_pack: Pack) -> None:
        first, second = (batch_of(tiny_pack, Augmentation()) for _ in range(2))
        np.testing.assert_array_equal(first.crops, second.crops)
        np.testing.assert_array_equal(first.landmarks, second.landmarks)
        np.testing.assert_array_equal(first.has_face, second.has_face)
        np.testing.assert_array_equal(first.aligned, second.aligned)

    def test_another_seed_another_batch(self, tiny_pack: Pack) -> None:
        first, second = (batch_of(tiny_pack, Augmentation(), seed=seed) for seed in (0, 1))
        assert (first.landmarks != second.landmarks).any(axis=(1, 2)).all()

    def test_the_pack_stays_as_it_was(self, tiny_pack: Pack) -> None:
        images, landmarks = tiny_pack.images.copy(), tiny_pack.landmarks.copy()
        batch_of(tiny_pack, replace(Augmentation(), cover=1, noise=1, faceless=0.5))
        np.testing.assert_array_equal(tiny_pack.images, images)
        np.testing.assert_array_equal(tiny_pack.landmarks, landmarks)


class TestMirrored:
    def test_twice_is_nothing(self, tiny_pack: Pack) -> None:
        image, landmarks = mirrored(*mirrored(tiny_pack.images[0], tiny_pack.landmarks[0]))
        np.testing.assert_array_equal(image, tiny_pack.images[0])
        np.testing.assert_allclose(landmarks, tiny_pack.landmarks[0], atol=1e-4)

    def test_each_landmark_takes_its_twins_number(self) -> None:
        image = np.arange(12, dtype=np.uint8).reshape(2, 6)
        landmarks = np.stack([np.arange(68.0), np.arange(68.0) * 2], axis=1)
        flipped_image, flipped = mirrored(image, landmarks)
        assert flipped_image[0].tolist() == [5, 4, 3, 2, 1, 0]
        for i in range(68):
            twin = landmarks[MIRROR_ORDER[i]]
            assert flipped[i].tolist() == [5 - twin[0], twin[1]]

    def test_labels_that_are_off_stay_off_to_the_same_side(self) -> None:
        symmetric = CropFrame(192, 1 / 3).shape
        share = 4 / 64  # the mean shape's extent is 64 pixels here
        _, flipped = mirrored(np.zeros((192, 192), np.uint8), symmetric + np.array([4.0, 0.0]), share)
        np.testing.assert_allclose(flipped, symmetric + np.array([4.0, 0.0]), atol=1e-3)

    def test_a_face_keeps_its_left_on_the_left(self) -> None:
        _, flipped = mirrored(np.zeros((192, 192), np.uint8), one_blob(NOSE).landmarks[0])
        assert flipped[36:42, 0].mean() < flipped[42:48, 0].mean()
        assert flipped[0, 0] < flipped[16, 0]


@pytest.mark.parametrize("index", [NOSE, EYE])
@pytest.mark.parametrize(
    "augmentation",
    [PAPER, replace(PAPER, displaced=1.0), replace(PAPER, stretch_sigma=0.1, shear_sigma=0.1)],
    ids=["perturbed", "displaced", "stretched"],
)
def test_landmarks_follow_the_picture(index: int, augmentation: Augmentation) -> None:
    """The blob lies on the returned landmark, or after a mirror on its twin, wherever it is well inside the crop."""
    pack, seen = one_blob(index), {index: 0, MIRROR_ORDER[index]: 0}
    batch = make_batch(pack, np.zeros(150, int), FRAME, augmentation, np.random.default_rng(2))
    y, x = np.mgrid[:64, :64]
    for crop, landmarks in zip(batch.crops[:, 0].astype(float), batch.landmarks, strict=True):
        if crop.sum() < 500:
            continue
        centroid = np.array([(crop * x).sum(), (crop * y).sum()]) / crop.sum()
        twin = min(seen, key=lambda i: float(np.linalg.norm(landmarks[i] - centroid)))
        if ((landmarks[twin] > 10) & (landmarks[twin] < 53)).all():
            np.testing.assert_allclose(centroid, landmarks[twin], atol=0.1)
            seen[twin] += 1
    assert min(seen.values()) > 15, "both sides should have come up often"


def test_weights_go_with_their_points(tiny_pack: Pack) -> None:
    """A mirrored face's weights are its twins'."""
    weights = np.tile(np.arange(68, dtype=np.float32) / 68, (len(tiny_pack), 1))
    batch = batch_of(replace(tiny_pack, weights=weights), NONE, count=200)
    twins = weights[0][list(MIRROR_ORDER)]
    mirrored_rows = [bool((row == twins).all()) for row in batch.weights]
    assert all(twin or (row == weights[0]).all() for twin, row in zip(mirrored_rows, batch.weights, strict=True))
    assert 75 < sum(mirrored_rows) < 125
    plain = batch_of(tiny_pack, NONE, count=200)
    assert (plain.weights == 1).all()
    np.testing.assert_array_equal(plain.landmarks, batch.landmarks)


def label_offsets(pack: Pack) -> np.ndarray:
    """(16, 2) how far to the right of the blob and below it the nose's label stands, mirrored pictures among them."""
    batch = batch_of(pack, replace(NONE, label_shift=0.05), count=16)
    pictures = batch.crops[:, 0].astype(float)
    centers = [(pictures.sum(axis=axis) * np.arange(64)).sum(axis=1) / pictures.sum(axis=(1, 2)) for axis in (1, 2)]
    return np.asarray(batch.landmarks[:, NOSE] - np.stack(centers, axis=1))


@pytest.mark.parametrize(
    "change", [{"names": ["aflw2000:a.jpg"]}, {"names": ["webmorph:a.jpg"]}, {"rough": np.ones(1, bool)}]
)
def test_labels_without_the_offset_are_taken_over_to_the_convention_of_300w(change: dict[str, Any]) -> None:
    """To the right and down, whether the picture is mirrored or not."""
    np.testing.assert_allclose(label_offsets(replace(one_blob(NOSE), **change)), 0.05 * 32, atol=0.15)


def test_labels_made_by_hand_stay_where_they_are() -> None:
    """This one has no offset: it stays on the blob, and its mirror image, which should have one, is off twice."""
    offsets, below = label_offsets(one_blob(NOSE)).T
    np.testing.assert_allclose(below, 0, atol=0.15)
    mirrored_too = np.abs(offsets - 2 * 0.05 * 32) < 0.15
    np.testing.assert_allclose(offsets[~mirrored_too], 0, atol=0.15)
    assert 0 < mirrored_too.sum() < 16


def test_without_perturbation_the_face_fills_the_frame() -> None:
    batch = batch_of(one_blob(NOSE), NONE, count=6)
    frame_box = bbox_of_shape(FRAME.shape)
    for landmarks in batch.landmarks:
        box = bbox_of_shape(landmarks)
        np.testing.assert_allclose((box[:2] + box[2:]) / 2, 31.5, atol=1e-3)
        np.testing.assert_allclose((box[2:] - box[:2]).sum(), (frame_box[2:] - frame_box[:2]).sum(), rtol=0.02)


def test_a_face_is_stretched_about_the_middle_of_the_crop() -> None:
    batch = batch_of(one_blob(NOSE), replace(NONE, stretch_sigma=0.3), count=12)
    boxes = np.array([bbox_of_shape(landmarks) for landmarks in batch.landmarks])
    np.testing.assert_allclose((boxes[:, :2] + boxes[:, 2:]) / 2, 31.5, atol=1e-3)
    assert np.std(boxes[:, 2] - boxes[:, 0]) > 3 and np.std(boxes[:, 3] - boxes[:, 1]) > 3


def test_perturbation_is_as_strong_as_said() -> None:
    pack = one_blob(NOSE)
    batch = make_batch(pack, np.zeros(400, int), FRAME, PAPER, np.random.default_rng(3))
    back = [SimilarityTransform.estimate(FRAME.shape, landmarks) for landmarks in batch.landmarks]
    # the drawn face itself is turned by 6 degrees one way or, mirrored, the other
    assert np.std([t.angle_deg for t in back]) == pytest.approx(np.hypot(20, 6), rel=0.15)
    assert np.std([np.log(t.scale) for t in back]) == pytest.approx(0.25, rel=0.15)
    size = float((bbox_of_shape(FRAME.shape)[2:] - bbox_of_shape(FRAME.shape)[:2]).mean())
    centers = np.array([(bbox_of_shape(lm)[:2] + bbox_of_shape(lm)[2:]) / 2 for lm in batch.landmarks])
    shifts = (centers - 31.5) / size / np.array([[t.scale] for t in back])
    assert np.median(np.abs(shifts)) == pytest.approx(0.2 * 0.6745, rel=0.2)


def test_a_perturbed_face_is_scaled_about_its_own_middle_and_within_bounds() -> None:
    truth = SimilarityTransform.from_parts(1, 0, (300, 40)).apply(CropFrame(64).shape)
    rng, strong = np.random.default_rng(4), replace(NONE, scale_sigma=1.0)
    boxes = np.array([bbox_of_shape(perturbed_init(truth, strong, rng)) for _ in range(50)])
    np.testing.assert_allclose((boxes[:, :2] + boxes[:, 2:]) / 2, np.tile([331.5, 71.5], (50, 1)))
    scales = (boxes[:, 2] - boxes[:, 0]) / np.ptp(truth[:, 0])
    assert (scales.min(), scales.max()) == pytest.approx((0.55, 1.8), abs=0.05)


SYMMETRIC = [8, 30, 36, 45, 48, 54]
"""Chin, tip of the nose, corners of eyes and mouth: the mirror exchanges them among themselves."""


class TestElastic:
    def pack(self) -> Pack:
        """A bright dot on black at some landmarks of the mean shape."""
        pack = one_blob(NOSE)
        image = np.zeros_like(pack.images[0])
        for x, y in pack.landmarks[0][SYMMETRIC]:
            cv2.circle(image, (round(float(x) * 16), round(float(y) * 16)), 24, 255, -1, cv2.LINE_AA, 4)
        return replace(pack, images=image[None])

    def test_the_landmarks_go_with_the_picture(self) -> None:
        augmentation = replace(NONE, elastic=1.0, elastic_sigma=0.05)
        batch = make_batch(self.pack(), np.zeros(20, int), FRAME, augmentation, np.random.default_rng(8))
        pairs = zip(batch.crops, batch.landmarks[:, SYMMETRIC], strict=True)
        found = [brightness_at(crop[0], points) for crop, points in pairs]
        assert np.median(found) > 150

    def test_it_changes_the_shape(self) -> None:
        rng = np.random.default_rng(9)
        rows, augmentation = np.zeros(20, int), replace(NONE, elastic=1.0, elastic_sigma=0.03)
        landmarks = make_batch(one_blob(NOSE), rows, FRAME, augmentation, rng).landmarks
        plain = make_batch(one_blob(NOSE), rows, FRAME, replace(augmentation, elastic=0.0), rng).landmarks
        left = [min(misfit(shape, other) for other in plain) for shape in landmarks]  # the face or its mirror image
        assert 0.2 < np.median(left) < 1.5  # pixels of a face of 32: 3 % of it is 1
        same = [min(misfit(shape, other) for other in plain if other is not shape) for shape in plain]
        assert max(same) < 1e-3


def brightness_at(crop: np.ndarray, points: np.ndarray) -> np.ndarray:
    return cv2.remap(crop, points.astype(np.float32)[:, None], None, cv2.INTER_LINEAR)[:, 0]


def misfit(shape: np.ndarray, other: np.ndarray) -> float:
    """Mean distance that the best similarity leaves between two shapes, pixels."""
    moved = SimilarityTransform.estimate(shape, other).apply(shape)
    return float(np.linalg.norm(moved - other, axis=1).mean())


class TestKinds:
    def test_shares(self, tiny_pack: Pack) -> None:
        augmentation = replace(PAPER, displaced=0.2, faceless=0.3)
        batch = make_batch(tiny_pack, np.arange(1000) % 24, FRAME, augmentation, np.random.default_rng(4))
        assert (~batch.has_face).mean() == pytest.approx(0.3, abs=0.05)
        assert (batch.has_face & ~batch.aligned).mean() == pytest.approx(0.2, abs=0.05)
        assert not (batch.aligned & ~batch.has_face).any()

    def test_none_of_them(self, tiny_pack: Pack) -> None:
        batch = batch_of(tiny_pack, PAPER)
        assert batch.has_face.all()
        assert batch.aligned.all()

    def test_displaced_is_far_off(self) -> None:
        """The mean shape of the frame, where the network starts, is nowhere near the face."""
        pack = one_blob(NOSE)
        batch = make_batch(pack, np.zeros(100, int), FRAME, replace(PAPER, displaced=1.0), np.random.default_rng(5))
        start = np.broadcast_to(FRAME.shape, batch.landmarks.shape)
        assert nme(start, batch.landmarks, "inter-pupil").min() > 0.3
        offsets = batch.landmarks.mean(axis=1) - FRAME.shape.mean(axis=0)
        angles = np.arctan2(offsets[:, 1], offsets[:, 0])
        assert (np.histogram(angles, 4, (-np.pi, np.pi))[0] > 10).all(), "it goes off to all sides"
        turns = [SimilarityTransform.estimate(FRAME.shape, landmarks).angle_deg for landmarks in batch.landmarks]
        assert np.mean(np.abs(turns)) > 20 and abs(np.mean(turns)) < 15
        assert batch.has_face.all()
        assert not batch.aligned.any()

    def test_faceless_shows_no_face(self) -> None:
        """With the face drawn as one blob: background and texture have none, tiles have it elsewhere."""
        pack = one_blob(NOSE)
        batch = make_batch(pack, np.zeros(60, int), FRAME, replace(PAPER, faceless=1.0), np.random.default_rng(6))
        assert not batch.has_face.any()
        assert not batch.aligned.any()
        assert (batch.crops.max(axis=(1, 2, 3)) == 0).mean() > 0.4, "most are background, here black"


@pytest.mark.parametrize("kind", ["light", "blur", "low_resolution", "noise", "jpeg", "cover"])
def test_each_photometric_change_alone(kind: str, tiny_pack: Pack) -> None:
    """It changes the pixels and leaves the geometry; the crop stays a crop."""
    changed = batch_of(tiny_pack, replace(NONE, **{kind: 1.0}), count=1)
    batch = batch_of(tiny_pack, NONE, count=1)
    np.testing.assert_array_equal(changed.landmarks, batch.landmarks)
    assert changed.crops.shape == batch.crops.shape
    assert (changed.crops != batch.crops).any()


def test_types_and_ranges(tiny_pack: Pack) -> None:
    batch = make_batch(tiny_pack, np.arange(240) % 24, FRAME, Augmentation(), np.random.default_rng(7))
    assert batch.crops.shape == (240, 1, 64, 64)
    assert batch.crops.dtype == np.uint8
    assert batch.landmarks.shape == (240, 68, 2)
    assert batch.landmarks.dtype == np.float32
    assert np.isfinite(batch.landmarks).all()
    assert batch.has_face.dtype == batch.aligned.dtype == bool
    assert batch.crops.std() > 10
