"""A detector of your own, here one that takes the middle of the picture: python examples/own_detector.py PICTURE"""

import sys

import numpy as np

from facealign_cli import Aligner, BBox, BoxCalibration, Detection, DetectorOptions, create_detector, register_detector


@register_detector("middle")  # an installed package names it as an entry point of the group facealign.detectors
class MiddleDetector:
    """Looks nowhere else: a portrait has its face in the middle."""

    name = "middle"
    calibration = BoxCalibration(top=0.25)  # the landmarks begin at a quarter of the box's height

    def __init__(self, options: DetectorOptions) -> None:
        self.options = options

    def detect(self, image: np.ndarray, source: str | None = None) -> list[Detection]:
        """One box, a quarter of the picture's sides away from its edges."""
        height, width = image.shape[:2]
        return [Detection(BBox(width / 4, height / 4, width * 3 / 4, height * 3 / 4), score=1.0)]


for aligner in (Aligner(detector="middle"), Aligner(detector=create_detector("middle", min_face=60))):
    for face in aligner.align(sys.argv[1]):
        print(face)
