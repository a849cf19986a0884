"""A network's figures on held-out faces."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("h5py")

from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.training.figures import named_figures, stage_errors


def test_errors_are_means_over_the_pupils_distance() -> None:
    truth = np.stack([MEAN_SHAPE, 3 * MEAN_SHAPE])
    pupils = np.linalg.norm(MEAN_SHAPE[36:42].mean(axis=0) - MEAN_SHAPE[42:48].mean(axis=0))
    moved = truth + np.array([0.06 * pupils, 0])  # 0.06 of the first face's distance, 0.02 of the second's
    assert stage_errors([moved, truth], truth) == pytest.approx((0.04, 0.0))


def test_figures_are_named_by_the_stage_s_own_number() -> None:
    assert named_figures({1: 0.07314, 3: 0.0451}) == {
        "held-out inter-pupil NME %, stage 1": 7.31,
        "held-out inter-pupil NME %, stage 3": 4.51,
    }
