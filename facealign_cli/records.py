"""The records that flow from detectors to writers: frozen, self-checking, without results that depend on flags.

Coordinates are pixels of the upright picture (EXIF rotation applied), x then y, 0-based, pixel centres at integers.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from numbers import Integral
from typing import Any, Literal

import numpy as np

from facealign_cli.arrays import Bools, Floats, MadeAnew, real_number
from facealign_cli.boxes import BBox, check_found
from facealign_cli.errors import ArgumentError
from facealign_cli.landmarks import N_LANDMARKS, SCHEME, checked_landmarks, checked_sigma

Status = Literal["ok", "no_face", "error"]

DOUBTFUL = 0.9
"""Faces with less confidence are marked wherever people look at them."""


@dataclass(frozen=True)
class HeadPose:
    """Where a head stands before the camera and how it is turned, by OpenFace's conventions.

    translation_mm: x to the right, y down, z away from the camera. rotation_rad: Rx, Ry, Rz of R = Rx · Ry · Rz. All
    are 0 where the face looks along the camera's axis. Rx (pitch) above 0: it looks down. Ry (yaw) above 0: the nose
    turns to the left in the picture. Rz (roll) above 0: the top of the head leans to the right in the picture. Raises
    InputError unless each is three finite numbers.
    """

    translation_mm: tuple[float, float, float]
    rotation_rad: tuple[float, float, float]

    def __post_init__(self) -> None:
        for name in ("translation_mm", "rotation_rad"):
            given = getattr(self, name)
            values = tuple(map(real_number, given)) if isinstance(given, Sequence) or np.ndim(given) == 1 else ()
            if len(values) != 3 or not all(map(math.isfinite, values)):
                raise ArgumentError(f"{name}: expected three finite numbers, got {given!r:.80}")
            object.__setattr__(self, name, values)


@dataclass(frozen=True)
class Quality:
    """How good the picture of a face is; the module `facealign_cli.quality` has the formulas.

    sharpness: 0 or more, without a unit. brightness, contrast: grey levels, 0 to 255. cut_off: the share of the face
    that lies outside the picture, 0 to 1. The first three are None if too little of the face is in the picture, and
    sharpness is None if nothing in it could be sharp. Raises InputError for other values.
    """

    sharpness: float | None
    brightness: float | None
    contrast: float | None
    cut_off: float

    def __post_init__(self) -> None:
        for name, most in (("sharpness", math.inf), ("brightness", 255.0), ("contrast", 255.0), ("cut_off", 1.0)):
            value = getattr(self, name)
            if value is None and name != "cut_off":
                continue
            if not (0 <= real_number(value) <= most and math.isfinite(value)):
                raise ArgumentError(f"{name}: expected 0 to {most:g}, got {value!r:.40}")
            object.__setattr__(self, name, float(value))


@dataclass(frozen=True, eq=False)
class Face(MadeAnew):
    """A face with its landmarks.

    face_id: counts the faces of a picture from 0. bbox: the detector's box. landmarks: (68, 2) float64 pixels,
    read-only, x then y. confidence: how likely the landmarks are right, 0 to 1. detector_score: in the detector's own
    scale. track_id: in video, the same number is the same face. visible: (68,) bool, read-only: False if a labeller
    could not see the point. None if nobody has said. sigma: (68,) float64 pixels, read-only: the true point lies within
    this radius in 68 of 100 cases. None if the model does not say. pose, quality: the head pose, and the quality of the
    face's picture, if they were asked for; otherwise None.
    """

    face_id: int
    bbox: BBox
    landmarks: Floats
    confidence: float
    detector_score: float | None = None
    track_id: int | None = None
    visible: Bools | None = None
    sigma: Floats | None = None
    pose: HeadPose | None = None
    quality: Quality | None = None

    def __post_init__(self) -> None:
        arrays: dict[str, Floats | Bools] = {"landmarks": checked_landmarks("landmarks", self.landmarks)}
        for name in ("face_id", "track_id"):
            if name == "face_id" or self.track_id is not None:
                object.__setattr__(self, name, _checked_id(name, getattr(self, name)))
        for name, kind in (("pose", HeadPose), ("quality", Quality)):
            if not isinstance(getattr(self, name), kind | None):
                raise ArgumentError(f"{name}: expected {kind.__name__} or None, got {getattr(self, name)!r:.40}")
        if not 0 <= real_number(self.confidence) <= 1:
            raise ArgumentError(f"confidence: expected 0 to 1, got {self.confidence!r:.40}")
        check_found(self.bbox, "detector_score", self.detector_score)
        if self.visible is not None:
            visible = _array(self.visible)
            if visible.shape != (N_LANDMARKS,) or visible.dtype != bool:
                raise ArgumentError(
                    f"visible: expected {N_LANDMARKS} truth values, got {visible.dtype} {visible.shape}"
                )
            arrays["visible"] = visible
        if self.sigma is not None:
            arrays["sigma"] = checked_sigma("sigma", self.sigma)
        for name, array in arrays.items():
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        object.__setattr__(self, "confidence", float(self.confidence))
        if self.detector_score is not None:
            object.__setattr__(self, "detector_score", float(self.detector_score))

    @property
    def doubtful(self) -> bool:
        """Whether the landmarks may well be wrong: the confidence is below `DOUBTFUL`."""
        return self.confidence < DOUBTFUL

    def __repr__(self) -> str:
        track = "" if self.track_id is None else f", track_id={self.track_id}"
        score = "" if self.detector_score is None else f", detector_score={self.detector_score:.3f}"
        box = ", ".join(f"{value:.1f}" for value in self.bbox.xyxy)
        return f"Face({self.face_id}{track}, bbox=({box}), confidence={self.confidence:.3f}{score})"

    def to_dict(self) -> dict[str, Any]:
        """The face as it stands in facealign's JSON: plain values, and pixels with 3 decimals."""
        values: dict[str, Any] = _from_above("formats.codec", "face_to_dict")(self)
        return values


