"""What a face detector is, how one is had by name, and what all of them share.

Other packages bring detectors by `register_detector` or by an entry point (`plugins`). Our own names come first.

A detector's box is not the landmarks' box: `Detector.calibration` leads from the one to the other. Its constants are
medians over the training part of the 300-W faces, measured by `python benchmarks/detectors.py calibrate`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from facealign_cli.arguments import check_flags, check_kind, check_number
from facealign_cli.arrays import Floats, Image, Ints
from facealign_cli.boxes import BBox, BoxCalibration, Detection
from facealign_cli.detectors.given import detections_of
from facealign_cli.errors import ArgumentError, FacealignError, InputError, ModelError
from facealign_cli.files.base import check_path
from facealign_cli.files.picture_arrays import check_image
from facealign_cli.plugins import DETECTORS, find_plugins, load_plugin

DEFAULT_DETECTOR = "yunet"

SAME_FACE = 0.3
"""Overlap over union from which two boxes of different looks are of one face."""


@runtime_checkable
class Detector(Protocol):
    """What finds the boxes of faces; any object with these two attributes and this method is a detector.

    name: as in the registry. calibration: how this detector's box leads to the tight box of the 68 landmarks.
    """

    name: str
    calibration: BoxCalibration

    def detect(self, image: Image, source: str | None = None) -> list[Detection]:
        """Find the faces of one picture.

        image: (H, W, 3) uint8 BGR or (H, W) uint8 grey. source: the picture's path, which only `boxes` needs.
        Returns the detections, the best score first; an empty list if there is none. Boxes are in pixels, with pixel
        centres at integers, and may reach beyond the picture's edge.
        Raises InputError for an array that is no such picture.
        """
        ...


@dataclass(frozen=True)
class DetectorOptions:
    """The options of all detectors. Each detector takes those that mean something to it.

    model_file: the file of `yunet` (.onnx) or `haar` (.xml). boxes_file: the file of `boxes`. min_face: the smallest
    face that is looked for, as the height of the detector's box in pixels (`mtcnn`, `haar`, `yunet`). score: the lowest
    score of a face, in the detector's own scale; None means the detector's usual one. any_roll: look for heads turned
    by any angle in the picture's plane, which takes four times as long (not `boxes`). upsample: how many times the
    picture is doubled first (`dlib-hog`). max_faces: only so many of the largest faces are kept; None means all.
    threads: the threads of one operator of a network. Raises InputError for values out of range.
    """

    model_file: Path | None = None
    boxes_file: Path | None = None
    min_face: float = 30.0
    score: float | None = None
    any_roll: bool = False
    upsample: int = 0
    max_faces: int | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("model_file", "boxes_file"):
            if getattr(self, name) is not None:
                check_path(f"detector option {name}", getattr(self, name))
                object.__setattr__(self, name, Path(getattr(self, name)))
        check_number("detector option min_face", self.min_face, 12, 1e6)
        if self.score is not None:
            check_number("detector option score", self.score, -1e9, 1e9)
        check_flags(**{"detector option any_roll": self.any_roll})
        check_number("detector option upsample", self.upsample, 0, 4, whole=True)
        if self.max_faces is not None:
            check_number("detector option max_faces", self.max_faces, 1, whole=True)
        check_number("detector option threads", self.threads, 1, whole=True)


DetectorFactory = Callable[[DetectorOptions], Detector]

_MODULES = {
    "yunet": "facealign_cli.detectors.yunet",
    "mtcnn": "facealign_cli.detectors.mtcnn",
    "dlib-hog": "facealign_cli.detectors.dlib_hog",
    "haar": "facealign_cli.detectors.haar",
    "boxes": "facealign_cli.detectors.boxes",
}
_factories: dict[str, DetectorFactory] = {}


def register_detector(name: str) -> Callable[[DetectorFactory], DetectorFactory]:
    """Make a class or function that takes `DetectorOptions` available as `create_detector(name)`.

    Raises InputError if something else has that name already, or one of facealign's own detectors.
    """
    check_kind("name", name, str)

    def enter(factory: DetectorFactory) -> DetectorFactory:
        if not callable(factory):
            raise ArgumentError(f"detector {name!r}: expected a class or a function, got {factory!r:.40}")
        if is_own(name) and factory.__module__ != _MODULES[name]:
            raise ArgumentError(f"the detector {name!r} is one of facealign's own: yours needs another name")
        if _factories.setdefault(name, factory) is not factory:
            raise ArgumentError(f"detector {name!r} is registered already")
        return factory

    return enter


def known_detectors() -> tuple[str, ...]:
    """The names that `create_detector` takes. The one to try first stands first."""
    return tuple(dict.fromkeys([*_MODULES, *_factories, *find_plugins(DETECTORS)]))


def is_own(name: str) -> bool:
    """Whether the detector of that name is facealign's own, not another package's."""
    return name in _MODULES


def create_detector(name: str, options: DetectorOptions | None = None, **changes: Any) -> Detector:
    """Make the detector of that name.

    options: None means the defaults. changes: single fields of the options that have another value.
    Raises InputError for an unknown name or a value out of range, ModelError for a bad model file, and
    MissingDependency if a package is not installed.
    """
    check_kind("name", name, str)
    if name not in known_detectors():
        raise InputError(f"unknown detector {name!r}; known: {', '.join(known_detectors())}")
    if not isinstance(options, DetectorOptions | None):
        raise InputError(f"options: expected DetectorOptions, got {options!r:.80}")
    options = replace(options or DetectorOptions(), **changes)
    factory = _factory(name)
    detector = factory(options) if is_own(name) else _foreign(name, factory, options)
    return AnyRoll(detector, options.max_faces) if options.any_roll else detector


def _factory(name: str) -> DetectorFactory:
    if name not in _factories and name in _MODULES:
        importlib.import_module(_MODULES[name])
    elif name not in _factories:
        factory: DetectorFactory = load_plugin(DETECTORS, name)
        _factories.setdefault(name, factory)
    return _factories[name]


def _foreign(name: str, factory: DetectorFactory, options: DetectorOptions) -> Detector:
    """The detector that another package's factory makes. Raises InputError where it fails, or makes something else."""
    try:
        return check_detector(factory(options))
    except FacealignError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"the detector {name!r} cannot be made: {error!r}") from error


