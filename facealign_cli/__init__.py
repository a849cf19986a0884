"""Finds faces and places the 68 ibug landmarks with a Deep Alignment Network, run by ONNX Runtime.

    from facealign_cli import Aligner
    for face in Aligner().align("photo.jpg"):
        print(face, face.landmarks[30])        # (68, 2) pixels, x then y, counted from 0

What stands in `__all__` is public. Each name is imported when it is asked for, so that this import costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from facealign_cli.version import __version__

if TYPE_CHECKING:
    from facealign_cli.aligner import Aligner, PictureResult, align_pictures
    from facealign_cli.batch.job import BatchOptions
    from facealign_cli.batch.progress import Progress
    from facealign_cli.batch.run import run_batch
    from facealign_cli.batch.sources import Sources
    from facealign_cli.batch.work import WorkOptions
    from facealign_cli.boxes import BBox, BoxCalibration, Detection
    from facealign_cli.crops import CropOptions, FaceCrop, crop_face, cut_face
    from facealign_cli.detectors import Detector, DetectorOptions, create_detector, known_detectors, register_detector
    from facealign_cli.errors import (
        ArgumentError,
        DeviceError,
        FacealignError,
        FormatError,
        InputError,
        MissingDependency,
        MissingPackage,
        ModelError,
        OutputError,
    )
    from facealign_cli.evaluation.dataset import evaluate_dataset as evaluate
    from facealign_cli.evaluation.dataset import evaluate_predictions
    from facealign_cli.evaluation.figures import Evaluation
    from facealign_cli.files.pictures import decode_image, read_image, write_image
    from facealign_cli.formats.base import read_results, register_format, write_results
    from facealign_cli.metrics import auc, ced, failure_rate, nme
    from facealign_cli.models.dan import DanModel
    from facealign_cli.models.registry import load_model
    from facealign_cli.overlay import draw_overlay
    from facealign_cli.pose import PoseEstimator
    from facealign_cli.records import Face, FrameResult, HeadPose, Quality
    from facealign_cli.video import VideoFrame, open_source
    from facealign_cli.video.lookahead import LookAhead
    from facealign_cli.video.smoothing import FaceSmoother, Smoothing
    from facealign_cli.video.track import VideoOptions, overlay_video, track_video
    from facealign_cli.video.tracking import Tracker, TrackingOptions

__all__ = [
    "Aligner",
    "ArgumentError",
    "BBox",
    "BatchOptions",
    "BoxCalibration",
    "CropOptions",
    "DanModel",
    "Detection",
    "Detector",
    "DetectorOptions",
    "DeviceError",
    "Evaluation",
    "Face",
    "FaceCrop",
    "FaceSmoother",
    "FacealignError",
    "FormatError",
    "FrameResult",
    "HeadPose",
    "InputError",
    "LookAhead",
    "MissingDependency",
    "MissingPackage",
    "ModelError",
    "OutputError",
    "PictureResult",
    "PoseEstimator",
    "Progress",
    "Quality",
    "Smoothing",
    "Sources",
    "Tracker",
    "TrackingOptions",
    "VideoFrame",
    "VideoOptions",
    "WorkOptions",
    "__version__",
    "align_pictures",
    "auc",
    "ced",
    "create_detector",
    "crop_face",
    "cut_face",
    "decode_image",
    "draw_overlay",
    "evaluate",
    "evaluate_predictions",
    "failure_rate",
    "known_detectors",
    "load_model",
    "nme",
    "open_source",
    "overlay_video",
    "read_image",
    "read_results",
    "register_detector",
    "register_format",
    "run_batch",
    "track_video",
    "write_image",
    "write_results",
]

_PLACES = {
    "aligner": ("Aligner", "PictureResult", "align_pictures"),
    "batch.job": ("BatchOptions",),
    "batch.progress": ("Progress",),
    "batch.run": ("run_batch",),
    "batch.sources": ("Sources",),
    "batch.work": ("WorkOptions",),
    "boxes": ("BBox", "BoxCalibration", "Detection"),
    "crops": ("CropOptions", "FaceCrop", "crop_face", "cut_face"),
    "detectors": ("Detector", "DetectorOptions", "create_detector", "known_detectors", "register_detector"),
    "errors": (
        "ArgumentError",
        "DeviceError",
        "FacealignError",
        "FormatError",
        "InputError",
        "MissingDependency",
        "MissingPackage",
        "ModelError",
        "OutputError",
    ),
    "evaluation.dataset": ("evaluate_dataset", "evaluate_predictions"),
    "evaluation.figures": ("Evaluation",),
    "files.pictures": ("decode_image", "read_image", "write_image"),
    "formats.base": ("read_results", "register_format", "write_results"),
    "metrics": ("auc", "ced", "failure_rate", "nme"),
    "models.dan": ("DanModel",),
    "models.registry": ("load_model",),
    "overlay": ("draw_overlay",),
    "pose": ("PoseEstimator",),
    "records": ("Face", "FrameResult", "HeadPose", "Quality"),
    "video": ("VideoFrame", "open_source"),
    "video.lookahead": ("LookAhead",),
    "video.smoothing": ("FaceSmoother", "Smoothing"),
    "video.track": ("VideoOptions", "overlay_video", "track_video"),
    "video.tracking": ("Tracker", "TrackingOptions"),
}
"""Module → what of it is public."""

_PLACE_OF = {name: (module, name) for module, names in _PLACES.items() for name in names}
_PLACE_OF["evaluate"] = _PLACE_OF.pop("evaluate_dataset")


def __getattr__(name: str) -> Any:
    if name not in _PLACE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACE_OF[name]
    value = getattr(import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
