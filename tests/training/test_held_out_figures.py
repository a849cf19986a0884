"""A network's figures on held-out faces."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("h5py")

from dataclasses import replace

from facealign_cli.errors import InputError
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.figures import held_out_figures, named_figures, stage_errors
from facealign_cli.training.measure import measured_faces
from facealign_cli.training.network import Dan
from facealign_cli.training.pack import Pack


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


def test_only_what_has_labels_is_measured(tiny_pack: Pack, tiny_light: NetworkConfig) -> None:
    weights = tiny_pack.weights.copy()
    first = int(np.flatnonzero(tiny_pack.held_out)[0])
    weights[first] = 0
    assert measured_faces(replace(tiny_pack, weights=weights)).names == [
        name for i, name in enumerate(tiny_pack.names) if tiny_pack.held_out[i] and i != first
    ]
    weights[:] = 0
    with pytest.raises(InputError, match="no face of the packs is held out and labelled"):
        held_out_figures(Dan(tiny_light), replace(tiny_pack, weights=weights))
