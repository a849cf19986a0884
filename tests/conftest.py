"""Fixtures that several test files need."""

from __future__ import annotations

import ast
import os
import signal
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

OPTIONAL = {
    "av": ("av", "video"),
    "batch_jobs": ("pyarrow", "parquet"),
    "batch_works": ("pyarrow", "parquet"),
    "clips": ("av", "video"),
    "facealign_cli.training": ("torch", "train"),
    "fsspec": ("fsspec", "cloud"),
    "h5py": ("h5py", "train"),
    "linear_graph": ("onnx", "train"),
    "onnx": ("onnx", "train"),
    "pyarrow": ("pyarrow", "parquet"),
    "ray": ("ray", "ray"),
    "torch": ("torch", "train"),
}
"""What a test file may import at its top → the package that it needs for that, and facealign's extra that brings it."""

for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (getattr(signal, "SIGHUP", None), signal.SIG_DFL)):
    if _number is not None and signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(
            _number, _usual
        )  # ignored in a shell's background and under nohup; what tests start would inherit it

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """The team's data folder; it is not part of the project, so a checkout elsewhere skips what needs it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the training data in {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """(512, 512, 3) uint8 BGR: NASA's picture of Eileen Collins, public domain, from scikit-image."""
    data = pytest.importorskip("skimage.data")
    return np.ascontiguousarray(data.astronaut()[..., ::-1])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what takes minutes, unless it is asked for."""
    if item.get_closest_marker("slow") and os.environ.get("FACEALIGN_SLOW") != "1":
        pytest.skip("takes minutes: FACEALIGN_SLOW=1 runs it")


class _WithoutItsPackages(pytest.Module):
    """A test file that is skipped as a whole, since it imports packages that are not installed."""

    extras: str

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        pytest.skip(f"needs pip install 'facealign[{self.extras}]'", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skip a test file, with the reason, where an extra that it needs is not installed."""
    imported = set()
    for node in ast.parse(module_path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
    needs = {need for name in imported for start, need in OPTIONAL.items() if f"{name}.".startswith(f"{start}.")}
    missing = {extra for package, extra in needs if find_spec(package) is None}
    if not missing:
        return None
    module = _WithoutItsPackages.from_parent(parent, path=module_path)
    module.extras = ",".join(sorted(missing))
    return module
