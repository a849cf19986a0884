"""A network as the exported graph computes it: the same numbers by fewer and quicker operators.

For a single face ONNX Runtime spends as much on starting operators as on many of them. So constants are multiplied into
the weights beside them, dense layers of the same input are one matrix product, and the second stage counts landmarks in
cells of its local head. Convolutions of the frame and of the connection layers' images get four input channels: int8
kernels want multiples of four. In float these two take 2 % of the whole longer, in int8 4 % less.

`training/export.py` compares the graph with the network as it was trained.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.training.layers import PATCH_SIDE, FeatureImage, patch_basis, patch_pixels, warp_image
from facealign_cli.training.network import Dan, DanOutput, LocalHead, LocalStep, Stage

_N = 2 * N_LANDMARKS


def folded(model: nn.Module) -> nn.Module:
    """What to export in place of a network of two stages, the second with a backbone that the connection layers' images
    join at a quarter, local head and sigma; all else as it is."""
    if not isinstance(model, Dan) or model.config.mean_image or not model.config.fit_landmarks:
        return model
    stages: list[Any] = list(model.stages)
    if len(stages) != 2 or stages[0].local is not None or stages[1].local is None or stages[1].sigma is None:
        return model
    if getattr(stages[1].backbone, "join", None) is None:
        return model
    return FoldedDan(copy.deepcopy(model).eval().cpu().float())


class FoldedDan(nn.Module):
    """Gives what `Dan` gives in evaluation: the result of each stage, without the steps within it."""

    def __init__(self, model: Dan) -> None:
        super().__init__()
        self.first: Any = model.stages[0]
        self.reduce, self.mean = model.reduce, float(model.mean_image)
        self.between = Between(model)
        stages: list[Any] = list(model.stages)
        for stage in stages:
            _first_convolution(stage.backbone)[2].weight.data /= model.std_image
        self.warp = Warp(model.config.stages[1].frame_size, stages[1].backbone)
        _widen_join(stages[1].backbone)
        self.second = SecondStage(stages[1])

    def forward(self, crop: Tensor) -> DanOutput:
        """crop: (N, 1, S, S) float, 0-255."""
        small = F.avg_pool2d(crop, self.reduce) if self.reduce > 1 else crop
        maps = self.first.backbone(small - self.mean, None)
        landmarks, cells, frame, image = self.between(_features(self.first, maps))
        extra = torch.cat([_heatmap(cells.reshape(-1, N_LANDMARKS, 2), int(image.shape[-1])), image] * 2, dim=1)
        refined, logit, sigma = self.second(self.warp(crop, frame.back, self.mean), extra, cells)
        moved = (refined - cells).reshape(-1, N_LANDMARKS, 2) @ frame.to_crop
        landmarks = landmarks.reshape(-1, N_LANDMARKS, 2)
        return DanOutput([[landmarks], [landmarks + moved]], logit, sigma * frame.cell)


def _features(stage: Any, maps: list[Tensor]) -> Tensor:
    result: Tensor = F.relu(stage.norm(stage.dense(stage.squeeze(maps[-1]).flatten(1))))
    return result


def _dense(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], len(weight))
    layer.weight.data, layer.bias.data = weight.detach().float(), bias.detach().float()
    return layer


def _joined(parts: list[tuple[Tensor, Tensor]]) -> nn.Linear:
    """One dense layer of several with the same input."""
    return _dense(torch.cat([weight for weight, _ in parts]), torch.cat([bias for _, bias in parts]))


def _weights(layer: Any, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    return layer.weight.double() * scale, layer.bias.double() * scale


def _first_convolution(backbone: nn.Module) -> tuple[nn.Module, str, nn.Conv2d]:
    """The convolution that sees the frame, the module that holds it, and its name there."""
    name, conv = next((name, module) for name, module in backbone.named_modules() if isinstance(module, nn.Conv2d))
    holder, _, last = name.rpartition(".")
    return backbone.get_submodule(holder), last, conv


class Warp(nn.Module):
    """`warp_image` with each 2×2 pixels as the channels of one, which costs the warp nothing.

    The backbone's 3×3 convolution of stride 2 is replaced by the 2×2 convolution over those that gives the same.
    """

    def __init__(self, size: int, backbone: Any) -> None:
        super().__init__()
        self.size, half = size, size // 2
        pixels = torch.arange(size * size).reshape(half, 2, half, 2)
        self.register_buffer("order", pixels.permute(0, 2, 1, 3).flatten())
        holder, name, conv = _first_convolution(backbone)
        shape = (tuple(conv.kernel_size), tuple(conv.stride), tuple(conv.padding), conv.in_channels, conv.bias)
        if shape != ((3, 3), (2, 2), (1, 1), 1, None):
            raise ValueError("the frame's first convolution should be 3×3 with stride 2, padding 1 and without bias")
        wide = nn.Conv2d(4, conv.out_channels, 2, bias=False)
        kernel = F.pad(conv.weight.data, (1, 0, 1, 0)).reshape(
            -1, 2, 2, 2, 2
        )  # out, row: cell, within; column: as much
        wide.weight.data = kernel.permute(0, 2, 4, 1, 3).reshape(-1, 4, 2, 2).contiguous()
        setattr(holder, name, nn.Sequential(nn.ZeroPad2d((1, 0, 1, 0)), wide))

    def forward(self, crop: Tensor, back: Tensor, mean: float) -> Tensor:
        """(N, 1, S, S), (N, 2, 3) → (N, 4, size / 2, size / 2), less the mean."""
        warped = warp_image(crop, back, self.size, self.order) - mean  # type: ignore[arg-type]
        return warped.reshape(-1, self.size // 2, self.size // 2, 4).permute(0, 3, 1, 2)


def _widen_join(backbone: Any) -> None:
    """Let the convolution of heatmap and feature image take both twice, the second time with weights of zero."""
    narrow: nn.Conv2d = backbone.join
    wide = nn.Conv2d(2 * narrow.in_channels, narrow.out_channels, 3, padding=1)
    wide.weight.data = torch.cat([narrow.weight.data, torch.zeros_like(narrow.weight.data)], dim=1)
    wide.bias = narrow.bias
    backbone.join = wide


class Frame:
    """Where the second stage's frame lies in the crop, from the numbers that `Between` computes.

    back: (N, 2, 3), frame pixels → crop pixels. A row x, y in cells times to_crop (N, 2, 2), plus shift (N, 1, 2), is
    in crop pixels; to_cells (N, 2, 2) is the way back, but for the square of cell (N, 1), crop pixels a cell.
    """

    def __init__(self, back: Tensor, shift: Tensor, to_crop: Tensor, to_cells: Tensor, cell: Tensor) -> None:
        self.back, self.shift = back.reshape(-1, 2, 3), shift.reshape(-1, 1, 2)
        self.to_crop, self.to_cells = to_crop.reshape(-1, 2, 2), to_cells.reshape(-1, 2, 2)
        self.cell = torch.linalg.vector_norm(cell, dim=1, keepdim=True)


class Between(nn.Module):
    """The connection layers, all of which are linear in the first stage's features: one matrix product."""

    def __init__(self, model: Dan) -> None:
        super().__init__()
        stage: Any = model.stages[0]
        image: Any = model.feature_images[0]
        self.image = image
        weight, bias = _weights(stage.out, model.reduce)
        bias = bias + model.mean_shape0.double().flatten() * model.reduce + (model.reduce - 1) / 2
        basis: Tensor = model.get_buffer("basis1").double().T  # (6, 136), of `fit_similarity`
        a, minus_b, x, b, _, y = basis.unbind()
        linear = LocalHead.STRIDE * torch.stack([a, b, minus_b, a, a, minus_b, b, a, a, b])
        numbers = torch.cat([basis, torch.stack([x, y]), linear])
        self.parts = (_N, 6, 2, 4, 4, 2)
        self.dense = _joined([(weight, bias), (numbers @ weight, numbers @ bias)])
        self.register_buffer("repeated", _repeated(image))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Frame, Tensor]:
        """(N, F) → landmarks (N, 136) in the crop, the same in cells, the frame, the feature image."""
        landmarks, *numbers = self.dense(features).split(self.parts, dim=1)
        frame = Frame(*numbers)
        centred = landmarks.reshape(-1, N_LANDMARKS, 2) - frame.shift
        cells = (centred @ (frame.to_cells / (frame.cell * frame.cell).unsqueeze(2))).flatten(1)
        pixels = F.relu(self.image.dense(features)).index_select(1, self.repeated)  # type: ignore[arg-type]
        return landmarks, cells, frame, pixels.reshape(-1, 1, self.image.size, self.image.size)


