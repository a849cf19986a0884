"""The networks' structure against the paper's, and the way of coordinates through the stages."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facealign_cli.errors import InputError
from facealign_cli.geometry import CropFrame, SimilarityTransform
from facealign_cli.training.config import NETWORKS, NetworkConfig, StageConfig, network_config
from facealign_cli.training.network import Dan, multiply_adds

Build = Callable[[NetworkConfig], Any]
"""Any: torch.nn.Module types the attributes of what it holds as `Tensor | Module`."""


@pytest.fixture(scope="module")
def paper() -> Any:
    torch.manual_seed(0)
    return Dan(network_config("dan")).eval()


@pytest.fixture(scope="module")
def light() -> Any:
    torch.manual_seed(0)
    return Dan(network_config("dan-light")).eval()


@pytest.fixture(scope="module")
def large() -> Any:
    torch.manual_seed(0)
    return Dan(network_config("dan-large")).eval()


def noise(count: int, size: int) -> Tensor:
    return torch.randint(0, 256, (count, 1, size, size), generator=torch.Generator().manual_seed(0)).float()


def without_offsets(model: Any) -> Any:
    """All output layers zero: each stage returns the landmarks it was given."""
    for stage in model.stages:
        nn.init.zeros_(stage.out.weight)
        nn.init.zeros_(stage.out.bias)
        for step in stage.local.steps if stage.local else ():
            nn.init.zeros_(step.out.weight)
            nn.init.zeros_(step.out.bias)
    return model


def layers(module: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [layer for layer in module.modules() if isinstance(layer, kind)]


class TestPaper:
    def test_layers_of_a_stage(self, paper: Any) -> None:
        assert len(paper.stages) == 2
        for number, stage in enumerate(paper.stages):
            convolutions = [c for c in stage.modules() if isinstance(c, nn.Conv2d)]
            widths = [c.out_channels for c in convolutions]
            assert widths == [64, 64, 128, 128, 256, 256, 512, 512]
            assert [c.in_channels for c in convolutions] == [3 if number else 1, *widths[:-1]]
            assert all(c.kernel_size == (3, 3) and c.stride == (1, 1) and c.padding == (1, 1) for c in convolutions)
            assert all(c.bias is None for c in convolutions)
            assert [b.num_features for b in layers(stage, nn.BatchNorm2d)] == widths
            assert len(layers(stage, nn.MaxPool2d)) == 4
            assert stage.dropout.p == 0.5
            assert (stage.dense.in_features, stage.dense.out_features) == (7 * 7 * 512, 256)
            assert stage.dense.bias is None, "batch norm follows"
            assert stage.norm.num_features == 256
            assert (stage.out.in_features, stage.out.out_features) == (256, 136)
            assert stage.out.bias is not None
            assert stage.local is None

    def test_every_convolution_has_its_batch_norm_and_relu_and_two_make_a_level(self, paper: Any) -> None:
        kinds = [type(layer).__name__ for layer in paper.stages[0].backbone.modules() if not list(layer.children())]
        assert kinds == (["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["MaxPool2d"]) * 4

    def test_feature_image(self, paper: Any) -> None:
        (feature_image,) = paper.feature_images
        assert (feature_image.dense.in_features, feature_image.dense.out_features) == (256, 3136)
        assert (feature_image.side, feature_image.size) == (56, 112)

    def test_frames(self, paper: Any) -> None:
        assert (paper.config.crop_size, paper.config.crop_share) == (112, 0.5)
        assert [(s.frame_size, s.frame_share) for s in paper.config.stages] == [(112, 0.5)] * 2
        assert paper.reduce == 1


@pytest.mark.parametrize("name", list(NETWORKS))
class TestKnownNetworks:
    def model(self, name: str, request: pytest.FixtureRequest) -> Any:
        fixtures = {"dan": "paper", "dan-light": "light", "dan-large": "large"}
        return request.getfixturevalue(fixtures[name]) if name in fixtures else Dan(network_config(name)).eval()

    @torch.no_grad()
    def test_shapes(self, name: str, request: pytest.FixtureRequest) -> None:
        model = self.model(name, request)
        output = model(noise(2, model.config.crop_size))
        assert [tuple(landmarks.shape) for landmarks in output.landmarks] == [(2, 68, 2)] * 2
        assert tuple(output.logit.shape) == (2,)
        steps = [1 + stage.local_steps for stage in model.config.stages]
        assert [len(stage) for stage in output.steps] == steps
        assert len(model(noise(1, model.config.crop_size), 1).steps) == 1

    @torch.no_grad()
    def test_zeroed_outputs_give_the_mean_shape(self, name: str) -> None:
        torch.manual_seed(1)
        model = without_offsets(Dan(network_config(name)).eval())
        config = model.config
        stage1, stage2 = model(noise(2, config.crop_size)).landmarks
        expected = np.broadcast_to(CropFrame(config.crop_size, config.crop_share).shape, (2, 68, 2))
        np.testing.assert_allclose(stage1.numpy(), expected, atol=1e-4)
        np.testing.assert_allclose(stage2.numpy(), stage1.numpy(), atol=1e-3)

    @torch.no_grad()
    def test_stage_2_undoes_its_own_transform(self, name: str) -> None:
        """Stage 1 turned, small and aside; stage 2 moves by (1, 2) of its frame: in the crop that is turned, scaled."""
        torch.manual_seed(2)
        model = without_offsets(Dan(network_config(name)).eval())
        config, frame = model.config, model.config.stages[0]
        start = CropFrame(frame.frame_size, frame.frame_share).shape
        aside = SimilarityTransform.from_parts(0.8, 30.0, (3.0, -4.0), (40.0, 40.0))
        model.stages[0].out.bias.copy_(torch.tensor((aside.apply(start) - start).ravel()))
        crops = noise(1, config.crop_size)
        stage1, stage2 = model(crops).landmarks
        np.testing.assert_allclose(stage2.numpy(), stage1.numpy(), atol=1e-3)

        model.stages[1].out.bias.copy_(torch.tensor([1.0, 2.0]).repeat(68))
        stage1, stage2 = model(crops).landmarks
        later = config.stages[1]
        mean_shape = CropFrame(later.frame_size, later.frame_share).shape
        back = SimilarityTransform.estimate(stage1[0].numpy(), mean_shape).inverse()
        expected = (stage1[0].numpy() + back.apply(np.array([1.0, 2.0])) - back.apply(np.zeros(2)))[None]
        np.testing.assert_allclose(stage2.numpy(), expected, atol=1e-3)

    def test_config_goes_through_json(self, name: str) -> None:
        config = network_config(name)
        assert NetworkConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_later_stage_sees_the_canonical_face(tiny_light: NetworkConfig) -> None:
    """What reaches stage 2's net: a dot on a landmark of stage 1 stands on the same landmark of the frame."""
    model = without_offsets(Dan(tiny_light, 0.0, 1.0)).eval()
    place = model.config.crop_frame.shape[30]
    y, x = np.mgrid[:64, :64]
    blob = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * 2.0**2)).astype(np.float32)
    seen: list[Tensor] = []
    model.stages[1].register_forward_hook(lambda module, inputs, output: seen.extend(inputs[:3]))
    with torch.no_grad():
        model(torch.tensor(blob)[None, None])
    image, extra, landmarks = seen
    y, x = np.mgrid[:48, :48]
    weight = image[0, 0].numpy()
    centroid = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
    np.testing.assert_allclose(centroid, CropFrame(48, 0.7).shape[30], atol=0.05)
    np.testing.assert_allclose(landmarks[0].numpy(), CropFrame(48, 0.7).shape, atol=1e-3)
    assert tuple(extra.shape) == (1, 2, 12, 12)
    pixels = np.moveaxis(np.mgrid[:12, :12][::-1], 0, -1)
    nearest = np.linalg.norm(pixels[:, :, None] - CropFrame(48, 0.7).shape / 4, axis=3)
    np.testing.assert_allclose(extra[0, 0].numpy(), 1 / (1 + nearest.min(axis=2)), atol=1e-4)


