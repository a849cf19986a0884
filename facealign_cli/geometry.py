"""Similarity transforms, the init shape, and the crop that a network sees.

Conventions: points are x, y in pixels with pixel centres at integers, so the middle of a square picture of side S lies
at (S - 1) / 2. A transform maps source to destination: `dst = transform.apply(src)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facealign_cli.arrays import Bools, Floats, Image, pixels
from facealign_cli.landmarks import MEAN_SHAPE


@dataclass(frozen=True)
class SimilarityTransform:
    """Rotation, uniform scale and shift: x' = a·x - b·y + tx, y' = b·x + a·y + ty (no reflection)."""

    a: float
    b: float
    tx: float
    ty: float

    @classmethod
    def estimate(cls, src: Floats, dst: Floats) -> SimilarityTransform:
        """Least-squares similarity that takes `src` to `dst`, in closed form.

        src, dst: (K, 2) with K >= 2. Raises ValueError if the shapes differ or all source points coincide.
        Source: Umeyama, PAMI 1991, for two dimensions without reflection.
        """
        src, dst = np.asarray(src, float), np.asarray(dst, float)
        if src.ndim != 2 or src.shape[1] != 2 or src.shape != dst.shape:
            raise ValueError(f"expected two (K, 2) arrays of one shape, got {src.shape} and {dst.shape}")
        src_mean, dst_mean = src.sum(axis=0) / len(src), dst.sum(axis=0) / len(dst)
        s, d = src - src_mean, dst - dst_mean
        norm = float(np.vdot(s, s))
        if not norm > 1e-12:
            raise ValueError("the source points coincide: no similarity can be estimated")
        a = float(np.vdot(s, d)) / norm
        b = float(s[:, 0] @ d[:, 1] - s[:, 1] @ d[:, 0]) / norm
        tx = float(dst_mean[0] - a * src_mean[0] + b * src_mean[1])
        ty = float(dst_mean[1] - b * src_mean[0] - a * src_mean[1])
        return cls(a, b, tx, ty)

    @classmethod
    def from_parts(
        cls,
        scale: float = 1.0,
        angle_deg: float = 0.0,
        shift: tuple[float, float] = (0.0, 0.0),
        center: tuple[float, float] = (0.0, 0.0),
    ) -> SimilarityTransform:
        """Scale and turn about `center`, then move by `shift`. A positive angle turns x towards y."""
        radians = math.radians(angle_deg)
        a, b = scale * math.cos(radians), scale * math.sin(radians)
        cx, cy = center
        return cls(a, b, cx - a * cx + b * cy + shift[0], cy - b * cx - a * cy + shift[1])

    @property
    def scale(self) -> float:
        """Length of a destination unit vector over its source."""
        return math.hypot(self.a, self.b)

    @property
    def angle_deg(self) -> float:
        """Rotation in degrees, x towards y."""
        return math.degrees(math.atan2(self.b, self.a))

    @property
    def matrix(self) -> Floats:
        """(2, 3) affine matrix, as OpenCV's `warpAffine` takes it (source → destination)."""
        return np.array([[self.a, -self.b, self.tx], [self.b, self.a, self.ty]])

    def apply(self, points: Floats) -> Floats:
        """Transform (…, 2) points."""
        points = np.asarray(points, float)
        x, y = points[..., 0], points[..., 1]
        return np.stack([self.a * x - self.b * y + self.tx, self.b * x + self.a * y + self.ty], axis=-1)

    def inverse(self) -> SimilarityTransform:
        """The transform that undoes this one. Raises ValueError for a scale of zero."""
        norm = self.a**2 + self.b**2
        if not norm > 0:
            raise ValueError("a similarity of scale 0 has no inverse")
        a, b = self.a / norm, -self.b / norm
        return SimilarityTransform(a, b, -(a * self.tx - b * self.ty), -(b * self.tx + a * self.ty))

    def then(self, after: SimilarityTransform) -> SimilarityTransform:
        """This transform followed by `after`."""
        return SimilarityTransform(
            after.a * self.a - after.b * self.b,
            after.b * self.a + after.a * self.b,
            after.a * self.tx - after.b * self.ty + after.tx,
            after.b * self.tx + after.a * self.ty + after.ty,
        )


