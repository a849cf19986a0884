"""The quality of a face's picture: how sharp, bright and rich in contrast it is, and how much of it is cut off.

All is measured at one scale: the face is cut out upright with its landmarks' larger extent over `EXTENT` pixels, in
grey (0.299 R + 0.587 G + 0.114 B), and only what lies within the convex hull of the landmarks counts: no hair, no
background. Let g be these grey levels, 0 to 255, and s the same after a Gaussian blur of `BLUR` pixels:

    sharpness    sd(Laplacian of s) / sd(s), without unit; the Laplacian is the sum of the four neighbours minus 4 times
                 the pixel. Gain and offset of the picture leave it as it is.
    brightness   mean(g)
    contrast     sd(g)
    cut_off      share of the hull's area that lies outside the picture, 0 to 1

Source: the variance of the Laplacian as a measure of focus, Pech-Pacheco et al., ICPR 2000; here it is divided by the
contrast, and the blur before it keeps the camera's noise from counting as sharpness. A face whose landmarks reach over
less than about twice `EXTENT` pixels has less detail than the scale could show, and is measured as less sharp.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from facealign_cli.arrays import Bools, Floats, Image
from facealign_cli.geometry import CropFrame
from facealign_cli.records import Face, Quality

EXTENT = 64
"""Pixels over which the landmarks' larger extent lies where the quality is measured."""
BLUR = 1.0

_FRAME = CropFrame(80, EXTENT / 80)
_REACH = 4
"""Pixels around a place that tell its Laplacian: blur and neighbours."""
_FLAT = 0.5
"""Grey levels of contrast below which there is nothing that could be sharp."""


def with_quality(image_bgr: Image, faces: Iterable[Face]) -> list[Face]:
    """The faces of a picture, each with its quality. image_bgr: (H, W, 3) BGR or (H, W) grey, uint8."""
    return [replace(face, quality=face_quality(image_bgr, face.landmarks)) for face in faces]


def face_quality(image_bgr: Image, landmarks: Floats) -> Quality | None:
    """The quality of one face; None where the landmarks span no area.

    image_bgr: (H, W, 3) BGR or (H, W) grey, uint8. landmarks: (68, 2) picture pixels.
    """
    import cv2

    hull: Floats = cv2.convexHull(np.asarray(landmarks, np.float32)).astype(np.float32)
    area = float(cv2.contourArea(hull))
    if not area > 1e-6:
        return None
    cut_off = _share_outside(hull, area, image_bgr.shape[1], image_bgr.shape[0])
    crop, transform = _FRAME.crop(image_bgr, landmarks, grey=True)
    mask = np.zeros(crop.shape, np.uint8)
    where = cv2.fillConvexPoly(mask, np.rint(transform.apply(np.asarray(hull[:, 0], float))).astype(np.int32), 1) > 0
    if cut_off > 0:
        seen = cv2.warpAffine(
            np.ones(image_bgr.shape[:2], np.uint8), transform.matrix, crop.shape[::-1], flags=cv2.INTER_NEAREST
        )
        where &= cv2.erode(seen, np.ones((2 * _REACH + 1,) * 2, np.uint8), borderValue=1) > 0
    if int(where.sum()) < EXTENT:
        return Quality(None, None, None, cut_off)
    grey = crop[where]
    return Quality(_sharpness(crop, where), float(grey.mean()), float(grey.std()), cut_off)


def _sharpness(crop: Image, where: Bools) -> float | None:
    import cv2

    smooth = cv2.GaussianBlur(crop.astype(np.float32), (0, 0), BLUR)
    contrast = float(smooth[where].std())
    return float(cv2.Laplacian(smooth, cv2.CV_32F)[where].std()) / contrast if contrast >= _FLAT else None


def _share_outside(hull: Floats, area: float, width: int, height: int) -> float:
    """Of a convex polygon, by area; the picture reaches half a pixel beyond the middles of its outer pixels."""
    import cv2

    right, bottom = width - 0.5, height - 0.5
    (x1, y1), (x2, y2) = hull[:, 0].min(axis=0), hull[:, 0].max(axis=0)
    if x1 >= -0.5 and y1 >= -0.5 and x2 <= right and y2 <= bottom:
        return 0.0
    picture = np.array([(-0.5, -0.5), (right, -0.5), (right, bottom), (-0.5, bottom)], np.float32)
    inside = float(cv2.intersectConvexConvex(hull, picture)[0])
    share = 1 - inside / area
    return min(1.0, max(0.0, share)) if math.isfinite(share) else 1.0
