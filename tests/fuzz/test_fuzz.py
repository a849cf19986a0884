"""Good files of every kind, damaged at random: each is read, or refused by one error; nothing else comes of it.

FACEALIGN_FUZZ_COUNT=5000 FACEALIGN_FUZZ_SEED=7 python -m pytest tests/fuzz   tries more of them, and others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from fuzz_worker import KINDS

COUNT, SEED = (int(os.environ.get(f"FACEALIGN_FUZZ_{name}", value)) for name, value in (("COUNT", 200), ("SEED", 0)))
MAX_BYTES = 2 << 30
_NEEDS = {
    "checkpoints": "torch",
    "packs": "h5py",
    "lasagne": "torch",
    "models": "onnx",
    "npz": "onnx",
    "lists": "pyarrow",
}


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused(kind: str) -> None:
    if kind in _NEEDS and find_spec(_NEEDS[kind]) is None:
        pytest.skip(f"needs the package {_NEEDS[kind]}")
    worker = Path(__file__).with_name("fuzz_worker.py")
    done = subprocess.run(
        [sys.executable, str(worker), kind, str(SEED), str(COUNT)],
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        timeout=60 + COUNT * 20,
    )
    assert done.returncode == 0, f"exit {done.returncode} at one of the last inputs:\n{done.stderr[-2000:]}"
    found = json.loads(done.stdout)
    assert not found["failures"], "\n".join(map(str, found["failures"]))
    assert found["bytes"] < MAX_BYTES, f"{found['bytes'] >> 20} MiB"
