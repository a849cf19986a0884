"""The GPU benchmark, with the CPU in the GPU's place; and what it says where there is nothing to check."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from facealign_cli.models.registry import load_model
from facealign_cli.runtime import CUDA, import_onnxruntime

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def benchmark(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("gpu")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=550)


@pytest.mark.long
def test_every_step_with_the_cpu_in_its_place(tmp_path: Path) -> None:
    done = run("--device", "cpu", "--rounds", 1, "--seconds", 0.3, "--most", 4, "-o", tmp_path / "gpu.md")
    assert done.returncode == 0, done.stderr + done.stdout
    assert (tmp_path / "gpu.md").read_text() == done.stdout
    assert len(re.findall(r"^\| .* \| yes \| ", done.stdout, re.MULTILINE)) == 4
    assert re.findall(r"^\| (\d+) \|", done.stdout, re.MULTILINE) == ["1", "2", "4"]
    assert re.search(r"MB of memory at most", done.stdout)
    assert "| two processes |" in done.stdout


@pytest.mark.skipif(CUDA in import_onnxruntime().get_available_providers(), reason="this ONNX Runtime has CUDA support")
def test_without_cuda_there_is_nothing_to_check() -> None:
    done = run()
    assert done.returncode == 4 and done.stdout == ""
    assert done.stderr.startswith("nothing to check: device cuda: ") and "onnxruntime-gpu" in done.stderr


def test_other_landmarks_are_told(benchmark: ModuleType) -> None:
    """Another model stands for a GPU that computes something else."""
    crops = np.random.default_rng(0).integers(0, 256, (2, 1, 160, 160), np.uint8)
    model, other = load_model("dan-light", device="cpu"), load_model("dan-light-int8", device="cpu")
    assert benchmark.check_landmarks(model, model, crops).holds
    assert not benchmark.check_landmarks(other, model, crops).holds
    assert not benchmark.check_provider(model, "cuda").holds


def test_a_device_that_works_is_no_clear_error(benchmark: ModuleType) -> None:
    assert not benchmark.check_missing_gpu("cpu").holds
