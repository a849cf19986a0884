"""A small picture, to be written and read again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="module")
def small(astronaut: np.ndarray) -> np.ndarray:
    return cv2.resize(astronaut, (200, 120))
