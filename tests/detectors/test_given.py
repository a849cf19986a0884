"""Boxes however somebody gives them."""

from __future__ import annotations

import numpy as np
import pytest

from facealign_cli.detectors.given import detections_of
from facealign_cli.errors import InputError


def test_a_masked_box_is_no_box() -> None:
    """What a mask hides is not known; the number below it would be taken."""
    boxes = np.ma.array([[1.0, 2, 30, 40], [5, 6, 70, 80]], mask=[[0, 0, 0, 0], [0, 0, 1, 0]])
    assert detections_of(boxes[:1])[0].bbox.xyxy == (1, 2, 30, 40)
    with pytest.raises(InputError, match=r"boxes\[1\]: .*got masked values"):
        detections_of(boxes)
