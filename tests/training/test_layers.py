"""Every connection layer against a reference that shares no code with it; its gradient against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor
from torch.autograd import gradcheck

from facealign_cli.geometry import SimilarityTransform
from facealign_cli.training.layers import (
    FeatureImage,
    estimate_similarity,
    fit_similarity,
    invert_similarity,
    landmark_heatmap,
    sample_at,
    sample_patches,
    similarity_basis,
    transform_landmarks,
    transform_landmarks_back,
    upsample,
    warp_image,
)
from tests.training.tensors import leaf


def similarities() -> list[SimilarityTransform]:
    return [
        SimilarityTransform.from_parts(1.0, 0.0),
        SimilarityTransform.from_parts(0.7, 25.0, (1.3, -0.8), (3.1, 4.2)),
        SimilarityTransform.from_parts(1.9, -110.0, (-2.37, 3.21), (4.4, 3.3)),
    ]


def matrices(transforms: list[SimilarityTransform]) -> Tensor:
    return torch.tensor(np.stack([t.matrix for t in transforms]))


def off_grid(positions: np.ndarray, margin: float = 1e-3) -> bool:
    """Whether bilinear sampling has no kink near: finite differences must not step across a pixel's centre."""
    return bool((np.abs(positions - np.rint(positions)) > margin).all())


