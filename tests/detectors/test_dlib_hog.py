"""dlib's HOG detector."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest

from facealign_cli.boxes import BBox
from facealign_cli.detectors import create_detector
from facealign_cli.errors import MissingDependency

FACE = BBox(178, 80, 266, 168)


def test_finds_the_astronaut_in_colour_and_grey(astronaut: np.ndarray) -> None:
    detector = create_detector("dlib-hog")
    (face,) = detector.detect(astronaut)
    assert FACE.iou(face.bbox) > 0.8
    assert face.score is not None
    assert face.score > 1
    assert detector.detect(cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY)) == [face]


def test_upsample_finds_smaller_faces(astronaut: np.ndarray) -> None:
    small = cv2.resize(astronaut, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    assert create_detector("dlib-hog").detect(small) == []
    (face,) = create_detector("dlib-hog", upsample=1).detect(small)
    assert FACE.iou(BBox(*(np.array(face.bbox.xyxy) * 2))) > 0.7


def test_score_threshold(astronaut: np.ndarray) -> None:
    assert create_detector("dlib-hog", score=3.0).detect(astronaut) == []
    assert len(create_detector("dlib-hog", score=-0.5).detect(astronaut)) > 1


@pytest.mark.parametrize("shape", [(1, 1, 3), (10, 10), (1, 500), (500, 1), (3, 3), (4, 4)])
@pytest.mark.parametrize("upsample", [0, 2])
def test_tiny_pictures_hold_no_face(shape: tuple[int, ...], upsample: int) -> None:
    assert create_detector("dlib-hog", upsample=upsample).detect(np.full(shape, 90, np.uint8)) == []


def test_without_dlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(MissingDependency, match="dlib"):
        create_detector("dlib-hog")
