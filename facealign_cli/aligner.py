"""Aligner: from a picture to faces with landmarks. Detector → box → init shape → crop → DAN → picture coordinates."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facealign_cli.arguments import check_flags, check_kind, check_number, is_several
from facealign_cli.arrays import Floats, Image
from facealign_cli.boxes import BBox, BoxCalibration, Detection
from facealign_cli.detectors import Detector, DetectorOptions, create_detector
from facealign_cli.detectors.base import DEFAULT_DETECTOR, check_detector, detect_faces
from facealign_cli.detectors.given import detections_of
from facealign_cli.errors import InputError
from facealign_cli.files.base import check_path
from facealign_cli.files.picture_arrays import check_image
from facealign_cli.files.pictures import MAX_PIXELS, read_image, read_picture
from facealign_cli.landmarks import checked_landmarks
from facealign_cli.models.dan import DanModel
from facealign_cli.models.registry import load_model
from facealign_cli.placing import (
    AlignedShapes,
    FaceCrops,
    FoundFaces,
    align_crops,
    cut_crops,
    init_shapes,
    place_landmarks,
    place_shapes,
)
from facealign_cli.pose import PoseEstimator
from facealign_cli.quality import with_quality
from facealign_cli.records import Face, FrameResult

Picture = NDArray[np.uint8] | str | os.PathLike[str]
"""A picture: (H, W, 3) BGR or (H, W) grey, uint8, or the path of a file."""

NETWORK_BATCH = 8
"""Faces that go through the network together where pictures are many: no more, and padded, no fewer.

