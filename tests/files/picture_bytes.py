"""What the tests of pictures share: a picture as the bytes of a file."""

from __future__ import annotations

import cv2
import numpy as np
import pytest


def encode(image: np.ndarray, suffix: str, *options: int) -> bytes:
    try:
        if suffix == ".gif" and not cv2.haveImageWriter("a.gif"):
            pytest.skip("this OpenCV cannot write .gif")
        return cv2.imencode(suffix, image, options)[1].tobytes()
    except cv2.error:
        pytest.skip(f"this OpenCV cannot write {suffix}")
