"""Haar cascades: OpenCV 4 has them, OpenCV 5 does not; each half runs where it can."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign_cli.boxes import BBox
from facealign_cli.detectors import DetectorOptions, create_detector, haar
from facealign_cli.errors import InputError, MissingDependency, ModelError

has_cascades = pytest.mark.skipif(not hasattr(cv2, "CascadeClassifier"), reason="this OpenCV has no CascadeClassifier")


def test_without_cascades_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)
    with pytest.raises(MissingDependency, match=r"no CascadeClassifier: .* -m pip install 'opencv-python-headless<5'"):
        create_detector("haar", model_file="any.xml")


@has_cascades
def test_finds_the_astronaut(astronaut: np.ndarray) -> None:
    path = Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"
    detector = create_detector("haar", model_file=path)
    boxes = [d.bbox for d in detector.detect(astronaut)]
    assert max(BBox(168, 60, 275, 167).iou(b) for b in boxes) > 0.6
    assert detector.detect(np.zeros((1, 1, 3), np.uint8)) == []
    assert detector.detect(np.zeros((10, 10), np.uint8)) == []


@has_cascades
def test_needs_a_file_that_is_a_cascade(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a model file: a cascade"):
        create_detector("haar")
    with pytest.raises(ModelError, match="no such file"):
        create_detector("haar", model_file=tmp_path / "c.xml")
    (tmp_path / "c.xml").write_text("<no>cascade</no>")
    with pytest.raises(ModelError, match=r"c\.xml: not a cascade"):
        create_detector("haar", model_file=tmp_path / "c.xml")


def test_boxes_count_from_pixel_centres(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's rectangles count from the pixels' edges, so they begin half a pixel further left and higher here."""

    class Cascade:
        def detectMultiScale3(self, *_: object, **__: object) -> tuple[list[list[int]], list[int], list[float]]:
            return [[10, 20, 30, 40]], [0], [2.0]

    detector = object.__new__(haar.HaarDetector)
    detector._options, detector._cascade = DetectorOptions(), Cascade()  # type: ignore[assignment]
    detector._lock = threading.Lock()
    (face,) = detector.detect(np.zeros((90, 90), np.uint8))
    assert face.bbox.xyxy == (9.5, 19.5, 39.5, 59.5)
