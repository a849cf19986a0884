"""A review of small pictures, served to tests on a free port."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign_cli.boxes import BBox, Detection
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.records import Face, FrameResult
from facealign_cli.review.session import Session

BOX = (100.0, 60.0, 220.0, 180.0)
SIZE = {"width": 320, "height": 240}


class FakeAligner:
    """Lays the mean shape into a box."""

    def align_boxes(self, _image: np.ndarray, detections: list[Detection]) -> list[Face]:
        (detection,) = detections
        return [Face(0, detection.bbox, np.round(init_shape_from_bbox(detection.bbox.xyxy), 3), 0.5)]


def make_face(number: int = 0, confidence: float = 0.9) -> Face:
    box = np.array(BOX) + 5 * number
    return Face(number, BBox(*box.tolist()), np.round(init_shape_from_bbox(box), 3), confidence)


def make_rows(folder: Path, confidences: list[float], *, pictures: bool = True) -> list[FrameResult]:
    """A picture with one face for each confidence: folder/p000.jpg, …"""
    results = []
    for i, confidence in enumerate(confidences):
        path = folder / f"p{i:03d}.jpg"
        if pictures:
            picture = np.full((240, 320, 3), 40 + i % 150, np.uint8)
            cv2.rectangle(picture, (100, 60), (220, 180), (90, 120, 160), -1)
            cv2.imwrite(str(path), picture)
        results.append(FrameResult.of_faces(str(path), [make_face(0, confidence)], **SIZE))
    return results


@pytest.fixture
def face() -> Callable[..., Face]:
    """Makes a face."""
    return make_face


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., list[FrameResult]]:
    """Makes pictures and their rows in tmp_path/photos."""
    folder = tmp_path / "photos"
    folder.mkdir()
    return lambda *confidences, **options: make_rows(folder, list(confidences), **options)


@dataclass(frozen=True)
class Served:
    """A running server."""

    session: Session
    url: str
    port: int
    token: str


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Serves results until the test ends."""
    pytest.importorskip("starlette", reason="Starlette is not installed (extra review)")
    pytest.importorskip("uvicorn", reason="uvicorn is not installed (extra review)")
    from facealign_cli.review.app import ReviewServer

    with contextlib.ExitStack() as stack:

        def start(results: list[FrameResult], **options: object) -> Served:
            session = Session(results, tmp_path / "photos", tmp_path / "work.jsonl", by="ann", **options)  # type: ignore[arg-type]
            session.open()
            stack.callback(session.close)
            server = ReviewServer(session, FakeAligner)  # type: ignore[arg-type, return-value]
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            stack.callback(thread.join, 10)
            stack.callback(server.stop)
            return Served(session, server.url, server.port, server.token)

        yield start
