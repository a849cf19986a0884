"""The one place that prints: what would steer a terminal is shown, not sent; nothing else in `cli` prints."""

from __future__ import annotations

import ast
import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import facealign_cli.cli
from facealign_cli.cli import console, tracking
from facealign_cli.cli.main import main
from facealign_cli.errors import OutputError
from facealign_cli.files.output import exists_already

FOLDER = Path(facealign_cli.cli.__file__).parent
CLEAR = "\x1b[2J\x9b31m\x07"


def test_plain() -> None:
    assert console.plain("a\x1b[2Jb") == r"a\x1b[2Jb"
    assert console.plain("\x9b31m\u202e\r\n\t") == r"\x9b31m\u202e\r\n\t"
    assert console.plain("José 日 \udcff") == "José 日 \\udcff"
    assert console.plain("a\nb\x1b", keep="\n") == "a\nb\\x1b"


@pytest.mark.parametrize(
    "args",
    [
        ["detect", "image", f"{CLEAR}.jpg", "-o", "out.json"],
        ["detect", "image", "a.jpg", "--model", f"{CLEAR}.onnx"],
        ["detect", "image", "a.jpg", "--model", CLEAR],
        ["detect", "image", "a.jpg", "--detector", CLEAR],
        ["detect", CLEAR],
        [CLEAR],
        ["model", "info", f"{CLEAR}.onnx"],
        ["model", "verify", f"{CLEAR}.onnx"],
        ["evaluate", "dataset", CLEAR],
        ["batch", "folder", CLEAR, "-o", "out"],
    ],
)
def test_names_reach_no_terminal_raw(args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, args)
    assert result.exit_code
    assert "x1b" in result.output
    assert not {"\x1b", "\x9b", "\x07"}.intersection(result.output)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("fmt", ["json", "csv", "jsonl", "openface"])
def test_results_reach_no_terminal_raw(fmt: str, tmp_path: Path) -> None:
    """Rows that go to a terminal hold the file's name, too."""
    name = f"{CLEAR}.jpg"
    (tmp_path / name).write_bytes(b"no picture")
    own, other = pty.openpty()
    run = [sys.executable, "-m", "facealign_cli", "detect", "image", name, "--format", fmt]
    done = subprocess.run(run, cwd=tmp_path, stdout=other, stderr=subprocess.PIPE, check=False, timeout=120)
    os.close(other)
    shown = os.read(own, 1 << 16)
    os.close(own)
    assert done.returncode == 3
    assert not {0x1B, 0x07}.intersection(shown)
    assert "\x9b" not in shown.decode()
    assert b"\x1b" not in done.stderr
    assert b"x1b" in shown or b"u001b" in shown


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "shown", [lambda n: console.progress(range(n), n, "x"), lambda n: tracking.progress(range(n), n)]
)
def test_a_message_stands_on_a_line_of_its_own_above_the_bar(
    shown: Callable[[int], Iterator[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    for item in shown(4):
        console.message(f"Error: {item}")
        if item == 2:
            break
    written = sys.stderr.getvalue()  # type: ignore[attr-defined]
    for item in range(3):
        assert re.search(rf"[\r\n]\x1b\[2KError: {item}\r?\n", written), written
    assert not console._bars


def test_an_error_that_ends_a_command_stands_on_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes the items fails, and so the bar's own code does not go on."""

    @main.command("fail")
    def fail() -> None:
        items = tracking.progress(range(4), 4)  # held, as by a writer
        for item in items:
            raise OutputError(f"cannot write {item}")

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    try:
        assert main.main(["fail"], standalone_mode=False) is None
    except click.ClickException as error:
        assert "cannot write 0" in error.message
        assert terminal.getvalue().endswith("\x1b[1A\x1b[2K") and not console._bars  # the bar is gone already
    else:
        pytest.fail("no error")
    finally:
        del main.commands["fail"]


def test_only_the_console_prints() -> None:
    wrong = [
        f"{file.name}:{node.lineno}"
        for file in sorted(FOLDER.glob("*.py"))
        if file.name != "console.py"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("print", "click.echo", "click.secho", "sys.stdout.write", "Console", "Progress")
    ]
    assert not wrong
    assert not [
        file.name
        for file in FOLDER.glob("*.py")
        if "sys.stdout.buffer" in file.read_text() and file.name != "console.py"
    ]


def test_what_is_said_of_python_is_for_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.json").touch()
    result = CliRunner().invoke(main, ["detect", "image", "a.jpg", "-o", "rows.json"])
    assert "rows.json exists already; --overwrite replaces it" in result.output
    assert str(exists_already("rows.json")) == (
        "rows.json exists already; --overwrite (in Python: overwrite=True) replaces it"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_messages_fit_the_terminal_and_leave_paths_whole(tmp_path: Path) -> None:
    """Wrapped on a terminal, between words; whole in a pipe. What may be copied stays in one piece."""
    folder = tmp_path / "my  own pictures of last year in the mountains"
    folder.mkdir()
    (folder / "a.jpg").touch()
    done = "`facealign batch folder photos -o rows` does 日本 all the same"
    said = f"Error: {folder / 'a.jpg'}: the file is empty; {done}"
    code = f"from facealign_cli.cli import console; console.message({said!r})"
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert piped.stderr == f"{said}\n"

    own, other = pty.openpty()
    environment = {**os.environ, "COLUMNS": "40"}
    subprocess.run([sys.executable, "-c", code], stderr=other, env=environment, check=True)
    os.close(other)
    lines = os.read(own, 4096).decode().splitlines()
    os.close(own)
    assert lines == [
        "Error:",
        f"  {folder / 'a.jpg'}:",
        "  the file is empty;",
        "  `facealign batch folder photos -o rows`",
        "  does 日本 all the same",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_errors_of_commands_fit_the_terminal(tmp_path: Path) -> None:
    run = [sys.executable, "-m", "facealign_cli", "detect", "image", "a.jpg", "-o", "rows.txt"]
    own, other = pty.openpty()
    subprocess.run(run, stderr=other, env={**os.environ, "COLUMNS": "60"}, cwd=tmp_path, check=False)
    os.close(other)
    lines = os.read(own, 4096).decode().splitlines()
    os.close(own)
    assert len(lines) > 3
    assert max(map(len, lines)) <= 60
