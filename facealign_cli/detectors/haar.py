"""Viola and Jones's boosted cascade, run by OpenCV 4, with a cascade file that the user gives.

Source: Viola, Jones, CVPR 2001; Lienhart, Maydt, ICIP 2002. OpenCV 5 has no `CascadeClassifier` and no cascades; the
wheels of OpenCV 4 bring both, the files in `cv2.data.haarcascades`.
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
    require_model_file,
    select_faces,
)
from facealign_cli.errors import MissingPackage, ModelError
from facealign_cli.files.picture_arrays import to_grey

SCALE_FACTOR = 1.1
MIN_NEIGHBORS = 5
WHICH_FILE = "a cascade such as haarcascade_frontalface_default.xml of OpenCV 4"


@register_detector("haar")
class HaarDetector(ReloadedWhenPickled):
    """Scores are the weight of the cascade's last stage, in its own scale; the usual threshold is none.

    Takes model_file (needed), min_face, score, max_faces. Raises InputError without a cascade file, ModelError for one
    that is missing or broken, MissingDependency under OpenCV 5. The calibration is that of
    haarcascade_frontalface_default.xml under OpenCV 4.14, on every third training face.
    """

    name = "haar"
    calibration = BoxCalibration(left=0.088, top=0.236, right=-0.078, bottom=0.061)

    def __init__(self, options: DetectorOptions) -> None:
        import cv2

        if not hasattr(cv2, "CascadeClassifier"):
            raise MissingPackage(
                "detector haar", "opencv-python-headless<5", f"OpenCV {cv2.__version__} has no CascadeClassifier"
            )
        path = require_model_file(self.name, options, WHICH_FILE)
        self._options = options
        self._cascade = cv2.CascadeClassifier()
        self._lock = threading.Lock()  # it keeps the picture that it works on
        try:
            loaded = self._cascade.load(str(path))
        except cv2.error as error:
            raise ModelError(f"{path}: not a cascade: {error}") from error
        if not loaded or self._cascade.empty():
            raise ModelError(f"{path}: not a cascade that OpenCV can read")

    def detect(self, image: Image, source: str | None = None) -> list[Detection]:
        """See `Detector.detect`."""
        smallest = round(self._options.min_face)
        with self._lock:
            rectangles, _levels, weights = self._cascade.detectMultiScale3(
                to_grey(image), SCALE_FACTOR, MIN_NEIGHBORS, minSize=(smallest, smallest), outputRejectLevels=True
            )
        boxes = np.asarray(rectangles, float).reshape(-1, 4)  # x, y, width, height
        boxes[:, 2:] += boxes[:, :2]
        scores = np.asarray(weights, float).reshape(-1)
        good = scores >= (-np.inf if self._options.score is None else self._options.score)
        return select_faces(detections_from_arrays(boxes[good] - 0.5, scores[good]), self._options.max_faces)
