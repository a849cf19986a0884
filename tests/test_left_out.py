"""What a run of all tests leaves out, and that it says so: those that take long, unless --all or files are given."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).with_name("conftest.py")
SETUP = "[tool:pytest]\ntestpaths = tests\naddopts = -q -p no:cacheprovider\nmarkers =\n    long: takes long\n"
TESTS = "import pytest\n\n@pytest.mark.long\ndef test_long(): pass\n\ndef test_quick(): pass\n"
RUNS = "import pytest\nfor words in [], ['--all'], ['tests/test_some.py']: pytest.main(words)\n"


def test_long_tests_are_left_out_of_a_run_of_everything(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    shutil.copy(CONFTEST, tmp_path / "tests")
    (tmp_path / "setup.cfg").write_text(SETUP, encoding="utf-8")
    (tmp_path / "tests" / "test_some.py").write_text(TESTS, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", RUNS], cwd=tmp_path, capture_output=True, text=True, check=True)
    told = [
        line.rpartition(" in ")[0] or line
        for line in done.stdout.splitlines()
        if "left out" in line or "passed" in line
    ]
    left_out = "left out:     1 tests: take long; pytest --all runs them, too"
    assert told == [left_out, "1 passed, 1 skipped", "2 passed", "2 passed"]
