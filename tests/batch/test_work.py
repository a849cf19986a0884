"""A picture's share of the time that a batch took."""

from __future__ import annotations

import time
from collections import defaultdict

import pytest

from facealign_cli.batch.work import _Picture, _Timed
from facealign_cli.boxes import BBox, Detection


def test_a_batch_s_time_is_shared_by_its_faces() -> None:
    pictures = [_Picture("a", False), _Picture("b", True)]
    for picture, count in zip(pictures, (1, 3), strict=True):
        picture.detections = [Detection(BBox(0, 0, 9, 9), 0.9)] * count
    with _Timed("align", pictures, defaultdict(float)):
        time.sleep(0.02)
    first, second = (picture.extra["align_ms"] for picture in pictures)
    assert second == pytest.approx(3 * first, abs=0.01)
    assert first + second >= 20
