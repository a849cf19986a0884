"""Every command in README and docs works as it is printed, in a fresh folder; what cannot run here at least exists."""

from __future__ import annotations

import glob
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from facealign_cli import Aligner, read_image, write_image
from facealign_cli.cli import batch
from facealign_cli.cli.main import main
from facealign_cli.formats.pts import write_pts
from facealign_cli.models.registry import read_registry
from facealign_cli.review.proposals import read_proposals
from facealign_cli.review.session import Session, default_side_file
from tests.clips import write_clip
from tests.documentation.pages import ROOT, Block, blocks, check_command, check_line, inline_commands

SHELL = [block for block in blocks() if block.language in ("", "bash")]
PYTHON = [block for block in blocks() if block.language == "python"]

NOT_RUN = {
    r"python3 -m venv|py -m venv|\.venv|(.*\W)?pip (un)?install": "sets up an environment from the network; CI does it",
    r"python |FACEALIGN_FUZZ_COUNT": "a benchmark or the fuzzers: takes minutes, or data that is not here",
    r"python -c .*movement": "needs movement, which facealign does not install",
    r"curl ": "asks a service that is not running; tests of examples/service.py do",
    r"facealign video plot .* --start 10:00": "needs a clip of eleven minutes",
    r"facealign video camera": "needs a camera",
    r"facealign review rows.json --images photos$": "serves a page until Ctrl-C; here every picture is accepted",
    r"facealign train (run|stage)": "takes minutes; tests/cli/test_other_commands.py trains on less",
    r"facealign train export": "needs the checkpoint of a training; tests/cli/test_other_commands.py exports one",
    r"facealign model bench": "takes half a minute; tests/cli/test_model_tools.py times fewer rounds",
    r"facealign model convert": "needs the original authors' file; tests/training converts one that is made",
    r"facealign model quantize": "needs a network and a pack of some size; tests/training quantises one",
    r"split |for part in |done$": "cuts up a list of millions, for a cluster",
    r"ray |.*--engine ray|.* s3://": "needs a cluster or a store; tests/batch runs both on this machine",
}
"""What is not run, and why: patterns of the beginnings of command lines."""


def why_not(line: str) -> str | None:
    """The reason for which a line is not run; None if it is."""
    return next((reason for pattern, reason in NOT_RUN.items() if re.match(pattern, line)), None)


def test_every_exception_is_needed() -> None:
    lines = [line for block in SHELL for line in block.lines]
    assert len(lines) > 40
    assert all(any(re.match(pattern, line) for line in lines) for pattern in NOT_RUN)


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_every_command_and_option_exists(block: Block) -> None:
    for line in block.lines:
        check_line(line)


@pytest.mark.parametrize(("page", "command"), inline_commands())
def test_every_command_in_a_sentence_exists(page: str, command: str) -> None:
    assert page
    check_line(command.replace("…", "x"))


def examples(command: click.Command = main) -> Iterator[str]:
    yield from getattr(command, "examples", [])
    for below in getattr(command, "commands", {}).values():
        yield from examples(below)


@pytest.mark.parametrize("line", sorted(set(examples())))
def test_every_example_in_help_exists(line: str) -> None:
    check_line(line)


@pytest.mark.parametrize("wrong", ["detect image --nosuch", "detect image a --format nosuch", "nosuch", "model nosuch"])
def test_a_stale_command_is_noticed(wrong: str) -> None:
    with pytest.raises(click.UsageError):
        check_command(["facealign", *wrong.split()])


def test_a_stale_benchmark_is_noticed() -> None:
    for wrong in (
        "benchmarks/nosuch.py",
        "benchmarks/pose.py x --nosuch",
        "benchmarks/video.py nosuch",
        "benchmarks/detectors.py nosuch",
    ):
        with pytest.raises(AssertionError):
            check_line(f"python {wrong}")