def detect_faces(detector: Detector, image: Image, source: str | None = None) -> list[Detection]:
    """What a detector finds, with what it is unsure of if it has a method `detect_with_unsure`.

    A detector of another package may give or raise anything.
    Raises InputError, which names the detector, for what is no detection and for errors that are not facealign's own.
    """
    detect = getattr(detector, "detect_with_unsure", detector.detect)
    try:
        return detections_of(detect(image, source))
    except (FacealignError, MemoryError) as error:
        if is_own(detector.name) or not isinstance(error, InputError):
            raise
        raise InputError(f"the detector {detector.name!r}: {error}") from error
    except Exception as error:
        raise InputError(f"the detector {detector.name!r} failed: {error!r}") from error


def check_detector(detector: Any) -> Detector:
    """The detector itself. Raises InputError, which says what it lacks, for something that is none."""
    lacking = [name for name in ("name", "calibration", "detect") if not hasattr(detector, name)]
    if isinstance(detector, type) or lacking == ["name", "calibration", "detect"]:
        kind = f"the class {detector.__name__}" if isinstance(detector, type) else type(detector).__name__
        raise InputError(
            f"detector: expected one of {', '.join(known_detectors())} or a Detector's instance, got {kind}"
        )
    if lacking:
        what = f"the detector {type(detector).__name__} has no {' and no '.join(lacking)}"
        raise InputError(
            f"{what}; a calibration of BoxCalibration() takes its boxes for the tight boxes of the landmarks"
        )
    if not isinstance(detector.calibration, BoxCalibration):
        raise InputError(f"the detector {type(detector).__name__}: its calibration is no BoxCalibration")
    checked: Detector = detector
    return checked


class ReloadedWhenPickled:
    """A detector made of its options alone. Networks cannot be pickled, so its copy in another process loads them."""

    _options: DetectorOptions

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._options,)


def calibration_of(name: str | None) -> BoxCalibration:
    """From the boxes of the detector of that name to the landmarks' boxes; none for an unknown one."""
    if name in _MODULES and name not in _factories:
        importlib.import_module(_MODULES[name])
    return getattr(_factories.get(name or ""), "calibration", BoxCalibration())


