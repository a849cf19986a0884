"""Face detectors behind one protocol; see `base`. Importing this loads no cv2, dlib or onnxruntime."""

from facealign_cli.detectors.base import (
    Detector,
    DetectorOptions,
    create_detector,
    known_detectors,
    register_detector,
    select_faces,
)

__all__ = [
    "Detector",
    "DetectorOptions",
    "create_detector",
    "known_detectors",
    "register_detector",
    "select_faces",
]
