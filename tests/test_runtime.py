"""ONNX Runtime is imported at one place, with its telemetry off: a fresh HOME stays empty and no host is looked up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from facealign_cli import runtime
from facealign_cli.cli.main import main

RUN = "from facealign_cli.cli.main import main; main(prog_name='facealign')"


@pytest.fixture
def picture(astronaut: np.ndarray, tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "face.jpg"), astronaut[:220, 110:330])
    return tmp_path / "face.jpg"


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """An empty HOME, and an environment in which nobody has said anything of telemetry."""
    home = tmp_path / "home"
    home.mkdir()
    unset = {runtime.NO_TELEMETRY, "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    yield home, kept | {"HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}


@pytest.mark.parametrize("workers", ["0", "1"])
def test_nothing_is_left_at_home_and_no_host_is_asked(
    picture: Path, fresh: tuple[Path, dict[str, str]], tmp_path: Path, workers: str
) -> None:
    home, environment = fresh
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=socket,connect"] if shutil.which("strace") else []
    command = [sys.executable, "-c", RUN, "batch", "folder", str(picture), "-o", str(tmp_path / "out")]
    done = subprocess.run(
        [*strace, *command, "--workers", workers, "--device", "cpu"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert list(home.rglob("*")) == []
    if strace:
        assert "AF_INET" not in trace.read_text()


@pytest.mark.long
@pytest.mark.parametrize(("value", "off"), [(None, True), ("", True), ("1", True), ("0", False), ("false", False)])
def test_what_the_user_has_set_wins(value: str | None, off: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(runtime.NO_TELEMETRY, value or "")
    if value is None:
        monkeypatch.delenv(runtime.NO_TELEMETRY)
    runtime.import_onnxruntime()
    assert os.environ[runtime.NO_TELEMETRY] == (value or "1")
    assert runtime.telemetry_is_off() is off
    told = CliRunner().invoke(main, ["doctor"]).stdout
    assert f"ONNX Runtime's is {'off' if off else 'on'}" in " ".join(told.split())
