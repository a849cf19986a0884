"""What augmentation makes of a picture's pixels: crops without a face, patches, light, by what they show."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from facealign_cli.geometry import CropFrame
from facealign_cli.training.augment import make_batch
from facealign_cli.training.augmentation import Augmentation
from facealign_cli.training.pack import Pack
from tests.training.packs import pack_of

SIDE, FACE = 192, 64
FRAME = CropFrame(64, 0.5)
NONE = Augmentation(**dict.fromkeys((field.name for field in fields(Augmentation)), 0.0))
WHITE = 255


@pytest.fixture(scope="module")
def ramp() -> Pack:
    """A picture whose grey tells the column, 20 to 80, and a face of 64 pixels in its middle: a white square of 32."""
    image = np.tile(np.linspace(20, 80, SIDE), (SIDE, 1)).astype(np.uint8)
    image[80:112, 80:112] = WHITE
    return pack_of(image, CropFrame(SIDE, FACE / SIDE).shape, "ramp")


def crops(pack: Pack, augmentation: Augmentation, count: int) -> np.ndarray:
    """(count, 64, 64) of the pack's only picture."""
    batch = make_batch(pack, np.zeros(count, int), FRAME, augmentation, np.random.default_rng(11))
    return batch.crops[:, 0]


def whiteness(crop: np.ndarray) -> float:
    return float((crop > 250).mean())


@pytest.fixture(scope="module")
def faceless(ramp: Pack) -> dict[str, list[np.ndarray]]:
    """400 crops without a face by their kind. Plain noise has much between the background's greys and white."""
    kinds: dict[str, list[np.ndarray]] = {"texture": [], "tiles": [], "background": []}
    for crop in crops(ramp, replace(NONE, faceless=1.0), 400):
        if ((crop > 90) & (crop < 240)).mean() > 0.25:
            kinds["texture"].append(crop)
        else:
            kinds["tiles" if whiteness(crop) > 0.03 else "background"].append(crop)
    return kinds


def test_faceless_crops_are_background_tiles_and_textures_by_their_shares(
    faceless: dict[str, list[np.ndarray]],
) -> None:
    shares = {kind: len(found) / 400 for kind, found in faceless.items()}
    assert shares == pytest.approx({"texture": 0.15, "tiles": 0.25, "background": 0.6}, abs=0.06)


def test_the_background_comes_from_all_around_the_face_and_shows_nothing_of_it(
    faceless: dict[str, list[np.ndarray]],
) -> None:
    assert max(whiteness(crop) for crop in faceless["background"]) == 0
    columns = [(float(np.median(crop[crop > 0])) - 20) / 60 * SIDE for crop in faceless["background"]]
    assert min(columns) < SIDE * 0.2 and max(columns) > SIDE * 0.8


def test_the_background_is_as_wide_as_a_small_face_would_need(faceless: dict[str, list[np.ndarray]]) -> None:
    """A face of 0.2 to 0.6 of the real one's size would fill half of the crop; turned by 45 degrees it shows more."""
    whole = [crop for crop in faceless["background"] if crop.min() >= 20]
    widths = [(int(crop.max()) - int(crop.min())) / 60 * SIDE for crop in whole]
    narrow, wide = np.quantile(widths, [0.05, 0.95])  # a coarse dark texture may be among them
    assert len(whole) > 50
    assert 0.2 * 2 * FACE * 0.9 < narrow < 0.3 * 2 * FACE * 1.42
    assert 0.5 * 2 * FACE < wide < 0.6 * 2 * FACE * 1.42


def test_tiles_are_the_face_in_another_order(ramp: Pack, faceless: dict[str, list[np.ndarray]]) -> None:
    (plain,) = crops(ramp, NONE, 1)
    middles = [whiteness(crop[26:38, 26:38]) for crop in faceless["tiles"]]
    assert whiteness(plain[26:38, 26:38]) == 1
    assert np.median(middles) < 0.5
    shares = [whiteness(crop) for crop in faceless["tiles"]]
    np.testing.assert_allclose(shares, whiteness(plain), atol=0.03)


def test_as_many_faces_are_covered_as_the_augmentation_says(ramp: Pack) -> None:
    variants = {crop.tobytes() for crop in crops(ramp, NONE, 20)}  # as it is, and mirrored
    covered = [crop.tobytes() not in variants for crop in crops(ramp, replace(NONE, cover=0.3), 400)]
    assert len(variants) == 2
    assert np.mean(covered) == pytest.approx(0.3, abs=0.06)


def test_one_relit_crop_of_fifty_is_a_negative(ramp: Pack) -> None:
    relit = crops(ramp, replace(NONE, light=1.0), 1500)
    negative = relit[:, 30:34, 30:34].mean(axis=(1, 2)) < relit[:, :, :4].mean(axis=(1, 2)) - 5
    assert negative.mean() == pytest.approx(0.02, abs=0.012)


@pytest.mark.parametrize("kind", ["low_resolution", "blur", "noise", "jpeg"])
def test_a_worse_picture_still_shows_the_face(ramp: Pack, kind: str) -> None:
    variants = np.unique(crops(ramp, NONE, 20), axis=0)
    for crop in crops(ramp, replace(NONE, **{kind: 1.0}), 50):
        assert max(np.corrcoef(crop.ravel(), variant.ravel())[0, 1] for variant in variants) > 0.9
