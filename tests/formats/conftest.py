"""Records that every format has to carry, and the round trip that every format has to pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign_cli.boxes import BBox
from facealign_cli.formats.base import get_format
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.records import Face, FrameResult, HeadPose, Quality

POSE = HeadPose((12.345, -6.5, 710.125), (0.12345, -0.5, 0.0625))
HIDDEN = np.arange(68) != 30
SIZES = {"width": 640, "height": 480}
QUALITY, CUT = Quality(0.2512, 131.5, 45.25, 0.125), Quality(None, None, None, 1.0)

WriteRead = Callable[..., list[FrameResult]]


def make_face(face_id: int = 0, **fields: object) -> Face:
    """A face whose numbers have no more decimals than the formats keep."""
    box = np.array([10.5, 20.25, 110.5, 140.75]) + 100 * face_id
    landmarks = np.round(init_shape_from_bbox(box), 3)
    return replace(Face(face_id, BBox(*box.tolist()), landmarks, 0.9875, 12.3456), **fields)  # type: ignore[arg-type]


@pytest.fixture
def results() -> list[FrameResult]:
    """Every kind of result, with awkward texts; a face with sigma and one without."""
    sigma = np.round(np.linspace(0, 9, 68), 3)
    run = {"width": 640, "height": 480, "detector": "mtcnn", "model": "dan-light", "provider": "CPUExecutionProvider"}
    return [
        FrameResult.of_faces("a.jpg", [make_face(0), make_face(1, detector_score=None)], **run),
        FrameResult.of_faces("a.jpg", [make_face(0, sigma=sigma)], **run),
        FrameResult.of_faces('Bjørn, "Ö" \n日本.jpg', [], **run),
        FrameResult.of_error("-", "standard input: the file is empty"),
        FrameResult.of_error("=cmd|' /C calc'!A0", "@sum(1)\r\n+1\t'"),
        FrameResult.of_faces("'quoted.png", [], width=3, height=2),
        FrameResult.of_faces("v.mp4", [make_face(0, track_id=7, quality=CUT)], frame=0, timestamp_s=0.0, **run),
        FrameResult.of_faces(
            "v.mp4", [make_face(0, track_id=7, pose=POSE, quality=QUALITY)], frame=1, timestamp_s=0.033367, **run
        ),
    ]


@pytest.fixture
def write_read(tmp_path: Path) -> WriteRead:
    """Writes results in a format, reads them again."""

    def through(name: str, results: list[FrameResult], file: str = "out") -> list[FrameResult]:
        fmt = get_format(name)
        fmt.write(tmp_path / file, results)
        return fmt.read(tmp_path / file)

    return through


def assert_same(got: list[FrameResult], expected: list[FrameResult], sigma: bool = True) -> None:
    """Equal in every field, the landmarks bit by bit. sigma: False for what does not carry it: there it is None."""
    assert [replace(r, faces=(), status="error", error="x") for r in got] == [
        replace(r, faces=(), status="error", error="x") for r in expected
    ]
    for a, b in zip(got, expected, strict=True):
        assert (a.status, a.error, len(a.faces)) == (b.status, b.error, len(b.faces))
        for face, other in zip(a.faces, b.faces, strict=True):
            np.testing.assert_array_equal(face.landmarks, other.landmarks)
            for name in ("face_id", "track_id", "bbox", "detector_score", "confidence", "pose", "quality"):
                assert getattr(face, name) == getattr(other, name), name
            if other.sigma is None or not sigma:
                assert face.sigma is None
            else:
                np.testing.assert_array_equal(face.sigma, other.sigma)


@pytest.fixture
def face() -> Callable[..., Face]:
    """Makes faces."""
    return make_face


@pytest.fixture
def faces(face) -> list[Face]:
    """Two faces inside a picture of 640 x 480, one of them with a point that cannot be seen."""
    return [face(0, visible=HIDDEN), face(1, confidence=0.25, detector_score=None)]


@pytest.fixture
def labels(faces, tmp_path: Path) -> list[FrameResult]:
    """A picture with two faces, one with one, one with none; their files are there."""
    names = ["a b.png", "sub/b#1.png", "sub/c.png"]
    (tmp_path / "sub").mkdir()
    for name in names:
        cv2.imwrite(str(tmp_path / name), np.zeros((480, 640, 3), np.uint8))
    return [FrameResult.of_faces(name, faces[:n], **SIZES) for name, n in zip(names, (2, 1, 0), strict=True)]
