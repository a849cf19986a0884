"""What covers faces in photographs, drawn onto training crops: patches, blocks, masks, dark glasses, fingers, an edge.

The landmarks stay where they are: a network that sees covered parts has to learn where the rest of the face puts them.
Grey shades, textures, sizes and edges are chosen at random, so that the face is what can be learnt and not the cover.
"""

from __future__ import annotations

import cv2
import numpy as np

from facealign_cli.arrays import Floats, Image, Ints, pixels
from facealign_cli.geometry import extent_of_shape
from facealign_cli.landmarks import GROUPS

SHARES = {"patch": 0.25, "block": 0.3, "mask": 0.12, "glasses": 0.11, "fingers": 0.11, "edge": 0.11}
"""What covers a face that is covered, and how often it is that."""
_SUBPIXEL = 4
"""Binary digits behind the point in the coordinates that OpenCV draws with."""


def covered(crop: Image, landmarks: Floats, rng: np.random.Generator) -> Image:
    """A copy of a (S, S) grey crop with something in front of its face. landmarks: (68, 2) in crop pixels."""
    kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    mask = cover_mask(kind, crop.shape[:2], landmarks, rng)
    if rng.random() < 0.3:  # out of focus
        mask = pixels(cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.6, 2.0))))
    alpha = mask.astype(np.float32) / 255
    surface = _surface(crop, rng, plain=0.7 if kind == "block" else 0.3)
    return np.round(crop + alpha * (surface - crop)).astype(np.uint8)


def cover_mask(kind: str, shape: tuple[int, int], landmarks: Floats, rng: np.random.Generator) -> Image:
    """(H, W) uint8 as `shape` says, 255 where something of that kind, a key of `SHARES`, hides the face.

    landmarks: (68, 2) pixels.
    """
    return _SHAPES[kind](shape, landmarks, rng)


def _surface(crop: Image, rng: np.random.Generator, plain: float) -> Floats:
    """(S, S) grey values of what covers: one shade, in `plain` of the cases, or a third each: a piece of the same
    picture, a shaded one, cloth."""
    size = crop.shape[0]
    shade = float(rng.uniform(0, 255))
    if rng.random() < plain:
        return np.full((size, size), shade, np.float32)
    kind = rng.integers(3)
    if kind == 0:  # turned by half a turn, so that what covers is no face that stands upright
        shift = rng.integers(0, size, 2)
        return np.roll(crop[::-1, ::-1], shift, axis=(0, 1)).astype(np.float32)
    coarse = rng.normal(shade, rng.uniform(5, 40), tuple(rng.integers(2, 5 if kind == 1 else 40, 2)))
    return np.clip(cv2.resize(coarse.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR), 0, 255)


def _patch(shape: tuple[int, int], landmarks: Floats, rng: np.random.Generator) -> Image:
    """A rectangle, upright or turned, or an ellipse somewhere on the face."""
    extent = extent_of_shape(landmarks)
    center = landmarks[rng.integers(68)] + rng.normal(0, 0.15, 2) * extent
    axes = rng.uniform(0.15, 0.75, 2) * extent * rng.uniform(0.6, 1.0)
    angle = float(rng.uniform(0, 180)) if rng.random() < 0.5 else 0.0
    mask = np.zeros(shape, np.uint8)
    if rng.random() < 0.5:
        corners = cv2.boxPoints((center.tolist(), axes.tolist(), angle))
        return _filled(mask, np.asarray(corners, float))
    cv2.ellipse(mask, (center.tolist(), axes.tolist(), angle), 255, -1, cv2.LINE_AA)
    return mask


def _block(shape: tuple[int, int], landmarks: Floats, rng: np.random.Generator) -> Image:
    """A corner or a side of the face, from about its middle outwards: a telephone, a book, another head, a bar."""
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    middle = (low + high) / 2 + rng.normal(0, 0.06, 2) * (high - low)
    margin = rng.uniform(0.0, 0.2) * extent_of_shape(landmarks)
    first, last = low - margin, high + margin
    side = rng.integers(3, size=2) if rng.random() < 0.4 else rng.integers(2, size=2)  # 2: along the whole face
    first, last = np.where(side == 1, middle, first), np.where(side == 0, middle, last)
    if (side == 2).all():
        first[1] = middle[1]
    corners = np.array([first, (last[0], first[1]), last, (first[0], last[1])])
    return _filled(np.zeros(shape, np.uint8), corners)


