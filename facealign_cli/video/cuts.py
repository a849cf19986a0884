"""Tells where a clip goes on with another scene, and where a face goes on as another one's."""

from __future__ import annotations

import cv2
import numpy as np

from facealign_cli.arrays import Floats, Image
from facealign_cli.geometry import CropFrame

_MOVED_ON = 0.93


class CutDetector:
    """Tells scene cuts by two small pictures that neither look alike nor have like tones.

    Light that changes keeps the pattern, and a fast pan keeps the tones: neither counts as a cut.
    """

    def __init__(self) -> None:
        self._pattern: Floats = np.zeros(0)
        self._tones: Floats = np.zeros(0)
        self.just_cut = False
        self.moved_on = False
        """Whether the last frame's pattern is not quite that of the one before; less than a cut."""

    def is_cut(self, image_bgr: Image) -> bool:
        """Whether a new scene begins with this frame, in colour or grey; the first one does not count."""
        plane = image_bgr if image_bgr.ndim == 2 else image_bgr[..., 1]
        rows, columns = max(1, plane.shape[0] // 48), max(1, plane.shape[1] // 64)  # a few pixels tell it as well
        few = np.ascontiguousarray(plane[::rows, ::columns])
        small = cv2.resize(few, (32, 24), interpolation=cv2.INTER_AREA)
        pattern = small.ravel() - np.float32(small.mean())
        pattern /= max(float(np.sqrt(pattern @ pattern)), 1e-9)
        tones = np.bincount(np.right_shift(small.ravel(), 4), minlength=16) / small.size
        alike = float(pattern @ self._pattern) if self._pattern.size else 1.0
        self.moved_on = alike < _MOVED_ON
        self.just_cut = bool(self._pattern.size) and (alike < 0.4 and float(np.abs(tones - self._tones).sum()) > 0.6)
        self._pattern, self._tones = pattern, tones
        return self.just_cut


LOOK_S = 0.15
"""Seconds within which a face hardly changes how it looks."""

_FRAME = CropFrame(32, 0.8)
_LEAST_CONTRAST = 8.0
_ANOTHERS, _WHATEVER = 0.7, 0.25


def look_of(image_bgr: Image, landmarks: Floats) -> Floats | None:
    """(1024,) what a face looks like, upright and small, without its light; None where it has hardly any contrast."""
    crop = cv2.GaussianBlur(_FRAME.crop(image_bgr, landmarks, grey=True)[0].astype(np.float32), (0, 0), 1.0)
    look: Floats = (crop - crop.mean()).ravel()
    length = float(np.sqrt(look @ look))
    return look / length if length >= _LEAST_CONTRAST * len(look) ** 0.5 else None


def is_another(before: Floats | None, now: Floats | None, moved_on: bool) -> bool:
    """Whether two looks, at most `LOOK_S` apart, are of two persons. moved_on: see `CutDetector`.

    By benchmarks/looks.py a face has a correlation of 0.88 or more with itself one frame before, and the faces of two
    persons have less than 0.69 in 99 of 100 pairs, in half of them less than 0.11. A hand before half of the face had
    0.48, so such a value counts only where the whole frame has changed, too.
    """
    if before is None or now is None:
        return False
    alike = float(before @ now)
    return alike < _WHATEVER or (alike < _ANOTHERS and moved_on)
