"""`facealign video plot`: what it says besides the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from facealign_cli.boxes import BBox
from facealign_cli.cli.main import main
from facealign_cli.formats.base import get_format
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.records import Face, FrameResult
from tests.clips import write_clip


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["video", "plot", *map(str, arguments)])


@pytest.mark.parametrize(
    ("fmt", "name", "words"),
    [
        ("csv", "clip.mp4", None),
        ("csv", "other.mp4", "are of clip.mp4, but the frames that are shown are of"),
        ("dlc", "clip.mp4", "have no times, so their frame 0 is shown as the first one of"),
    ],
)
def test_frames_that_may_not_be_those_of_the_rows_are_told(
    tmp_path: Path, fmt: str, name: str, words: str | None
) -> None:
    write_clip(tmp_path / name, [np.zeros((48, 64, 3), np.uint8)] * 25)
    face = Face(0, BBox(9, 9, 40, 40), MEAN_SHAPE / 4 + 9, 0.9, track_id=0)
    size = {"width": 64, "height": 48}
    rows = [FrameResult.of_faces("clip.mp4", [face], frame=i, timestamp_s=i / 25, **size) for i in range(22)]
    get_format(fmt).write(tmp_path / "rows.csv", rows)
    clip = ("--clip", tmp_path / name, *(("--fps", 25) if fmt == "dlc" else ()))
    told = run(tmp_path / "rows.csv", "-o", tmp_path / "page.html", *clip).stderr
    assert (words in told) if words else ("that are shown" not in told)
    assert "shown" not in run(tmp_path / "rows.csv", "-o", tmp_path / "bare.html", *clip[2:]).stderr
