"""The benchmarks by pose: points placed by hand, on a folder of one face, and labels that stand elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
from click.testing import CliRunner

from facealign_cli.aligner import Aligner
from facealign_cli.arrays import Image
from facealign_cli.datasets.splits import is_held_out, photo_key
from facealign_cli.datasets.unlabelled import points_of_shape
from facealign_cli.files.pictures import write_image
from facealign_cli.formats.pts import write_pts
from tests.astronaut import FACE


def test_points_placed_by_hand_are_told_by_pose(
    load: Callable[[str], ModuleType], aligner: Aligner, astronaut: Image, tmp_path: Path
) -> None:
    """Hand points a tenth of the face's size from where the model sees them."""
    landmarks = aligner.align_boxes(astronaut, [FACE.bbox.xyxy])[0].landmarks
    hand = points_of_shape(landmarks, 5) + 0.1 * np.sqrt(np.ptp(landmarks, axis=0).prod()) * np.array([1, 0])
    write_image(tmp_path / "a.png", astronaut)
    (tmp_path / "points.json").write_text(json.dumps({"a": hand.tolist()}))
    (tmp_path / "info.json").write_text(json.dumps({"a": {"pose": 2, "smile": 0}}))
    result = CliRunner().invoke(load("face_groups").points, [str(tmp_path)], catch_exceptions=False)
    row = [cell.strip() for cell in result.output.splitlines()[-1].strip("|").split("|")]
    assert row[:2] == ["half", "1"]
    assert 7 < float(row[2]) < 13
    assert row[4:] == ["0.0 %", "", "100.0 %"]


def test_the_convention_of_labels_turns_with_the_head(load: Callable[[str], ModuleType]) -> None:
    """Two points, one of which stands to the right on a head that looks ahead, and one in front of it."""
    convention = load("convention").convention
    missed = [[[0.02, 0.01], [0.0, -0.01]], [[0.01, 0.01], [0.03 * np.sqrt(3) / 2, -0.01]]]
    of_right, of_left = convention(np.array(missed), np.array([0.0, 60.0]), np.array([90.0, -30.0]))
    np.testing.assert_allclose(of_right, [[0.0, 0.01], [0.03, -0.01]], atol=1e-9)
    np.testing.assert_allclose(of_left, [[0.02 * np.sqrt(3) / 2, 0.01], [-0.015, -0.01]], atol=1e-9)


def test_labels_that_stand_elsewhere_are_placed(
    load: Callable[[str], ModuleType], aligner: Aligner, astronaut: Image, tmp_path: Path
) -> None:
    """Every other point stands 2 % of the face's size further to the right, as far as one sees it on a turned head. The
    held-out labels stand 1 % lower besides, which the training faces do not tell."""
    root = tmp_path / "aflw2000"
    root.mkdir()
    landmarks = aligner.align_boxes(astronaut, [FACE.bbox.xyxy])[0].landmarks
    size = np.sqrt(np.ptp(landmarks, axis=0).prod())
    names = [f"image{number:05}" for number in range(100)]
    held_out = [name for name in names if is_held_out(photo_key("aflw2000", name))][:2]
    training = [name for name in names if not is_held_out(photo_key("aflw2000", name))][:4]
    yaw = dict(zip([*held_out, *training], [40, -50, 40, -50, 45, -35], strict=True))
    for name, degrees in yaw.items():
        labels = landmarks.copy()
        labels[1::2, 0] += 0.02 * size * np.cos(np.radians(degrees))
        labels[:, 1] += 0.01 * size * (name in held_out)
        write_image(root / f"{name}.png", astronaut)
        write_pts(root / f"{name}.pts", labels)
    (root / "info.json").write_text(json.dumps({name: {"yaw": degrees} for name, degrees in yaw.items()}))
    result = CliRunner().invoke(load("face_groups").pose, [str(root)], catch_exceptions=False)
    row = [cell.strip() for cell in result.output.splitlines()[2].strip("|").split("|")]
    assert row[:2] == ["30-60", "2"]
    raw, _, placed = map(float, row[2:5])
    assert 0.8 < placed < 1.2 < raw
