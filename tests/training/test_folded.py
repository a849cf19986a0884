"""What is exported in place of a network: the same results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import nn

from facealign_cli.training.config import NetworkConfig, StageConfig
from facealign_cli.training.export import export_model
from facealign_cli.training.folded import FoldedDan, folded

Build = Callable[[NetworkConfig], Any]
_MOBILE = StageConfig(
    "mobilenet",
    64,
    0.7,
    32,
    (24, 32, 96, 320),
    (2, 3, 7, 4),
    n_features=16,
    feature_side=4,
    local=4,
    local_steps=1,
    squeeze=4,
    sigma=True,
)


def crops(model: Any, count: int = 3) -> torch.Tensor:
    size = model.config.crop_size
    return torch.randint(0, 256, (count, 1, size, size), generator=torch.Generator().manual_seed(1)).float()


@pytest.mark.parametrize("aside", [0, 40])
@pytest.mark.parametrize("mobilenet", [False, True])
@torch.no_grad()
def test_the_same_results(random_dan: Build, tiny_light: NetworkConfig, aside: float, mobilenet: bool) -> None:
    config = replace(tiny_light, stages=(tiny_light.stages[0], _MOBILE)) if mobilenet else tiny_light
    model = random_dan(config)
    model.stages[0].out.bias += aside  # the frame then lies beside the crop, and landmarks beside the maps
    before = {name: value.clone() for name, value in model.state_dict().items()}
    got, expected = folded(model)(crops(model)), model(crops(model))
    assert got.sigma is not None
    for one, other in zip(got.landmarks, expected.landmarks, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(got.logit, expected.logit, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got.sigma, expected.sigma, atol=1e-4, rtol=1e-3)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, msg=f"{name} should be as it was")


def test_what_is_left_as_it_is(random_dan: Build, tiny_vgg: NetworkConfig, tiny_light: NetworkConfig) -> None:
    first, second = tiny_light.stages
    for config in (
        tiny_vgg,
        replace(tiny_light, stages=(first,)),
        replace(tiny_light, stages=(first, replace(second, local=0, local_steps=0))),
        replace(tiny_light, stages=(first, replace(second, sigma=False))),
    ):
        model = random_dan(config)
        assert folded(model) is model
    other = nn.Linear(2, 2)
    assert folded(other) is other
    assert isinstance(folded(random_dan(tiny_light)), FoldedDan)


def test_batches_are_known_to_be_kept(random_dan: Build, tiny_light: NetworkConfig, tmp_path: Path) -> None:
    """So that ONNX Runtime adds the connection layers' images up within a convolution."""
    path = tmp_path / "light.onnx"
    export_model(random_dan(tiny_light), path, name="light", version="1")
    graph = onnx.shape_inference.infer_shapes(onnx.load(str(path)), data_prop=True).graph
    shapes = {v.name: [d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim] for v in graph.value_info}
    (join,) = [node for node in graph.node if node.op_type == "Conv" and node.name.endswith("/join/Conv")]
    (pad,) = [node for node in graph.node if node.op_type == "Pad"]
    assert shapes[join.input[0]] == ["N", 4, 12, 12]
    assert shapes[pad.input[0]] == ["N", 4, 24, 24]