class AnyRoll:
    """A detector that also looks at the picture in the three other quarter turns.

    Heads that lean by 60° and more are upright in one of them. What is found of one face several times counts once,
    with the best score. Detectors say badly how far such a head is turned (YuNet calls a lying one upright), so the
    landmarks are tried from all four turns. Raises InputError for a detector of boxes that are known already.
    """

    def __init__(self, detector: Detector, max_faces: int | None = None) -> None:
        if detector.name == "boxes":
            raise InputError("detector option any_roll: the boxes are given, so no other turn is looked at")
        self._detector, self._max_faces = detector, max_faces
        self.name, self.calibration = detector.name, detector.calibration

    def detect(self, image: Image, source: str | None = None) -> list[Detection]:
        """See `Detector.detect`."""
        return [found for found in self.detect_with_unsure(image, source) if not found.unsure]

    def detect_with_unsure(self, image: Image, source: str | None = None) -> list[Detection]:
        """As `detect`, with what the detector is unsure of."""
        image = check_image(image)
        found = [
            turned_back(detection, quarters, *image.shape[:2])
            for quarters in range(4)
            for detection in detect_faces(self._detector, np.ascontiguousarray(np.rot90(image, quarters)), source)
        ]
        boxes = np.array([[*d.bbox.xyxy, 0.0 if d.score is None else d.score] for d in found]).reshape(-1, 5)
        return select_faces([found[i] for i in nms(boxes, SAME_FACE)], self._max_faces)


def turned_back(detection: Detection, quarters: int, height: int, width: int) -> Detection:
    """What was found in a picture after `np.rot90(picture, quarters)`, in the picture's pixels; to be tried from all
    four turns, the one in which it was found first.

    height, width: of the picture.
    """
    x1, y1, x2, y2 = detection.bbox.xyxy
    right, bottom = width - 1, height - 1
    box = (
        (x1, y1, x2, y2),
        (right - y2, x1, right - y1, x2),
        (right - x2, bottom - y2, right - x1, bottom - y1),
        (y1, bottom - x2, y2, bottom - x1),
    )[quarters]
    roll = detection.rolls[0] + 90 * quarters
    rolls = tuple((roll + turn + 180) % 360 - 180 for turn in (0, 90, 180, 270))
    return replace(detection, bbox=BBox(*box), rolls=rolls)


def select_faces(detections: Iterable[Detection], max_faces: int | None = None) -> list[Detection]:
    """Best score first, equal ones from left to right; only the `max_faces` largest boxes stay.

    Boxes without a score come first, in the given order. So the order of the faces does not depend on a detector's own.

    The cut goes by size because scores hardly tell faces apart, while the largest face is mostly the one meant.
    Those that the detector is unsure of are cut off first.
    """
    found = list(detections)
    if max_faces is not None and len(found) > max_faces:
        order = sorted(range(len(found)), key=lambda i: (found[i].unsure, -found[i].bbox.size, found[i].bbox.xyxy))
        found = [found[i] for i in sorted(order[:max_faces])]
    scored = sorted((d for d in found if d.score is not None), key=lambda d: (-(d.score or 0.0), d.bbox.xyxy))
    return [d for d in found if d.score is None] + scored


def nms(boxes: Floats, threshold: float, of_smaller: bool = False) -> Ints:
    """Indices of the boxes that stay, best first.

    boxes: (N, 5 or more) x1, y1, x2, y2, score. A box goes when it overlaps a better one by more than `threshold`: over
    the union, or over the smaller of the two.
    """
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-boxes[:, 4], kind="stable")
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        overlap = common_area(boxes[best], boxes[rest])
        whole = np.minimum(area[best], area[rest]) if of_smaller else area[best] + area[rest] - overlap
        order = rest[overlap <= threshold * whole]
    return np.array(kept, dtype=int)


def common_area(box: Floats, boxes: Floats) -> Floats:
    """(N,) pixels that a box, (4 or more,) x1, y1, x2, y2, shares with each of (N, 4 or more)."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:4], boxes[:, 2:4])
    area: Floats = np.maximum(high - low, 0).prod(axis=1)
    return area


def detections_from_arrays(
    boxes: Floats, scores: Floats, rolls: Floats | None = None, sure_from: float = -np.inf
) -> list[Detection]:
    """Detections of (N, 4) x1, y1, x2, y2, (N,) scores and (N,) rolls; empty and non-finite boxes are left out.

    sure_from: the detector is unsure of those with a lower score.
    """
    rolls = np.zeros(len(boxes)) if rolls is None else np.nan_to_num(rolls)
    good = np.isfinite(boxes).all(axis=1) & np.isfinite(scores) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    columns = zip(boxes[good].tolist(), scores[good].tolist(), rolls[good].tolist(), strict=True)
    return [Detection(BBox(*box), score, (roll,), score < sure_from) for box, score, roll in columns]


def require_model_file(detector: str, options: DetectorOptions, what: str) -> Path:
    """The model file of a detector that ships none.

    what: says which file is meant. Raises InputError if none was given, ModelError if it is missing.
    """
    if options.model_file is None:
        raise InputError(f"detector {detector} needs a model file: {what}")
    if not options.model_file.is_file():
        raise ModelError(f"{options.model_file}: no such file; detector {detector} needs {what}")
    return options.model_file
