"""One landmark predictor in a process of its own, for `peers.py`: so that memory, threads and packages stay apart.

    python benchmarks/peer_worker.py NAME THREADS [MODEL]

Talks JSON, one object a line. First it says {"version", "file_bytes", "options", "rss_before"} or {"missing": why}.
Then, for each {"faces": [{"file", "shape", "box"}], "option": NAME} it answers {"landmarks": [68 pairs or null],
"ms": [per face], "rss"}: from decoded pixels and the organisers' box to 68 points in the picture's pixels. A face's
file holds raw uint8 BGR pixels of that shape. An option says what becomes of the box before the predictor gets it.
Needs only NumPy and OpenCV beside the predictor itself, so that another Python can run it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Box = tuple[float, float, float, float]
Predict = Callable[[np.ndarray, Box], np.ndarray | None]
"""(H, W, 3) uint8 BGR and x1, y1, x2, y2 → (68, 2) pixels of the picture, or None where the peer finds no face."""

MESH_TO_68: tuple[int, ...] = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
)
"""Vertex of MediaPipe's 468-point mesh nearest in meaning to each ibug point; the map in common use."""

HOG_EDGES = (-0.025, -0.118, 0.031, -0.054)
"""From the organisers' box to that of dlib's HOG, per edge in box sizes: medians over 211 training faces."""

OVERLAP = 0.4
"""A box of a peer's own detector counts as the face's from this intersection over union on."""

_MESH_INPUT = 192


@dataclass(frozen=True)
class Peer:
    """A predictor that is ready to run. options: what can be done to the box first, by name."""

    version: str
    file_bytes: int
    options: dict[str, Callable[[Box], Box]]
    predict: Predict


class NotInstalled(Exception):
    """The peer cannot be had in this Python."""


def moved(edges: tuple[float, float, float, float]) -> Callable[[Box], Box]:
    """Move each edge by a share of the box's width or height; positive is right or down."""

    def move(box: Box) -> Box:
        sizes = (box[2] - box[0], box[3] - box[1]) * 2
        x1, y1, x2, y2 = (v + e * s for v, e, s in zip(box, edges, sizes, strict=True))
        return x1, y1, x2, y2

    return move


def square(scale: float) -> Callable[[Box], Box]:
    """A square about the box's centre, its side `scale` times the mean of width and height."""

    def grow(box: Box) -> Box:
        half = scale * (box[2] - box[0] + box[3] - box[1]) / 4
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        return x - half, y - half, x + half, y + half

    return grow


def as_given(box: Box) -> Box:
    """The organisers' box itself."""
    return box


def data_file(package: str, *parts: str) -> Path:
    """A file inside an installed package, which is not imported. Raises NotInstalled."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise NotInstalled(f"{package} is not installed")
    path = Path(next(iter(spec.submodule_search_locations)), *parts)
    if not path.is_file():
        raise NotInstalled(f"{package} is installed, but ships no {'/'.join(parts)}")
    return path


def make_facealign(threads: int, model: str | None) -> Peer:
    """This project's model, without a detector."""
    from facealign_cli.aligner import Aligner
    from facealign_cli.detectors.base import BoxCalibration, Detection
    from facealign_cli.geometry import init_shape_from_bbox
    from facealign_cli.models.registry import load_model

    class NoDetector:
        """Stands where an Aligner wants a detector: the boxes of the faces are given."""

        name, calibration = "none", BoxCalibration()

        def detect(self, image: np.ndarray, source: str | None = None) -> list[Detection]:
            return []

    dan = load_model(model, device="cpu", threads=threads)
    aligner = Aligner(dan, NoDetector())

    def predict(image: np.ndarray, box: Box) -> np.ndarray:
        return aligner.align_shapes(image, [init_shape_from_bbox(box)]).landmarks[0]

    return Peer(dan.name, dan.path.stat().st_size, {"as given": as_given}, predict)


def make_dlib(threads: int, model: str | None) -> Peer:
    """dlib's regression trees; they run on one thread whatever is asked for."""
    path = data_file("face_recognition_models", "models", "shape_predictor_68_face_landmarks.dat")
    try:
        import dlib
    except ImportError as error:
        raise NotInstalled(str(error)) from error
    predictor = dlib.shape_predictor(str(path))

    def predict(image: np.ndarray, box: Box) -> np.ndarray:
        x1, y1, x2, y2 = (round(v) for v in box)
        shape = predictor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), dlib.rectangle(x1, y1, x2, y2))
        return np.array([(p.x, p.y) for p in shape.parts()], float)

    hog = moved(HOG_EDGES)
    options = {
        "as given": as_given,
        "square": square(1.0),
        "moved as dlib's HOG box": hog,
        "moved as dlib's HOG box, square": lambda box: square(1.0)(hog(box)),
        "square, 1.15 times the box, a tenth higher": lambda box: square(1.15)(moved((0, -0.1, 0, -0.1))(box)),
    }
    return Peer(importlib.metadata.version("dlib-bin"), path.stat().st_size, options, predict)


