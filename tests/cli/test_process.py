"""Standard streams that are closed, full or ASCII, signals that end a command: one line, the right exit code."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from facealign_cli.__main__ import run
from facealign_cli.cli import process
from facealign_cli.cli.main import main
from facealign_cli.errors import MissingDependency

ROOT = Path(__file__).parents[2]
FACEALIGN = f"{sys.executable} -m facealign_cli"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a POSIX shell's redirections, and its signals")


@pytest.fixture
def face(astronaut: np.ndarray, tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "face.jpg"), astronaut[:220, 110:330])
    return tmp_path / "face.jpg"


def shell(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environment, capture_output=True, check=False, timeout=120
    )


def said(done: subprocess.CompletedProcess[bytes]) -> bytes:
    """What a command said on stderr besides the line on what it did."""
    return b"".join(line for line in done.stderr.splitlines(keepends=True) if not re.match(rb"\d+ pictures?, ", line))


@pytest.mark.long
@pytest.mark.parametrize(
    ("streams", "code", "words"),
    [
        (">&-", 1, b"Error: standard output is closed"),
        ("2>&-", 0, b""),
        ("<&-", 0, b""),
        (">&- 2>&- <&-", 1, b""),
        ("> /dev/full", 1, b"Error: cannot write to standard output: the disk is full"),
        ("2> /dev/full", 0, b""),
    ],
)
@pytest.mark.parametrize("command", ["--help", "model list", "detect image face.jpg"])
def test_closed_and_full_streams(face: Path, command: str, streams: str, code: int, words: bytes) -> None:
    if "full" in streams and not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    done = shell(f"{FACEALIGN} {command} {streams}", face.parent)
    assert done.returncode == code, done.stderr
    assert said(done).startswith(words)
    assert said(done).count(b"\n") == bool(words)
    assert not words or said(done) == done.stderr  # what was not written is not told as done


def test_workers_without_standard_streams(face: Path) -> None:
    done = shell(f"{FACEALIGN} batch folder face.jpg -o out --workers 1 --device cpu >&- 2>&- <&-", face.parent)
    assert done.returncode == 0
    assert json.loads((face.parent / "out" / "manifest.json").read_bytes())["counts"]["faces"] == 1


@pytest.mark.long
def test_pictures_from_a_closed_standard_input(face: Path) -> None:
    done = shell(f"{FACEALIGN} detect image - <&-", face.parent)
    assert done.returncode == 3
    assert said(done).startswith(b'Error: standard input ("-") is closed')
    for places in ("-", "--list -"):
        done = shell(f"{FACEALIGN} batch folder {places} -o out --workers 0 <&-", face.parent)
        assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
        assert b'standard input ("-") is closed' in done.stderr


def test_a_reader_that_goes_is_no_error_to_tell(face: Path) -> None:
    done = shell(f"({FACEALIGN} --help; echo $? >&2) | true", face.parent)
    assert done.stderr in (b"1\n", b"0\n")  # 0: it had written all before its reader went


@pytest.mark.long
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_terminals_that_know_few_characters(face: Path, encoding: str) -> None:
    done = shell(f"{FACEALIGN} doctor", face.parent, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert ("…" if encoding == "cp1252" else "...").encode(encoding) + b" verified" in done.stdout
    name = "→日.jpg".encode().decode()
    done = shell(f"{FACEALIGN} detect image {name}", face.parent, PYTHONIOENCODING=encoding)
    assert done.returncode == 3
    assert b"Traceback" not in done.stderr


def test_a_stream_that_is_not_the_process_own_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = io.StringIO()
    monkeypatch.setattr(sys, "stdout", mine)
    with process.standard_streams():
        assert sys.stdout is mine


@pytest.mark.long
def test_the_working_directory_has_gone(face: Path) -> None:
    (face.parent / "gone").mkdir()
    for command in (f"detect image {face}", f"detect image {face} -o x.json", f"batch folder {face} -o o --workers 1"):
        done = shell(f"mkdir -p g; cd g; rmdir ../g; {FACEALIGN} {command} --device cpu", face.parent)
        assert b"Traceback" not in done.stderr
        assert done.returncode == (0 if command.endswith(".jpg") else 1), done.stderr


class Started:
    """A command in a process group of its own."""

    def __init__(self, folder: Path, *args: object) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "facealign_cli", *map(str, args)],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def members(self) -> set[int]:
        """The ids of the processes of its group that live."""
        found = set()
        for entry in Path("/proc").iterdir():
            try:
                values = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(values[2]) == self.process.pid and values[0] != "Z":
                found.add(int(entry.name))
        return found

    def wait_for(self, condition: Callable[[], object], seconds: float = 90) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < until
            time.sleep(0.005)

    def end(self) -> tuple[int, str]:
        """Its exit code and what it said; no process of its group is left."""
        _, told = self.process.communicate(timeout=90)
        until = time.monotonic() + 5
        while self.members() and time.monotonic() < until:
            time.sleep(0.02)
        assert not self.members()
        killed = self.process.returncode == -signal.SIGKILL  # whoever was just being started may say so
        assert killed or "Traceback" not in told, told
        return self.process.returncode, told


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".facealign-*") if path.name != ".facealign-lock"]


MANY = 2400
"""So many that no machine is done with them before it is told to end."""


@pytest.fixture
def many(face: Path) -> Path:
    (face.parent / "many").mkdir()
    for i in range(MANY):
        os.link(face, face.parent / "many" / f"{i}.jpg")
    return face.parent


@pytest.mark.long
@needs_proc
@pytest.mark.parametrize("to_all", [False, True], ids=["parent", "group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_batch_that_is_ended(many: Path, number: signal.Signals, to_all: bool) -> None:
    started = Started(many, "batch", "folder", "many", "-o", "out", "--workers", 2, "--batch-size", 1)
    started.wait_for(lambda: list((many / "out").glob("_journal/*")))
    (os.killpg if to_all else os.kill)(started.process.pid, number)
    code, told = started.end()
    assert code == 130
    assert "Interrupted: what is finished is written" in told
    manifest = json.loads((many / "out" / "manifest.json").read_text())
    assert manifest["state"] == "interrupted"
    assert 0 < manifest["counts"]["pictures"] < MANY
    assert not hidden(many)


@pytest.mark.long
@needs_proc
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("delay", [0.0, 0.03, 0.15, 0.4])
def test_workers_that_start_say_nothing(many: Path, number: signal.Signals, delay: float) -> None:
    started = Started(many, "batch", "folder", "many", "-o", "out", "--workers", 3)
    started.wait_for(lambda: len(started.members()) > 2)  # the resource tracker, and a worker
    time.sleep(delay)
    os.killpg(started.process.pid, number)
    assert started.end()[0] == 130


@needs_proc
def test_workers_end_with_a_parent_that_is_killed(many: Path) -> None:
    started = Started(many, "batch", "folder", "many", "-o", "out", "--workers", 3)
    started.wait_for(lambda: len(started.members()) > 4)
    started.process.kill()
    assert started.end()[0] == -signal.SIGKILL


@pytest.fixture
def annotated(many: Path) -> Path:
    from facealign_cli.formats.pts import encode_pts
    from facealign_cli.landmarks import MEAN_SHAPE

    points = encode_pts((MEAN_SHAPE - MEAN_SHAPE.min(axis=0)) / np.ptp(MEAN_SHAPE, axis=0) * 120 + 50)
    for picture in list((many / "many").iterdir()):
        picture.with_suffix(".pts").write_bytes(points)
    return many


@pytest.mark.long
@needs_proc
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("delay", [0.0, 0.1, 1.5])
def test_an_evaluation_leaves_no_worker(annotated: Path, number: signal.Signals, delay: float) -> None:
    started = Started(
        annotated, "evaluate", "dataset", "many", "--init", "ground-truth", "--workers", 3, "--json", "x.json"
    )
    started.wait_for(lambda: len(started.members()) > 3)
    time.sleep(delay)
    (os.kill if number == signal.SIGKILL else os.killpg)(started.process.pid, number)
    code, _ = started.end()
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert not hidden(annotated)


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clip_that_is_ended_plays(face: Path, number: signal.Signals) -> None:
    av = pytest.importorskip("av", reason="clips need PyAV: pip install 'facealign[video]'")
    frames = face.parent / "frames"
    frames.mkdir()
    for i in range(600):
        os.link(face, frames / f"{i:03d}.jpg")
    started = Started(face.parent, "video", "overlay", "frames", "-o", "out.mp4", "--landmarks", "rows.jsonl")
    rows = face.parent / "rows.jsonl"
    started.wait_for(lambda: rows.exists() and rows.read_bytes().count(b"\n") > 20)
    os.kill(started.process.pid, number)
    os.kill(started.process.pid, number) if number == signal.SIGTERM else None  # as `timeout` does
    code, told = started.end()
    assert code == 130
    count = rows.read_bytes().count(b"\n")
    assert "Interrupted; the frames until then are written." in told
    assert f"\n{count} frames, " in told
    with av.open(str(face.parent / "out.mp4")) as clip:
        assert sum(1 for _ in clip.decode(video=0)) == count
    assert not hidden(face.parent)


@needs_proc
def test_pictures_that_are_ended_keep_their_rows(many: Path) -> None:
    started = Started(many, "detect", "image", *sorted((many / "many").iterdir()), "-o", "x.json", "--overlay", "drawn")
    started.wait_for(lambda: list((many / "drawn").glob("*.jpg")))
    os.kill(started.process.pid, signal.SIGTERM)
    code, told = started.end()
    assert code == 130
    assert "these are written" in told
    assert len(json.loads((many / "x.json").read_bytes())["results"]) >= 1
    assert not hidden(many)


def test_nohup_is_respected(face: Path) -> None:
    if shutil.which("nohup") is None:
        pytest.skip("this system has no nohup")
    code = (
        "import os, signal; from facealign_cli.cli import process\n"
        "with process.ended_by_signals(): os.kill(os.getpid(), signal.SIGHUP); print('alive')"
    )
    done = shell(f'nohup {sys.executable} -c "{code}"', face.parent)
    assert done.stdout.endswith(b"alive\n"), done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_whose_exception_was_lost_ends_the_work_before_it_begins(number: signal.Signals) -> None:
    with process.ended_by_signals():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt), process.stop_on_signals(lambda: None, lambda: False):
            pytest.fail("the work began")
    with process.ended_by_signals(), process.stop_on_signals(lambda: None, lambda: False):
        pass  # the next command in this process is another one


def test_ctrl_c_while_modules_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "facealign_cli.cli.main", Interrupting("facealign_cli.cli.main"))
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 130


@pytest.mark.parametrize("asked", [True, False])
def test_ctrl_c_while_a_package_is_loaded(monkeypatch: pytest.MonkeyPatch, asked: bool) -> None:
    """Libraries in C make an ImportError of it; the command does not say then that the package is missing."""

    def no_package(*_: object, **__: object) -> None:
        if asked:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        raise MissingDependency("training", "torch", "train")

    monkeypatch.setattr("facealign_cli.cli.doctor.doctor.callback", no_package)
    result = CliRunner().invoke(main, ["doctor"])
    assert (result.exit_code, "torch" in result.output) == ((130, False) if asked else (1, True)), result.output


class Interrupting(types.ModuleType):
    """A module during whose import somebody pressed Ctrl-C."""

    def __getattr__(self, name: str) -> object:
        raise KeyboardInterrupt
