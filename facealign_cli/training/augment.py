"""Training crops made on the fly: a perturbed init shape, a mirror, light, blur, noise, patches; crops without a face.

Everything follows from the generator that is passed in, so a batch is a function of (seed, step) alone and a resumed
run sees what the uninterrupted one would have seen.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from facealign_cli.arrays import Bools, Floats, Image, Ints, pixels
from facealign_cli.geometry import (
    CropFrame,
    SimilarityTransform,
    bbox_of_shape,
    extent_of_shape,
    init_shape_from_bbox,
)
from facealign_cli.landmarks import MIRROR_ORDER
from facealign_cli.training.augmentation import SYMMETRIC_SETS, Augmentation
from facealign_cli.training.cover import covered
from facealign_cli.training.pack import Pack, decode_grey

_MIRROR = np.array(MIRROR_ORDER)


@dataclass(frozen=True, eq=False)
class Batch:
    """crops (N, 1, S, S) uint8; landmarks (N, 68, 2) float32 in crop pixels, the truth; weights (N, 68) float32.

    has_face: (N,) whether a face is there; aligned: (N,) whether its landmarks are to be learnt from.
    """

    crops: Image
    landmarks: Floats
    weights: Floats
    has_face: Bools
    aligned: Bools


def make_batch(pack: Pack, rows: Ints, frame: CropFrame, augmentation: Augmentation, rng: np.random.Generator) -> Batch:
    """Cut the given faces of a pack out and change each at random, as `augmentation` says."""
    crops = np.empty((len(rows), 1, frame.size, frame.size), np.uint8)
    landmarks = np.empty((len(rows), 68, 2), np.float32)
    weights = pack.weights[rows]
    has_face = np.ones(len(rows), bool)
    aligned = np.ones(len(rows), bool)
    kinds = rng.random(len(rows))
    for i, row in enumerate(rows):
        image, truth = pack.images[row], _hand_like(pack, row, augmentation.label_shift)
        if rng.random() < 0.5:
            image, truth = mirrored(image, truth, augmentation.label_shift)
            weights[i] = weights[i][_MIRROR]
        displaced = kinds[i] < augmentation.displaced
        faceless = not displaced and kinds[i] < augmentation.displaced + augmentation.faceless
        init = _displaced_init(truth, rng) if displaced else perturbed_init(truth, augmentation, rng)
        matrix = _matrix(init, frame, _stretched(frame, augmentation, rng))
        if rng.random() < augmentation.elastic:
            crop, landmarks[i] = _elastic_crop(image, truth, matrix, _elastic_field(frame, augmentation, rng))
        else:
            crop, landmarks[i] = _crop(image, truth, matrix, frame.size)
        if faceless:
            crop = _faceless(image, truth, crop, frame, rng)
        crops[i, 0] = _photometric(crop, landmarks[i], augmentation, rng)
        has_face[i], aligned[i] = not faceless, not (faceless or displaced)
    return Batch(crops, landmarks, weights, has_face, aligned)


def _hand_like(pack: Pack, row: int, label_shift: float) -> Floats:
    """A face's labels, in the convention of those made by hand."""
    truth: Floats = pack.landmarks[row].astype(float)
    symmetric = pack.rough[row] or pack.set_of(row) in SYMMETRIC_SETS
    if symmetric:
        truth += label_shift * extent_of_shape(truth)
    return truth


def mirrored(image: Image, landmarks: Floats, label_shift: float = 0.0) -> tuple[Image, Floats]:
    """Flip an (H, W) picture left to right and its (68, 2) landmarks with it, in the scheme's order.

    label_shift: see `Augmentation`; what the labels are off to the right they are off to the right again.
    """
    flipped = landmarks[_MIRROR].copy()
    flipped[:, 0] = image.shape[1] - 1 - flipped[:, 0] + 2 * label_shift * extent_of_shape(landmarks)
    return image[:, ::-1], flipped


