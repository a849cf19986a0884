"""Sigma: one factor makes it hold 68 % of the points; what it says of other shares is measured on other faces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import gamma, spearmanr

from facealign_cli.errors import InputError
from facealign_cli.training import calibrate
from facealign_cli.training.calibrate import LEVELS, calibrate_sigma, radius, rank_correlation, sigma_and_distance
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.network import Dan
from facealign_cli.training.pack import Pack
from tests.training.conftest import draw_pack


@pytest.fixture(scope="module")
def many() -> Pack:
    """600 drawn faces, a hundred of them held out."""
    return draw_pack(600, 32)


@pytest.mark.parametrize("level", LEVELS)
def test_radius(level: float) -> None:
    assert radius(level) == pytest.approx(gamma.ppf(level, 2) / gamma.ppf(0.68, 2), rel=1e-9)


def test_a_factor_makes_it_true(many: Pack, tiny_light: NetworkConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances as the density has them, of a scale per point; sigma says that scale but for a factor of 3."""
    rng, model = np.random.default_rng(0), Dan(tiny_light)
    held_out = int(many.held_out.sum())
    scale = rng.uniform(0.5, 4, (held_out, 68))
    monkeypatch.setattr(calibrate, "sigma_and_distance", lambda *_: (rng.gamma(2, scale), scale / 3))
    before = model.stages[-1].sigma.dense.bias.clone()  # type: ignore[union-attr, operator]
    report = calibrate_sigma(model, many)
    assert report.factor == pytest.approx(3 * gamma.ppf(0.68, 2), rel=0.05)
    np.testing.assert_allclose(report.within, LEVELS, atol=0.02)
    assert report.rank_correlation > 0.4
    after = model.stages[-1].sigma.dense.bias  # type: ignore[union-attr]
    np.testing.assert_allclose((after - before).detach().numpy(), np.log(report.factor), rtol=1e-5)  # type: ignore[operator, union-attr]
    assert report.figures()["held-out points within the 68 % radius of sigma, %"] == round(100 * report.within[1], 1)


def test_points_of_weight_zero_do_not_count(
    many: Pack, tiny_light: NetworkConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    many.weights[:, :30] = 0
    distance = np.ones((int(many.held_out.sum()), 68))
    distance[:, :30] = 1e6
    monkeypatch.setattr(calibrate, "sigma_and_distance", lambda *_: (distance, np.ones_like(distance)))
    assert calibrate_sigma(Dan(tiny_light), many).factor == pytest.approx(1)
    many.weights[:] = 1


def test_sigma_and_distance_are_the_network_s(tiny_pack: Pack, tiny_light: NetworkConfig, random_dan: Any) -> None:
    model = random_dan(tiny_light)
    distance, sigma = sigma_and_distance(model, tiny_pack)
    assert distance.shape == sigma.shape == (24, 68)
    assert (sigma > 0).all()
    model.stages[-1].sigma.dense.bias.data += np.log(2)
    np.testing.assert_allclose(sigma_and_distance(model, tiny_pack)[1], 2 * sigma, rtol=1e-4)


def test_refusals(tiny_pack: Pack, tiny_light: NetworkConfig, tiny_vgg: NetworkConfig) -> None:
    with pytest.raises(InputError, match="no sigma to calibrate"):
        calibrate_sigma(Dan(tiny_vgg), tiny_pack)
    with pytest.raises(InputError, match="4 held-out faces are too few for sigma"):
        calibrate_sigma(Dan(tiny_light), tiny_pack)


def test_rank_correlation() -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 500))
    assert rank_correlation(a, a + b) == pytest.approx(spearmanr(a, a + b).statistic, abs=1e-9)
