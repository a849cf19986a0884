"""Hard conditions for a picture and its points, and the tables of them that `hard_faces.py` goes through."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from facealign_cli.geometry import SimilarityTransform, bbox_of_shape

Change = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(H, W, 3) picture and (K, 2) points → both changed alike."""


def unchanged(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The reference."""
    return image, points


def rotated(angle: float) -> Change:
    """Turned about the picture's middle."""

    def change(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = image.shape[:2]
        center = ((width - 1) / 2, (height - 1) / 2)
        transform = SimilarityTransform.from_parts(1.0, angle, center=center)
        turned = cv2.warpAffine(image, transform.matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
        return turned, transform.apply(points)

    return change


def resized(pixels: float) -> Change:
    """Scaled until the points' box is so many pixels high."""

    def change(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        box = bbox_of_shape(points)
        scale = pixels / float(box[3] - box[1])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return small, (points + 0.5) * scale - 0.5

    return change


def cut(share: float) -> Change:
    """The picture ends within the face: so much of it is missing on the left."""

    def change(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        box = bbox_of_shape(points)
        x = max(int(box[0] + share * (box[2] - box[0])), 0)
        return np.ascontiguousarray(image[:, x:]), points - [x, 0]

    return change


def compressed(quality: int) -> Change:
    """Through JPEG."""

    def change(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if decoded is None:
            raise ValueError("OpenCV could not read its own JPEG")
        return decoded, points

    return change


def covered(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lower left quarter of the face grey."""
    x1, y1, x2, y2 = bbox_of_shape(points).astype(int).clip(0)
    image = image.copy()
    image[(y1 + y2) // 2 : y2, x1 : (x1 + x2) // 2] = 128
    return image, points


FOR_DETECTORS: dict[str, Change] = {
    "unchanged": unchanged,
    **{f"rotated by {angle}°": rotated(angle) for angle in (15, 30, 45, 60, 90)},
    **{f"landmarks' box {pixels} px high": resized(pixels) for pixels in (80, 40, 30, 20)},
    **{f"left {share:.0%} cut by the edge": cut(share) for share in (0.1, 0.2, 0.3)},
}
FOR_CONFIDENCE: dict[str, Change] = {
    "rotated by 180°": rotated(180),
    "JPEG quality 20": compressed(20),
    "a quarter of the face covered": covered,
}
FOR_LANDMARKS: dict[str, tuple[Change, float, float]] = {
    "unchanged": (unchanged, 0, 1),
    "box moved by 10 % of its size": (unchanged, 0.1, 1),
    "box 15 % larger": (unchanged, 0, 1.15),
    "box 15 % smaller": (unchanged, 0, 0.85),
    "head rotated by +30°": (rotated(30), 0, 1),
    "head rotated by -30°": (rotated(-30), 0, 1),
    "face of 40 px": (resized(40), 0, 1),
    "JPEG quality 20": (compressed(20), 0, 1),
    "a quarter of the face covered": (covered, 0, 1),
}
"""Condition → change of the picture, shift of the box along both axes in its sizes, scale of the box."""