def perturbed_init(truth: Floats, augmentation: Augmentation, rng: np.random.Generator) -> Floats:
    """The mean shape laid into the truth's box, (68, 2), then moved, scaled and turned at random."""
    box = bbox_of_shape(truth)
    size = float((box[2:] - box[:2]).mean())
    shift = rng.normal(0, augmentation.shift_sigma, 2) * size
    scale = float(np.clip(np.exp(rng.normal(0, augmentation.scale_sigma)), 0.55, 1.8))
    angle = float(rng.normal(0, augmentation.angle_sigma))
    return _moved(init_shape_from_bbox(box), shift, scale, angle)


def _displaced_init(truth: Floats, rng: np.random.Generator) -> Floats:
    box = bbox_of_shape(truth)
    size = float((box[2:] - box[:2]).mean())
    direction = rng.uniform(0, 2 * np.pi)
    shift = rng.uniform(0.35, 1.0) * size * np.array([np.cos(direction), np.sin(direction)])
    return _moved(init_shape_from_bbox(box), shift, float(np.exp(rng.uniform(-1.0, 0.8))), float(rng.normal(0, 40)))


def _moved(shape: Floats, shift: Floats, scale: float, angle: float) -> Floats:
    box = bbox_of_shape(shape)
    center = (box[:2] + box[2:]) / 2
    transform = SimilarityTransform.from_parts(scale, angle, (shift[0], shift[1]), (center[0], center[1]))
    return transform.apply(shape)


def _stretched(frame: CropFrame, augmentation: Augmentation, rng: np.random.Generator) -> Floats:
    """(2, 3) affine map of the crop about its middle: other proportions, as other people have."""
    wide, high = np.exp(rng.normal(0, augmentation.stretch_sigma, 2))
    lean, slope = rng.normal(0, augmentation.shear_sigma, 2)
    linear = np.array([[wide, lean], [slope, high]])
    center = np.full(2, (frame.size - 1) / 2)
    return np.column_stack([linear, center - linear @ center])


def _matrix(init: Floats, frame: CropFrame, affine: Floats) -> Floats:
    """(2, 3): picture → crop."""
    matrix = affine[:, :2] @ frame.transform_from(init).matrix
    matrix[:, 2] += affine[:, 2]
    return matrix


def _crop(image: Image, truth: Floats, matrix: Floats, size: int) -> tuple[Image, Floats]:
    crop = pixels(cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR))
    return crop, truth @ matrix[:, :2].T + matrix[:, 2]