def test_reduced_crop_averages_whole_blocks(tiny_light: NetworkConfig) -> None:
    model = Dan(tiny_light, 0.0, 1.0).eval()
    seen: list[Tensor] = []
    model.stages[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    crop = noise(1, 64)
    with torch.no_grad():
        model(crop, 1)
    expected = crop.numpy().reshape(32, 2, 32, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(seen[0][0, 0].numpy(), expected, rtol=1e-6)


def test_crop_is_normalised_by_mean_and_deviation(tiny_vgg: NetworkConfig) -> None:
    mean, deviation = np.random.default_rng(0).uniform(50, 90, (2, 32, 32))
    model = Dan(tiny_vgg, mean, deviation).eval()
    seen: list[Tensor] = []
    model.stages[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    crop = noise(1, 32)
    with torch.no_grad():
        model(crop, 1)
    np.testing.assert_allclose(seen[0][0, 0].numpy(), (crop[0, 0].numpy() - mean) / deviation, rtol=1e-4, atol=1e-5)


class TestGradientsBetweenStages:
    def stage1_gradient(self, model: Any) -> Tensor:
        model(noise(2, model.config.crop_size)).landmarks[1].square().mean().backward()
        gradient = model.stages[0].out.weight.grad
        return torch.zeros(1) if gradient is None else gradient

    def test_flow_through_landmarks(self, tiny_vgg: NetworkConfig, random_dan: Build) -> None:
        assert float(self.stage1_gradient(random_dan(tiny_vgg)).abs().max()) > 0

    def test_stop_at_detached_landmarks(self, tiny_vgg: NetworkConfig, random_dan: Build) -> None:
        model = random_dan(replace(tiny_vgg, detach_landmarks=True))
        assert float(self.stage1_gradient(model).abs().max()) == 0
        gradient = model.stages[0].dense.weight.grad
        assert gradient is not None, "the feature image still teaches stage 1"
        assert float(gradient.abs().max()) > 0

    def test_whole_network_in_float64(self, tiny_vgg: NetworkConfig, random_dan: Build) -> None:
        """The derivative along one direction of the weights of stage 1, through every connection layer."""
        model = random_dan(tiny_vgg).double()
        crops, weight = noise(1, 32).double(), model.stages[0].out.weight
        direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

        def result() -> Tensor:
            landmarks: Tensor = model(crops).landmarks[1]
            return landmarks.square().mean()

        result().backward()
        assert weight.grad is not None
        analytic, step = float((weight.grad * direction).sum()), 1e-7
        with torch.no_grad():
            weight += step * direction
            above = float(result())
            weight -= 2 * step * direction
            below = float(result())
        assert (above - below) / (2 * step) == pytest.approx(analytic, rel=1e-4)


class TestLocalHead:
    def test_begins_as_no_correction(self, tiny_light: NetworkConfig) -> None:
        with torch.no_grad():
            output = Dan(tiny_light).eval()(noise(2, 64))
        first, *later = output.steps[1]
        for step in later:
            torch.testing.assert_close(step, first)

    def test_moves_each_landmark_by_what_lies_there(self, tiny_light: NetworkConfig, random_dan: Build) -> None:
        output = random_dan(tiny_light)(noise(2, 64))
        moved = (output.steps[1][2] - output.steps[1][1])[0]
        assert float(moved.detach().norm(dim=1).min()) > 0

    def test_looks_where_the_landmarks_are(self, tiny_light: NetworkConfig, random_dan: Build) -> None:
        """Cell i of the map, a quarter of the frame, is at pixel 4·i; step 2 starts from step 1's result."""
        model = random_dan(tiny_light)
        given: list[Tensor] = []
        for step in model.stages[1].local.steps:
            step.register_forward_hook(lambda module, inputs, output: given.extend((inputs[0], inputs[2], output[0])))
        seen: list[Any] = []
        model.stages[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
        model(noise(2, 64))
        first_map, first_cells, first, second_map, second_cells, second = given
        coarse, middle, fine = seen[0].steps
        assert first_map.shape == second_map.shape == (2, 4, 12, 12)
        torch.testing.assert_close(first_cells * 4, coarse)
        torch.testing.assert_close(second_cells * 4, middle)
        torch.testing.assert_close(middle, coarse + first)
        torch.testing.assert_close(fine, middle + second)
        assert not first_cells.requires_grad, "where to look is not learnt through the samples"

    def test_samples_around_the_landmark(self, tiny_light: NetworkConfig) -> None:
        """A step's samples on a map whose values are their own x and y are the places it looks at."""
        model: Any = Dan(tiny_light)
        step = model.stages[1].local.steps[0]
        y, x = np.mgrid[:12, :12].astype(np.float32)
        fused = torch.tensor(np.stack([x, y, x * 0, x * 0]))[None]
        with torch.no_grad():  # shared unit 0 sums the x, unit 1 the y of the nine samples; a landmark's own pass them
            step.shared.weight.zero_()
            step.shared.weight[0, 0::4] = step.shared.weight[1, 1::4] = 1
            step.shared.bias.zero_()
            step.weight.zero_()
            step.weight[:, 0, 0] = step.weight[:, 1, 1] = 1
            step.out.weight.zero_()
            for i in range(68):
                step.out.weight[2 * i, 16 * i] = step.out.weight[2 * i + 1, 16 * i + 1] = 1 / 9
        cells = torch.rand(1, 68, 2) * 6 + 2.5
        places, _ = step(fused, torch.zeros(1, 16), cells)
        torch.testing.assert_close(places.detach(), cells, atol=1e-4, rtol=0)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="'resnet'; known: dan, dan-light"):
        network_config("resnet")


def test_first_stage_must_see_the_whole_crop(tiny_vgg: NetworkConfig) -> None:
    with pytest.raises(ValueError, match="whole"):
        Dan(replace(tiny_vgg, crop_size=48))
    with pytest.raises(ValueError, match="whole"):
        Dan(replace(tiny_vgg, crop_share=0.6))


def test_multiply_adds_by_hand() -> None:
    stage = StageConfig("vgg", 8, 0.5, 0, (2, 4), (1, 1), n_features=5)
    later = replace(stage, feature_side=4)
    model = Dan(NetworkConfig("hand", 8, 0.5, (stage, later)))
    dense = 4 * 2 * 2 * 5 + 5 * 136 + 5 * 1  # fc on 2×2 cells, landmarks, confidence
    first = 64 * 9 * 1 * 2 + 16 * 9 * 2 * 4 + dense
    second = 64 * 9 * 3 * 2 + 16 * 9 * 2 * 4 + dense + 5 * 16  # feature image
    assert multiply_adds(model) == first + second
    local = replace(
        StageConfig("residual", 16, 0.5, 2, (2, 4), (1, 1), n_features=5), local=3, local_steps=1, squeeze=1
    )
    stem = 64 * 9 * 1 * 2
    level1 = 16 * (9 * 2 * 2 * 2 + 2 * 2)
    level2 = 4 * (9 * 2 * 4 + 9 * 4 * 4 + 2 * 4)
    heads = 4 * 4 * 1 + 4 * 5 + 5 * 136 + 5
    head = 16 * 2 * 3 + 4 * 4 * 3 + 68 * 27 * 64 + 68 * 64 * 16 + (68 * 16 + 5) * 136
    expected = stem + level1 + level2 + heads + head
    assert multiply_adds(Dan(NetworkConfig("hand", 16, 0.5, (local,)))) == expected


class TestSigma:
    def test_is_in_crop_pixels(self, tiny_light: NetworkConfig, random_dan: Build) -> None:
        """A face twice as large in the crop has twice the sigma for the same frame."""
        model = random_dan(tiny_light)
        seen: list[Any] = []
        model.stages[1].register_forward_hook(lambda module, inputs, output: seen.append((inputs[2], output)))
        output = model(noise(2, 64))
        assert tuple(output.sigma.shape) == (2, 68)
        frame_points, stage = seen[0]
        crop_points = output.steps[0][-1]  # the same points, of stage 1, in the crop
        scale = crop_points.std(dim=1).norm(dim=1) / frame_points.std(dim=1).norm(dim=1)
        torch.testing.assert_close(output.sigma, stage.sigma * scale.unsqueeze(1), rtol=1e-3, atol=0)

    def test_learns_without_changing_the_landmarks(self, tiny_light: NetworkConfig, random_dan: Build) -> None:
        model = random_dan(tiny_light)
        model(noise(2, 64)).sigma.sum().backward()
        with_gradient = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        assert {"stages.1.sigma.dense.weight", "stages.1.sigma.dense.bias"} == {
            name for name in with_gradient if name.startswith("stages.1")
        }

    def test_a_network_without_the_head_has_none(self, paper: Any) -> None:
        assert paper(noise(1, 112)).sigma is None
