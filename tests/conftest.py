"""Fixtures that several test files need."""

from __future__ import annotations

import ast
import os
import signal
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from facealign_cli import Aligner

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


@pytest.fixture(scope="session")
def aligner() -> Aligner:
    """The default aligner. A file whose tests need another one has a fixture of this name of its own."""
    from facealign_cli import Aligner

    return Aligner()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option --all."""
    words = "also run the tests that are marked long; without it, only a command that names files or folders does"
    parser.addoption("--all", action="store_true", dest="run_all", help=words)


def pytest_configure(config: pytest.Config) -> None:
    """Leave nothing out of the files or folders that the command names. pytest-xdist's workers get the same option."""
    if not hasattr(config, "workerinput") and config.args_source is not config.ArgsSource.TESTPATHS:
        config.option.run_all = True


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what takes long, unless it is asked for."""
    if item.get_closest_marker("slow") and os.environ.get("FACEALIGN_SLOW") != "1":
        pytest.skip("take minutes; FACEALIGN_SLOW=1 runs them")
    if item.get_closest_marker("long") and not item.config.option.run_all:
        pytest.skip("take long; pytest --all runs them, too")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much was left out, and why: a line for each reason."""
    reasons = {report.nodeid: report.longrepr[2] for report in terminalreporter.getreports("skipped")}
    kinds = Counter(("tests" if "::" in node else "files", reason) for node, reason in reasons.items())
    for (kind, reason), count in kinds.most_common():
        terminalreporter.write_line(f"left out: {count:5} {kind}: {reason.removeprefix('Skipped: ')}")


class _WithoutItsPackages(pytest.Module):
    """A test file that is skipped as a whole, since it imports packages that are not installed."""

    extras: str

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        pytest.skip(f"need pip install -e '.[{self.extras}]'", allow_module_level=True)


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