ONNX Runtime takes other kernels for a batch of one (measured on a CPU: dan-light's landmarks move by 0.0003 px,
dan-light-int8's by up to 0.7 px; batches of 2 to 32 agree to the bit). With one size only, a face's landmarks cannot
depend on which pictures happened to come together.
"""

MIN_CONFIDENCE = 0.5
"""Faces of less confidence are left out: hardly one of them is a face with right landmarks."""


def checked_min_confidence(value: float | None, detector: str) -> float:
    """What `Aligner` takes for its `min_confidence` with a detector of that name. Raises InputError."""
    if value is None:
        return 0.0 if detector == "boxes" else MIN_CONFIDENCE
    check_number("min_confidence", value, 0, 1)
    return float(value)


def confident(faces: Iterable[Face], min_confidence: float) -> list[Face]:
    """Those of at least that confidence, with ids that count from 0."""
    kept = [face for face in faces if face.confidence >= min_confidence]
    return [replace(face, face_id=i) for i, face in enumerate(kept)]


class Aligner:
    """Finds faces and places their landmarks.

    An aligner can be used from several threads at once. It can be pickled; the copy loads its model and detector anew.

    model: the name of a shipped model, an .onnx file, a loaded `DanModel`, or None for the default model.
    detector: the name of a detector, or a `Detector`. options: the detector's options, if it is given by its name.
    device: where the landmark network runs: "auto", "cpu", "cuda" or "cuda:N". threads: how many threads one operator
    of the network may use. min_confidence: faces of a lower confidence (0 to 1) are left out. None means
    `MIN_CONFIDENCE`, or 0 with the detector `boxes`.
    Raises InputError for an unknown name, for an object that is no detector, and for options, device or threads that
    would have no effect on a detector or a model that is given itself, ModelError for a model file that cannot be used,
    DeviceError if the device is not there, and MissingDependency if the detector needs a package that is not
    installed.
    """

    def __init__(
        self,
        model: str | Path | DanModel | None = None,
        detector: str | Detector = DEFAULT_DETECTOR,
        *,
        options: DetectorOptions | None = None,
        device: str = "auto",
        threads: int = 1,
        min_confidence: float | None = None,
    ) -> None:
        if isinstance(model, DanModel):
            _check_loaded_so(model, device, threads)
        if options is not None and not isinstance(detector, str):
            raise InputError("options: they are for a detector's name; create_detector(name, options) makes a detector")
        self.model = model if isinstance(model, DanModel) else load_model(model, device=device, threads=threads)
        self.detector = create_detector(detector, options) if isinstance(detector, str) else check_detector(detector)
        self.min_confidence = checked_min_confidence(min_confidence, self.detector.name)

    def align(self, image: Picture, source: str | None = None) -> list[Face]:
        """Find the faces of one picture, and place their landmarks.

        image: (H, W, 3) uint8 BGR, (H, W) uint8 grey, or the path of a file. source: the picture's path, which the
        detector `boxes` needs if `image` is an array.
        Returns the faces of at least `min_confidence`, the best detector score first; an empty list if there is none.
        Raises InputError for another kind of array, and for a file that cannot be read.
        """
        return confident(self.align_all(image, source), self.min_confidence)

    def align_all(self, image: Picture, source: str | None = None) -> list[Face]:
        """As `align`, but with every face that the detector finds, whatever its confidence."""
        (faces,) = place_landmarks(self.model, [self.find(image, source)])
        return faces

    def align_many(self, images: Iterable[Picture]) -> Iterator[list[Face]]:
        """Find and align the faces of many pictures; faces of several pictures go through the network together.

        images: as for `align`. They are taken as they are needed, so there may be any number of them.
        Returns one list of faces for each picture, in the same order. The landmarks of a face do not depend on the
        other pictures: they are, to the bit, those of `facealign batch folder`.
        Raises InputError for a picture that cannot be used, after the faces of all pictures before it have been
        given; the message has the picture's number, counted from 0. What `images` itself raises comes after them, too.
        """
        _check_many("images", images)
        if isinstance(images, np.ndarray) and (images.ndim < 3 or (images.shape[-1:] == (3,) and images.ndim == 3)):
            raise InputError(f"images: expected several pictures, got one of {images.shape}: put it into a list")
        model = self.model.padded_to(NETWORK_BATCH)
        waiting: list[FoundFaces] = []
        for number, image in enumerate(_with_what_ends(images)):
            try:
                if isinstance(image, _End):
                    raise image.error
                waiting.append(self.find(image))
            except InputError as error:
                yield from self._shown(model, waiting)
                raise InputError(f"picture {number} (counted from 0): {error}") from error
            except Exception:
                yield from self._shown(model, waiting)
                raise
            if len(waiting) >= _WAITING or sum(len(found.detections) for found in waiting) >= NETWORK_BATCH:
                yield from self._shown(model, waiting)
                waiting = []
        yield from self._shown(model, waiting)

    def _shown(self, model: DanModel, pictures: Sequence[FoundFaces]) -> Iterator[list[Face]]:
        for faces in place_landmarks(model, pictures):
            yield confident(faces, self.min_confidence)

    def align_boxes(
        self,
        image: Picture,
        boxes: Sequence[Detection | BBox | Sequence[float]] | ArrayLike,
        calibration: BoxCalibration | None = None,
    ) -> list[Face]:
        """Place landmarks in boxes that are known already; the faces come in the order of the boxes.

        image: as for `align`. boxes: a list of `Detection`, of `BBox` or of (x1, y1, x2, y2) in pixels, or an (N, 4)
        array. calibration: how these boxes lead to the tight box of the landmarks. None means that they are that box.
        Raises InputError for anything else.
        """
        array, _ = _read(image, None)
        check_kind("calibration", calibration, BoxCalibration, None)
        (faces,) = place_landmarks(self.model, [self.cut_boxes(array, detections_of(boxes), calibration)])
        return faces

    def find(self, image: Picture, source: str | None = None) -> FoundFaces:
        """Find the faces of one picture and cut them out for `place_landmarks`. The arguments are those of `align`."""
        array, source = _read(image, source)
        return self.cut_boxes(array, detect_faces(self.detector, array, source), self.detector.calibration)

    def cut_boxes(
        self, image_bgr: Image, detections: Sequence[Detection], calibration: BoxCalibration | None = None
    ) -> FoundFaces:
        """Cut detections out for `place_landmarks`. calibration: as for `align_boxes`."""
        calibration = calibration or BoxCalibration()
        crops = cut_crops(self.model.frame, image_bgr, init_shapes(detections, calibration))
        return FoundFaces(tuple(detections), crops, calibration)

    def align_detections(self, image_bgr: Image, detections: Sequence[Detection]) -> AlignedShapes:
        """Place landmarks on what this aligner's detector has found; of several turns the best counts."""
        return place_shapes(self.model, [self.cut_boxes(image_bgr, detections, self.detector.calibration)])

    def align_shapes(self, image_bgr: Image, init_shapes: Sequence[Floats]) -> AlignedShapes:
        """Place landmarks, starting from shapes such as the landmarks of the last frame.

        init_shapes: (68, 2) each, in pixels of the picture. Raises InputError for other shapes, which it names.
        """
        return self.align_crops(self.cut_crops(image_bgr, init_shapes))

    def cut_crops(self, image_bgr: Image, init_shapes: Sequence[Floats]) -> FaceCrops:
        """Cut out what the network sees around such shapes; the arguments and errors are those of `align_shapes`."""
        return cut_crops(self.model.frame, image_bgr, _checked_shapes(init_shapes))

    def align_crops(self, faces: FaceCrops) -> AlignedShapes:
        """Place landmarks in crops of one or several pictures. Each face's landmarks are pixels of its own picture."""
        return align_crops(self.model, faces)


def _check_loaded_so(model: DanModel, device: str, threads: int) -> None:
    """Raise InputError where a device or threads are asked for with which the model was not loaded."""
    runs_on = "cpu" if model.provider.startswith("CPU") else "cuda"
    for name, value, fits in (("device", device, ("auto", runs_on)), ("threads", threads, (1,))):
        if value not in (*fits, model.loading[name]):
            raise InputError(
                f"{name}: the model is loaded already, with {model.loading[name]!r}, and not with {value!r:.40}: "
                f"load_model({name}=…) loads it so"
            )


@dataclass(frozen=True)
class _End:
    """What pictures ended with."""

    error: Exception


def _with_what_ends(images: Iterable[Picture]) -> Iterator[Picture | _End]:
    """The pictures, and behind them the error that going through them ends with."""
    try:
        yield from images
    except Exception as error:  # noqa: BLE001 - raised again, after what was waiting
        yield _End(error)


_WAITING = 64
"""Pictures of `align_many` whose faces may wait for others."""


def _checked_shapes(shapes: Any) -> list[Floats]:
    if not isinstance(shapes, Sequence | np.ndarray):
        raise InputError(f"init_shapes: expected a list of (68, 2) arrays, got {type(shapes).__name__}")
    checked: list[Floats] = []
    for i, shape in enumerate(shapes):
        points = checked_landmarks(f"init_shapes[{i}]", shape)
        if not np.ptp(points, axis=0).all():
            raise InputError(f"init_shapes[{i}]: expected the points of a face, got a line")
        checked.append(points)
    return checked


def checked_aligner(aligner: Any) -> Aligner:
    """The aligner itself, or the default one for None.

    Raises InputError for what is none, such as a model's name.
    """
    if aligner is None:
        return Aligner()
    if not hasattr(aligner, "detector"):
        check_kind("aligner", aligner, Aligner, None, hint="Aligner(model, detector) makes one")
    return cast(Aligner, aligner)


def _read(image: Any, source: str | None) -> tuple[NDArray[np.uint8], str | None]:
    """The picture as an array, and its path where there is one."""
    if isinstance(image, str | os.PathLike):
        return read_image(image), source or os.fspath(image)
    return check_image(image), source


@dataclass(frozen=True, eq=False)
class PictureResult:
    """The record of a picture, and the picture itself.

    image: (H, W, 3) uint8 BGR, upright; None if it could not be read.
    """

    record: FrameResult
    image: Image | None


def align_pictures(
    paths: Iterable[str | os.PathLike[str]],
    aligner: Aligner,
    *,
    max_pixels: int = MAX_PIXELS,
    pose: PoseEstimator | None = None,
    quality: bool = False,
) -> Iterator[PictureResult]:
    """Align one picture after another. A picture that fails gives a record with status "error", and the others go on.

    paths: files, or "-" for standard input. max_pixels: a picture of more pixels fails. pose: estimates the head pose
    of each face; None means that faces get no pose. quality: whether faces get the quality of their picture.
    """
    _check_many("paths", paths)
    aligner = checked_aligner(aligner)
    check_number("max_pixels", max_pixels, 1, whole=True)
    check_kind("pose", pose, PoseEstimator, None)
    check_flags(quality=quality)
    for path in paths:
        check_path("paths", path)
        yield _align_picture(os.fspath(path), aligner, max_pixels, pose, quality)


def _check_many(name: str, things: Any) -> None:
    if isinstance(things, str | bytes | os.PathLike) or not is_several(things):
        check_kind(name, things, list, hint="a single one has to be put into a list")


def _align_picture(
    path: str, aligner: Aligner, max_pixels: int, pose: PoseEstimator | None, quality: bool
) -> PictureResult:
    used = {"detector": aligner.detector.name, "model": aligner.model.name, "provider": aligner.model.provider}
    image, facts = None, dict[str, Any](used)
    try:
        picture = read_picture(path, max_pixels=max_pixels)
        image = picture.image
        facts |= {"height": image.shape[0], "width": image.shape[1], "warning": picture.warning}
        found = aligner.align_all(image, path)
    except (InputError, MemoryError) as error:
        return PictureResult(FrameResult.of_error(path, str(error) or "out of memory", **facts), image)
    faces = confident(found, aligner.min_confidence)
    facts["left_out"] = len(found) - len(faces)
    if pose is not None:
        faces = pose(faces, image.shape[1], image.shape[0])
    if quality:
        faces = with_quality(image, faces)
    return PictureResult(FrameResult.of_faces(path, faces, **facts), image)
