"""A pack of turned copies: which faces get one, how far it is turned, what its landmarks count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from facealign_cli.cli.main import main
from facealign_cli.errors import InputError, OutputError
from facealign_cli.training.pack import Pack, read_pack, read_packs
from facealign_cli.training.turn import Turns, turn_pack
from tests.training.test_head import landmarks_of, picture
from tests.training.test_relabel import write

YAWS = [0.0, 20.0, -20.0, 55.0, 5.0, 0.0]
HELD_OUT, UNLABELLED = 4, 5


@pytest.fixture
def pack() -> Pack:
    """Six faces: one turned far, one held out, one without labels."""
    n = len(YAWS)
    weights = np.full((n, 68), 0.8, np.float32)
    weights[UNLABELLED], weights[1, 30] = 0, 0
    return Pack(
        np.repeat(picture()[None], n, axis=0),
        np.stack([landmarks_of(yaw) for yaw in YAWS]).astype(np.float32),
        np.full((n, 4), np.nan, np.float32),
        np.zeros(n, bool),
        np.arange(n) == HELD_OUT,
        weights,
        np.full(n, np.nan, np.float32),
        np.full((n, 5, 2), np.nan, np.float32),
        [f"helen:{i}.jpg" for i in range(n)],
    )


def test_training_faces_are_turned_the_way_they_look(tmp_path: Path, pack: Pack) -> None:
    source = write(tmp_path / "a.h5", pack)
    report = turn_pack(source, tmp_path / "b.h5", Turns(yaw_range=(30, 80)))
    turned = read_pack(tmp_path / "b.h5")
    assert [name.split(" (turned ")[0] for name in turned.names] == ["helen:0.jpg", "helen:1.jpg", "helen:2.jpg"]
    assert ((np.abs(turned.yaw) >= 29) & (np.abs(turned.yaw) <= 81)).all()
    assert turned.yaw[1] > 0 > turned.yaw[2]
    for name, yaw, before in zip(turned.names, turned.yaw, YAWS, strict=False):
        assert float(name.rpartition(" ")[2][:-1]) == pytest.approx(yaw - before, abs=1.5)
    assert report.left_out == {"turned too far already": 1, "held out": 1, "without labels": 1}
    assert report.counts((0, 30, 90)).sum() == 3
    assert not turned.held_out.any()
    assert np.isnan(turned.bbox).all()
    assert len(read_packs([source, tmp_path / "b.h5"])) == 9


def test_hidden_landmarks_count_nothing(tmp_path: Path, pack: Pack) -> None:
    turn_pack(write(tmp_path / "a.h5", pack), tmp_path / "b.h5", Turns(yaw_range=(64, 65)))
    far = read_pack(tmp_path / "b.h5")
    turn_pack(tmp_path / "a.h5", tmp_path / "c.h5", Turns(yaw_range=(38, 40)))
    half = read_pack(tmp_path / "c.h5")
    for turned, of_averted_jaw in ((far, 0.0), (half, 0.4)):
        for weights, yaw in zip(turned.weights, turned.yaw, strict=True):
            averted, near = (range(8), range(9, 17)) if yaw > 0 else (range(9, 17), range(8))
            assert weights[list(averted)].max() == pytest.approx(of_averted_jaw)
            np.testing.assert_allclose(weights[list(near)][1:-1], 0.8, atol=1e-6)
        assert turned.weights[1, 30] == 0  # as before the turn
    assert (far.weights[0, 17:] == 0).sum() > (half.weights[0, 17:] == 0).sum()


def test_doubtful_poses_are_left_out(tmp_path: Path, pack: Pack) -> None:
    pack.yaw[0] = -61.0  # the data set knows better than the fit
    pack.landmarks[1] = landmarks_of(20.0, pitch_deg=45.0)
    pack.landmarks[2] = landmarks_of(-20.0, pitch_deg=-20.0)
    report = turn_pack(write(tmp_path / "a.h5", pack), tmp_path / "b.h5", Turns())
    assert [name.split(" ")[0] for name in read_pack(tmp_path / "b.h5").names] == ["helen:2.jpg"]
    assert report.left_out["turned too far already"] == 2
    assert report.left_out["looks up or down by more than 30 degrees"] == 1


def test_copies_share_the_range_and_follow_from_the_seed(tmp_path: Path, pack: Pack) -> None:
    source = write(tmp_path / "a.h5", pack)
    for name, seed in (("b", 0), ("c", 0), ("d", 1)):
        turn_pack(source, tmp_path / f"{name}.h5", Turns(yaw_range=(40, 80), copies=2, seed=seed))
    first, same, other = (read_pack(tmp_path / f"{name}.h5") for name in "bcd")
    yaw = np.abs(first.yaw).reshape(3, 2)
    assert ((yaw[:, 0] < 61) & (yaw[:, 1] > 59)).all()
    np.testing.assert_array_equal(first.images, same.images)
    assert first.names == same.names != other.names


def test_copies_turned_alike_have_names_of_their_own(tmp_path: Path, pack: Pack) -> None:
    source = write(tmp_path / "a.h5", pack.select(np.arange(len(pack)) == 0))
    turn_pack(source, tmp_path / "b.h5", Turns(yaw_range=(50, 50.2), copies=3))
    names = read_pack(tmp_path / "b.h5").names
    assert [name.rpartition(")")[2] for name in names] == ["", " 2", " 3"]


def test_bad_input(tmp_path: Path, pack: Pack) -> None:
    with pytest.raises(InputError, match="the lower one first"):
        Turns(yaw_range=(60, 40))
    source = write(tmp_path / "a.h5", replace(pack, held_out=np.ones(len(pack), bool)))
    with pytest.raises(InputError, match=r"no face in it can be turned \(held out: 6\)"):
        turn_pack(source, tmp_path / "b.h5", Turns())
    (tmp_path / "b.h5").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        turn_pack(source, tmp_path / "b.h5", Turns())


def test_command(tmp_path: Path, pack: Pack) -> None:
    source = write(tmp_path / "a.h5", pack)
    result = CliRunner().invoke(
        main, ["train", "turn", str(source), "-o", str(tmp_path / "b.h5"), "--yaw", "50", "59", "--copies", "2"]
    )
    assert result.exit_code == 0, result.stderr
    assert "not turned: 1 face: held out" in result.stderr
    assert [line.split() for line in result.stdout.splitlines()][-1] == ["all", "6"]
    assert len(read_pack(tmp_path / "b.h5")) == 6
