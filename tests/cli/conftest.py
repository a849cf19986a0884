"""What the tests of several commands need."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def photo(astronaut: np.ndarray) -> np.ndarray:
    """(240, 240, 3) uint8 BGR: a face and a little around it."""
    return np.ascontiguousarray(astronaut[20:260, 100:340])
