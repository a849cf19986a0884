"""Labels by an ensemble: kept where it agrees, weighted by how closely, and fitted labels laid anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from facealign_cli.datasets.unlabelled import points_of_shape
from facealign_cli.errors import InputError, OutputError
from facealign_cli.geometry import CropFrame, extent_of_shape
from facealign_cli.training import pseudo
from facealign_cli.training.augmentation import Augmentation
from facealign_cli.training.pack import Pack, read_pack
from facealign_cli.training.pseudo import Limits, PseudoRow, pseudo_label, yaw_of_shape
from tests.training.test_relabel import write

SHAPE = CropFrame(96, 1 / 3).shape
SIZE = float(np.sqrt(np.ptp(SHAPE, axis=0).prod()))
N = 6
HAND = Augmentation.label_shift * extent_of_shape(SHAPE)
"""How far labels made by hand stand to the right and down of where mirror symmetry and rendered faces have them."""


@pytest.fixture
def faces() -> Pack:
    """Six faces without labels, of two data sets; the box is where the face is."""
    landmarks = np.repeat(SHAPE[None], N, axis=0).astype(np.float32)
    names = [f"utkface:{i}.jpg" for i in range(3)] + [f"net7876:{i}.jpg" for i in range(3)]
    nan = np.full((N, 5, 2), np.nan, np.float32)
    flags, images = np.zeros(N, bool), np.zeros((N, 96, 96), np.uint8)
    return Pack(
        images,
        landmarks,
        nan[:, 0, [0, 0, 0, 0]].reshape(N, 4),
        flags,
        flags.copy(),
        np.zeros((N, 68), np.float32),
        nan[:, 0, 0],
        nan,
        names,
    )


def label(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: np.ndarray, confidence: Any = 1.0, **options: Any
) -> tuple[Pack, list[PseudoRow]]:
    """With one model that says `said`, (opinions, rows, 68, 2)."""
    answer = (said, np.broadcast_to(confidence, said.shape[1]))
    monkeypatch.setattr(pseudo, "opinions", lambda *_: answer)
    models: Any = [SimpleNamespace()]
    table = pseudo_label(write(tmp_path / "a.h5", pack), tmp_path / "b.h5", models, **options)
    return read_pack(tmp_path / "b.h5"), table


def opinions_of(count: int = N, off: float = 0.0) -> np.ndarray:
    """Four opinions that differ by `off` of the face's size to either side."""
    step = np.array([off * SIZE, 0.0])
    return np.repeat(np.stack([SHAPE + step, SHAPE - step] * 2)[:, None], count, axis=1) + 1.5


