"""Aligned crops."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facealign_cli.crops import crop_face
from facealign_cli.errors import InputError
from facealign_cli.geometry import SimilarityTransform, bbox_of_shape
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.records import BBox, Face

FRONTAL = MEAN_SHAPE / np.ptp(MEAN_SHAPE, axis=0).max() * 90 + 100


def dotted(landmarks: np.ndarray) -> np.ndarray:
    """A picture with a white disc at each end of the mouth and between the brows."""
    image = np.zeros((300, 320, 3), np.uint8)
    for x, y in landmarks[[48, 54, 27]]:
        cv2.circle(image, (round(x * 16), round(y * 16)), 3 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
    return image


def test_a_turned_face_is_upright_in_the_middle() -> None:
    turn = np.deg2rad(35)
    turned = SimilarityTransform(np.cos(turn), np.sin(turn), 120.0, -20.0).apply(FRONTAL)
    crop = crop_face(dotted(turned), Face(0, BBox(*bbox_of_shape(turned)), turned, 1.0), 200)
    assert crop.shape == (200, 200, 3) and crop.dtype == np.uint8
    count, _, _, centres = cv2.connectedComponentsWithStats((crop[..., 0] > 127).astype(np.uint8))
    assert count == 4
    shape = FRONTAL - (bbox_of_shape(FRONTAL)[:2] + bbox_of_shape(FRONTAL)[2:]) / 2
    expected = (shape * 0.6 * 200 / 90 + 99.5)[[27, 48, 54]]
    np.testing.assert_allclose(centres[1:][np.argsort(centres[1:, 1])][:1], expected[:1], atol=0.4)
    np.testing.assert_allclose(sorted(centres[2:, 0]), sorted(expected[1:, 0]), atol=0.4)


def test_grey_and_plain_landmarks() -> None:
    image = dotted(FRONTAL)
    grey = crop_face(image[..., 0], FRONTAL.tolist(), 64, share=0.9)
    assert grey.shape == (64, 64)
    np.testing.assert_array_equal(grey, crop_face(image, FRONTAL, 64, share=0.9)[..., 0])


def test_what_cannot_be_cropped_is_said() -> None:
    image = dotted(FRONTAL)
    for arguments, words in (
        ((None, FRONTAL), "cv2.imread"),
        ((image, FRONTAL[:5]), "68"),
        ((image, np.full((68, 2), np.nan)), "finite"),
        ((image, "face"), "str"),
        ((image, FRONTAL, 4), "size"),
    ):
        with pytest.raises(InputError, match=words):
            crop_face(*arguments)  # type: ignore[arg-type]