def _mask(shape: tuple[int, int], landmarks: Floats, rng: np.random.Generator) -> Image:
    """A medical mask or a scarf: from the bridge of the nose to beyond the chin, between the cheeks."""
    extent = extent_of_shape(landmarks)
    first = int(rng.integers(1, 5))
    lower = landmarks[first : 17 - first]
    middle = landmarks[:17].mean(axis=0)
    lower = middle + (lower - middle) * rng.uniform(1.0, 1.15)
    bridge = landmarks[int(rng.integers(28, 31))]
    outline = np.concatenate([lower, bridge[None]]) + rng.normal(0, 0.015, (len(lower) + 1, 2)) * extent
    return _filled(np.zeros(shape, np.uint8), outline)


def _glasses(shape: tuple[int, int], landmarks: Floats, rng: np.random.Generator) -> Image:
    """Glasses: an ellipse over each eye and a bridge, filled or as a frame alone."""
    extent = extent_of_shape(landmarks)
    mask = np.zeros(shape, np.uint8)
    eyes = [landmarks[list(GROUPS[name])] for name in ("left_eye", "right_eye")]
    middles = [eye.mean(axis=0) for eye in eyes]
    across = middles[1] - middles[0]
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    grow = rng.uniform((1.5, 0.15), (2.2, 0.30))
    frame = max(1, round(extent * float(rng.uniform(0.01, 0.04))))
    thickness = frame if rng.random() < 0.3 else -1
    rims = []
    for eye, middle, inwards in zip(eyes, middles, (across, -across), strict=True):
        axes = (max(2.0, float(np.linalg.norm(eye[3] - eye[0])) * grow[0]), max(2.0, extent * grow[1]))
        cv2.ellipse(mask, (middle.tolist(), axes, angle), 255, thickness, cv2.LINE_AA)
        rims.append(middle + inwards / max(1e-6, float(np.linalg.norm(inwards))) * axes[0] / 2)
    _line(mask, np.stack(rims), frame)
    return mask


def _fingers(shape: tuple[int, int], landmarks: Floats, rng: np.random.Generator) -> Image:
    """Up to five bent strokes side by side that come in from outside: fingers, strands of hair, a microphone."""
    extent = extent_of_shape(landmarks)
    mask = np.zeros(shape, np.uint8)
    tip = landmarks[rng.integers(68)]
    angle = rng.uniform(0, 2 * np.pi)
    along, side = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    width = extent * float(rng.uniform(0.03, 0.14))
    steps = np.linspace(0, 1, 8)[:, None]
    for i in range(int(rng.integers(1, 6))):
        start = tip + side * width * 1.1 * i + along * rng.normal(0, 0.08) * extent
        bend = rng.normal(0, 0.15) * extent
        _line(mask, start + along * steps * extent * 1.5 + side * steps**2 * bend, max(1, round(width)))
    return mask


def _edge(shape: tuple[int, int], landmarks: Floats, rng: np.random.Generator) -> Image:
    """Everything beyond a straight line: where a picture ends, or a door begins."""
    extent = extent_of_shape(landmarks)
    middle = landmarks.mean(axis=0)
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.4 else np.pi / 2 * rng.integers(4)
    along, side = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    near = middle + along * rng.uniform(0.1, 0.5) * extent
    reach = 3 * max(shape)
    corners = [near - side * reach, near + side * reach, near + along * reach]
    return _filled(np.zeros(shape, np.uint8), np.stack(corners))


def _filled(mask: Image, outline: Floats) -> Image:
    cv2.fillPoly(mask, [_fixed(outline)], 255, cv2.LINE_AA, _SUBPIXEL)
    return mask


def _line(mask: Image, places: Floats, thickness: int) -> None:
    cv2.polylines(mask, [_fixed(places)], False, 255, thickness, cv2.LINE_AA, _SUBPIXEL)


def _fixed(places: Floats) -> Ints:
    return np.asarray(np.round(places * 2**_SUBPIXEL), np.int32)


_SHAPES = {"patch": _patch, "block": _block, "mask": _mask, "glasses": _glasses, "fingers": _fingers, "edge": _edge}
