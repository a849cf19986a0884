"""Is a model what it should be? Its hash, its contract, and its answers on a stored set of crops.

A check file NAME.check.npz lies beside NAME.onnx: a few crops, what the model says of them, and how far another
machine may be off. Through other kernels (ONNX Runtime's fusions on and off) the float graph differs by 0.0001 pixels,
the int8 graph, where a value may fall on the other side of a step, by 0.25 (100 faces). NumPy's own format; nothing is
ever unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facealign_cli.arrays import Image
from facealign_cli.boxes import BBox
from facealign_cli.detectors import create_detector
from facealign_cli.detectors.base import DEFAULT_DETECTOR
from facealign_cli.errors import FacealignError, FormatError, InputError, MissingPackage, ModelError
from facealign_cli.files.arrays import read_npz
from facealign_cli.files.output import atomic_write
from facealign_cli.files.pictures import read_image
from facealign_cli.geometry import CropFrame, SimilarityTransform, init_shape_from_bbox
from facealign_cli.models.dan import DanModel, DanPrediction
from facealign_cli.models.registry import read_registry, sha256_of

FORMAT = "facealign-check/1"
TOLERANCE_PX = 0.05
QUANTISED_TOLERANCE_PX = 1.0
"""The most that a landmark may lie off in crop pixels, on whatever CPU; for models whose name ends in -int8."""
CONFIDENCE_TOLERANCE, QUANTISED_CONFIDENCE_TOLERANCE = 0.005, 0.05
_ASTRONAUT = (178.5, 86.2, 272.0, 177.6)
"""The tight box of her landmarks."""
_ARRAYS = ("crops", "landmarks", "stage1_landmarks", "confidence")


@dataclass(frozen=True, eq=False)
class CheckSet:
    """What a model says of some crops.

    sha256: of the model's file. crops: (N, 1, S, S) uint8. expected: what the model gave where the set was made.
    tolerance_px, confidence_tolerance: the largest difference that is still agreement.
    """

    sha256: str
    crops: Image
    expected: DanPrediction
    tolerance_px: float
    confidence_tolerance: float

    def __post_init__(self) -> None:
        n = len(self.crops) if self.crops.ndim == 4 else 0
        if not n or self.crops.dtype != np.uint8:
            raise ValueError(f"crops: expected (N, 1, S, S) uint8, got {self.crops.shape} {self.crops.dtype}")
        for name, shape in (("landmarks", (n, 68, 2)), ("stage1_landmarks", (n, 68, 2)), ("confidence", (n,))):
            values = getattr(self.expected, name)
            if values.shape != shape or values.dtype.kind != "f" or not np.isfinite(values).all():
                raise ValueError(f"{name}: expected finite numbers of shape {shape}, got {values.shape}")
        if not (0 < self.tolerance_px < np.inf and 0 < self.confidence_tolerance < np.inf):
            raise ValueError("the tolerances are not above 0, or have no end")


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    state: "ok", "differs", "missing" (a shipped model lacks what it needs) or "none" (a file may lack it).
    """

    model: str
    what: str
    state: str
    detail: str


def check_path(model_path: Path) -> Path:
    """Where a model's check file lies."""
    return model_path.with_suffix(".check.npz")


def perturbed_crops(frame: CropFrame, picture: Image, bbox: BBox, count: int = 6, seed: int = 0) -> Image:
    """(count, 1, S, S) uint8 crops of one face, the box moved, scaled and turned; the first one as it is.

    picture: (H, W, 3) uint8 BGR or (H, W) grey. bbox: the tight box of its landmarks.
    """
    rng, shape = np.random.default_rng(seed), init_shape_from_bbox(bbox.xyxy)
    center, size = shape.mean(axis=0), float(np.ptp(shape, axis=0).mean())
    crops = np.empty((count, 1, frame.size, frame.size), np.uint8)
    for i in range(count):
        scale, angle = float(np.exp(rng.uniform(-0.15, 0.15))), float(rng.uniform(-25, 25))
        x, y = rng.uniform(-0.08, 0.08, 2) * size
        change = SimilarityTransform.from_parts(scale, angle, (float(x), float(y)), (center[0], center[1]))
        crops[i, 0] = frame.crop(picture, change.apply(shape) if i else shape, grey=True)[0]
    return crops


def face_of(picture: Path | None = None) -> tuple[Image, BBox]:
    """A picture, (H, W, 3) uint8 BGR, and the tight box of its largest face's landmarks.

    None: scikit-image's astronaut, NASA's picture of Eileen Collins, public domain. Raises InputError for a picture
    that cannot be read or shows no face, MissingPackage.
    """
    if picture is None:
        try:
            from skimage.data import astronaut
        except ImportError as error:
            raise MissingPackage("the astronaut's picture", "scikit-image", "or name another --picture") from error
        return np.ascontiguousarray(astronaut()[..., ::-1]), BBox(*_ASTRONAUT)
    image, detector = read_image(picture), create_detector(DEFAULT_DETECTOR)
    boxes = [detector.calibration.landmarks_bbox(found.bbox) for found in detector.detect(image)]
    if not boxes:
        raise InputError(f"{picture}: no face in it")
    return image, max(boxes, key=lambda box: box.width * box.height)


