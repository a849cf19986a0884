"""The benchmark of points placed by hand, on a folder of one face."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
from click.testing import CliRunner

from facealign_cli.aligner import Aligner
from facealign_cli.arrays import Image
from facealign_cli.datasets.unlabelled import points_of_shape
from facealign_cli.files.pictures import write_image
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