def _repeated(image: FeatureImage) -> Tensor:
    """(size²,) which of the feature image's units each of its pixels shows."""
    cell = torch.arange(image.size) // (image.size // image.side)
    return (cell.unsqueeze(1) * image.side + cell).flatten()


def _heatmap(cells: Tensor, size: int) -> Tensor:
    """As `landmark_heatmap`, with fewer reshapes and without what only its gradient needs."""
    axis = torch.arange(size, dtype=cells.dtype).unsqueeze(1)
    away = axis - cells.transpose(1, 2).unsqueeze(2)  # (N, 2, size, 68)
    x, y = (away * away).split(1, dim=1)
    squared = x.reshape(-1, 1, 1, size, N_LANDMARKS) + y.reshape(-1, 1, size, 1, N_LANDMARKS)
    return 1 / (1 + torch.sqrt(squared.amin(dim=4)))


class SecondStage(nn.Module):
    """The second stage. All that its dense layers make of the features is one matrix product."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        head: Any = stage.sigma
        self.stage: Any = stage
        self.looks = nn.ModuleList(Look(step) for step in stage.local.steps)  # type: ignore[union-attr, arg-type]
        own, cells = N_LANDMARKS * LocalStep.OWN, 1 / LocalHead.STRIDE
        size = float(np.log(head.face * cells))  # exp(x) times a size is exp(x + log(size))
        self.limits = (-7 + size, 1 + size)
        layers = [_weights(look.step.out, cells) for look in self.looks]  # type: ignore[union-attr]
        weight, bias = _weights(head.dense)
        last = layers.pop()  # the last look and sigma have the same input
        layers.append((torch.cat([last[0], weight]), torch.cat([last[1], bias + size])))
        of_features = [(weight[:, own:], bias) for weight, bias in layers]
        parts = [_weights(stage.out, cells), *of_features, _weights(stage.confidence)]
        self.parts = [len(bias) for _, bias in parts]
        self.dense = _joined(parts)
        self.outs = nn.ModuleList(_dense(weight[:, :own], torch.zeros_like(bias)) for weight, bias in layers)

    def forward(self, image: Tensor, extra: Tensor, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The frame (N, 4, F/2, F/2), the connection layers' images (N, 4, F/4, F/4), cells (N, 136) → cells
        (N, 136), logit (N,), sigma (N, 68) in cells."""
        maps = self.stage.backbone(image, extra)
        offset, *of_features, logit = self.dense(_features(self.stage, maps)).split(self.parts, dim=1)
        side, rows = int(maps[0].shape[-1]), _fused_rows(self.stage.local.lateral, maps)
        pixels = _first_pixels(rows.shape[0], side)
        rows = rows.reshape(-1, int(rows.shape[2]))
        cells = cells + offset
        for look, out, more in zip(self.looks, self.outs, of_features, strict=True):
            moved = out(look(rows, pixels, side, cells.reshape(-1, 2))) + more
            if look is self.looks[-1]:
                moved, sigma = moved.split((_N, N_LANDMARKS), dim=1)
            cells = cells + moved
        return cells, logit.squeeze(1), torch.exp(sigma.clamp(*self.limits))


