"""The mean error of each point is taken off, in the frame that the last stage sees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from facealign_cli.errors import InputError
from facealign_cli.geometry import bbox_of_shape
from facealign_cli.landmarks import INNER_WITHOUT_BRIDGE
from facealign_cli.training.centre import FEWEST_FACES, centre_landmarks
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.measure import predict_pack
from facealign_cli.training.network import Dan
from facealign_cli.training.pack import Pack, crops_in_frame
from tests.training.conftest import draw_pack


@pytest.fixture(scope="module")
def many() -> Pack:
    """600 drawn faces, 100 of them held out. All are of 300-W and have boxes, so that crops do not hang on labels."""
    pack = draw_pack(600, 32)
    boxes = np.array([bbox_of_shape(shape) for shape in pack.landmarks])
    return replace(pack, names=[f"helen:{i}" for i in range(len(pack))], bbox=boxes)


def labelled_by(model: Dan, pack: Pack, offset: np.ndarray) -> Pack:
    """The pack with the network's own landmarks as labels, each `offset` (68, 2) away from them in crop pixels."""
    said = predict_pack(model, pack)[0][-1]
    truth = crops_in_frame(pack, model.config.crop_frame)[1]
    scale = np.linalg.norm(truth[:, 0] - truth[:, 16], axis=1) / np.linalg.norm(
        pack.landmarks[:, 0] - pack.landmarks[:, 16], axis=1
    )
    return replace(pack, landmarks=pack.landmarks + ((said - offset - truth) / scale[:, None, None]).astype(np.float32))


def errors(model: Dan, pack: Pack) -> np.ndarray:
    stages, truth = predict_pack(model, pack)
    return (stages[-1] - truth).mean(axis=0)


def test_a_constant_error_is_taken_off(many: Pack, tiny_light: NetworkConfig, random_dan: Any) -> None:
    model = random_dan(tiny_light)
    offset = np.random.default_rng(0).normal(0, 2, (68, 2))
    pack = labelled_by(model, many, offset)
    held_out = pack.select(pack.held_out)
    before = errors(model, held_out)
    np.testing.assert_allclose(before, offset, atol=0.02)
    moved = centre_landmarks(model, pack)
    after = errors(model, held_out)
    assert np.linalg.norm(after, axis=1).mean() < 0.1 * np.linalg.norm(before, axis=1).mean()
    assert moved == pytest.approx(np.linalg.norm(offset, axis=1).mean() / (tiny_light.crop_size / 2), rel=0.2)


def test_held_out_rough_and_other_faces_are_not_looked_at(
    many: Pack, tiny_light: NetworkConfig, random_dan: Any
) -> None:
    model, rng = random_dan(tiny_light), np.random.default_rng(1)
    pack = labelled_by(model, many, np.zeros((68, 2)))
    pack = replace(pack, rough=rng.random(len(pack)) < 0.2, landmarks=pack.landmarks.copy(), names=list(pack.names))
    other = rng.random(len(pack)) < 0.2
    pack = replace(pack, names=[f"fgnet:{i}" if other[i] else name for i, name in enumerate(pack.names)])
    assert (~pack.held_out & ~pack.rough & ~other).sum() >= FEWEST_FACES
    pack.landmarks[pack.held_out | pack.rough | other] += 5
    assert centre_landmarks(model, pack) < 1e-4


def test_few_faces_change_nothing(many: Pack, tiny_light: NetworkConfig, random_dan: Any) -> None:
    model = random_dan(tiny_light)
    before = model.last_layer().bias.clone()
    assert centre_landmarks(model, many.select(np.arange(len(many)) < FEWEST_FACES)) == 0
    assert torch.equal(model.last_layer().bias, before)


def test_points_that_are_not_trusted_do_not_count(many: Pack, tiny_light: NetworkConfig, random_dan: Any) -> None:
    model = random_dan(tiny_light)
    pack = labelled_by(model, many, np.full((68, 2), 3.0))
    pack = replace(pack, weights=np.where(np.arange(68) < 10, 0, pack.weights).astype(np.float32))
    before = model.last_layer().bias.detach().clone()
    centre_landmarks(model, pack)
    change = (model.last_layer().bias.detach() - before).reshape(68, 2)
    assert torch.all(change[:10] == 0) and torch.all(change[10:] != 0)


def test_it_is_the_error_that_becomes_least_not_its_mean(
    many: Pack, tiny_light: NetworkConfig, random_dan: Any
) -> None:
    """A tenth of the faces with labels that are far away does not move the points; their mean would be 2 pixels off."""
    model = random_dan(tiny_light)
    pack = labelled_by(model, many, np.zeros((68, 2)))
    pack = replace(pack, landmarks=pack.landmarks.copy())
    pack.landmarks[::10] += 20
    assert centre_landmarks(model, pack) < 0.002


@pytest.mark.parametrize(("share", "nearer"), [(0.5, 0.0), (1.5, 1.0)])
def test_points_lie_where_most_of_the_weight_is(
    many: Pack, tiny_light: NetworkConfig, random_dan: Any, share: float, nearer: float
) -> None:
    """A third of the faces is of another set, which puts its points 3 pixels away; held-out ones of it do not count."""
    model = random_dan(tiny_light)
    pack = labelled_by(model, many, np.zeros((68, 2)))
    other = np.arange(len(pack)) % 3 == 1
    pack = replace(
        labelled_by(model, pack, np.full((68, 2), 3.0)[None] * other[:, None, None]),
        names=[f"aflw2000:{i}" if other[i] else name for i, name in enumerate(pack.names)],
    )
    pack.landmarks[pack.held_out & other] += 30
    before = model.last_layer().bias.detach().clone()
    centre_landmarks(model, pack, {"aflw2000": share})
    change = (before - model.last_layer().bias.detach()).reshape(68, 2).norm(dim=1).numpy()
    inner = np.isin(np.arange(68), INNER_WITHOUT_BRIDGE)
    assert change[~inner].max() < 0.1
    whole = 3 * 2**0.5 * model.config.stages[-1].frame_size * model.config.stages[-1].frame_share
    whole /= model.config.crop_size * model.config.crop_share
    np.testing.assert_allclose(change[inner], nearer * whole, atol=0.25)


def test_a_set_of_which_there_is_no_face_cannot_count(many: Pack, tiny_light: NetworkConfig, random_dan: Any) -> None:
    with pytest.raises(InputError, match="no labelled training face of aflw2000, so that it cannot count"):
        centre_landmarks(random_dan(tiny_light), many, {"aflw2000": 1.0})
