"""Pictures as a clip: which of them a part of the time means."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign_cli.video import open_source


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected"),
    [(0.05, None, [2, 3, 4, 5]), (0.08, 0.16, [2, 3]), (0.0, 0.09, [0, 1, 2]), (None, None, [0, 1, 2, 3, 4, 5])],
)
def test_a_part_holds_the_pictures_whose_time_lies_in_it(
    tmp_path: Path, start_s: float | None, end_s: float | None, expected: list[int]
) -> None:
    """Picture i stands at 0.04 · i seconds; a part begins with the first picture at or after its start."""
    for i in range(6):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((20, 30, 3), 40 * i, np.uint8))
    source = open_source(str(tmp_path), start_s=start_s, end_s=end_s)
    shown = [int(frame.image_bgr[0, 0, 0]) // 40 for frame in source if frame.image_bgr is not None]
    assert shown == expected