def make_check(model_path: Path, crops: Image, tolerance_px: float | None = None) -> CheckSet:
    """What the model says of the crops, here and now, on the CPU. Raises ModelError for a file that is no such model.

    tolerance_px: by default `TOLERANCE_PX`, or `QUANTISED_TOLERANCE_PX` where the model's name ends in -int8.
    """
    model = DanModel(model_path, device="cpu")
    quantised = model.metadata.name.endswith("-int8")
    usual = QUANTISED_TOLERANCE_PX if quantised else TOLERANCE_PX
    return CheckSet(
        sha256=sha256_of(model_path),
        crops=crops,
        expected=model.predict(crops),
        tolerance_px=usual if tolerance_px is None else tolerance_px,
        confidence_tolerance=QUANTISED_CONFIDENCE_TOLERANCE if quantised else CONFIDENCE_TOLERANCE,
    )


def write_check(check: CheckSet, path: Path, overwrite: bool = False) -> None:
    """Write a check file. Raises OutputError."""
    values = {name: getattr(check.expected, name) for name in _ARRAYS[1:]}
    tolerances = np.array([check.tolerance_px, check.confidence_tolerance])
    with atomic_write(path, overwrite) as stream:
        np.savez_compressed(
            stream,
            format=np.array(FORMAT),
            sha256=np.array(check.sha256),
            crops=check.crops,
            tolerances=tolerances,
            **values,
        )


def read_check(path: Path) -> CheckSet:
    """Read a check file. Raises InputError if it is not there, FormatError if it is damaged or another kind of file."""
    arrays = read_npz(path)
    missing = [name for name in (*_ARRAYS, "format", "tolerances", "sha256") if name not in arrays]
    if missing or str(arrays["format"]) != FORMAT:
        raise FormatError(f"{path}: not a {FORMAT} file")
    tolerances = arrays["tolerances"]
    if tolerances.shape != (2,) or tolerances.dtype.kind != "f":
        raise FormatError(f"{path}: expected two numbers as tolerances, got {tolerances.dtype} {tolerances.shape}")
    try:
        expected = DanPrediction(*(arrays[name] for name in _ARRAYS[1:]))
        return CheckSet(str(arrays["sha256"]), arrays["crops"], expected, *tolerances.tolist())
    except ValueError as error:
        raise FormatError(f"{path}: not a check file that can be used: {error}") from error


def verify(name: str) -> Iterator[Finding]:
    """Look at one model, by its shipped name or its .onnx file: hash, contract, answers.

    Nothing is raised for what is wrong with a model: that is a finding. Raises InputError for an unknown name.
    """
    entry = None if name.lower().endswith(".onnx") else read_registry().get(name)
    path = Path(name) if entry is None else entry.path
    if entry is not None:
        yield _outcome(name, "hash", "sha256 as in models.json", entry.verify)
    try:
        model = DanModel(path, device="cpu")
        metadata = model.metadata
    except FacealignError as error:
        yield Finding(name, "contract", "differs", str(error))
        return
    yield Finding(name, "contract", "ok", f"{model.name}, {metadata.stages} stages, {metadata.crop_size} px")
    if entry is not None and metadata.name != entry.name:
        yield Finding(name, "name", "differs", f"the graph says {metadata.name}")
    if not check_path(path).exists():
        state, why = ("none", "no check file") if entry is None else ("missing", f"no {check_path(path)}")
        yield Finding(name, "answers", state, why)
        return
    yield _answers(name, model)


def _answers(name: str, model: DanModel) -> Finding:
    try:
        check = read_check(check_path(model.path))
        if check.sha256 != sha256_of(model.path):
            return Finding(name, "answers", "differs", f"{check_path(model.path)} was made for another version")
    except FacealignError as error:
        return Finding(name, "answers", "differs", str(error))
    try:
        got = model.predict(check.crops)
    except (FacealignError, ValueError) as error:
        return Finding(name, "answers", "differs", f"{check_path(model.path)}: {error}")
    pixels, confidence = largest_difference(got, check.expected)
    detail = (
        f"{len(check.crops)} crops: at most {pixels:.4f} px off (allowed {check.tolerance_px:g}), "
        f"confidence {confidence:.4f} (allowed {check.confidence_tolerance:g})"
    )
    agree = pixels <= check.tolerance_px and confidence <= check.confidence_tolerance  # False for NaN
    return Finding(name, "answers", "ok" if agree else "differs", detail)


def largest_difference(got: DanPrediction, expected: DanPrediction) -> tuple[float, float]:
    """Largest distance between corresponding landmarks of any stage, pixels, and between confidences."""
    pixels = max(
        float(np.linalg.norm(a - b, axis=2).max())
        for a, b in ((got.landmarks, expected.landmarks), (got.stage1_landmarks, expected.stage1_landmarks))
    )
    return pixels, float(np.abs(got.confidence - expected.confidence).max())


def _outcome(name: str, what: str, detail: str, look: Callable[[], None]) -> Finding:
    try:
        look()
    except ModelError as error:
        return Finding(name, what, "differs", str(error))
    return Finding(name, what, "ok", detail)