def test_the_mean_becomes_the_label(faces: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack, table = label(faces, tmp_path, monkeypatch, opinions_of())
    np.testing.assert_allclose(pack.landmarks, np.broadcast_to(SHAPE + 1.5, (N, 68, 2)), atol=1e-4)
    np.testing.assert_allclose(pack.weights, 1, atol=1e-6)
    assert [(row.dataset, row.pose, row.kept, row.left_out) for row in table] == [
        ("net7876", "0-30", 3, 0),
        ("utkface", "0-30", 3, 0),
    ]
    assert np.isfinite(pack.yaw).all()


def test_weights_say_how_closely_they_agree(faces: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They differ by 1.5 % on one point, where the weight is a half, and by 6 % on another, which does not count."""
    said = opinions_of()
    for point, off in ((10, 0.015), (20, 0.06)):
        said[:, :, point, 0] += off * SIZE * np.array([1, -1, 1, -1])[:, None]
    pack, _ = label(faces, tmp_path, monkeypatch, said)
    np.testing.assert_allclose(pack.weights[:, 10], 0.5, atol=0.01)
    assert (pack.weights[:, 20] == 0).all()
    assert (pack.weights[:, 30] > 0.99).all()


def test_left_out_where_they_differ(faces: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = opinions_of()
    said[:, 1] = opinions_of(1, off=0.05)[:, 0]
    pack, table = label(faces, tmp_path, monkeypatch, said)
    assert "utkface:1.jpg" not in pack.names
    assert len(pack) == N - 1
    assert [(row.dataset, row.kept, row.left_out) for row in table] == [("net7876", 3, 0), ("utkface", 2, 1)]


def test_left_out_where_they_do_not_believe(faces: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack, _ = label(faces, tmp_path, monkeypatch, opinions_of(), confidence=np.array([1, 1, 0.4, 1, 1, 1]))
    assert pack.names == [name for i, name in enumerate(faces.names) if i != 2]


@pytest.mark.parametrize("count", [4, 5])
def test_left_out_where_they_miss_the_hand_points(
    faces: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Face 3's hand points are 4 % off, face 4's 6 %; face 5 has none."""
    points = faces.points.copy()
    for row, off in ((3, 0.04), (4, 0.06)):
        points[row, :count] = points_of_shape(SHAPE + 1.5, count) + np.array([0, off * SIZE])
    pack, table = label(replace(faces, points=points), tmp_path, monkeypatch, opinions_of())
    assert pack.names == [name for i, name in enumerate(faces.names) if i != 4]
    assert table[0].miss == pytest.approx(0.04, abs=1e-3)
    assert np.isnan(table[1].miss)
    _, table = label(
        replace(faces, points=points), tmp_path, monkeypatch, opinions_of(), limits=Limits(miss=0.1), overwrite=True
    )
    assert table[0].kept == 3


class TestRefine:
    def fitted(self, faces: Pack, rng: np.random.Generator) -> tuple[Pack, np.ndarray]:
        """Labels of aflw2000, each off by a scale and a shift of its own; what is seen has another place for brows."""
        truth = SHAPE + np.array([3.0, -2.0])
        scale, shift = np.exp(rng.normal(0, 0.03, (N, 1, 1))), rng.normal(0, 0.02 * SIZE, (N, 1, 2))
        landmarks = ((truth - truth.mean(axis=0)) * scale + truth.mean(axis=0) + shift).astype(np.float32)
        weights = np.full((N, 68), 0.7, np.float32)
        weights[:, :17] = 0
        names = [f"aflw2000:{i}.jpg" for i in range(N)]
        return replace(faces, landmarks=landmarks, weights=weights, names=names), truth

    def test_scale_and_shift_are_fitted_anew(
        self, faces: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given, truth = self.fitted(faces, np.random.default_rng(1))
        said = np.repeat(np.repeat(truth[None, None], N, axis=1), 4, axis=0)
        pack, table = label(given, tmp_path, monkeypatch, said)
        np.testing.assert_allclose(pack.landmarks, np.repeat(truth[None] - HAND, N, axis=0), atol=0.03)
        assert (pack.weights[:, :17] == 0).all()
        assert (pack.weights[:, 17:] > 0.9).all()
        assert table[0].moved > 0.005

    def test_a_set_that_stands_to_one_side_moves_to_where_hands_place_points(
        self, faces: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The models see all faces 5 % larger, 1 px further to the right and 2 px further down."""
        given, truth = self.fitted(faces, np.random.default_rng(2))
        same = replace(given, landmarks=np.repeat(truth[None], N, axis=0).astype(np.float32))
        seen = (truth - truth.mean(axis=0)) * 1.05 + truth.mean(axis=0) + np.array([1.0, 2.0])
        pack, _ = label(same, tmp_path, monkeypatch, np.repeat(np.repeat(seen[None, None], N, axis=1), 4, axis=0))
        np.testing.assert_allclose(pack.landmarks, np.repeat(seen[None] - HAND, N, axis=0), atol=0.03)

    def test_a_point_seen_elsewhere_keeps_its_place_in_the_shape(
        self, faces: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Three numbers a face are fitted, no more: the models' chin, which the labels do not count, moves nothing."""
        given, truth = self.fitted(faces, np.random.default_rng(4))
        seen = truth.copy()
        seen[8] += 5
        pack, _ = label(given, tmp_path, monkeypatch, np.repeat(np.repeat(seen[None, None], N, axis=1), 4, axis=0))
        np.testing.assert_allclose(pack.landmarks, np.repeat(truth[None] - HAND, N, axis=0), atol=0.03)

    def test_exact_labels_move_with_their_set_and_held_out_ones_stay(
        self, faces: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given, truth = self.fitted(faces, np.random.default_rng(3))
        landmarks = np.repeat(truth[None], N, axis=0).astype(np.float32)
        weights, held_out = given.weights.copy(), given.held_out.copy()
        weights[0, 17:], held_out[1] = 1, True
        given = replace(given, landmarks=landmarks, weights=weights, held_out=held_out)
        seen = truth + HAND + np.array([1.0, 2.0])
        pack, _ = label(given, tmp_path, monkeypatch, np.repeat(np.repeat(seen[None, None], N - 2, axis=1), 4, axis=0))
        moved = pack.landmarks - given.landmarks
        np.testing.assert_allclose(moved[0], np.tile([1.0, 2.0], (68, 1)), atol=1e-3)
        np.testing.assert_array_equal(moved[1], 0)
        np.testing.assert_array_equal(pack.weights[:2], given.weights[:2])


def test_one_trusted_point_alone_gives_no_scale() -> None:
    trusted = np.zeros((1, 68))
    trusted[0, 30] = 0.7
    laid, _, _ = pseudo._refined(SHAPE[None], trusted, SHAPE[None] + 3)
    np.testing.assert_allclose(laid[0], SHAPE + 3 - HAND)


def test_nothing_to_do(faces: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = replace(faces, weights=np.ones((N, 68), np.float32))
    with pytest.raises(InputError, match="no face without labels"):
        label(whole, tmp_path, monkeypatch, opinions_of())


def test_yaw_is_told_by_the_nose() -> None:
    """The nose of a head turned to one side moves there; a mirrored face has the opposite yaw, a frontal one none."""
    turned = SHAPE.copy()
    turned[27:36, 0] += 0.15 * SIZE
    other = SHAPE.copy()
    other[27:36, 0] -= 0.15 * SIZE
    frontal, one, two = yaw_of_shape(np.stack([SHAPE, turned, other]))
    assert abs(frontal) < 3
    assert one < -25
    assert two == pytest.approx(-one, abs=5)


def test_no_pack_without_a_face(faces: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"b\.h5 is not written: every face was left out"):
        label(faces, tmp_path, monkeypatch, opinions_of(off=0.05))
    assert not (tmp_path / "b.h5").exists()


def test_a_place_that_cannot_be_written_is_told_before_the_work(faces: Pack, tmp_path: Path) -> None:
    """Nobody asks the models, of which there are none here."""
    with pytest.raises(OutputError, match="does not exist"):
        pseudo_label(write(tmp_path / "a.h5", faces), tmp_path / "none" / "b.h5", [])