def bbox_of_shape(shape: Floats) -> Floats:
    """(4,) x1, y1, x2, y2 of the tight box around (K, 2) points."""
    shape = np.asarray(shape, float)
    return np.concatenate([shape.min(axis=0), shape.max(axis=0)])


def extent_of_shape(shape: Floats) -> float:
    """The larger side of the tight box around (K, 2) points."""
    box = bbox_of_shape(shape)
    return float((box[2:] - box[:2]).max())


MIRRORED = (
    "the points are those of a mirror image: left and right are exchanged, or x and y, or y is counted from the bottom"
)
"""What `is_mirrored` means, in words."""
_LESS_BY = 0.8


def is_mirrored(landmarks: Floats) -> Bools:
    """(N,) whether shapes, (N, 68, 2), fit the mirrored mean shape better than the mean shape, however they are turned.

    Of 4,335 faces labelled by hand or by fitting (300-W, FG-NET, AFLW2000 up to 90 degrees of yaw) none does: the
    mirrored one fits worse by a factor of 1.17 at least. False for points that coincide.
    """
    shapes = _complex(np.asarray(landmarks, float))
    off = [_distance_to(shapes, _complex(MEAN_SHAPE * (sign, 1))) for sign in (1, -1)]
    return np.asarray(off[1] < _LESS_BY * off[0])


def _complex(points: Floats) -> NDArray[np.complex128]:
    """(..., K) x + iy of (..., K, 2), centred."""
    centred = points - points.mean(axis=-2, keepdims=True)
    return np.asarray(centred[..., 0] + 1j * centred[..., 1])


def _distance_to(shapes: NDArray[np.complex128], mean: NDArray[np.complex128]) -> Floats:
    """(N,) what remains of each shape, (N, K), beside the mean turned and scaled to it."""
    turned = (shapes @ mean.conj() / np.vdot(mean, mean).real)[:, None] * mean
    return np.asarray(np.linalg.norm(shapes - turned, axis=1))


def init_shape_from_bbox(bbox: ArrayLike, mean_shape: Floats = MEAN_SHAPE) -> Floats:
    """The mean shape laid into a box: scaled by the mean of the width and height ratios, extent centre on box centre.

    bbox: (4,) x1, y1, x2, y2 of the box that the landmarks fill. Returns (68, 2).
    Raises ValueError for an empty or non-finite box. Source: DAN's reference code (`bestFitRect`).
    """
    box: Floats = np.asarray(bbox, float)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise ValueError(f"expected a finite box x1, y1, x2, y2, got {box}")
    size = box[2:] - box[:2]
    if (size <= 0).any():
        raise ValueError(f"the box {box.tolist()} is empty")
    centred, extents = _MEAN if mean_shape is MEAN_SHAPE else _centred(mean_shape)
    return centred * float((size / extents).mean()) + (box[:2] + box[2:]) / 2


def _centred(shape: Floats) -> tuple[Floats, Floats]:
    """(K, 2) points about the middle of their box, and the (2,) box's sides."""
    box = bbox_of_shape(shape)
    return shape - (box[:2] + box[2:]) / 2, box[2:] - box[:2]


_MEAN = _centred(MEAN_SHAPE)


