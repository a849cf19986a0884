"""The nets that look at a frame: the paper's and residual ones. The pretrained one is in `mobilenet`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facealign_cli.training.config import StageConfig


def _conv_bn(n_in: int, n_out: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(n_in, n_out, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(n_out))


def conv_bn_relu(n_in: int, n_out: int, size: int = 3) -> nn.Sequential:
    """A convolution that keeps the side, batch normalisation, ReLU."""
    return nn.Sequential(*_conv_bn(n_in, n_out, size), nn.ReLU())


class VggBackbone(nn.Module):
    """The paper's net: 3×3 convolutions with batch norm and ReLU, 2×2 max pooling after each resolution."""

    def __init__(self, config: StageConfig, n_inputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in = n_inputs
        for n_out, count in zip(config.channels, config.blocks, strict=True):
            for _ in range(count):
                layers.append(conv_bn_relu(n_in, n_out))
                n_in = n_out
            layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers)
        self.out_side = config.frame_size >> len(config.channels)

    def forward(self, image: Tensor, extra: Tensor | None) -> list[Tensor]:
        """(N, 1, F, F) and the connection layers' (N, 2, F, F) → [(N, C, F/16, F/16)]."""
        return [self.layers(image if extra is None else torch.cat([image, extra], dim=1))]


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut (He et al., CVPR 2016, basic block)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.first = _conv_bn(n_in, n_out, stride=stride)
        self.second = _conv_bn(n_out, n_out)
        self.shortcut = _conv_bn(n_in, n_out, 1, stride) if stride > 1 or n_in != n_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) → (N, n_out, H / stride, W / stride)."""
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class ResidualBackbone(nn.Module):
    """A stride-2 stem, then residual blocks that halve the side at each resolution.

    The heatmap and feature image join after the first level, at a quarter of the frame, by a convolution whose output
    is added.
    """

    def __init__(self, config: StageConfig, n_inputs: int) -> None:
        super().__init__()
        self.stem = _conv_bn(1, config.stem, stride=2)
        self.join = nn.Conv2d(n_inputs - 1, config.channels[0], 3, padding=1) if n_inputs > 1 else None
        levels: list[nn.Module] = []
        n_in = config.stem
        for n_out, count in zip(config.channels, config.blocks, strict=True):
            blocks = [ResidualBlock(n_in if i == 0 else n_out, n_out, 2 if i == 0 else 1) for i in range(count)]
            levels.append(nn.Sequential(*blocks))
            n_in = n_out
        self.levels = nn.ModuleList(levels)
        self.out_side = -(-config.frame_size // 2 ** (1 + len(config.channels)))

    def forward(self, image: Tensor, extra: Tensor | None) -> list[Tensor]:
        """(N, 1, F, F) and (N, 2, F/4, F/4) → maps (N, C, side, side), finest first."""
        x = self.levels[0](F.relu(self.stem(image)))
        if self.join is not None:
            x = F.relu(x + self.join(extra))
        maps = [x]
        for level in self.levels[1:]:
            maps.append(level(maps[-1]))
        return maps