@pytest.fixture(scope="session")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the pages name: photos, clips, rows, boxes and annotated faces, of one photo."""
    folder = tmp_path_factory.mktemp("laid_out")
    image = read_image(ROOT / "docs" / "astronaut.jpg")
    photos = ("photo.jpg", "face.jpg", "docs/astronaut.jpg", "photos/a.jpg", "photos/b.jpg", "pictures/a.jpg", "c.png")
    for name in (*photos, "others/a.jpg", "others/b.jpg", "300w/lfpw/testset/a.png", "300w/lfpw/testset/b.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(folder / name, image)
    clip = [np.roll(image, 2 * i, axis=1) for i in range(8)]
    (folder / "recordings").mkdir()
    for name in ("clip.mp4", "recordings/one.mp4"):
        write_clip(folder / name, clip)
    run("facealign detect image photos/a.jpg photos/b.jpg -o rows.json", folder)
    run("facealign video track clip.mp4 -o rows.csv --pose", folder)
    run("facealign video track clip.mp4 -o rows.parquet", folder)
    run("facealign video track clip.mp4 -o openface.csv --format openface", folder)
    run("facealign video track clip.mp4 -o dlc.csv --format dlc", folder)
    (folder / "boxes.json").write_text('{"photo.jpg": [178, 65, 265, 183]}')
    landmarks = Aligner().align(image)[0].landmarks
    for name in ("300w/lfpw/testset", "others"):
        for stem in ("a", "b"):
            write_pts(folder / name / f"{stem}.pts", landmarks + 0.5)
    shutil.copytree(folder / "300w", folder / "their_pts", ignore=shutil.ignore_patterns("*.png"))
    (folder / "300w" / "lfpw" / "testset" / "boxes.json").write_text(
        '{"a.png": [178, 86, 272, 178], "b.png": [178, 86, 272, 178]}'
    )
    shutil.copy(read_registry().get("dan-light").path, folder / "mine.onnx")
    shutil.copy(folder / "mine.onnx", folder / "faces.h5")  # only named where nothing is run
    return folder


@pytest.fixture
def place(laid_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: Block) -> Path:
    """A fresh copy of it, the working folder, without what the block itself writes."""
    folder = Path(shutil.copytree(laid_out, tmp_path / "place"))
    written = "\n".join(line for line in block.lines if why_not(line) is None)
    for name in re.findall(r"(?:-o|--landmarks) (\S+)", written):
        (folder / name).unlink(missing_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(batch, "_processors", lambda: 0)  # no worker processes: tests/batch has them
    return folder


def run(line: str, folder: Path) -> None:
    """Run a line there, in this process where it is one command of facealign's, else by the shell."""
    words = [found for word in shlex.split(line) for found in sorted(glob.glob(word)) or [word]]
    if words[0] == "facealign" and "|" not in words:
        before = Path.cwd()
        os.chdir(folder)
        try:
            done = CliRunner().invoke(main, words[1:], prog_name="facealign")
        finally:
            os.chdir(before)
        code, said = done.exit_code, done.output
    else:
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        shell = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=folder,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        code, said = shell.returncode, shell.stdout + shell.stderr
    assert code == 0, f"{line}\nexit code {code}\n{said[-1500:]}"


@pytest.mark.long
@pytest.mark.parametrize("block", [b for b in SHELL if not all(map(why_not, b.lines))], ids=str)
def test_it_runs_as_it_is_printed(block: Block, place: Path) -> None:
    if any("train pack" in line for line in block.lines):
        pytest.importorskip("torch", reason="need pip install -e '.[train]'")
    ran = 0
    for line in block.lines:
        if why_not(line) is None:
            run(line, place)
            ran += 1
        elif "facealign review" in line:
            accept_all(place)
    assert ran, "no line of this block was run"


def accept_all(folder: Path) -> None:
    """What a person does at the page of `facealign review rows.json --images photos`."""
    rows, photos = folder / "rows.json", folder / "photos"
    session = Session(read_proposals(rows, photos, print), photos, default_side_file(rows), by="a test")
    session.open()
    for number, picture in enumerate(session.pictures):
        session.step(number, 0, "accepted", picture.result.faces)
    session.close()


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_runs_as_it_is_printed(block: Block, place: Path) -> None:
    assert place.is_dir()
    exec(compile(block.text, str(block), "exec"), {"__name__": str(block)})
