"""The connection layers of a Deep Alignment Network, each on its own, and the loss.

Source: Kowalski, Naruniec, Trzcinski, "Deep Alignment Network", CVPRW 2017, section 3. Points are (N, 68, 2), x then y,
pixels of their frame, pixel centres at integers. A transform is an (N, 2, 3) similarity that takes source to
destination points. The same arithmetic runs in training and in the exported graph: standard operators only.
"""

from __future__ import annotations

import numpy as np
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


def similarity_basis(shape: Tensor) -> Tensor:
    """(K·2, 6) with which `fit_similarity` works: the least-squares fit of a fixed (K, 2) shape is linear."""
    n = len(shape)
    mean = shape.mean(dim=0)
    centred = (shape - mean) / ((shape - mean) ** 2).sum()  # (K, 2)
    x, y = centred[:, 0], centred[:, 1]
    a = torch.stack([x, y], dim=1).flatten()  # what the landmarks x_0, y_0, x_1, … give of a, b and the shift
    b = torch.stack([-y, x], dim=1).flatten()
    mean_x = shape.new_tensor([1 / n, 0]).repeat(n)
    mean_y = shape.new_tensor([0, 1 / n]).repeat(n)
    tx = mean_x - a * mean[0] + b * mean[1]
    ty = mean_y - b * mean[0] - a * mean[1]
    return torch.stack([a, -b, tx, b, a, ty], dim=1)


def fit_similarity(landmarks: Tensor, basis: Tensor) -> Tensor:
    """Transform estimate the other way round: the similarity (N, 2, 3) that best lays a fixed shape onto (N, K, 2).

    `basis`: of that shape, by `similarity_basis`. Equals `estimate_similarity(shape, landmarks)` at the cost of one
    matrix product; the least squares are then those of the landmarks' pixels, not of the frame's.
    """
    return (landmarks.flatten(1) @ basis).reshape(-1, 2, 3)


def transform_landmarks_back(landmarks: Tensor, transform: Tensor) -> Tensor:
    """(N, K, 2) points by the inverses of (N, 2, 3) similarities, without working the inverses out."""
    linear = transform[:, :, :2]  # its inverse is its transpose over the square of its scale
    square = (transform[:, :, :1] ** 2).sum(dim=1, keepdim=True)  # (N, 1, 1)
    return (landmarks - transform[:, :, 2].unsqueeze(1)) @ linear / square


