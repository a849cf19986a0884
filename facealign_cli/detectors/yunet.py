"""YuNet, run by OpenCV's `FaceDetectorYN`, with a model file that the user gives (no wheel ships one).

Source: Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023; the file is
`face_detection_yunet_2023mar.onnx` of the OpenCV model zoo (MIT).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from facealign_cli.detectors.base import (
    DetectorOptions,
    ReloadedWhenPickled,
    detections_from_arrays,
    register_detector,
    require_model_file,
    select_faces,
)
from facealign_cli.errors import ModelError
from facealign_cli.files.pictures import to_bgr
from facealign_cli.records import BoxCalibration, Detection

SCORE = 0.7
NMS_OVERLAP = 0.3
TOP_K = 5000
SMALLEST_SEEN = 10.0
"""Pixels: YuNet finds faces from about this size on, up to about 300, so pictures are shrunk to suit min_face."""
WHICH_FILE = "face_detection_yunet_2023mar.onnx of the OpenCV model zoo (github.com/opencv/opencv_zoo)"


@register_detector("yunet")
class YunetDetector(ReloadedWhenPickled):
    """Scores are 0 to 1.

    Takes model_file (needed), min_face, score (0.7), max_faces. Raises InputError without a model file, ModelError for
    one that is missing or not a YuNet. The calibration is not measured but MTCNN's: both learnt the boxes of WIDER
    FACE; `python benchmarks/detectors.py calibrate ROOT --yunet FILE` measures it.
    """

    name = "yunet"
    calibration = BoxCalibration(left=0.010, top=0.257, right=0.029, bottom=0.022)

    def __init__(self, options: DetectorOptions) -> None:
        self._file = require_model_file(self.name, options, WHICH_FILE)
        self._options = options
        self._detector = _load(self._file, SCORE if options.score is None else options.score)

    def detect(self, image: np.ndarray, source: str | None = None) -> list[Detection]:
        """See `Detector.detect`."""
        import cv2

        bgr = to_bgr(image)
        scale = min(1.0, SMALLEST_SEEN / self._options.min_face)
        size = max(round(bgr.shape[1] * scale), 1), max(round(bgr.shape[0] * scale), 1)
        found = self._run(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA))
        boxes = np.hstack([found[:, :2], found[:, :2] + found[:, 2:4]])  # from x, y, width, height
        boxes *= np.tile([bgr.shape[1] / size[0], bgr.shape[0] / size[1]], 2)
        return select_faces(detections_from_arrays(boxes - 0.5, found[:, 14]), self._options.max_faces)

    def _run(self, bgr: np.ndarray) -> np.ndarray:
        """(N, 15): x, y, width, height, five points, score."""
        import cv2

        self._detector.setInputSize((bgr.shape[1], bgr.shape[0]))
        try:
            _, found = self._detector.detect(bgr)
        except cv2.error as error:
            raise ModelError(f"{self._file}: not a YuNet model: {error}") from error
        return np.empty((0, 15)) if found is None else found.astype(float)


def _load(path: Path, score: float) -> Any:
    import cv2

    try:
        return cv2.FaceDetectorYN.create(str(path), "", (320, 320), score, NMS_OVERLAP, TOP_K)
    except cv2.error as error:
        raise ModelError(f"{path}: OpenCV cannot read it as a YuNet model: {error}") from error