class TestEstimateSimilarity:
    @pytest.fixture
    def points(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        src = rng.normal(40, 20, (3, 68, 2))
        dst = np.stack([t.apply(s) for t, s in zip(similarities(), src, strict=True)])
        return src, dst + rng.normal(0, 2, dst.shape)

    def test_equals_least_squares(self, points: tuple[np.ndarray, np.ndarray]) -> None:
        src, dst = points
        estimated = estimate_similarity(torch.tensor(src), torch.tensor(dst)).numpy()
        for i in range(len(src)):
            x, y = src[i].T
            one, zero = np.ones_like(x), np.zeros_like(x)
            rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
            a, b, tx, ty = np.linalg.lstsq(rows, dst[i].T.ravel(), rcond=None)[0]
            np.testing.assert_allclose(estimated[i], [[a, -b, tx], [b, a, ty]], rtol=1e-9, atol=1e-9)

    def test_equals_geometry(self, points: tuple[np.ndarray, np.ndarray]) -> None:
        src, dst = points
        estimated = estimate_similarity(torch.tensor(src), torch.tensor(dst)).numpy()
        expected = [SimilarityTransform.estimate(s, d).matrix for s, d in zip(src, dst, strict=True)]
        np.testing.assert_allclose(estimated, expected, rtol=1e-10, atol=1e-10)

    def test_one_target_for_all(self, points: tuple[np.ndarray, np.ndarray]) -> None:
        src, dst = torch.tensor(points[0]), torch.tensor(points[1])
        together = estimate_similarity(src, dst[0])
        torch.testing.assert_close(together, estimate_similarity(src, dst[0].expand_as(src)))

    def test_gradient(self, points: tuple[np.ndarray, np.ndarray]) -> None:
        src, dst = leaf(points[0][:2, :7]), leaf(points[1][:2, :7])
        assert gradcheck(estimate_similarity, (src, dst))
        assert gradcheck(estimate_similarity, (src, dst[0].detach().requires_grad_()))


class TestInvertSimilarity:
    def test_equals_matrix_inverse(self) -> None:
        inverse = invert_similarity(matrices(similarities())).numpy()
        whole = [np.vstack([t.matrix, [0, 0, 1]]) for t in similarities()]
        np.testing.assert_allclose(inverse, np.linalg.inv(whole)[:, :2], rtol=1e-10, atol=1e-12)

    def test_gradient(self) -> None:
        # a similarity has four numbers; the other two entries of the matrix are not free
        def from_numbers(values: Tensor) -> Tensor:
            a, b, tx, ty = values.T
            return invert_similarity(torch.stack([torch.stack([a, -b, tx], 1), torch.stack([b, a, ty], 1)], 1))

        assert gradcheck(from_numbers, leaf(np.array([[t.a, t.b, t.tx, t.ty] for t in similarities()])))


class TestTransformLandmarks:
    def test_equals_geometry(self) -> None:
        points = np.random.default_rng(1).normal(50, 30, (3, 68, 2))
        moved = transform_landmarks(torch.tensor(points), matrices(similarities())).numpy()
        expected = [t.apply(p) for t, p in zip(similarities(), points, strict=True)]
        np.testing.assert_allclose(moved, expected, rtol=1e-12)

    def test_inverse_brings_back(self) -> None:
        points = torch.tensor(np.random.default_rng(2).normal(50, 30, (3, 68, 2)))
        transforms = matrices(similarities())
        there = transform_landmarks(points, transforms)
        torch.testing.assert_close(transform_landmarks(there, invert_similarity(transforms)), points)

    def test_gradient(self) -> None:
        points = np.random.default_rng(3).normal(5, 3, (3, 4, 2))
        assert gradcheck(transform_landmarks, (leaf(points), leaf(matrices(similarities()))))


class TestFitSimilarity:
    @pytest.fixture
    def shape(self) -> np.ndarray:
        return np.random.default_rng(20).normal(40, 15, (68, 2))

    def test_equals_the_estimate_from_the_shape(self, shape: np.ndarray) -> None:
        rng = np.random.default_rng(21)
        landmarks = np.stack([t.apply(shape) + rng.normal(0, 3, shape.shape) for t in similarities()])
        fitted = fit_similarity(torch.tensor(landmarks), similarity_basis(torch.tensor(shape))).numpy()
        expected = [SimilarityTransform.estimate(shape, points).matrix for points in landmarks]
        np.testing.assert_allclose(fitted, expected, rtol=1e-9, atol=1e-9)

    def test_float32_is_as_good(self, shape: np.ndarray) -> None:
        turn = SimilarityTransform.from_parts(1.1, 20, (30, 25))
        basis = similarity_basis(torch.tensor(shape)).float()
        fitted = fit_similarity(torch.tensor(turn.apply(shape))[None].float(), basis).numpy()
        np.testing.assert_allclose(fitted[0] @ [40, 40, 1], turn.apply(np.array([40.0, 40.0])), atol=1e-3)

    def test_gradient(self, shape: np.ndarray) -> None:
        basis = similarity_basis(torch.tensor(shape[:5]))
        assert gradcheck(lambda points: fit_similarity(points, basis), leaf(shape[None, :5]))


class TestTransformLandmarksBack:
    def test_equals_geometry(self) -> None:
        points = np.random.default_rng(22).normal(50, 30, (3, 68, 2))
        moved = transform_landmarks_back(torch.tensor(points), matrices(similarities())).numpy()
        expected = [t.inverse().apply(p) for t, p in zip(similarities(), points, strict=True)]
        np.testing.assert_allclose(moved, expected, rtol=1e-10, atol=1e-10)

    def test_gradient(self) -> None:
        def from_numbers(points: Tensor, values: Tensor) -> Tensor:
            a, b, tx, ty = values.T
            transform = torch.stack([torch.stack([a, -b, tx], 1), torch.stack([b, a, ty], 1)], 1)
            return transform_landmarks_back(points, transform)

        numbers = leaf(np.array([[t.a, t.b, t.tx, t.ty] for t in similarities()]))
        assert gradcheck(from_numbers, (leaf(np.random.default_rng(23).normal(5, 3, (3, 4, 2))), numbers))


class TestWarpImage:
    SIZE = 9

    def positions(self, transform: SimilarityTransform, size: int) -> np.ndarray:
        y, x = np.mgrid[:size, :size]
        return transform.apply(np.stack([x, y], axis=-1))

    def expected(self, image: np.ndarray, transform: SimilarityTransform, size: int) -> np.ndarray:
        positions = self.positions(transform, size)
        return map_coordinates(image, [positions[..., 1], positions[..., 0]], order=1, mode="nearest")

    def test_equals_scipy(self) -> None:
        images = np.random.default_rng(4).uniform(0, 255, (3, 1, 11, 11))
        warped = warp_image(torch.tensor(images), matrices(similarities()), self.SIZE).numpy()
        positions = self.positions(similarities()[2], self.SIZE)
        assert (positions < 0).any() and (positions > 10).any(), "the test should look outside too"
        expected = [self.expected(i[0], t, self.SIZE) for i, t in zip(images, similarities(), strict=True)]
        np.testing.assert_allclose(warped[:, 0], expected, atol=1e-9)

    def test_identity_changes_nothing(self) -> None:
        image = torch.rand(1, 1, 8, 8, dtype=torch.float64)
        torch.testing.assert_close(warp_image(image, matrices(similarities()[:1]), 8), image)

    def test_whole_pixel_shift(self) -> None:
        image = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
        image[0, 0, 2, 3] = 7
        back = SimilarityTransform.from_parts(shift=(-2, -1))
        warped = warp_image(image, matrices([back]), 8)
        assert float(warped[0, 0, 3, 5]) == pytest.approx(7, abs=1e-12)
        assert float(warped.sum()) == pytest.approx(7, abs=1e-12)

    def test_float32_is_as_good(self) -> None:
        image = np.random.default_rng(5).uniform(0, 255, (1, 1, 160, 160))
        back = SimilarityTransform.from_parts(1.1, 17.0, (20.3, 25.1), (55.5, 55.5))
        warped = warp_image(torch.tensor(image).float(), matrices([back]).float(), 112).numpy()
        np.testing.assert_allclose(warped[0, 0], self.expected(image[0, 0], back, 112), atol=0.02)

    def test_gradient_of_image(self) -> None:
        images = leaf(np.random.default_rng(6).normal(size=(3, 1, 6, 6)))
        transforms = matrices(similarities())
        assert gradcheck(lambda image: warp_image(image, transforms, 5), images)

    def test_gradient_of_transform(self) -> None:
        turned = similarities()[1:]
        assert all(off_grid(self.positions(t, 6)) for t in turned)
        images = torch.tensor(np.random.default_rng(7).normal(size=(2, 1, 8, 8)))

        def from_numbers(values: Tensor) -> Tensor:
            a, b, tx, ty = values.T
            transform = torch.stack([torch.stack([a, -b, tx], 1), torch.stack([b, a, ty], 1)], 1)
            return warp_image(images, transform, 6)

        assert gradcheck(from_numbers, leaf(np.array([[t.a, t.b, t.tx, t.ty] for t in turned])))


class TestSamplePatches:
    def test_equals_scipy(self) -> None:
        rng = np.random.default_rng(24)
        images = rng.normal(size=(2, 3, 9, 9))
        points = np.concatenate([rng.uniform(1, 7, (2, 60, 2)), [[[1, 1], [7, 7], [4, 5]]] * 2], axis=1)
        sampled = sample_patches(torch.tensor(images), torch.tensor(points)).numpy()
        assert sampled.shape == (2, 63, 9, 3)
        places = [(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1)]
        for n in range(2):
            for k, (dx, dy) in enumerate(places):
                at = [points[n, :, 1] + dy, points[n, :, 0] + dx]
                expected = [map_coordinates(channel, at, order=1, mode="nearest") for channel in images[n]]
                np.testing.assert_allclose(sampled[n, :, k].T, expected, atol=1e-12)

    def test_positions_outside_are_moved_inside(self) -> None:
        image = torch.tensor(np.random.default_rng(25).normal(size=(1, 2, 6, 6)))
        outside = torch.tensor([[[-5.0, 0.3], [9.0, 2.5], [3.0, 5.0]]], dtype=torch.float64)
        inside = torch.tensor([[[1.0, 1.0], [4.0, 2.5], [3.0, 4.0]]], dtype=torch.float64)
        torch.testing.assert_close(sample_patches(image, outside), sample_patches(image, inside))

    def test_gradient(self) -> None:
        rng = np.random.default_rng(26)
        points = rng.uniform(1, 4, (2, 7, 2))
        assert off_grid(points)
        assert gradcheck(sample_patches, (leaf(rng.normal(size=(2, 2, 6, 6))), leaf(points)))


class TestSampleAt:
    def test_equals_scipy(self) -> None:
        rng = np.random.default_rng(8)
        images = rng.normal(size=(2, 3, 6, 9))
        points = np.concatenate([rng.uniform(-3, 11, (2, 60, 2)), [[[0, 0], [8, 5], [3, 5]]] * 2], axis=1)
        sampled = sample_at(torch.tensor(images), torch.tensor(points)).numpy()
        for n in range(2):
            at = [points[n, :, 1], points[n, :, 0]]
            expected = [map_coordinates(channel, at, order=1, mode="nearest") for channel in images[n]]
            np.testing.assert_allclose(sampled[n].T, expected, atol=1e-12)

    def test_gradient(self) -> None:
        rng = np.random.default_rng(9)
        points = rng.uniform(-1, 6, (2, 12, 2))
        assert off_grid(points)
        assert gradcheck(sample_at, (leaf(rng.normal(size=(2, 2, 5, 6))), leaf(points)))


class TestLandmarkHeatmap:
    def expected(self, landmarks: np.ndarray, size: int) -> np.ndarray:
        heatmap = np.empty((len(landmarks), 1, size, size))
        for n, y, x in np.ndindex(len(landmarks), size, size):
            heatmap[n, 0, y, x] = 1 / (1 + min(np.hypot(x - px, y - py) for px, py in landmarks[n]))
        return heatmap

    def test_equals_brute_force(self) -> None:
        landmarks = np.random.default_rng(10).uniform(-4, 16, (2, 68, 2))
        heatmap = landmark_heatmap(torch.tensor(landmarks), 12).numpy()
        np.testing.assert_allclose(heatmap, self.expected(landmarks, 12), atol=1e-6)

    def test_is_one_on_a_landmark_and_sub_pixel_beside_it(self) -> None:
        heatmap = landmark_heatmap(torch.tensor([[[3.25, 5.0], [100.0, 100.0]]], dtype=torch.float64), 12)
        assert float(heatmap[0, 0, 5, 3]) == pytest.approx(1 / 1.25)
        assert float(landmark_heatmap(torch.tensor([[[3.0, 5.0]]]), 12)[0, 0, 5, 3]) == pytest.approx(1, abs=1e-5)

    def test_float32_is_as_good(self) -> None:
        landmarks = np.random.default_rng(11).uniform(0, 112, (1, 68, 2))
        heatmap = landmark_heatmap(torch.tensor(landmarks).float(), 112).numpy()
        np.testing.assert_allclose(heatmap, self.expected(landmarks, 112), atol=2e-5)

    def test_gradient(self) -> None:
        landmarks = np.random.default_rng(12).uniform(0, 6, (2, 5, 2))
        y, x = np.mgrid[:6, :6]
        pixels = np.stack([x, y], axis=-1).reshape(1, -1, 1, 2)
        distances = np.sort(np.linalg.norm(pixels - landmarks[:, None], axis=3), axis=2)
        assert (distances[..., 0] > 1e-3).all(), "no landmark on a pixel"
        assert (distances[..., 1] - distances[..., 0] > 1e-4).all(), "no two equally near"
        assert gradcheck(lambda points: landmark_heatmap(points, 6), leaf(landmarks))

    def test_gradient_on_a_landmark_is_finite(self) -> None:
        landmarks = leaf(np.array([[[2.0, 3.0]]]))
        landmark_heatmap(landmarks, 6).sum().backward()
        assert landmarks.grad is not None
        assert torch.isfinite(landmarks.grad).all()


class TestFeatureImage:
    @pytest.fixture
    def layer(self) -> FeatureImage:
        torch.manual_seed(0)
        return FeatureImage(5, 3, 6).double()

    def test_equals_numpy(self, layer: FeatureImage) -> None:
        features = np.random.default_rng(13).normal(size=(4, 5))
        weight, bias = layer.dense.weight.detach().numpy(), layer.dense.bias.detach().numpy()
        small = np.maximum(features @ weight.T + bias, 0).reshape(4, 1, 3, 3)
        assert (small == 0).any(), "the test should have the ReLU cut something"
        expected = small.repeat(2, axis=2).repeat(2, axis=3)
        np.testing.assert_allclose(layer(torch.tensor(features)).detach().numpy(), expected, atol=1e-12)

    def test_gradient(self, layer: FeatureImage) -> None:
        features = leaf(np.random.default_rng(14).normal(size=(2, 5)))
        with torch.no_grad():
            assert (layer.dense(features).abs() > 1e-3).all(), "away from the ReLU's kink"

        def forward(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            return torch.func.functional_call(layer, {"dense.weight": weight, "dense.bias": bias}, (features,))

        assert gradcheck(forward, (features, leaf(layer.dense.weight.detach()), leaf(layer.dense.bias.detach())))

    def test_side_must_divide(self) -> None:
        with pytest.raises(ValueError, match="must divide 8"):
            FeatureImage(5, 3, 8)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_upsample(factor: int) -> None:
    image = np.random.default_rng(15).normal(size=(2, 3, 4, 5))
    expected = image.repeat(factor, axis=2).repeat(factor, axis=3)
    np.testing.assert_array_equal(upsample(torch.tensor(image), factor).numpy(), expected)
    assert gradcheck(lambda x: upsample(x, factor), leaf(image[:1, :1]))
