"""`facealign measure`: from files of rows to tables, read back."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from facealign_cli.boxes import BBox
from facealign_cli.cli.main import main
from facealign_cli.errors import FormatError
from facealign_cli.formats import csv as csv_format
from facealign_cli.formats import json as json_format
from facealign_cli.formats import openface
from facealign_cli.formats.base import get_format, read_results
from facealign_cli.pose import camera_matrix, mean_face, project
from facealign_cli.records import Face, FrameResult, HeadPose


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["measure", *(str(arg) for arg in args)])


def clip(
    blinks: tuple[float, ...] = (2.0, 5.0), seconds: float = 8.0, confidence: float = 0.9, yaw: float = 0.0
) -> list[FrameResult]:
    """A face that turns slowly and blinks."""
    results = []
    for i, time in enumerate(np.arange(0, seconds, 1 / 30)):
        face = mean_face().copy()
        shut = max(max(0.0, 1 - abs(time - blink) / 0.1) for blink in blinks)
        for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
            face[upper] += 0.8 * shut * (face[lower] - face[upper])
        pose = HeadPose((0, 0, 600), (0, yaw + 0.3 * np.sin(time) * (not yaw), 0))
        points = project(face, pose, camera_matrix(640, 480))
        found = Face(0, BBox(0, 0, 99, 99), points, confidence, track_id=2)
        results.append(
            FrameResult.of_faces("clip.mp4", [found], width=640, height=480, frame=i, timestamp_s=float(time))
        )
    return results


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    csv_format.write(tmp_path / "rows.csv", clip())
    return tmp_path / "rows.csv"


@pytest.mark.parametrize("name", ["cut.csv", "cut.jsonl", "cut.openface"])
def test_a_last_line_that_was_cut_is_named_and_left_out(tmp_path: Path, name: str) -> None:
    """By `measure`, `video plot` and `convert` in the same way; read_results raises an error."""
    fmt = name.partition(".")[2]
    path, page = tmp_path / name, tmp_path / "page.html"
    get_format(fmt).write(path, clip(seconds=2))
    path.write_bytes(path.read_bytes()[:-300])
    told = f"Left out: {path}: line {61 if fmt != 'jsonl' else 60}: it "
    commands = (
        ["measure", path, "--format", fmt],
        ["video", "plot", path, "-o", page, "--format", fmt],
        ["convert", path, tmp_path / "c.json", "--from", fmt],
    )
    for command in commands:
        result = CliRunner().invoke(main, list(map(str, command)))
        assert result.exit_code == 3 and told in result.stderr, result.output
    assert page.exists() and len(get_format("json").read(tmp_path / "c.json")) == 59
    with pytest.raises(FormatError, match=r"not .* to its end"):
        read_results(path, format=fmt)


def test_measures_blinks_and_summary(rows: Path, tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("m.csv", "b.csv", "s.csv")]
    result = run(rows, "-o", places[0], "--blinks", places[1], "--summary", places[2])
    assert result.exit_code == 0, result.output
    assert "240 faces of 1 person measured; 2 blinks" in result.stderr
    measures, blinks, summary = map(read, places)
    assert len(measures) == 240 and (measures[7]["frame"], measures[7]["face_id"]) == ("7", "2")
    assert float(measures[0]["eye_opening_left"]) == pytest.approx(0.234, abs=0.002)
    assert float(measures[30]["pose_Ry"]) == pytest.approx(0.3 * np.sin(1.0), abs=1e-3)
    assert [round(float(blink["peak_s"])) for blink in blinks] == [2, 5]
    (person,) = summary
    assert (person["face_id"], person["faces"], person["blinks"]) == ("2", "240", "2")
    assert float(person["blinks_per_minute"]) == pytest.approx(2 / (239 / 30) * 60, abs=0.1)
    assert float(person["yaw_deg_p95"]) == pytest.approx(np.degrees(0.3), abs=0.5)


def test_a_table_for_the_person_at_the_terminal(rows: Path) -> None:
    result = run(rows)
    assert result.exit_code == 0
    assert "clip.mp4" in result.stdout and "blinks" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_frame_does_not_count_twice(rows: Path, tmp_path: Path) -> None:
    json_format.write(tmp_path / "again.json", clip())
    result = run(rows, tmp_path / "again.json", "--summary", tmp_path / "s.csv")
    assert result.exit_code == 1
    assert "frame 0 of clip.mp4 comes twice" in result.stderr
    assert not (tmp_path / "s.csv").exists()


@pytest.mark.parametrize("name", ["openface", "dlc"])
def test_a_table_is_known_by_what_it_looks_like(name: str, tmp_path: Path) -> None:
    get_format(name).write(tmp_path / "rows.csv", clip(seconds=1.0))
    result = run(tmp_path / "rows.csv", "--size", "640x480")
    assert result.exit_code == 0, result.output
    assert "30 faces of 1 person measured" in result.stderr


def test_rows_without_a_picture_size_need_it(tmp_path: Path) -> None:
    openface.write(tmp_path / "of.csv", clip())
    told = run(tmp_path / "of.csv", "--format", "openface", "--size", "640x480", "--blinks", tmp_path / "b.csv")
    assert told.exit_code == 0 and len(read(tmp_path / "b.csv")) == 2
    silent = run(tmp_path / "of.csv", "--format", "openface", "-o", tmp_path / "m.csv")
    said = f"The rows of {tmp_path / 'of.csv'} do not say how large the pictures are"
    assert silent.exit_code == 0 and said in silent.stderr and "--size" not in told.stderr
    assert "blinks cannot be told, since the rows do not say how large the pictures are: " in silent.stderr
    assert read(tmp_path / "m.csv")[0]["eye_opening_left"] == ""
    assert run(tmp_path / "of.csv", "--size", "640").exit_code == 2


@pytest.mark.parametrize(
    ("name", "kept", "size", "said"),
    [
        ("openface", clip(seconds=1.0), "", "30 of them without head pose, eyes, mouth and brows; "),
        ("dlc", clip(seconds=1.0), "640x480", "blinks cannot be told, since the rows have no times: "),
        ("csv", clip(seconds=2.0)[::6], "", "measured; blinks cannot be told, since the frames are too far apart: "),
        ("csv", clip(seconds=1.0)[:2], "", "since nobody's eyes were measured in 3 frames or more: "),
        ("csv", clip(seconds=1.0, yaw=1.3), "", "30 of them turned too far for the eyes; blinks cannot be told, "),
    ],
)
def test_blinks_that_cannot_be_told_are_not_none(
    name: str, kept: list[FrameResult], size: str, said: str, tmp_path: Path
) -> None:
    get_format(name).write(tmp_path / "rows.csv", kept)
    result = run(tmp_path / "rows.csv", "--summary", tmp_path / "s.csv", *(("--size", size) if size else ()))
    assert result.exit_code == 0 and said in result.stderr and "0 blinks" not in result.stderr, result.stderr
    (person,) = read(tmp_path / "s.csv")
    assert (person["blinks"], person["blinks_per_minute"]) == ("", "")


def test_persons_whose_blinks_cannot_be_told_are_counted(rows: Path, tmp_path: Path) -> None:
    json_format.write(tmp_path / "brief.json", [replace(one, source="brief.mp4") for one in clip()[:2]])
    result = run(rows, tmp_path / "brief.json", "--summary", tmp_path / "s.csv")
    assert "242 faces of 2 persons measured; 2 blinks (of 1 person they cannot be told): " in result.stderr
    assert [person["blinks"] for person in read(tmp_path / "s.csv")] == ["2", ""]


def test_the_rate_of_blinks_counts_the_time_in_which_eyes_are_measured(tmp_path: Path) -> None:
    """Of three parts the head is turned away in the middle one."""
    parts = [
        replace(one, frame=(one.frame or 0) + 240 * part, timestamp_s=(one.timestamp_s or 0) + 8 * part)
        for part, yaw in enumerate((0.0, 1.3, 0.0))
        for one in clip(yaw=yaw)
    ]
    csv_format.write(tmp_path / "rows.csv", parts)
    result = run(tmp_path / "rows.csv", "--summary", tmp_path / "s.csv")
    assert "720 faces of 1 person measured, 240 of them turned too far for the eyes; 4 blinks" in result.stderr
    assert float(read(tmp_path / "s.csv")[0]["blinks_per_minute"]) == pytest.approx(4 / (478 / 30) * 60, abs=0.1)


def test_a_face_that_no_head_fits_is_not_blamed_on_the_size(tmp_path: Path) -> None:
    faces = [replace(one.faces[0], landmarks=one.faces[0].landmarks * 50) for one in clip()[:9]]
    apart = [replace(one, faces=(face,)) for one, face in zip(clip(), faces, strict=False)]
    csv_format.write(tmp_path / "rows.csv", apart)
    result = run(tmp_path / "rows.csv")
    assert " of them without head pose, eyes, mouth and brows" in result.stderr and "--size" not in result.stderr


@pytest.mark.parametrize(("name", "made"), [("a.MP4", "facealign video track"), ("b.jpg", "facealign detect image")])
def test_a_clip_or_picture_in_place_of_rows(name: str, made: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    result = run(tmp_path / name)
    assert result.exit_code == 2 and f"its rows are made by: {made} {tmp_path / name} -o rows.csv" in result.stderr


def test_doubtful_faces_can_be_passed_over(tmp_path: Path) -> None:
    csv_format.write(tmp_path / "rows.csv", clip(confidence=0.4))
    result = run(tmp_path / "rows.csv", "--min-confidence", 0.5, "-o", tmp_path / "m.csv")
    assert result.exit_code == 0 and read(tmp_path / "m.csv") == []


def test_nothing_is_overwritten_and_focal_lengths_are_checked(rows: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("mine")
    assert run(rows, "-o", tmp_path / "m.csv").exit_code == 1
    assert (tmp_path / "m.csv").read_text() == "mine"
    assert run(rows, "-o", tmp_path / "m.csv", "--overwrite", "--focal", 900).exit_code == 0
    assert run(rows, "--focal", 0).exit_code == 2
