"""The scheme's tables agree with one another and with geometry."""

from __future__ import annotations

import numpy as np
import pytest

from facealign_cli.landmarks import CONTOURS, GROUPS, INNER_51, MEAN_SHAPE, MIRROR_ORDER, N_LANDMARKS, OUTER_EYE_CORNERS


def test_groups_hold_every_index_once() -> None:
    assert sorted(i for group in GROUPS.values() for i in group) == list(range(N_LANDMARKS))
    assert [len(group) for group in GROUPS.values()] == [17, 5, 5, 9, 6, 6, 20]


def test_mirror_order_is_an_involution_of_the_groups() -> None:
    order = np.array(MIRROR_ORDER)
    np.testing.assert_array_equal(order[order], np.arange(N_LANDMARKS))
    partner = {"left_brow": "right_brow", "left_eye": "right_eye"}
    for left, right in partner.items():
        assert {MIRROR_ORDER[i] for i in GROUPS[left]} == set(GROUPS[right])
    for own in ("jaw", "nose", "mouth"):
        assert {MIRROR_ORDER[i] for i in GROUPS[own]} == set(GROUPS[own])


def test_the_mean_shape_is_its_own_mirror_image() -> None:
    """An independent check of every pair: the DAN authors' mean shape is symmetric."""
    flipped = (MEAN_SHAPE * [-1, 1])[list(MIRROR_ORDER)]
    assert np.abs(flipped - MEAN_SHAPE).max() < 0.15  # units in which the face is 150 wide


def test_points_on_the_middle_line_mirror_to_themselves() -> None:
    middle = {i for i in range(N_LANDMARKS) if MIRROR_ORDER[i] == i}
    assert middle == {8, 27, 28, 29, 30, 33, 51, 57, 62, 66}
    assert np.abs(MEAN_SHAPE[sorted(middle), 0]).max() < 1e-6


def test_contours_draw_every_point_within_one_group() -> None:
    drawn = [i for indices, _ in CONTOURS for i in indices]
    assert sorted(drawn) == list(range(N_LANDMARKS))
    for indices, _ in CONTOURS:
        assert any(set(indices) <= set(group) for group in GROUPS.values())
    assert [len(indices) for indices, closed in CONTOURS if closed] == [6, 6, 12, 8]


def test_left_and_right_are_the_pictures() -> None:
    assert MEAN_SHAPE[list(GROUPS["left_eye"]), 0].max() < 0 < MEAN_SHAPE[list(GROUPS["right_eye"]), 0].min()
    outer = MEAN_SHAPE[list(OUTER_EYE_CORNERS), 0]
    eyes = MEAN_SHAPE[list(GROUPS["left_eye"] + GROUPS["right_eye"]), 0]
    assert (outer[0], outer[1]) == (eyes.min(), eyes.max())
    assert MEAN_SHAPE[8, 1] == MEAN_SHAPE[:, 1].max()  # the chin is lowest, y points down


def test_inner_points_are_all_but_the_jaw() -> None:
    assert set(INNER_51) == set(range(N_LANDMARKS)) - set(GROUPS["jaw"])
    assert len(INNER_51) == 51


def test_the_mean_shape_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        MEAN_SHAPE[0, 0] = 1
