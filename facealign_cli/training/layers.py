"""The connection layers of a Deep Alignment Network, each on its own, and the loss.

Source: Kowalski, Naruniec, Trzcinski, "Deep Alignment Network", CVPRW 2017, section 3. Points are (N, 68, 2), x then y,
pixels of their frame, pixel centres at integers. A transform is an (N, 2, 3) similarity that takes source to
destination points. The same arithmetic runs in training and in the exported graph: standard operators only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def estimate_similarity(src: Tensor, dst: Tensor) -> Tensor:
    """Transform estimate: the least-squares similarity from `src` (N, K, 2) to `dst` (K, 2) or (N, K, 2); (N, 2, 3)."""
    src_mean, dst_mean = src.mean(dim=1, keepdim=True), dst.mean(dim=-2, keepdim=True)  # (N, 1, 2), (…, 1, 2)
    s, d = src - src_mean, dst - dst_mean  # (N, K, 2)
    norm = (s * s).sum(dim=(1, 2))  # (N,)
    a = (s * d).sum(dim=(1, 2)) / norm
    b = (s[..., 0] * d[..., 1] - s[..., 1] * d[..., 0]).sum(dim=1) / norm
    linear = torch.stack([torch.stack([a, -b], dim=1), torch.stack([b, a], dim=1)], dim=1)  # (N, 2, 2)
    shift = dst_mean.squeeze(-2) - (linear @ src_mean.transpose(1, 2)).squeeze(2)  # (N, 2)
    return torch.cat([linear, shift.unsqueeze(2)], dim=2)


def invert_similarity(transform: Tensor) -> Tensor:
    """The (N, 2, 3) transforms that undo the given ones."""
    a, b = transform[:, 0, 0], transform[:, 1, 0]  # (N,)
    norm = a * a + b * b
    a, b = a / norm, b / norm
    linear = torch.stack([torch.stack([a, b], dim=1), torch.stack([-b, a], dim=1)], dim=1)  # (N, 2, 2)
    return torch.cat([linear, -(linear @ transform[:, :, 2:])], dim=2)


def transform_landmarks(landmarks: Tensor, transform: Tensor) -> Tensor:
    """Landmark transform: (N, K, 2) points by (N, 2, 3) transforms."""
    return landmarks @ transform[:, :, :2].transpose(1, 2) + transform[:, :, 2].unsqueeze(1)


def warp_image(image: Tensor, transform: Tensor, size: int) -> Tensor:
    """Image warp: (N, C, H, W) resampled by `transform` (source → destination) to (N, C, size, size).

    Bilinear; zero outside the image.
    """
    height, width = image.shape[-2:]
    axis = torch.arange(size, dtype=image.dtype, device=image.device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack([x, y, torch.ones_like(x)], dim=-1).reshape(1, size * size, 3)  # (1, size², 3)
    # source pixels 0 … side - 1 become -1 … 1 in the small matrix, not in the large grid
    scale = image.new_tensor([2 / (width - 1), 2 / (height - 1)]).reshape(1, 2, 1)
    shift = image.new_tensor([0.0, 0.0, -1.0]).reshape(1, 1, 3)
    matrix = invert_similarity(transform) * scale + shift  # (N, 2, 3)
    points = (grid @ matrix.transpose(1, 2)).reshape(-1, size, size, 2)
    return F.grid_sample(image, points, "bilinear", "zeros", align_corners=True)


def sample_at(image: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of (N, C, H, W) at (N, P, 2) pixel positions: (N, P, C). Outside, the border's values.

    Rows of all channels are gathered at once: for many channels at few places that is several times faster in ONNX
    Runtime than GridSample, which goes channel by channel.
    """
    n_channels, height, width = image.shape[1:]
    x = points[..., 0].clamp(0, width - 1)  # (N, P)
    y = points[..., 1].clamp(0, height - 1)
    x1, y1 = x.floor().clamp(max=width - 2), y.floor().clamp(max=height - 2)
    fx, fy = (x - x1).unsqueeze(2), (y - y1).unsqueeze(2)  # (N, P, 1)
    rows = image.permute(0, 2, 3, 1).reshape(-1, n_channels)  # (N·H·W, C)
    first = torch.arange(image.shape[0], device=image.device).reshape(-1, 1) * (height * width)
    corner = first + (y1 * width + x1).long()  # (N, P)
    top, bottom = rows[corner], rows[corner + width]  # (N, P, C)
    top = top + fx * (rows[corner + 1] - top)  # torch.lerp would export as several slow operators
    bottom = bottom + fx * (rows[corner + width + 1] - bottom)
    return top + fy * (bottom - top)


def landmark_heatmap(landmarks: Tensor, size: int) -> Tensor:
    """Landmark heatmap: (N, 1, size, size), 1 / (1 + distance in pixels to the nearest of the (N, K, 2) landmarks)."""
    axis = torch.arange(size, dtype=landmarks.dtype, device=landmarks.device)
    dx = (axis - landmarks[..., 0:1]) ** 2  # (N, K, size)
    dy = (axis - landmarks[..., 1:2]) ** 2
    squared = (dx.unsqueeze(2) + dy.unsqueeze(3)).amin(dim=1, keepdim=True)  # (N, 1, size, size)
    return 1 / (1 + torch.sqrt(squared + 1e-12))  # the epsilon keeps the gradient finite on a landmark


class FeatureImage(nn.Module):
    """Feature image: a dense layer with ReLU on the previous stage's features, its pixels repeated to `size`."""

    def __init__(self, n_features: int, side: int, size: int) -> None:
        super().__init__()
        if size % side:
            raise ValueError(f"the feature image's side {side} must divide {size}")
        self.side, self.size = side, size
        self.dense = nn.Linear(n_features, side * side)

    def forward(self, features: Tensor) -> Tensor:
        """(N, n_features) → (N, 1, size, size)."""
        image = F.relu(self.dense(features)).reshape(-1, 1, self.side, self.side)
        return upsample(image, self.size // self.side)


def upsample(image: Tensor, factor: int) -> Tensor:
    """Repeat every pixel `factor` times along both sides, as Lasagne's Upscale2DLayer does."""
    return F.interpolate(image, scale_factor=float(factor), mode="nearest") if factor > 1 else image


PUPILS = (slice(36, 42), slice(42, 48))
"""The eyes' points; their means stand for the pupils (DAN's "centers" normaliser)."""


def landmark_loss(landmarks: Tensor, truth: Tensor) -> Tensor:
    """(N,) the test's metric: mean point-to-point distance over the truth's inter-pupil distance, both (N, 68, 2)."""
    distance = torch.sqrt(((landmarks - truth) ** 2).sum(dim=2) + 1e-12).mean(dim=1)
    left, right = (truth[:, eye].mean(dim=1) for eye in PUPILS)
    return distance / torch.linalg.vector_norm(left - right, dim=1)
