"""`facealign video` when it is interrupted, terminated or killed: the clip is closed, and the rows stay."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from clips import facts, write_clip

from facealign_cli.cli.main import main
from facealign_cli.formats import jsonl
from facealign_cli.formats.base import format_for_path, get_format
from facealign_cli.records import FrameResult
from tests.cli.video_runs import run

ROOT = Path(__file__).resolve().parents[2]


def start(clip: Path, rows: Path, *args: object) -> subprocess.Popen[str]:
    """A run of its own, once it has written a few rows."""
    command = [sys.executable, "-m", "facealign_cli", "video", *map(str, args)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 30
    while time.monotonic() < limit and process.poll() is None:
        if rows.exists() and rows.stat().st_size > 20_000:
            return process
        time.sleep(0.02)
    pytest.fail(f"no rows: {process.communicate()[1]}")


def growing(rows: Path) -> Path:
    """Where the rows of a run stand while it lasts."""
    return rows.with_name(f"{rows.name}.partial.jsonl") if rows.suffix == ".parquet" else rows


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray) -> Path:
    return write_clip(tmp_path_factory.mktemp("long") / "in.mp4", [photo] * 1500)


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("rows.csv", signal.SIGINT),
        ("rows.json", signal.SIGTERM),
        ("rows.csv", signal.SIGTERM),
        ("rows.parquet", signal.SIGINT),
    ],
)
def test_ctrl_c_and_sigterm_close_the_clip_and_keep_the_rows(
    long_clip: Path, tmp_path: Path, name: str, number: signal.Signals
) -> None:
    rows, out = tmp_path / name, tmp_path / "o.mp4"
    process = start(long_clip, growing(rows), "overlay", long_clip, "-o", out, "--landmarks", rows)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert "Interrupted" in stderr
    count = len(get_format(rows.suffix[1:]).read(rows))
    assert 5 < count < 1500
    assert np.allclose(facts(out).times, np.arange(count) * 0.04, atol=1e-3)
    assert {path.name for path in tmp_path.iterdir()} == {name, "o.mp4"}


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("delay", [0.3, 1.0, 1.5, 2.5])
def test_whenever_sigterm_comes_no_hidden_file_stays(long_clip: Path, tmp_path: Path, delay: float) -> None:
    command = [sys.executable, "-m", "facealign_cli", "video", "overlay", str(long_clip), "-o", str(tmp_path / "o.mp4")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    time.sleep(delay)
    for _ in range(2):  # a second one ends at once
        process.terminate()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode in (130, 143, -signal.SIGTERM, -signal.SIGINT) and "Traceback" not in stderr, stderr
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("name", ["rows.csv", "rows.json", "rows.jsonl", "rows.parquet"])
def test_a_killed_run_leaves_its_rows(long_clip: Path, tmp_path: Path, name: str) -> None:
    rows = tmp_path / name
    process = start(long_clip, growing(rows), "track", long_clip, "-o", rows)
    process.kill()
    process.communicate()
    items = format_for_path(growing(rows)).scan(growing(rows))
    records = [item for item in items if isinstance(item, FrameResult)]  # the kill may have cut the last line
    assert 5 < len(records) < 1500
    assert [r.frame for r in records] == list(range(len(records)))
    again = run("track", long_clip, "-o", rows, "--end", "0.1")
    assert again.exit_code == 1 and growing(rows).name in again.stderr and "--overwrite" in again.stderr
    assert run("track", long_clip, "-o", rows, "--end", "0.1", "--overwrite").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("name", "how"), [("rows.parquet", ()), ("rows.csv", ("--format", "dlc"))])
def test_a_named_command_makes_the_rows_of_a_killed_run_a_table(
    long_clip: Path, tmp_path: Path, name: str, how: tuple[str, ...]
) -> None:
    """The command is taken from what the killed run said, and from what the next one says."""
    rows, partial = tmp_path / name, tmp_path / f"{name}.partial.jsonl"
    process = start(long_clip, partial, "track", long_clip, "-o", rows, *how)
    process.kill()
    _, said = process.communicate()
    again = run("track", long_clip, "-o", rows, *how)
    assert again.exit_code == 1
    (command, *_), named = (re.findall("`facealign (convert .*?)`", text) for text in (said, again.stderr))
    assert named == [command]
    with partial.open("ab") as stream:
        stream.write(b'{"source": "torn')  # as a kill in the middle of a write leaves it
    made = CliRunner().invoke(main, shlex.split(command))
    assert made.exit_code == 3 and f"Left out: {partial}: line " in made.stderr
    fmt = get_format(how[1] if how else "parquet")
    records, expected = fmt.read(rows), list(jsonl.iterate(partial))
    assert 5 < len(records) == len(expected) < 1500
    for got, sent in zip(records, expected, strict=True):
        assert got.frame == sent.frame
        np.testing.assert_array_equal(got.faces[0].landmarks, sent.faces[0].landmarks)