@dataclass(frozen=True)
class CropFrame:
    """A square of `size` pixels in whose middle the mean shape stands, its larger extent `share` of the side.

    mean_shape: (68, 2) in any unit and place; `shape` gives it in the frame's pixels.
    """

    size: int
    share: float = 0.5
    mean_shape: Floats = field(default_factory=lambda: MEAN_SHAPE, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.size < 8 or not 0 < self.share <= 1:
            raise ValueError(f"a crop frame needs size >= 8 and 0 < share <= 1, got {self.size} and {self.share}")

    @cached_property
    def shape(self) -> Floats:
        """(68, 2) the mean shape in the frame's pixels, read-only."""
        box = bbox_of_shape(self.mean_shape)
        scale = self.share * self.size / extent_of_shape(self.mean_shape)
        shape = (self.mean_shape - (box[:2] + box[2:]) / 2) * scale + (self.size - 1) / 2
        shape.setflags(write=False)
        return shape

    def transform_from(self, shape: Floats) -> SimilarityTransform:
        """The similarity that takes a (68, 2) shape in picture pixels onto the frame's mean shape."""
        return SimilarityTransform.estimate(shape, self.shape)

    def crop(self, image: Image, init_shape: Floats, *, grey: bool = False) -> tuple[Image, SimilarityTransform]:
        """Cut the frame around `init_shape` out of a picture.

        image: (H, W) or (H, W, 3) uint8, BGR. Returns the (size, size[, 3]) crop, without colour where `grey` is set,
        and the transform picture → crop.
        """
        transform = self.transform_from(init_shape)
        return warp(image, transform, self.size, grey=grey), transform


def warp(image: Image, transform: SimilarityTransform, size: int, *, grey: bool = False) -> Image:
    """Resample a picture into a (size, size) square, bilinear, zeros outside.

    Where the picture is more than twice as fine as the square, the part that is needed is first averaged down by a
    whole factor, so that a face of 2000 pixels gives as smooth a crop as one of 200. grey: take the colour out of the
    part that is needed, before all else: a third of the work.
    """
    import cv2

    reduce = int(1 / transform.scale + 1e-6) if transform.scale > 0 else 1
    grey = grey and image.ndim == 3
    if grey or reduce >= 2:
        image, transform = _region(image, transform, size, max(1, reduce))
    if grey:
        image = pixels(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    if reduce >= 2 and min(image.shape[:2]) >= reduce:
        image, transform = _reduced(image, transform, reduce)
    square, border = (size, size), cv2.BORDER_CONSTANT
    return pixels(cv2.warpAffine(image, transform.matrix, square, flags=cv2.INTER_LINEAR, borderMode=border))


def _region(image: Image, transform: SimilarityTransform, size: int, reduce: int) -> tuple[Image, SimilarityTransform]:
    """The part of a picture that the square needs, a whole multiple of `reduce` wide and high, and part → square."""
    back = transform.inverse()
    half, middle = (size + 1) / 2, (size - 1) / 2  # the square with a pixel around it
    x, y = back.a * middle - back.b * middle + back.tx, back.b * middle + back.a * middle + back.ty
    reach = (abs(back.a) + abs(back.b)) * half  # by plain arithmetic: NumPy would take longer than the crop itself
    height, width = image.shape[:2]
    x1, x2 = _clipped(math.floor(x - reach) - reduce, width), _clipped(math.ceil(x + reach) + reduce + 1, width)
    y1, y2 = _clipped(math.floor(y - reach) - reduce, height), _clipped(math.ceil(y + reach) + reduce + 1, height)
    columns, rows = (x2 - x1) // reduce * reduce, (y2 - y1) // reduce * reduce
    if columns < 1 or rows < 1:  # nothing of the picture lies in the square
        return np.zeros((1, 1, *image.shape[2:]), np.uint8), transform
    part = image[y1 : y1 + rows, x1 : x1 + columns]
    return part, SimilarityTransform(1.0, 0.0, float(x1), float(y1)).then(transform)


def _clipped(position: int, extent: int) -> int:
    return min(max(position, 0), extent)


def _reduced(image: Image, transform: SimilarityTransform, reduce: int) -> tuple[Image, SimilarityTransform]:
    """A picture averaged down by a whole factor, and the transform from it."""
    import cv2

    height, width = image.shape[:2]
    small = cv2.resize(image, (width // reduce, height // reduce), interpolation=cv2.INTER_AREA)
    # a reduced pixel i covers reduce·i … reduce·i + reduce - 1; its centre is reduce·i + (reduce - 1) / 2
    back = SimilarityTransform(reduce, 0.0, (reduce - 1) / 2, (reduce - 1) / 2)
    return pixels(small), back.then(transform)
