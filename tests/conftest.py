"""Fixtures that several test files need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """The team's data folder; it is not part of the project, so a checkout elsewhere skips what needs it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the training data in {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """(512, 512, 3) uint8 BGR: NASA's picture of Eileen Collins, public domain, from scikit-image."""
    data = pytest.importorskip("skimage.data")
    return np.ascontiguousarray(data.astronaut()[..., ::-1])
