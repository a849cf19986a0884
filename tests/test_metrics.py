"""Normalisers and the error, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from facealign_cli.errors import InputError
from facealign_cli.metrics import (
    NORMALISERS,
    auc,
    bbox_diagonal,
    failure_rate,
    inter_ocular,
    inter_pupil,
    nme,
    paired_bootstrap,
    scale_of,
)


@pytest.fixture
def truth() -> np.ndarray:
    """(2, 68, 2): pupils 40 apart, outer corners 50 apart, the box 60 by 80; the second face twice as large."""
    truth = np.full((68, 2), 50.0)
    truth[36:42] = [[25, 50], [30, 48], [35, 48], [40, 50], [30, 52], [20, 52]]  # mean 30, 50
    truth[42:48] = [[65, 50], [70, 48], [80, 48], [75, 50], [65, 52], [65, 52]]  # mean 70, 50
    truth[0], truth[8] = [20, 10], [80, 90]
    return np.stack([truth, 2 * truth])


def test_normalisers_by_hand(truth: np.ndarray) -> None:
    np.testing.assert_allclose(inter_pupil(truth), [40, 80])
    np.testing.assert_allclose(inter_ocular(truth), [50, 100])
    np.testing.assert_allclose(bbox_diagonal(truth), [100, 200])


@pytest.mark.parametrize(
    ("normaliser", "distance"), [("inter-pupil", 40), ("inter-ocular", 50), ("bbox-diagonal", 100)]
)
def test_all_points_moved_alike(truth: np.ndarray, normaliser: str, distance: float) -> None:
    np.testing.assert_allclose(nme(truth + np.array([3, 4]), truth, normaliser), [5 / distance, 5 / distance / 2])


def test_mean_is_over_points(truth: np.ndarray) -> None:
    """One point of 68 is off by 13; the mean of distances, not the root of a mean square."""
    moved = truth.copy()
    moved[0, 5] += [5, 12]
    np.testing.assert_allclose(nme(moved, truth, "inter-ocular"), [13 / 68 / 50, 0])


def test_normaliser_is_the_truths(truth: np.ndarray) -> None:
    np.testing.assert_allclose(
        nme(truth[:1], truth[1:], "inter-pupil"), nme(2 * truth[1:], truth[1:], "inter-pupil") / 2
    )


def test_turning_both_changes_nothing(truth: np.ndarray) -> None:
    moved = truth + np.random.default_rng(0).normal(0, 2, truth.shape)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    for normaliser in ("inter-pupil", "inter-ocular"):
        np.testing.assert_allclose(nme(moved @ turn, truth @ turn, normaliser), nme(moved, truth, normaliser))


def test_no_faces() -> None:
    for normaliser in NORMALISERS:
        assert nme(np.zeros((0, 68, 2)), np.zeros((0, 68, 2)), normaliser).shape == (0,)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_not_finite(truth: np.ndarray, value: float, side: int) -> None:
    pair = (truth.copy(), truth.copy())
    pair[side][1, 3, 0] = value
    with pytest.raises(InputError, match="NaN or infinity"):
        nme(*pair, "inter-pupil")


@pytest.mark.parametrize("normaliser", list(NORMALISERS))
def test_distance_of_zero(truth: np.ndarray, normaliser: str) -> None:
    truth[1] = 7
    with pytest.raises(InputError, match=f"the {normaliser} distance of face 1 is 0"):
        nme(truth, truth, normaliser)


def test_a_face_may_be_smaller_than_a_pixel(truth: np.ndarray) -> None:
    """Landmarks as fractions of the picture: the unit does not matter."""
    moved = truth + np.array([3, 4])
    for normaliser in NORMALISERS:
        np.testing.assert_allclose(nme(moved / 1000, truth / 1000, normaliser), nme(moved, truth, normaliser))


@pytest.mark.parametrize("shape", [(68, 2), (2, 68), (2, 68, 3), (1, 68, 2)])
def test_wrong_shape(truth: np.ndarray, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="expected two"):
        nme(np.zeros(shape), truth, "inter-pupil")


def test_unknown_normaliser(truth: np.ndarray) -> None:
    with pytest.raises(InputError, match="'eyes'; known: inter-pupil, inter-ocular, bbox-diagonal"):
        nme(truth, truth, "eyes")


@pytest.mark.parametrize("values", [np.ones(3) + 1j, np.ones(3, bool), ["1", "2"], np.ma.array([1.0, 2], mask=[0, 1])])
def test_what_is_no_number_is_refused(values: object) -> None:
    """NumPy would drop imaginary parts and masks, and read texts."""
    for measure in (auc, failure_rate):
        with pytest.raises(InputError, match="expected numbers, got"):
            measure(values, 0.08)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected numbers, got"):
        paired_bootstrap(values)  # type: ignore[arg-type]


def test_the_scale_of_landmarks_that_are_nan() -> None:
    with pytest.raises(InputError, match="NaN"):
        scale_of(np.full((1, 68, 2), np.nan), "inter-pupil")


@pytest.mark.parametrize("n_points", [5, 51, 98])
@pytest.mark.parametrize("points", ["68", "51"])
def test_other_schemes_are_refused(n_points: int, points: str) -> None:
    """The indices of eyes and of the set's points are those of 68 points: of 98 they would be others."""
    faces = np.random.default_rng(0).normal(0, 9, (2, n_points, 2))
    with pytest.raises(InputError, match=rf"expected landmarks of shape \(N, 68, 2\), got \(2, {n_points}, 2\)"):
        nme(faces, faces + 1, "bbox-diagonal", points)
