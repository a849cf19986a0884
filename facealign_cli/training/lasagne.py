"""The original authors' weights (`DAN.npz`, `DAN-Menpo.npz`, `DAN-Menpo-tracking.npz`) as a graph of our contract.

A stage is eight convolutions without bias, each with
batch norm (beta, gamma, mean, inv_std), then fc without bias with batch norm, then the offsets with bias; before a
later stage's convolutions come the feature image's dense layer and the batch norm of the three stacked images. The
confidence head, a softmax of two on stage 1's fc, comes last. Numbers of channels and the side follow from the file.

Where the original differs from `network.Dan`: true convolutions (the kernel is turned by 180°); heatmap patches of 17
pixels around the landmark's whole pixel, landmarks kept 8 pixels away from the edge, zero outside; the warp repeats the
border; the stacked images have a batch norm of their own. A file without a head gets a confidence that is always 1.

The original's crop has the mean of the mean shape's points at side / 2; our frame has the middle of its extent at
(side - 1) / 2. So the graph takes a somewhat larger crop and looks at the window in it where the face stands as the
original had it, to within half a pixel. Its grey is the mean of the colours, ours a weighted one; it was trained on
perturbations far larger than either.

Source: layer definitions at https://github.com/MarekKowalski/DeepAlignmentNetwork, and Lasagne 0.2.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facealign_cli.arrays import Floats, Image
from facealign_cli.errors import FormatError
from facealign_cli.geometry import bbox_of_shape
from facealign_cli.landmarks import N_LANDMARKS, SCHEME
from facealign_cli.models.dan import GraphMetadata
from facealign_cli.training.export import ExportReport, export_graph
from facealign_cli.training.lasagne_file import LasagneFile, read_lasagne
from facealign_cli.training.layers import (
    estimate_similarity,
    invert_similarity,
    sample_at,
    transform_landmarks,
    upsample,
)
from facealign_cli.training.network import DanOutput

N_CONVOLUTIONS = 8
PATCH = 8
"""A landmark's patch in the heatmap reaches so many pixels to each side of its whole pixel."""
_CERTAIN = 100.0

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


class _Parameters:
    """Hands out the arrays in order, each checked against the shape that its layer needs."""

    def __init__(self, file: LasagneFile) -> None:
        self._file, self._next = file, 0

    def take(self, what: str, *shape: int | None) -> Floats:
        """The next array, float64; None stands for any length. Raises FormatError."""
        index, values = self._next, np.asarray(self._file.parameters[self._next], float)
        self._next += 1
        fits = values.ndim == len(shape) and all(s in (None, n) for s, n in zip(shape, values.shape, strict=True))
        if not fits or not values.size:
            expected = " × ".join("any" if s is None else str(s) for s in shape)
            raise FormatError(f"{self._file.path}: arr_{index} ({what}): expected {expected}, got {values.shape}")
        return values

    def norm(self, what: str, count: int) -> tuple[Floats, Floats]:
        """Batch norm's beta, gamma, mean, inv_std as (scale, shift)."""
        beta, gamma, mean, inv_std = (
            self.take(f"{what}, {name}", count) for name in ("beta", "gamma", "mean", "inv_std")
        )
        scale = gamma * inv_std
        return scale, beta - mean * scale

    def convolution(self, what: str, n_in: int) -> nn.Conv2d:
        """With batch norm folded in; Lasagne convolves, torch correlates: the kernel is turned."""
        weight = self.take(what, None, n_in, 3, 3)
        scale, shift = self.norm(what, len(weight))
        layer = nn.Conv2d(n_in, len(weight), 3, padding=1)
        return _filled(layer, weight[:, :, ::-1, ::-1] * scale[:, None, None, None], shift)

    def dense(self, what: str, n_in: int, n_out: int | None) -> nn.Linear:
        """With a bias of its own."""
        weight = self.take(what, n_in, n_out)
        return _filled(nn.Linear(*weight.shape), weight.T, self.take(f"{what}, b", weight.shape[1]))

    def normed_dense(self, what: str, n_in: int) -> nn.Linear:
        """With batch norm folded in."""
        weight = self.take(what, n_in, None)
        scale, shift = self.norm(what, weight.shape[1])
        return _filled(nn.Linear(*weight.shape), (weight * scale).T, shift)


