"""Area, failure rate, curve, percentiles, point sets and the bootstrap, beside other ways to get them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest

from facealign_cli.errors import InputError
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.metrics import (
    POINT_SETS,
    REGIONS,
    auc,
    ced,
    failure_rate,
    nme,
    paired_bootstrap,
    percentile,
    point_errors,
    scale_of,
)

HAND = np.array([0.02, 0.04, 0.08, 0.10])


@pytest.fixture
def errors() -> np.ndarray:
    """(300,) errors as a model makes them, eleven faces missed."""
    drawn = np.random.default_rng(1).gamma(4, 0.012, 300)
    drawn[::29] = np.inf
    return drawn


def test_by_hand() -> None:
    assert auc(HAND, 0.08) == pytest.approx(1 - (0.02 + 0.04 + 0.08 + 0.08) / 4 / 0.08, abs=1e-15)
    assert failure_rate(HAND, 0.08) == 0.25  # an error equal to the threshold is no failure
    assert failure_rate(HAND, 0.079) == 0.5


def test_perfect_and_worst() -> None:
    assert auc(np.zeros(5), 0.08) == 1
    assert failure_rate(np.zeros(5), 0.08) == 0
    assert auc(np.full(3, np.inf), 0.08) == 0
    assert failure_rate(np.full(3, np.inf), 0.08) == 1


def test_a_missed_face_counts_as_a_failure() -> None:
    assert failure_rate(np.array([0.0, np.inf]), 0.08) == 0.5
    assert auc(np.array([0.0, np.inf]), 0.08) == 0.5


@pytest.mark.parametrize("error", [0.0, 0.03, 0.08, 0.2])
def test_single_face(error: float) -> None:
    assert auc(np.array([error]), 0.08) == pytest.approx(max(0, 1 - error / 0.08), abs=1e-15)


@pytest.mark.parametrize("threshold", [0.05, 0.08, 0.1])
def test_auc_against_scipys_integral_on_a_fine_grid(errors: np.ndarray, threshold: float) -> None:
    integrate = pytest.importorskip("scipy.integrate")
    grid = np.linspace(0, threshold, 40001)
    curve = (errors[:, None] <= grid).mean(axis=0)
    assert auc(errors, threshold) == pytest.approx(integrate.simpson(curve, x=grid) / threshold, abs=1e-4)
    assert failure_rate(errors, threshold) == pytest.approx(1 - curve[-1], abs=1e-12)


@pytest.mark.parametrize("threshold", [0.05, 0.08, 0.1])
def test_auc_against_the_sum_of_the_curves_steps(errors: np.ndarray, threshold: float) -> None:
    """Another exact way: rectangles between sorted errors."""
    inside = sorted(float(error) for error in errors if error < threshold)
    edges = [*inside, threshold]
    area = sum((right - left) * (i + 1) for i, (left, right) in enumerate(pairwise(edges)))
    assert auc(errors, threshold) == pytest.approx(area / len(errors) / threshold, abs=1e-9)


def test_the_curve_by_hand() -> None:
    levels, shares = ced(np.array([0.04, 0.02, 0.04, np.inf]))
    np.testing.assert_array_equal(levels, [0.02, 0.04])
    np.testing.assert_array_equal(shares, [0.25, 0.75])  # the missed face keeps it below 1


def test_the_curve_up_to_a_threshold() -> None:
    levels, shares = ced(HAND, 0.08)
    np.testing.assert_array_equal(levels, [0.02, 0.04, 0.08])
    np.testing.assert_array_equal(shares, [0.25, 0.5, 0.75])
    assert len(ced(np.array([np.inf]))[0]) == 0


def test_the_curve_fits_area_and_failures(errors: np.ndarray) -> None:
    levels, shares = ced(errors, 0.08)
    area = (np.diff([*levels, 0.08]) * shares).sum()
    assert area / 0.08 == pytest.approx(auc(errors, 0.08), abs=1e-12)
    assert 1 - shares[-1] == pytest.approx(failure_rate(errors, 0.08), abs=1e-12)


@pytest.mark.parametrize("percent", [0, 12.5, 50, 90, 95, 99, 100])
def test_percentiles_are_numpys_where_no_face_was_missed(percent: float) -> None:
    drawn = np.random.default_rng(2).gamma(4, 0.012, 37)
    assert percentile(drawn, percent) == pytest.approx(np.percentile(drawn, percent), abs=1e-15)


def test_missed_faces_are_the_worst_in_percentiles() -> None:
    errors = np.array([0.03, np.inf, 0.01, 0.02, np.inf])
    assert percentile(errors, 0) == 0.01
    assert percentile(errors, 50) == 0.03
    assert percentile(errors, 51) == np.inf
    assert percentile(errors, 100) == np.inf


CURVES: list[Callable[[np.ndarray], object]] = [
    lambda e: auc(e, 0.08),
    lambda e: failure_rate(e, 0.08),
    ced,
    lambda e: percentile(e, 50),
]


@pytest.mark.parametrize("figure", CURVES)
@pytest.mark.parametrize("bad", [[], [0.1, np.nan], [-0.1], [0.1, -0.1], [[0.1]]])
def test_what_is_no_row_of_errors_is_refused(figure: Callable[[np.ndarray], object], bad: list) -> None:
    with pytest.raises(InputError, match="errors"):
        figure(np.array(bad))


@pytest.mark.parametrize("threshold", [0, -0.08, np.nan, np.inf])
def test_the_threshold_is_above_0(threshold: float) -> None:
    for figure in (auc, failure_rate, ced):
        with pytest.raises(InputError, match="threshold above 0"):
            figure(HAND, threshold)


def test_a_percent_is_a_percent() -> None:
    with pytest.raises(InputError, match="0 to 100"):
        percentile(HAND, 101)


def test_regions_hold_every_point_once() -> None:
    assert sorted(i for name in REGIONS for i in POINT_SETS[name]) == list(range(68))
    assert [len(POINT_SETS[name]) for name in ("68", "51", *REGIONS)] == [68, 51, 17, 10, 9, 12, 20]


def test_the_error_of_a_region_is_of_its_points_over_the_whole_faces_normaliser() -> None:
    truth = MEAN_SHAPE[None]
    moved = truth.copy()
    moved[0, 48:68] += [3, 4]  # the mouth, by 5
    distance = truth[0, 45, 0] - truth[0, 36, 0]
    expected = {"mouth": 5, "nose": 0, "jaw": 0, "eyes": 0, "brows": 0, "51": 5 * 20 / 51, "68": 5 * 20 / 68}
    for points, pixels in expected.items():
        assert nme(moved, truth, "inter-ocular", points)[0] == pytest.approx(pixels / distance, abs=1e-9), points


def test_points_and_scales() -> None:
    truth = np.stack([MEAN_SHAPE, 2 * MEAN_SHAPE])
    np.testing.assert_allclose(point_errors(truth + np.array([3, 4]), truth), np.full((2, 68), 5))
    np.testing.assert_allclose(scale_of(truth, "inter-ocular")[1], 2 * scale_of(truth, "inter-ocular")[0])
    with pytest.raises(InputError, match="unknown set of points 'ears'"):
        nme(truth, truth, "inter-ocular", "ears")


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_bootstraps_mean_and_width(level: float) -> None:
    """Beside the normal approximation, which holds for many values."""
    values = np.random.default_rng(3).normal(0.2, 1, 2000)
    interval = paired_bootstrap(values, level=level)
    half = NormalDist().inv_cdf((1 + level) / 2) * values.std(ddof=1) / np.sqrt(2000)
    assert interval.mean == values.mean()
    assert interval.low == pytest.approx(values.mean() - half, abs=half / 10)
    assert interval.high == pytest.approx(values.mean() + half, abs=half / 10)


def test_the_bootstrap_beside_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(4).gamma(2, 1, 40)
    old = tuple(map(int, version("scipy").split(".")[:2])) < (1, 15)
    seed = {"random_state" if old else "rng": 5}
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10000, **seed).confidence_interval
    ours = paired_bootstrap(values)
    width = theirs.high - theirs.low
    np.testing.assert_allclose([ours.low, ours.high], [theirs.low, theirs.high], atol=0.03 * width)


def test_the_bootstraps_level_and_seed() -> None:
    values = np.random.default_rng(6).normal(0, 1, 50)
    wide, narrow = paired_bootstrap(values, level=0.99), paired_bootstrap(values, level=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert paired_bootstrap(values) == paired_bootstrap(values)
    assert paired_bootstrap(values, seed=1) != paired_bootstrap(values)


def test_the_bootstrap_of_one_face_has_no_width() -> None:
    interval = paired_bootstrap([0.25])
    assert (interval.mean, interval.low, interval.high) == (0.25, 0.25, 0.25)


def test_a_bootstrap_of_one_drawing_is_that_drawings_mean() -> None:
    interval = paired_bootstrap(np.arange(50.0), resamples=1)
    assert interval.low == interval.high != interval.mean


@pytest.mark.parametrize("bad", [[], [np.inf], [np.nan, 1], [[1.0]]])
def test_the_bootstrap_takes_finite_rows(bad: list) -> None:
    with pytest.raises(InputError, match="finite differences"):
        paired_bootstrap(np.array(bad))


def test_the_bootstraps_arguments() -> None:
    for arguments in ({"level": 1}, {"level": 0}, {"resamples": 0}):
        with pytest.raises(InputError, match="0 < level < 1"):
            paired_bootstrap([1.0], **arguments)