def _fused_rows(laterals: Any, maps: list[Tensor]) -> Tensor:
    """(N, side², C): the map that `LocalHead` samples, cell by cell; rows are repeated where it repeats pixels."""
    rows = _rows(laterals[-1], maps[-1])
    for lateral, finer in zip(list(laterals)[-2::-1], maps[-2::-1], strict=True):
        side = int(finer.shape[-1])
        half = torch.arange(side) // 2
        rows = _rows(lateral, finer) + rows.index_select(1, (half.unsqueeze(1) * (side // 2) + half).flatten())
    return rows


def _rows(lateral: Any, pixels: Tensor) -> Tensor:
    """(N, C, side, side) through a 1×1 convolution, cell by cell: (N, side², C of the convolution)."""
    seen: Tensor = lateral(pixels)
    return seen.permute(0, 2, 3, 1).reshape(-1, int(pixels.shape[-1]) ** 2, int(lateral.out_channels))


def _first_pixels(count: Any, side: int) -> Tensor:
    """(N·68, 16): the rows of the 4×4 pixels around cell 1, 1 of each face. float32 counts the rows of 10,000 faces."""
    first = torch.arange(0, count * side**2, side**2).float().reshape(-1, 1, 1)
    offsets = (patch_pixels(side) - (side + 1)).float()
    return (first + offsets.expand(N_LANDMARKS, -1)).reshape(-1, len(offsets))


class Look(nn.Module):
    """A `LocalStep` up to what its last layer sees of the map."""

    def __init__(self, step: LocalStep) -> None:
        super().__init__()
        self.step = step
        basis = patch_basis()
        self.weigh = _dense(basis[1:].T, basis[0])

    def forward(self, rows: Tensor, pixels: Tensor, side: int, points: Tensor) -> Tensor:
        """The map (N·side², C), `_first_pixels`, cells (N·68, 2) → (N, 68·OWN)."""
        step, count = self.step, (PATCH_SIDE + 1) ** 2
        last = np.nextafter(np.float32(side - PATCH_SIDE + 1), np.float32(0))  # a rounding error short of the last cell
        points = points.clamp(1, float(last))
        before = points.floor()
        fraction = points - before
        weights = self.weigh(torch.cat([fraction, fraction.prod(dim=1, keepdim=True)], dim=1))
        wanted = torch.addmm(pixels, before, torch.tensor([[1.0], [side]]).expand(2, count))
        patches = weights.reshape(-1, PATCH_SIDE**2, count) @ rows[wanted.long()]  # (N·68, 9, C)
        return step.each_own(F.relu(step.shared(patches.reshape(-1, step.shared.in_features))))