def warp_image(image: Tensor, back: Tensor, size: int, order: Tensor | None = None) -> Tensor:
    """Image warp: (N, 1, S, S) resampled to (N, 1, size, size).

    back: (N, 2, 3), from the result's pixels to the image's. order: the result's pixels, row by row, are those of these
    numbers; their own by default. Bilinear; outside, the border's values. Written with
    gathers, which ONNX Runtime runs in half of GridSample's time.
    """
    side = int(image.shape[-1])  # int: a traced size would put its arithmetic into the graph
    axis = torch.arange(size, dtype=image.dtype, device=image.device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack([x, y, torch.ones_like(x)]).reshape(3, size * size)
    grid = grid if order is None else grid[:, order]
    before, fraction = _split(back @ grid, side)  # (N, 2, size²)
    corner = (image.new_tensor([[1.0, side]]) @ before).to(_index_type(image))  # (N, 1, size²)
    fx, fy = torch.split(fraction, 1, dim=1)
    pixels = image.reshape(-1, 1, side * side)
    top, bottom = pixels.gather(2, corner), pixels.gather(2, corner + side)
    top = top + fx * (pixels.gather(2, corner + 1) - top)
    bottom = bottom + fx * (pixels.gather(2, corner + (side + 1)) - bottom)
    return (top + fy * (bottom - top)).reshape(-1, 1, size, size)


def _index_type(image: Tensor) -> torch.dtype:
    """What numbers pixels for `Tensor.gather`: int32, which is faster in the graph; on a GPU int64, which was tried."""
    return torch.int64 if image.is_cuda else torch.int32


def _split(position: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The pixel before each position, and how far beyond it that lies, positions being held inside 0 … size - 1.

    The last pixel itself is never the one before: positions stop a rounding error short of it.
    """
    last = np.nextafter(torch.empty(0, dtype=position.dtype).numpy().dtype.type(size - 1), 0)
    position = position.clamp(0, float(last))
    before = position.floor()
    return before, position - before


def sample_at(image: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of (N, C, H, W) at (N, P, 2) pixel positions: (N, P, C). Outside, the border's values.

    Rows of all channels are gathered at once: for many channels at few places that is several times faster in ONNX
    Runtime than GridSample, which goes channel by channel.
    """
    n_channels, height, width = map(int, image.shape[1:])
    x1, fx = _split(points[..., 0], width)  # (N, P)
    y1, fy = _split(points[..., 1], height)
    fx, fy = fx.unsqueeze(2), fy.unsqueeze(2)  # (N, P, 1)
    rows = image.permute(0, 2, 3, 1).reshape(-1, n_channels)  # (N·H·W, C)
    first = torch.arange(image.shape[0], device=image.device).reshape(-1, 1) * (height * width)
    corner = first + (y1 * width + x1).long()  # (N, P)
    top, bottom = rows[corner], rows[corner + width]  # (N, P, C)
    top = top + fx * (rows[corner + 1] - top)  # torch.lerp would export as several slow operators
    bottom = bottom + fx * (rows[corner + width + 1] - bottom)
    return top + fy * (bottom - top)


PATCH_SIDE = 3
"""`sample_patches` takes so many places along either side."""


def sample_patches(image: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of (N, C, S, S) at 3×3 places one pixel apart around (N, P, 2) positions: (N, P, 9, C).

    All nine share their fractions, so the 4×4 pixels around a position are gathered once and a matrix product weighs
    them. A position nearer than a pixel to the border is moved that far inside.
    """
    n_channels, side = int(image.shape[1]), int(image.shape[-1])
    wide = PATCH_SIDE + 1
    before, fraction = _split(points - 1, side - PATCH_SIDE + 1)  # (N, P, 2): of the patch's first place
    first = torch.arange(image.shape[0], device=image.device).reshape(-1, 1) * (side * side)
    corner = (before @ before.new_tensor([[1.0], [side]])).long()  # (N, P, 1)
    pixels = patch_pixels(side).to(image.device)
    rows = image.permute(0, 2, 3, 1).reshape(-1, n_channels)  # (N·S·S, C)
    gathered = rows[corner + (first.unsqueeze(2) + pixels.unsqueeze(0))]  # (N, P, 16, C)
    basis = patch_basis().to(points)
    terms = torch.cat([fraction, fraction.prod(dim=2, keepdim=True)], dim=2)  # fx, fy, fx·fy
    weights = terms @ basis[1:] + basis[0]  # (N, P, 9·16)
    return weights.reshape(-1, int(points.shape[1]), PATCH_SIDE**2, wide**2) @ gathered


def patch_pixels(side: int) -> Tensor:
    """(16,) how far behind the first of 4×4 neighbouring pixels each of them comes, in rows of `side` pixels."""
    wide = PATCH_SIDE + 1
    return torch.tensor([y * side + x for y in range(wide) for x in range(wide)])


def patch_basis() -> Tensor:
    """(4, 9·16): what 1, fx, fy and fx·fy add to the weights of the sixteen pixels for each of the nine places."""
    here = np.eye(PATCH_SIDE, PATCH_SIDE + 1)
    step = np.roll(here, 1, axis=1) - here  # from a pixel to the next
    pairs = ((here, here), (here, step), (step, here), (step, step))  # of y and x
    return torch.tensor(np.stack([np.kron(y, x).ravel() for y, x in pairs]))


def landmark_heatmap(landmarks: Tensor, size: int) -> Tensor:
    """Landmark heatmap: (N, 1, size, size), 1 / (1 + distance in pixels to the nearest of the (N, K, 2) landmarks)."""
    axis = torch.arange(size, dtype=landmarks.dtype, device=landmarks.device).unsqueeze(1)
    squared = (axis - landmarks.transpose(1, 2).unsqueeze(2)) ** 2  # (N, 2, size, K): along x, along y
    nearest = (squared[:, 0].unsqueeze(1) + squared[:, 1].unsqueeze(2)).amin(dim=3)  # (N, size, size)
    return 1 / (1 + torch.sqrt(nearest.unsqueeze(1) + 1e-12))  # the epsilon keeps the gradient finite on a landmark


class FeatureImage(nn.Module):
    """Feature image: a dense layer with ReLU on the previous stage's features, its pixels repeated to `size`."""

    def __init__(self, n_features: int, side: int, size: int) -> None:
        super().__init__()
        if side < 1 or size % side:
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


LEAST_NORMALISER = 0.4
"""In shares of the face's size. A frontal face has an inter-pupil distance of 0.45 of it, a profile nearly none."""


def point_distance(landmarks: Tensor, truth: Tensor) -> Tensor:
    """(N, 68) distance of each point to the truth, both (N, 68, 2)."""
    return torch.sqrt(((landmarks - truth) ** 2).sum(dim=2) + 1e-12)


def normaliser(truth: Tensor) -> Tensor:
    """(N,) what errors are divided by: the inter-pupil distance of the (N, 68, 2) truth, or 0.4 of the face's size if
    that is larger.

    The face's size is the square root of the area of the truth's box.
    """
    left, right = (truth[:, eye].mean(dim=1) for eye in PUPILS)
    size = (truth.amax(dim=1) - truth.amin(dim=1)).prod(dim=1).sqrt()
    return torch.maximum(torch.linalg.vector_norm(left - right, dim=1), LEAST_NORMALISER * size)


def landmark_loss(landmarks: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """(N,) the mean over the points of distance by weight, in shares of `normaliser`.

    landmarks, truth: (N, 68, 2). weights: (N, 68), all 1 where None is given; a point of weight 0 has no gradient.
    """
    distance = point_distance(landmarks, truth)
    return (distance if weights is None else distance * weights).mean(dim=1) / normaliser(truth)


def sigma_loss(sigma: Tensor, distance: Tensor, weights: Tensor, unit: Tensor) -> Tensor:
    """(N,) how badly `sigma` states the distances: the weighted negative log-likelihood, up to a constant.

    The density of a point at distance d is taken as exp(-d / sigma) / (2 pi sigma²), a Laplace distribution in the
    plane. sigma, distance, weights: (N, 68). unit: (N,) pixels that count as one, so that a large face weighs as much
    as a small one.
    """
    terms = distance / sigma + 2 * torch.log(sigma / unit.unsqueeze(1))
    return (terms * weights).mean(dim=1)
