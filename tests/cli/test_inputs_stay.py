"""A result never replaces what it is made from, whatever command writes it and however --overwrite is meant."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner
from clips import pictures, write_clip

from facealign_cli import overlay_video
from facealign_cli.cli.main import main
from facealign_cli.errors import OutputError
from facealign_cli.formats import csv as csv_format
from facealign_cli.formats.pts import write_pts
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.records import FrameResult
from facealign_cli.video.cut import FaceCutter


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clip, rows, a picture with its points, an evaluation, a pack and a model; nothing reads what is in the last."""
    monkeypatch.chdir(tmp_path)
    write_clip(Path("id0.mp4"), pictures(2))
    csv_format.write("rows.csv", [FrameResult("clip.mp4", "no_face", 64, 48, frame=0, timestamp_s=0.0)])
    Path("faces").mkdir()
    cv2.imwrite("faces/a.png", cv2.imread(str(Path(__file__).parents[2] / "docs" / "astronaut.jpg")))
    write_pts("faces/a.pts", MEAN_SHAPE)
    for name in ("pack.h5", "model.onnx", "last.ckpt", "DAN.npz", "rows.json"):
        Path(name).write_text("{}")
    os.symlink("rows.csv", "link.csv")
    return tmp_path


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "line",
    [
        "video overlay id0.mp4 -o id0.mp4",
        "video track id0.mp4 -o id0.mp4",
        "video track id0.mp4 -o new.mp4 --landmarks id0.mp4 --format csv",
        "video track id0.mp4 -o new.csv --boxes rows.csv --measures rows.csv",
        "video crop id0.mp4 -o .",
        "video plot rows.csv -o rows.csv",
        "video plot rows.csv -o link.csv",
        "video plot rows.csv --clip id0.mp4 -o id0.mp4",
        "measure rows.csv -o ./rows.csv",
        "measure rows.csv --summary rows.csv",
        "convert rows.csv rows.csv",
        "convert faces faces --to pts",
        "evaluate dataset faces --predictions faces --init ground-truth",
        "evaluate predictions rows.json faces --json rows.json",
        "review rows.csv --export rows.csv",
        "train relabel pack.h5 -o pack.h5",
        "train label pack.h5 -o pack.h5",
        "train export last.ckpt -o a.onnx --name a --model-version 1 --data pack.h5 --weights pack.h5",
        "train pack faces rows.csv -o rows.csv",
        "model quantize model.onnx --data pack.h5 -o model.onnx",
        "model check-file model.onnx --picture faces/a.png -o faces/a.png",
    ],
)
def test_no_result_replaces_what_it_is_made_from(line: str, folder: Path) -> None:
    before = files(folder)
    result = CliRunner().invoke(main, [*line.split(), "--overwrite"])
    assert result.exit_code == 1, result.output
    assert "which is read; name another place" in result.output
    assert files(folder) == before


@pytest.mark.parametrize(
    "line", ["train export last.ckpt -o last.ckpt --name a --model-version 1", "model convert DAN.npz -o DAN.npz"]
)
def test_a_graph_is_written_under_a_name_that_other_commands_take(line: str, folder: Path) -> None:
    before = files(folder)
    result = CliRunner().invoke(main, [*line.split(), "--overwrite"])
    assert result.exit_code == 2, result.output
    assert "does not end in .onnx" in result.output
    assert files(folder) == before


def test_a_file_that_is_not_read_is_replaced(folder: Path) -> None:
    shutil.copy("rows.csv", "old.csv")
    result = CliRunner().invoke(main, ["convert", "rows.csv", "old.csv", "--overwrite"])
    assert result.exit_code == 0, result.output


def test_from_python(folder: Path) -> None:
    before = files(folder)
    with pytest.raises(OutputError, match="which is read"):
        list(overlay_video("id0.mp4", folder / "id0.mp4", overwrite=True))
    with pytest.raises(OutputError, match="which is read"):
        FaceCutter(folder, clip="id0.mp4", overwrite=True)
    assert files(folder) == before