@dataclass(frozen=True)
class LeftOut:
    """A face or a picture that cannot be used, and why. As text: NAME: REASON, with the name once."""

    name: str
    reason: str

    def __str__(self) -> str:
        again = re.match(rf"(?:.*[/\\])?{re.escape(self.name)}: ", self.reason, re.DOTALL)
        return f"{self.name}: {self.reason[again.end() if again else 0 :]}"

    def within(self, path: object) -> str:
        """The same text behind the path of the file or folder that it is about."""
        return str(self) if self.name == str(path) else f"{path}: {self}"


def _array(values: Any) -> np.ndarray:
    try:
        return np.array(values)
    except ValueError:  # lists of unequal length
        return np.empty(0)


def _checked_id(name: str, value: object) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool) or not -(2**63) <= int(value) < 2**63:
        raise ArgumentError(f"{name}: expected a whole number of 64 bits, got {value!r:.40}")
    return int(value)


def _several(faces: Iterable[Face]) -> tuple[Face, ...]:
    try:
        return tuple(faces)
    except TypeError as error:
        raise ArgumentError(f"faces: expected a list of Face, got {faces!r:.80}") from error


def _is_whole(value: object, limit: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and 0 <= int(value) < limit


@dataclass(frozen=True)
class FrameResult:
    """The record of one picture or one video frame, also if it failed.

    source: the path, or "-". status: "ok", "no_face", or "error", which comes with a message in `error`. width, height:
    of the upright picture; 0 if it could not be read. faces: no two of them have the same face_id or track_id. warning:
    what is wrong with an input that was used all the same, such as a JPEG that is damaged in places. frame,
    timestamp_s: in video only. left_out: the number of faces that were found, but are below the confidence that was
    asked for; no file format keeps this number.
    """

    source: str
    status: Status
    width: int = 0
    height: int = 0
    faces: tuple[Face, ...] = ()
    error: str | None = None
    warning: str | None = None
    detector: str | None = None
    model: str | None = None
    provider: str | None = None
    scheme: str = SCHEME
    frame: int | None = None
    timestamp_s: float | None = None
    left_out: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "faces", _several(self.faces))
        if isinstance(self.source, os.PathLike):
            object.__setattr__(self, "source", os.fspath(self.source))
        if not isinstance(self.source, str) or not all(isinstance(face, Face) for face in self.faces):
            got = ", ".join(sorted({type(thing).__name__ for thing in (self.source, *self.faces)}))
            raise ArgumentError(f"expected a text as source and Face in faces, got {got}")
        for name in ("status", "scheme", "error", "warning", "detector", "model", "provider"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name in ("status", "scheme")):
                raise ArgumentError(f"{name}: expected a text, got {value!r:.80}")
        if self.scheme != SCHEME:
            raise ArgumentError(f"scheme: expected {SCHEME}, whose points are those of a Face, got {self.scheme!r:.40}")
        if self.status not in ("ok", "no_face", "error"):
            raise ArgumentError(f"status: expected ok, no_face or error, got {self.status!r}")
        if (self.status == "ok") != bool(self.faces):
            raise ArgumentError(f"status {self.status!r} does not go with {len(self.faces)} faces")
        if (self.status == "error") != bool(self.error):
            raise ArgumentError(f"status {self.status!r} does not go with error {self.error!r}")
        self._check_numbers()
        for name in ("face_id", "track_id"):
            ids = [number for face in self.faces if (number := getattr(face, name)) is not None]
            if len(set(ids)) < len(ids):
                twice = next(number for number in ids if ids.count(number) > 1)
                raise ArgumentError(
                    f"faces: two of them have the {name} {twice}; dataclasses.replace(face, {name}=…) makes a face "
                    "with another one"
                )

    def _check_numbers(self) -> None:
        numbers = self.width, self.height, 0 if self.frame is None else self.frame
        if not all(_is_whole(n, limit) for n, limit in zip(numbers, (2**31, 2**31, 2**63), strict=True)):
            got = f"{self.width!r:.40}, {self.height!r:.40}, {self.frame!r:.40}"
            raise ArgumentError(f"expected a size below 2**31 and a frame below 2**63, neither negative, got {got}")
        if self.timestamp_s is not None and not math.isfinite(real_number(self.timestamp_s)):
            raise ArgumentError(f"timestamp_s: expected a finite number or None, got {self.timestamp_s!r:.40}")
        if not _is_whole(self.left_out, 2**63):
            raise ArgumentError(f"left_out: expected a whole number, 0 or more, got {self.left_out!r:.40}")
        for name in ("width", "height", "frame", "left_out"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, int(getattr(self, name)))
        if self.timestamp_s is not None:
            object.__setattr__(self, "timestamp_s", float(self.timestamp_s))

    @classmethod
    def of_faces(cls, source: str, faces: list[Face] | tuple[Face, ...], **fields: object) -> FrameResult:
        """Make a record of these faces; the status is "no_face" if there are none."""
        faces = _several(faces)
        return replace(cls(source, "no_face"), status="ok" if faces else "no_face", faces=faces, **fields)  # type: ignore[arg-type]

    @classmethod
    def of_error(cls, source: str, error: str, **fields: object) -> FrameResult:
        """Make a record of a failure."""
        return replace(cls(source, "no_face"), status="error", error=error, **fields)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """The record as one of the `results` of facealign's JSON: plain values, and every key is always there."""
        values: dict[str, Any] = _from_above("formats.codec", "to_dict")(self)
        return values

    def _repr_html_(self) -> str:
        """For a notebook: the picture with its faces drawn, where it can be read, and what is known of them."""
        return str(_from_above("notebook", "html_of")(self))


def _from_above(module: str, name: str) -> Callable[[Any], Any]:
    """A function of a higher floor, which a record offers as a method; imported when it is called."""
    function: Callable[[Any], Any] = getattr(import_module(f"facealign_cli.{module}"), name)
    return function