def make_dlib_own(threads: int, model: str | None) -> Peer:
    """dlib's trees in the box that dlib's own HOG detector finds, the one that overlaps the organisers' most."""
    trees = make_dlib(threads, model)
    import dlib

    detector = dlib.get_frontal_face_detector()

    def predict(image: np.ndarray, box: Box) -> np.ndarray | None:
        found = detector(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), 1)
        boxes = [(float(r.left()), float(r.top()), float(r.right()), float(r.bottom())) for r in found]
        best = max(boxes, key=lambda other: overlap(box, other), default=box)
        return trees.predict(image, best) if boxes and overlap(box, best) >= OVERLAP else None

    return Peer(trees.version, trees.file_bytes, {"its own detector's": as_given}, predict)


def make_mediapipe(threads: int, model: str | None) -> Peer:
    """MediaPipe's face mesh as its users call it, on a square crop: its own detector runs inside that."""
    path = data_file("mediapipe", "modules", "face_landmark", "face_landmark.tflite")
    import mediapipe

    mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1, refine_landmarks=False)

    def predict(image: np.ndarray, box: Box) -> np.ndarray | None:
        crop, x, y = cut(image, box)
        found = mesh.process(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)).multi_face_landmarks
        if not found:
            return None
        points = np.array([(p.x, p.y) for p in found[0].landmark])[list(MESH_TO_68)]
        # a fraction f of the width lies at pixel f * width - 0.5, pixel centres being at integers
        return points * (crop.shape[1], crop.shape[0]) - 0.5 + (x, y)

    detector = data_file("mediapipe", "modules", "face_detection", "face_detection_short_range.tflite")
    size = path.stat().st_size + detector.stat().st_size
    options = {f"square crop, {scale} times the box": square(scale) for scale in (1.5, 2.0, 2.5)}
    return Peer(importlib.metadata.version("mediapipe"), size, options, predict)


def make_mediapipe_net(threads: int, model: str | None) -> Peer:
    """The network of MediaPipe's face mesh alone, upright on a square from the box, run by LiteRT (XNNPACK)."""
    path = data_file("mediapipe", "modules", "face_landmark", "face_landmark.tflite")
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise NotInstalled(str(error)) from error
    network = Interpreter(str(path), num_threads=threads)
    network.allocate_tensors()
    crop_in = network.get_input_details()[0]["index"]
    mesh_out = max(network.get_output_details(), key=lambda d: int(np.prod(d["shape"])))["index"]

    def predict(image: np.ndarray, box: Box) -> np.ndarray:
        scale = (box[2] - box[0]) / _MESH_INPUT
        to_image = np.array([[scale, 0, box[0] + scale / 2 - 0.5], [0, scale, box[1] + scale / 2 - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(image, to_image, (_MESH_INPUT, _MESH_INPUT), flags=flags)
        network.set_tensor(crop_in, cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)[None].astype(np.float32) / 255)
        network.invoke()
        points = network.get_tensor(mesh_out).reshape(-1, 3)[list(MESH_TO_68), :2]
        return np.asarray(points * scale + (box[0] - 0.5, box[1] - 0.5))

    options = {f"square, {scale} times the box": square(scale) for scale in (1.25, 1.5, 1.75, 2.0)}
    return Peer(importlib.metadata.version("mediapipe"), path.stat().st_size, options, predict)


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / (areas - width * height)


def cut(image: np.ndarray, box: Box) -> tuple[np.ndarray, int, int]:
    """The part of a picture inside a box, as far as there is one, and its left and top."""
    height, width = image.shape[:2]
    x1, y1 = max(0, round(box[0])), max(0, round(box[1]))
    x2, y2 = min(width, round(box[2])), min(height, round(box[3]))
    return np.ascontiguousarray(image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]), x1, y1


MAKERS: dict[str, Callable[[int, str | None], Peer]] = {
    "facealign": make_facealign,
    "dlib": make_dlib,
    "dlib-own": make_dlib_own,
    "mediapipe": make_mediapipe,
    "mediapipe-net": make_mediapipe_net,
}


def rss_mib() -> float:
    """Memory that this process holds now, MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def answer(peer: Peer, request: dict[str, Any]) -> dict[str, Any]:
    """Predict the faces of one request; only the predictor's own work is timed."""
    landmarks: list[Any] = []
    times = []
    for face in request["faces"]:
        image = np.fromfile(face["file"], np.uint8).reshape(face["shape"])
        start = time.perf_counter()
        points = peer.predict(image, peer.options[request["option"]](tuple(face["box"])))
        times.append(1000 * (time.perf_counter() - start))
        landmarks.append(None if points is None else np.round(points, 4).tolist())
    return {"landmarks": landmarks, "ms": times, "rss": rss_mib()}


def main() -> None:
    """Say hello, or what is missing, then answer each line of standard input with one line."""
    name, threads = sys.argv[1], int(sys.argv[2])
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not get between the replies
    cv2.setNumThreads(threads)
    before = rss_mib()
    try:
        peer = MAKERS[name](threads, sys.argv[3] if len(sys.argv) > 3 else None)
    except (NotInstalled, ImportError) as error:
        print(json.dumps({"missing": str(error)}), file=replies)
        return
    hello = {"version": peer.version, "file_bytes": peer.file_bytes, "options": list(peer.options)}
    print(json.dumps(hello | {"rss_before": before}), file=replies)
    for line in sys.stdin:
        print(json.dumps(answer(peer, json.loads(line))), file=replies)


if __name__ == "__main__":
    main()
