"""ONNX Runtime sessions on the device that was asked for: by name it is that one or an error, never another in silence.

Device names: "auto" (a GPU if it works, else the CPU), "cpu", "cuda", "cuda:N".

ONNX Runtime is imported here and nowhere else, because from version 1.32 its telemetry is on by default: it writes a
device id and an event database into the user's cache folder and looks up a host of its maker's. The environment
variable is read when the package is imported; `disable_telemetry_events()` comes too late.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from numbers import Integral
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from facealign_cli.arrays import real_number
from facealign_cli.errors import DeviceError, InputError, ModelError, pip

if TYPE_CHECKING:
    import onnxruntime

MOST_THREADS = 4096
"""More are not started for one operator."""

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""ONNX Runtime's own environment variable: "1" is off, "0" is on."""


def import_onnxruntime() -> ModuleType:
    """The package, with its telemetry off unless the user's environment says otherwise.

    Processes that this one starts inherit the setting. Raises ImportError.
    """
    if not os.environ.get(NO_TELEMETRY):
        os.environ[NO_TELEMETRY] = "1"
    import onnxruntime

    module: ModuleType = onnxruntime
    return module


def import_quantization() -> ModuleType:
    """Its module `quantization`, likewise."""
    import_onnxruntime()
    from onnxruntime import quantization
    from onnxruntime.quantization import shape_inference  # noqa: F401 - it is not loaded with its package

    module: ModuleType = quantization
    return module


def telemetry_is_off() -> bool:
    """Whether ONNX Runtime's telemetry is off in this process: True unless the user's environment switches it on."""
    return (os.environ.get(NO_TELEMETRY) or "1").lower() in ("1", "true", "yes", "on", "y")


def check_device(device: str) -> str:
    """Return `device` if it is a known name, else raise InputError."""
    if not isinstance(device, str) or not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise InputError(f"unknown device {device!r}; known: auto, cpu, cuda, cuda:N")
    return device


def create_session(
    model: Path | bytes,
    device: str = "auto",
    threads: int = 1,
    *,
    varying_sizes: bool = False,
    prepare: Callable[[bytes], bytes] = lambda content: content,
) -> onnxruntime.InferenceSession:
    """Load a graph.

    model: a file or its content. threads: ONNX Runtime's threads within an operator. varying_sizes: every input may
    have a size of its own, so that no memory plans pile up. prepare: checks or changes the file's content before it is
    loaded; a ValueError of its says what is wrong with it.
    Raises InputError for an unknown device or a number of threads below 1, ModelError for a file that is missing or no
    ONNX graph, DeviceError where `device` cannot be had.
    """
    if not isinstance(threads, Integral) or not 1 <= real_number(threads) <= MOST_THREADS:
        raise InputError(f"threads: expected a whole number, 1 to {MOST_THREADS}, got {threads!r:.40}")
    onnxruntime = import_onnxruntime()
    try:
        content = prepare(_content(model))
    except ValueError as error:
        raise ModelError(f"{_name(model)}: {error}") from error
    options = _options(onnxruntime, threads)
    options.enable_mem_pattern = not varying_sizes
    providers = _providers(check_device(device), onnxruntime.get_available_providers())
    try:
        # ONNX Runtime's own fallback would print to stdout, where the results go
        session = onnxruntime.InferenceSession(content, options, providers=providers, enable_fallback=0)
    except Exception as error:
        if device == "auto" and providers != [CPU]:
            return create_session(model, "cpu", threads, varying_sizes=varying_sizes, prepare=prepare)
        raise _load_error(model, device, error) from error
    if device.startswith("cuda") and session.get_providers()[0] != CUDA:
        raise DeviceError(
            f"device {device}: ONNX Runtime has CUDA support but could not start it (no GPU, no driver, or CUDA and "
            "cuDNN of another version); see https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html"
        )
    return session


def provider_of(session: onnxruntime.InferenceSession) -> str:
    """The name of the execution provider in use: "CPUExecutionProvider" or "CUDAExecutionProvider"."""
    return str(session.get_providers()[0])


def _name(model: Path | bytes) -> str:
    return "the model" if isinstance(model, bytes) else str(model)


def _content(model: Path | bytes) -> bytes:
    if isinstance(model, bytes):
        return model
    try:
        if (path := Path(model)).exists() and not (path.is_file() or path.is_dir()):
            raise ModelError(f"{model}: is a device or a pipe, not a file")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{model}: {error.strerror}") from error


def _options(onnxruntime: Any, threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # threads that spin while they wait slow down whatever else runs on the machine
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if threads > 1 else "1")
    return options


def cuda_advice() -> str:
    """The commands that put the ONNX Runtime with CUDA in place of the one without."""
    return f"{pip('uninstall', '--yes', 'onnxruntime')} && {pip('install', 'onnxruntime-gpu')}"


def _providers(device: str, available: list[str]) -> list[Any]:
    if device == "cpu" or (device == "auto" and CUDA not in available):
        return [CPU]
    if CUDA not in available:
        raise DeviceError(f"device {device}: the installed ONNX Runtime has no CUDA support: {cuda_advice()}")
    number = int(device.partition(":")[2] or 0)
    return [(CUDA, {"device_id": number}), CPU]


def _load_error(model: Path | bytes, device: str, error: Exception) -> Exception:
    name = _name(model)
    if device.startswith("cuda") and "CUDA" in str(error):
        return DeviceError(f"device {device}: {str(error).splitlines()[0]}")
    if "external data" in str(error).lower():
        return ModelError(
            f"{name}: it keeps its weights in another file, which is not read here; "
            "onnx.save(onnx.load(file), new_file) writes a model that holds them"
        )
    if model == b"" or (isinstance(model, Path) and model.is_file() and not model.stat().st_size):
        return ModelError(f"{name}: the file is empty")
    return ModelError(f"{name}: not an ONNX model that can be loaded: {str(error).splitlines()[0]}")
