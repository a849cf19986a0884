"""dlib's frontal face detector: HOG features and five linear filters; frontal faces of 80 pixels and more.

Source: King, "Dlib-ml: A Machine Learning Toolkit", JMLR 2009, and dlib's `get_frontal_face_detector`.
"""

from __future__ import annotations

import threading

import numpy as np

from facealign_cli.arrays import Image
from facealign_cli.boxes import BoxCalibration, Detection
from facealign_cli.detectors.base import (
    DetectorOptions,
    ReloadedWhenPickled,
    detections_from_arrays,
    register_detector,
    select_faces,
)
from facealign_cli.errors import MissingDependency
from facealign_cli.files.picture_arrays import to_grey

SCORE = 0.0
"""dlib's own threshold: the distance from its decision plane."""
SMALLEST_SIDE = 4
"""dlib's image pyramid is not made for less; no face is smaller anyway."""


@register_detector("dlib-hog")
class DlibHogDetector(ReloadedWhenPickled):
    """Scores are distances from the decision plane: 0 is the edge, 1 and more is sure.

    Takes upsample (each doubling halves the smallest face: 80, 40, 20 px, at four times the time), score, max_faces.
    Raises MissingDependency.
    """

    name = "dlib-hog"
    calibration = BoxCalibration(left=0.018, top=0.111, right=-0.012, bottom=0.051)

    def __init__(self, options: DetectorOptions) -> None:
        try:
            import dlib
        except ImportError as error:
            raise MissingDependency("detector dlib-hog", "dlib-bin", "dlib") from error
        self._options = options
        self._score = SCORE if options.score is None else options.score
        self._detector = dlib.get_frontal_face_detector()
        self._lock = threading.Lock()  # it keeps the picture that it works on

    def detect(self, image: Image, source: str | None = None) -> list[Detection]:
        """See `Detector.detect`."""
        grey = to_grey(image)
        if min(grey.shape) < SMALLEST_SIDE:
            return []
        with self._lock:
            rectangles, scores, _filters = self._detector.run(grey, self._options.upsample, self._score)
        # dlib's last pixel lies inside: as pixel centres, that is the box itself
        boxes = np.array([[r.left(), r.top(), r.right(), r.bottom()] for r in rectangles], float).reshape(-1, 4)
        return select_faces(detections_from_arrays(boxes, np.asarray(scores, float)), self._options.max_faces)
