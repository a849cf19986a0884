"""Outputs are checked before the work, and one that cannot be written costs no other."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from facealign_cli.cli.main import main
from facealign_cli.formats import json as json_format
from facealign_cli.formats.pts import write_pts
from facealign_cli.landmarks import MEAN_SHAPE


@pytest.fixture(autouse=True)
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two grey pictures in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        cv2.imwrite(name, np.full((90, 120), 127, np.uint8))
    return tmp_path


def detect(*args: object) -> Result:
    return CliRunner().invoke(main, ["detect", "image", *map(str, args)])


def test_an_error_that_is_told_names_its_picture() -> None:
    """This one comes from where no name is known: the detector's box times its calibration."""
    Path("boxes.json").write_text('{"a.png": [-1e9, -1e9, 1e9, 1e9], "b.png": []}')
    result = detect("a.png", "b.png", "--boxes", "boxes.json", "--format", "json")
    assert result.exit_code == 3
    assert result.stderr.startswith("Error: a.png: bbox: expected sides of")


@pytest.mark.parametrize(
    ("args", "code", "match"),
    [
        (["a.png", "b.png", "--overlay", "one.png"], 2, "names a file"),
        (["a.png", "--overlay", "a.png", "--overwrite"], 1, "which is read"),
        (["a.png", "-o", "a.png", "--format", "json", "--overwrite"], 1, "which is read"),
        (["a.png", "--overlay", "full", "-o", "out.json"], 1, "full/a.jpg exists already"),
        (["a.png", "-o", "points", "--format", "pts"], 1, "points/a.pts exists already"),
        (["a.png", "--overlay", "drawn.txt"], 1, "not as .txt"),
    ],
)
def test_before_the_work(args: list[str], code: int, match: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in ("full/a.jpg", "points/a.pts"):
        Path(file).parent.mkdir()
        Path(file).touch()
    monkeypatch.setattr("facealign_cli.aligner.align_pictures", None)  # nobody gets so far
    result = detect(*args)
    assert result.exit_code == code, result.output
    assert match in result.output
    assert not Path("out.json").exists()


def test_no_suffix_means_a_folder_also_for_one_picture() -> None:
    assert detect("a.png", "--overlay", "drawn").exit_code == 0
    assert detect("b.png", "--overlay", "drawn/").exit_code == 0
    assert detect("a.png", "--overlay", "one.png").exit_code == 0
    assert sorted(path.name for path in Path("drawn").iterdir()) == ["a.jpg", "b.jpg"]
    assert Path("one.png").is_file()


def test_a_drawing_that_cannot_be_written_costs_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    from facealign_cli.errors import OutputError

    def full(*_: object, **__: object) -> None:
        raise OutputError("cannot write drawn/a.jpg: the disk is full")

    monkeypatch.setattr("facealign_cli.files.pictures.write_image", full)
    result = detect("a.png", "b.png", "--overlay", "drawn", "-o", "out.json")
    assert result.exit_code == 1
    assert "the disk is full" in result.output
    assert [record.source for record in json_format.read("out.json")] == ["a.png", "b.png"]


def test_an_evaluation_does_not_write_two_results_into_one_file() -> None:
    Path("gt").mkdir()
    write_pts("gt/a.pts", MEAN_SHAPE + 100)
    run = ["evaluate", "predictions", "gt", "gt"]
    result = CliRunner().invoke(main, [*run, "--json", "z", "--csv", "./z"])
    assert result.exit_code == 1
    assert "are one file" in result.output
    assert not Path("z").exists()


def test_a_file_that_cannot_be_written_costs_neither_the_others_nor_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    from facealign_cli.errors import OutputError

    def full(_evaluation: object) -> bytes:
        raise OutputError("cannot write e.json: the disk is full")

    Path("gt").mkdir()
    write_pts("gt/a.pts", MEAN_SHAPE + 100)
    monkeypatch.setattr("facealign_cli.evaluation.files.encode_json", full)
    result = CliRunner().invoke(main, ["evaluate", "predictions", "gt", "gt", "--json", "e.json", "--csv", "e.csv"])
    assert result.exit_code == 1
    assert Path("e.csv").is_file()
    assert "mean error" in result.output
    assert "the disk is full" in result.output