def _filled(layer: Layer, weight: Floats, bias: Floats) -> Layer:
    with torch.no_grad():
        for parameter, values in zip(layer.parameters(), (weight, bias), strict=True):
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))
    return layer


class _Stage(nn.Module):
    """Eight convolutions with ReLU, max pooling after every second; fc with ReLU; offsets."""

    def __init__(self, parameters: _Parameters, stage: int, n_in: int, size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(N_CONVOLUTIONS):
            name = f"stage {stage}, convolution {i // 2 + 1}_{i % 2 + 1}"
            convolution = parameters.convolution(name, n_in)
            n_in = convolution.out_channels
            layers += [convolution, nn.ReLU(), *([nn.MaxPool2d(2)] if i % 2 else [])]
        self.layers = nn.Sequential(*layers)
        self.dense = parameters.normed_dense(f"stage {stage}, fc1", n_in * (size // 16) ** 2)
        self.out = parameters.dense(f"stage {stage}, output", self.dense.out_features, 2 * N_LANDMARKS)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, n_in, S, S) → fc1 (N, n_features), offsets (N, 68, 2)."""
        features = F.relu(self.dense(self.layers(images).flatten(1)))
        return features, self.out(features).reshape(-1, N_LANDMARKS, 2)


class _Connection(nn.Module):
    """From one stage to the next: similarity, warp, heatmap and feature image, stacked and batch-normed."""

    scale: Tensor
    shift: Tensor

    def __init__(self, parameters: _Parameters, stage: int, n_features: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.dense = parameters.dense(f"stage {stage}, feature image", n_features, (size // 2) ** 2)
        for name, values in zip(("scale", "shift"), parameters.norm(f"stage {stage}, input", 3), strict=True):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).reshape(1, 3, 1, 1))

    def forward(self, image: Tensor, landmarks: Tensor, features: Tensor, transform: Tensor) -> Tensor:
        """image (N, 1, S, S), landmarks (N, 68, 2) after the transform (N, 2, 3), fc1 → (N, 3, S, S)."""
        feature_image = F.relu(self.dense(features)).reshape(-1, 1, self.size // 2, self.size // 2)
        stacked = [warp_clamped(image, transform), patch_heatmap(landmarks, self.size), upsample(feature_image, 2)]
        return torch.cat(stacked, dim=1) * self.scale + self.shift


def warp_clamped(image: Tensor, transform: Tensor) -> Tensor:
    """(N, 1, S, S) resampled by (N, 2, 3), bilinear; positions are kept within 0 … S - 2, as the original does."""
    size = image.shape[-1]
    axis = torch.arange(size, dtype=image.dtype)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    pixels = torch.stack([x, y], dim=-1).reshape(1, size * size, 2)
    points = transform_landmarks(pixels, invert_similarity(transform))  # (N, S², 2)
    return sample_at(image, points.clamp(0, size - 2)).reshape(-1, 1, size, size)


def patch_heatmap(landmarks: Tensor, size: int) -> Tensor:
    """(N, 1, size, size): 1 / (1 + distance) within the patch of each of the (N, 68, 2) landmarks, the largest counts.

    Landmarks nearer to the edge than a patch reaches are moved inwards.
    """
    far = 1e12
    landmarks = landmarks.clamp(PATCH, size - 1 - PATCH)
    axis = torch.arange(size, dtype=landmarks.dtype)
    inside = (axis - landmarks.floor().unsqueeze(3)).abs() <= PATCH  # (N, 68, 2, size)
    squared = torch.where(inside, (axis - landmarks.unsqueeze(3)) ** 2, far)
    nearest = (squared[:, :, 0].unsqueeze(2) + squared[:, :, 1].unsqueeze(3)).amin(dim=1, keepdim=True)
    return torch.where(nearest < far, 1 / (1 + torch.sqrt(nearest + 1e-6)), 0.0)  # (N, 1, size, size)


class LasagneDan(nn.Module):
    """The authors' network around crops of our frame; see the module's docstring.

    crop_size, crop_share: of our frame. shift_px: how far, at most, its face lies from where the original had it.
    """

    mean_image: Tensor
    std_image: Tensor
    init_landmarks: Tensor

    def __init__(self, file: LasagneFile) -> None:
        super().__init__()
        parameters, self.size = _Parameters(file), len(file.mean_image)
        stages, connections = [_Stage(parameters, 1, 1, self.size)], []
        for number in range(2, file.n_stages + 1):
            connections.append(_Connection(parameters, number, stages[-1].dense.out_features, self.size))
            stages.append(_Stage(parameters, number, 3, self.size))
        self.stages, self.connections = nn.ModuleList(stages), nn.ModuleList(connections)
        self.head = parameters.dense("confidence", stages[0].dense.out_features, 2) if file.has_head else None
        for name in ("mean_image", "std_image", "init_landmarks"):
            self.register_buffer(name, torch.tensor(getattr(file, name), dtype=torch.float32))
        self.crop_size, self.offset, self.shift_px = window(file.init_landmarks, self.size)
        self.crop_share = float(np.ptp(file.init_landmarks, axis=0).max()) / self.crop_size

    def forward(self, crop: Tensor) -> DanOutput:
        """crop: (N, 1, S, S) float, 0–255, S the crop size."""
        x, y = self.offset
        image = (crop[:, :, y : y + self.size, x : x + self.size] - self.mean_image) / self.std_image
        features, offset = self.stages[0](image)
        landmarks, steps = offset + self.init_landmarks, []
        logit = self._logit(features, crop)
        steps.append([landmarks + landmarks.new_tensor(self.offset)])
        for connection, stage in zip(self.connections, list(self.stages)[1:], strict=True):
            transform = estimate_similarity(landmarks, self.init_landmarks)
            landmarks = transform_landmarks(landmarks, transform)
            features, offset = stage(connection(image, landmarks, features, transform))
            landmarks = transform_landmarks(landmarks + offset, invert_similarity(transform))
            steps.append([landmarks + landmarks.new_tensor(self.offset)])
        return DanOutput(steps, logit)

    def _logit(self, features: Tensor, crop: Tensor) -> Tensor:
        """A softmax of two is the sigmoid of their difference."""
        if self.head is None:
            return torch.full((crop.shape[0],), _CERTAIN)
        two: Tensor = self.head(features)
        return two[:, 1] - two[:, 0]


def window(init_landmarks: Floats, size: int) -> tuple[int, tuple[int, int], float]:
    """The side of a crop of our frame and the (x, y) in it where the original's picture of side `size` begins.

    init_landmarks: (68, 2) the mean shape in the original's pixels. The third value is how far, in pixels, the face
    then lies from its place along either axis; the smallest side that can hold the window, or one more, if that is
    nearer. Raises FormatError if the mean shape does not stand within the picture.
    """
    box = bbox_of_shape(init_landmarks)
    center, found = (box[:2] + box[2:]) / 2, list[tuple[float, int, tuple[int, int]]]()
    for side in range(size, 2 * size):
        exact = (side - 1) / 2 - center
        begin = np.rint(exact).astype(int)
        if (begin >= 0).all() and (begin <= side - size).all():
            found.append((float(np.abs(begin - exact).max()), side, (int(begin[0]), int(begin[1]))))
        if len(found) == 2:
            shift, smallest, begin_at = min(found)
            return smallest, begin_at, shift
    raise FormatError(f"initLandmarks: their middle {center.round(1).tolist()} is not within the picture of {size} px")


def convert_lasagne(
    path: Path,
    output: Path,
    *,
    name: str,
    version: str = "1",
    training_data: str = "",
    licence: str = "",
    crops: Image | None = None,
    overwrite: bool = False,
) -> tuple[LasagneDan, ExportReport]:
    """Write the authors' weights as a graph of our contract, compared with torch as `export_model` does.

    crops: (M, 1, S, S) uint8 to compare on; noise where none are given. Raises InputError, FormatError, ModelError.
    """
    file = read_lasagne(path)
    model = LasagneDan(file).eval()
    metadata = GraphMetadata(
        name=name,
        version=version,
        scheme=SCHEME,
        stages=len(model.stages),
        crop_size=model.crop_size,
        crop_share=model.crop_share,
        mean_shape=file.init_landmarks.astype(float).tolist(),
        training_data=training_data,
        licence=licence,
    )
    return model, export_graph(model, output, metadata, crops=crops, overwrite=overwrite)
