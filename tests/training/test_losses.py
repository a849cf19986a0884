"""The losses of landmarks and of sigma, against plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from facealign_cli.metrics import nme
from facealign_cli.training.layers import (
    landmark_loss,
    sigma_loss,
)
from tests.training.tensors import leaf


class TestLandmarkLoss:
    def truth(self) -> np.ndarray:
        """Pupils at (20, 30) and (60, 30): 40 pixels apart."""
        truth = np.random.default_rng(16).uniform(0, 80, (2, 68, 2))
        for eye, center in ((slice(36, 42), (20, 30)), (slice(42, 48), (60, 30))):
            truth[:, eye] += np.array(center) - truth[:, eye].mean(axis=1, keepdims=True)
        return truth

    def test_by_hand(self) -> None:
        truth = self.truth()
        loss = landmark_loss(torch.tensor(truth + np.array([3, 4])), torch.tensor(truth))
        np.testing.assert_allclose(loss.numpy(), [5 / 40, 5 / 40], rtol=1e-9)

    def test_is_the_metric(self) -> None:
        truth = self.truth()
        landmarks = truth + np.random.default_rng(17).normal(0, 3, truth.shape)
        loss = landmark_loss(torch.tensor(landmarks), torch.tensor(truth))
        np.testing.assert_allclose(loss.numpy(), nme(landmarks, truth, "inter-pupil"), rtol=1e-9)

    def test_gradient(self) -> None:
        truth = self.truth()
        landmarks = truth + np.random.default_rng(18).normal(0, 3, truth.shape)
        assert gradcheck(landmark_loss, (leaf(landmarks), leaf(truth)))

    def test_a_point_of_weight_zero_has_no_gradient(self) -> None:
        truth = self.truth()
        landmarks, weights = leaf(truth + 3), np.ones((2, 68))
        weights[0, 5], weights[1, 40] = 0, 0.5
        landmark_loss(landmarks, torch.tensor(truth), torch.tensor(weights)).sum().backward()
        assert landmarks.grad is not None
        size = torch.linalg.vector_norm(landmarks.grad, dim=2)
        assert size[0, 5] == 0
        assert size[1, 40] == pytest.approx(float(size[1, 41]) / 2)
        assert (size[0, torch.arange(68) != 5] > 0).all()

    def test_a_profile_is_divided_by_its_size(self) -> None:
        """Pupils 1 pixel apart on a face of 80 by 80: divided by 0.4 · 80."""
        truth = np.random.default_rng(16).uniform(0, 80, (1, 68, 2))
        truth[0, 0], truth[0, 16] = (0, 0), (80, 80)
        for eye, center in ((slice(36, 42), (30, 30)), (slice(42, 48), (31, 30))):
            truth[:, eye] = np.array(center)
        loss = landmark_loss(torch.tensor(truth + np.array([3, 4])), torch.tensor(truth))
        np.testing.assert_allclose(loss.numpy(), [5 / 32], rtol=1e-9)

    def test_gradient_at_the_truth_is_finite(self) -> None:
        landmarks = leaf(self.truth())
        landmark_loss(landmarks, torch.tensor(self.truth())).sum().backward()
        assert landmarks.grad is not None
        assert torch.isfinite(landmarks.grad).all()


class TestSigmaLoss:
    def test_is_least_at_the_distances_own_scale(self) -> None:
        """d / s + 2 ln s has its minimum at s = d / 2."""
        distance, ones = torch.full((1, 68), 6.0), torch.ones(1, 68)
        losses = [float(sigma_loss(ones * s, distance, ones, torch.tensor([1.0]))) for s in (2.7, 3.0, 3.3)]
        assert losses[1] < losses[0]
        assert losses[1] < losses[2]

    def test_weights_and_unit(self) -> None:
        """Points of weight zero do not count; a face twice as large has the same loss."""
        rng = np.random.default_rng(3)
        sigma, distance = torch.tensor(rng.uniform(1, 4, (1, 68))), torch.tensor(rng.uniform(0, 9, (1, 68)))
        weights = torch.ones(1, 68).double()
        weights[0, 7] = 0
        first = sigma_loss(sigma, distance, weights, torch.tensor([10.0]).double())
        twice = sigma_loss(2 * sigma, 2 * distance, weights, torch.tensor([20.0]).double())
        torch.testing.assert_close(first, twice)
        distance[0, 7] = 1e6
        torch.testing.assert_close(first, sigma_loss(sigma, distance, weights, torch.tensor([10.0]).double()))