def _elastic_field(frame: CropFrame, augmentation: Augmentation, rng: np.random.Generator) -> Floats:
    """(S, S, 2) smooth random displacements, x and y, crop pixels."""
    sigma = augmentation.elastic_sigma * frame.share * frame.size
    coarse = rng.normal(0, sigma, (5, 5, 2)).astype(np.float32)
    field = cv2.resize(coarse, (frame.size, frame.size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(field, np.float32)


def _elastic_crop(image: Image, truth: Floats, matrix: Floats, field: Floats) -> tuple[Image, Floats]:
    """A crop whose pixel q shows what `_crop`'s would show at q + field(q): another person's shape."""
    back = np.linalg.inv(matrix[:, :2]).astype(np.float32)
    places = (_pixel_grid(len(field)) + field - matrix[:, 2].astype(np.float32)) @ back.T
    crop = pixels(_remap(image, places))
    target = (truth @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    points = target
    for _ in range(6):  # the q that shows a landmark solves q = target - field(q)
        points = target - _remap(field, points[:, None], cv2.BORDER_REPLICATE)[:, 0]
    return crop, points


def _remap(image: np.ndarray, places: Floats, border: int = cv2.BORDER_CONSTANT) -> np.ndarray:
    """Bilinear values at (H, W, 2) places, x and y; OpenCV's stubs do not know of a single map."""
    values: np.ndarray = cv2.remap(image, places, None, cv2.INTER_LINEAR, borderMode=border)  # type: ignore[call-overload]
    return values


@functools.cache
def _pixel_grid(size: int) -> Floats:
    y, x = np.mgrid[:size, :size]
    return np.stack([x, y], axis=-1).astype(np.float32)


def _faceless(image: Image, truth: Floats, crop: Image, frame: CropFrame, rng: np.random.Generator) -> Image:
    """Background beside the face, a face cut into shuffled tiles, or a plain texture."""
    kind = rng.random()
    if kind < 0.6:
        return _background(image, truth, frame, rng)
    if kind < 0.85:
        return _shuffled(crop, rng)
    texture = rng.integers(0, 256, (rng.integers(2, 40), rng.integers(2, 40)), np.uint8)
    return pixels(cv2.resize(texture, (frame.size, frame.size), interpolation=cv2.INTER_CUBIC))


def _background(image: Image, truth: Floats, frame: CropFrame, rng: np.random.Generator) -> Image:
    side = image.shape[0]
    box = bbox_of_shape(truth)
    extent = rng.uniform(0.2, 0.6) * extent_of_shape(truth)
    reach = extent / frame.share / 2  # half of what the crop shows
    for _ in range(20):
        x, y = rng.uniform(reach * 0.6, side - reach * 0.6, 2)
        if x + reach < box[0] or x - reach > box[2] or y + reach < box[1] or y - reach > box[3]:
            break
    else:
        x, y = reach, reach
    init = init_shape_from_bbox(np.array([x - extent / 2, y - extent / 2, x + extent / 2, y + extent / 2]))
    turned = _moved(init, np.zeros(2), 1.0, float(rng.uniform(-45, 45)))
    return _crop(image, truth, frame.transform_from(turned).matrix, frame.size)[0]


def _shuffled(crop: Image, rng: np.random.Generator) -> Image:
    n = int(rng.integers(3, 7))
    side = crop.shape[0] // n
    out = crop.copy()
    for target, source in enumerate(rng.permutation(n * n)):
        (ty, tx), (sy, sx) = divmod(target, n), divmod(int(source), n)
        out[ty * side : (ty + 1) * side, tx * side : (tx + 1) * side] = crop[
            sy * side : (sy + 1) * side, sx * side : (sx + 1) * side
        ]
    return out


def _photometric(crop: Image, landmarks: Floats, augmentation: Augmentation, rng: np.random.Generator) -> Image:
    chance = rng.random(6)
    if chance[0] < augmentation.cover:
        crop = covered(crop, landmarks, rng)
    if chance[1] < augmentation.low_resolution:
        crop = _low_resolution(crop, rng)
    if chance[2] < augmentation.blur:
        crop = pixels(cv2.GaussianBlur(crop, (0, 0), float(rng.uniform(0.5, 2.0))))
    if chance[3] < augmentation.light:
        crop = _relit(crop, rng)
    if chance[4] < augmentation.noise:
        noise = rng.standard_normal(crop.shape, np.float32) * float(rng.uniform(2, 14))
        crop = np.clip(crop + noise, 0, 255).astype(np.uint8)
    if chance[5] < augmentation.jpeg:
        jpeg = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(12, 50))])[1]
        crop = decode_grey(pixels(jpeg))
    return crop


def _low_resolution(crop: Image, rng: np.random.Generator) -> Image:
    size = crop.shape[0]
    small = max(8, int(size * rng.uniform(0.25, 0.7)))
    reduced = cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA)
    return pixels(cv2.resize(reduced, (size, size), interpolation=cv2.INTER_LINEAR))


def _relit(crop: Image, rng: np.random.Generator) -> Image:
    ramp = np.linspace(0, 1, 256)
    gamma = np.exp(rng.normal(0, 0.3))
    gain, bias = np.exp(rng.normal(0, 0.25)), rng.normal(0, 25)
    values = (ramp**gamma * 255 - 128) * gain + 128 + bias
    if rng.random() < 0.02:  # a negative
        values = 255 - values
    return pixels(cv2.LUT(crop, np.clip(values, 0, 255).astype(np.uint8)))
