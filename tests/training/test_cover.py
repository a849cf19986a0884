"""What hides faces in training crops: where it is drawn, and that all else stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from facealign_cli.arrays import Bools, Floats, Ints
from facealign_cli.geometry import CropFrame
from facealign_cli.landmarks import GROUPS
from facealign_cli.training import cover
from facealign_cli.training.cover import SHARES, cover_mask, covered

SIZE = 160
FRAME = CropFrame(SIZE, 0.5)
FACE = FRAME.shape
EYES = [*GROUPS["left_eye"], *GROUPS["right_eye"]]
MOUTH = list(GROUPS["mouth"])
DRAWS = 60


def masks(kind: str, draws: int = DRAWS) -> list[Bools]:
    rng = np.random.default_rng(3)
    return [cover_mask(kind, (SIZE, SIZE), FACE, rng) > 127 for _ in range(draws)]


def hidden(mask: Bools, points: Floats = FACE) -> Ints:
    """Which of the points are covered."""
    x, y = points.round().astype(int).T
    return np.flatnonzero(mask[y, x])


def test_a_mask_hides_the_mouth_and_never_the_eyes() -> None:
    for mask in masks("mask"):
        assert set(MOUTH) <= set(hidden(mask))
        assert not set(EYES) & set(hidden(mask))


def test_glasses_are_about_both_eyes_and_touch_neither_mouth_nor_chin() -> None:
    filled = 0
    for mask in masks("glasses"):
        assert not set(hidden(mask)) & {*MOUTH, *range(5, 12)}
        middles = np.stack([FACE[list(GROUPS[name])].mean(axis=0) for name in ("left_eye", "right_eye")])
        if len(hidden(mask, middles)) == 2:
            filled += 1
            assert set(EYES) <= set(hidden(mask))
        row = mask[int(middles[0, 1])]
        assert row[: SIZE // 2].any() and row[SIZE // 2 :].any()
    assert filled >= 0.5 * DRAWS


def test_an_edge_hides_one_side_of_a_straight_line_and_leaves_the_middle_of_the_face() -> None:
    shares, corners = [], []
    for mask in masks("edge"):
        y, x = np.nonzero(mask)
        rest_y, rest_x = np.nonzero(~mask)
        apart = np.array([x.mean() - rest_x.mean(), y.mean() - rest_y.mean()])
        side = np.stack([x, y], axis=1) @ apart
        rest = np.stack([rest_x, rest_y], axis=1) @ apart
        assert (side < np.quantile(rest, 0.99)).mean() < 0.15  # a line separates them, but for its stairs and angle
        x, y = FACE.mean(axis=0).round().astype(int)
        assert not mask[y, x]
        shares.append(len(hidden(mask)) / 68)
        corners.append(mask[[0, 0, -1, -1], [0, -1, 0, -1]].sum())
    assert np.mean(shares) > 0.1 and max(shares) < 0.5
    assert min(corners) >= 1


def test_fingers_come_from_outside_and_leave_most_of_the_face() -> None:
    box = np.array([FACE.min(axis=0), FACE.max(axis=0)]).round().astype(int)
    drawn = masks("fingers")
    beyond = []
    for mask in drawn:
        around = mask.copy()
        around[box[0, 1] : box[1, 1], box[0, 0] : box[1, 0]] = False
        beyond.append(around.any())
    assert all(beyond)
    assert 0.02 < np.mean([len(hidden(mask)) / 68 for mask in drawn]) < 0.4


def test_a_patch_is_anywhere_on_the_face() -> None:
    counts = np.zeros(68, int)
    for mask in masks("patch", 300):
        counts[hidden(mask)] += 1
        assert mask.any()
    assert counts.min() >= 3 and counts.max() < 150


def test_a_block_is_upright_and_hides_a_quarter_or_a_half_from_the_middle_outwards() -> None:
    (left, top), (right, bottom) = FACE.min(axis=0).round().astype(int) + 1, FACE.max(axis=0).round().astype(int) - 1
    shares, corners = [], np.zeros(4, int)
    for mask in masks("block", 200):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.95
        hides = mask[[top, top, bottom, bottom], [left, right, left, right]]
        assert hides.sum() in (1, 2)
        corners += hides
        shares.append(len(hidden(mask)) / 68)
    assert corners.min() >= 40
    assert 0.2 < np.mean(shares) < 0.4 and max(shares) < 0.75


def test_a_block_is_mostly_of_one_shade_and_other_covers_are_not() -> None:
    crop = np.random.default_rng(5).integers(0, 256, (SIZE, SIZE), np.uint8)

    def plain_share(plain: float) -> float:
        rng = np.random.default_rng(6)
        return float(np.mean([np.ptp(cover._surface(crop, rng, plain)) == 0 for _ in range(300)]))

    assert plain_share(0.7) == pytest.approx(0.7, abs=0.08) and plain_share(0.3) == pytest.approx(0.3, abs=0.08)


@pytest.mark.parametrize("turn", [np.eye(2), np.array([[0.0, -1.0], [1.0, 0.0]])])
def test_covers_turn_with_the_face(turn: np.ndarray) -> None:
    middle = (SIZE - 1) / 2
    face = (FACE - middle) @ turn.T + middle
    mask = cover_mask("mask", (SIZE, SIZE), face, np.random.default_rng(0)) > 127
    assert set(MOUTH) <= set(hidden(mask, face)) and not set(EYES) & set(hidden(mask, face))


def test_what_is_not_covered_stays_as_it_was() -> None:
    rng = np.random.default_rng(1)
    crop = rng.integers(0, 256, (SIZE, SIZE), np.uint8)
    before, landmarks = crop.copy(), FACE.copy()
    changed = np.array([(covered(crop, landmarks, rng) != crop).mean() for _ in range(DRAWS)])
    np.testing.assert_array_equal(crop, before)
    np.testing.assert_array_equal(landmarks, FACE)
    assert changed.min() > 0 and changed.max() < 0.75 and np.median(changed) < 0.3


def test_where_something_covers_only_that_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    surface = np.full((SIZE, SIZE), 200, np.float32)
    monkeypatch.setattr("facealign_cli.training.cover._surface", lambda crop, rng, plain: surface)
    rng = np.random.default_rng(4)
    for _ in range(10):
        seen = covered(np.full((SIZE, SIZE), 40, np.uint8), FACE, rng)
        assert seen.min() == 40 and seen.max() >= 199  # 199: the middle of a narrow thing out of focus


def test_each_kind_comes_as_often_as_its_share_says(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def nothing(kind: str, shape: tuple[int, int], landmarks: Floats, rng: np.random.Generator) -> np.ndarray:
        seen.append(kind)
        return np.zeros(shape, np.uint8)

    def surface(crop: np.ndarray, rng: np.random.Generator, plain: float) -> np.ndarray:
        shades.add((seen[-1], plain))
        return crop.astype(np.float32)

    shades: set[tuple[str, float]] = set()
    watched: Callable[..., np.ndarray] = nothing
    monkeypatch.setattr("facealign_cli.training.cover._surface", surface)
    monkeypatch.setattr("facealign_cli.training.cover.cover_mask", watched)
    rng = np.random.default_rng(2)
    crop = np.zeros((8, 8), np.uint8)
    for _ in range(600):
        np.testing.assert_array_equal(covered(crop, FACE, rng), crop)
    assert {kind: seen.count(kind) / 600 for kind in SHARES} == pytest.approx(SHARES, abs=0.06)
    assert sum(SHARES.values()) == pytest.approx(1)
    assert shades == {(kind, 0.7 if kind == "block" else 0.3) for kind in SHARES}
