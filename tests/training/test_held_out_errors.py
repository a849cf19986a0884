"""What a network is measured by: the metric itself, from the data set's boxes, and by yaw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from facealign_cli.metrics import nme
from facealign_cli.training import measure
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.measure import held_out_errors
from facealign_cli.training.network import Dan
from facealign_cli.training.pack import Pack, crops_in_frame


class TestYawErrors:
    def test_counts_inner_points_of_positive_weight_only(
        self, tiny_light: NetworkConfig, tiny_pack: Pack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Jaw, bridge and points of weight zero are a hundred pixels off, the others three percent of the size.

        Of the fourth face only the jaw counts: it is not among those turned by 10 degrees.
        """
        yaw = np.full(24, np.nan, np.float32)
        yaw[:4] = 10, -45, 75, 10
        weights = np.ones((24, 68), np.float32)
        weights[:, 40] = weights[3, 17:] = 0
        pack = replace(tiny_pack, yaw=yaw, weights=weights).select(np.isfinite(yaw))

        def predict(model: Dan, pack: Pack, n_stages: int | None = None) -> tuple[list[np.ndarray], np.ndarray]:
            truth = pack.landmarks.astype(float)
            size = np.sqrt(np.ptp(truth, axis=1).prod(axis=1))
            off = np.zeros((4, 68, 2))
            off[..., 0] = 0.03 * size[:, None] * np.array([1, 2, 3, 4])[:, None]
            off[:, [*range(17), 27, 28, 29, 40]] = 100
            return [truth + off], truth

        monkeypatch.setattr(measure, "predict_pack", predict)
        errors = measure.turned_errors(Dan(tiny_light), pack)
        assert errors == pytest.approx({"0_30": 0.03, "30_60": 0.06, "60_90": 0.09})

    def test_nothing_without_yaw(self, tiny_light: NetworkConfig, tiny_pack: Pack) -> None:
        assert measure.turned_errors(Dan(tiny_light), tiny_pack) == {}


class TestEvaluation:
    def test_crops_start_from_the_boxes(self, tiny_vgg: NetworkConfig, tiny_pack: Pack) -> None:
        """Where the box is the tight one, the face fills the frame; a box aside leaves it aside."""
        _, truth = crops_in_frame(tiny_pack, tiny_vgg.crop_frame)
        centers = (truth.max(axis=1) + truth.min(axis=1)) / 2
        np.testing.assert_allclose(centers[::2], 15.5, atol=1e-3)
        assert np.abs(centers[1::2] - 15.5).max() > 0.05

    def test_error_is_the_metric(
        self, tiny_light: NetworkConfig, tiny_pack: Pack, random_dan: Callable[..., Dan]
    ) -> None:
        model = random_dan(tiny_light)
        crops, truth = crops_in_frame(tiny_pack, tiny_light.crop_frame)
        with torch.no_grad():
            landmarks = model(torch.from_numpy(crops).float()).landmarks
        expected = [nme(stage.numpy(), truth, "inter-pupil").mean() for stage in landmarks]
        assert held_out_errors(model, tiny_pack) == pytest.approx(expected, rel=1e-4)
        assert held_out_errors(model, tiny_pack, 1) == pytest.approx(expected[:1], rel=1e-4)
