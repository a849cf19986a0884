"""`facealign video`: run the command, reopen what it wrote, compare."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner
from clips import facts, write_clip, write_damaged

from facealign_cli.cli.main import main
from facealign_cli.errors import OutputError
from facealign_cli.formats.base import get_format
from facealign_cli.formats.json import json_schema
from facealign_cli.formats.openface import COLUMNS
from facealign_cli.video.sink import VideoSink
from tests.cli.video_runs import run


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray) -> Path:
    """Ten frames with a face, two without, and a tone."""
    folder = tmp_path_factory.mktemp("clip")
    grey = np.full_like(photo, 90)
    return write_clip(folder / "in.mp4", [photo] * 10 + [grey] * 2, sound="aac")


def test_track_writes_a_row_per_face_and_frame(clip: Path, tmp_path: Path) -> None:
    result = run("track", clip, "-o", tmp_path / "a.csv")
    assert (result.exit_code, result.stdout) == (0, "")
    records = get_format("csv").read(tmp_path / "a.csv")
    assert [r.frame for r in records] == list(range(12))
    assert [r.status for r in records] == ["ok"] * 10 + ["no_face"] * 2
    assert np.allclose([r.timestamp_s for r in records], facts(clip).times, atol=1e-6)
    assert {f.track_id for r in records for f in r.faces} == {0}


def test_track_to_a_pipe_is_json(clip: Path) -> None:
    result = run("track", clip, "--end", "0.2")
    document = json.loads(result.stdout)
    jsonschema.validate(document, json_schema())
    assert [r["frame"] for r in document["results"]] == [0, 1, 2, 3, 4]


def test_an_openface_script_can_read_it(clip: Path, tmp_path: Path) -> None:
    assert run("track", clip, "-o", tmp_path / "a.csv", "--format", "openface").exit_code == 0
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines(), skipinitialspace=True))
    assert tuple(rows[0]) == (*COLUMNS, "source")
    assert [row["frame"] for row in rows] == [str(i) for i in range(1, 13)]
    assert [row["success"] for row in rows] == ["1"] * 10 + ["0"] * 2
    assert [row["timestamp"] for row in rows[:3]] == ["0.000", "0.040", "0.080"]


def test_overlay_keeps_times_and_sound_and_writes_rows(clip: Path, tmp_path: Path) -> None:
    result = run("overlay", clip, "-o", tmp_path / "o.mp4", "--landmarks", tmp_path / "o.json", "--blank")
    assert result.exit_code == 0
    got, expected = facts(tmp_path / "o.mp4"), facts(clip)
    assert (got.times, got.sound) == (expected.times, expected.sound)
    assert (got.length, got.file_length) == pytest.approx((expected.length, expected.file_length), abs=1e-3)
    assert len(get_format("json").read(tmp_path / "o.json")) == 12


@pytest.mark.long
def test_every_command_takes_rows_and_clip_alike(clip: Path, tmp_path: Path) -> None:
    """-o is what its name says, --landmarks the rows beside a clip, "-" standard output; `camera`: see its own test."""
    part, out = ("--end", "0.1"), tmp_path / "o.mp4"
    assert run("track", clip, *part, "-o", out, "--landmarks", tmp_path / "o.csv").stdout == ""
    assert (len(facts(out).times), len(get_format("csv").read(tmp_path / "o.csv"))) == (3, 3)
    for name in ("track", "overlay"):
        result = run(name, clip, *part, "-o", out, "--overwrite", "--landmarks", "-", "--format", "jsonl")
        assert len(result.stdout.splitlines()) == 3, result.output
    assert json.loads(run("track", clip, *part, "-o", "-").stdout)["results"]
    assert run("track", clip, *part, "-o", tmp_path / "rows.txt", "--format", "openface").exit_code == 0


def test_start_and_end_take_a_clock(clip: Path, tmp_path: Path) -> None:
    for i, (start, end) in enumerate((("0.1", "0.3"), ("0:00.1", "0:00:00.3"))):
        assert run("track", clip, "-o", tmp_path / f"{i}.csv", "--start", start, "--end", end).exit_code == 0
        times = [r.timestamp_s for r in get_format("csv").read(tmp_path / f"{i}.csv")]
        assert np.allclose(times, [0.12, 0.16, 0.2, 0.24, 0.28])


def test_pictures_as_input(photo: np.ndarray, tmp_path: Path) -> None:
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i:04}.png"), photo)
    result = run("overlay", tmp_path / "%04d.png", "-o", tmp_path / "o.mp4", "--fps", 10)
    assert result.exit_code == 0
    assert np.allclose(facts(tmp_path / "o.mp4").times, [0, 0.1, 0.2, 0.3], atol=1e-3)


def test_smoothing_can_be_turned_off_and_tuned(tmp_path: Path, photo: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    noisy = [np.clip(photo + rng.normal(0, 6, photo.shape), 0, 255).astype(np.uint8) for _ in range(15)]
    for i, image in enumerate(noisy):
        cv2.imwrite(str(tmp_path / f"{i:02}.png"), image)
    moved = {}
    for smooth in ("off", "on", "causal", "0.2,0,1"):
        out = tmp_path / f"{smooth}.csv"
        assert run("track", tmp_path / "%02d.png", "-o", out, "--smooth", smooth).exit_code == 0
        shapes = np.array([r.faces[0].landmarks for r in get_format("csv").read(out)])
        moved[smooth] = np.abs(np.diff(shapes[5:], axis=0)).mean()
    assert moved["off"] > 3 * moved["on"] and moved["off"] > 3 * moved["0.2,0,1"]


def test_a_damaged_frame_is_a_row_and_exit_code_3(tmp_path: Path) -> None:
    path = write_damaged(tmp_path / "in.mp4")
    result = run("overlay", path, "-o", tmp_path / "o.mp4", "--landmarks", tmp_path / "o.csv")
    assert result.exit_code == 3
    assert "damaged" in result.stderr
    records = get_format("csv").read(tmp_path / "o.csv")
    assert len(records) == 50 and records[-1].status == "no_face"
    assert 1 <= sum(r.status == "error" for r in records) <= 5


def test_where_the_rows_are_of_a_clip_that_found_no_room(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OutputError("cannot write o.mp4: the disk is full")

    monkeypatch.setattr(VideoSink, "close", full)
    result = run("overlay", clip, "-o", tmp_path / "o.mp4", "--landmarks", tmp_path / "o.csv")
    assert result.exit_code == 1
    kept = f"The rows of the frames until then are in {tmp_path / 'o.csv'}."
    assert result.stderr.splitlines()[-2:] == [kept, "Error: cannot write o.mp4: the disk is full"]
    assert get_format("csv").read(tmp_path / "o.csv")
    assert kept not in run("overlay", clip, "-o", tmp_path / "o.mp4").stderr


def test_wrong_usage_is_said_before_the_work(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    for args, words in {
        ("overlay", clip): "Missing option '-o'",
        ("overlay", clip, "-o", tmp_path / "o.avi"): ".mp4",
        ("overlay", clip, "-o", out, "--landmarks", tmp_path / "o.xyz"): ".csv",
        (
            "track",
            clip,
            "-o",
            tmp_path / "o.pts",
        ): "pts cannot hold the rows of a clip: it has a file for each face",
        (
            "track",
            clip,
            "--format",
            "coco",
        ): "cannot hold the rows of a clip: it is a frame of a clip",
        ("track", clip, "-o", tmp_path / "o.txt"): ".ndjson (jsonl), .parquet (parquet); or name the format",
        ("track", clip, "--start", "1:70"): "1:70: numbers behind a colon are below 60",
        ("track", clip, "--start", "1:00:60.5"): "below 60",
        ("track", clip, "--start", "100:00"): "and nothing of it comes after 6000 s",
        ("overlay", clip, "-o", tmp_path / "o.csv"): "not as .csv",
        ("overlay", clip, "-o", "-"): "name a file",
        ("overlay", clip, "-o", out, "--format", "csv"): "--landmarks",
        ("track", clip, "-o", tmp_path / "o.avi"): "AVI",
        ("track", clip, "-o", tmp_path / "a.csv", "--landmarks", tmp_path / "b.csv"): "both name rows",
        ("track", clip, "--blank"): "--blank is about the clip",
        ("track", clip, "--fps", "nan"): "nan",
        ("track", clip, "--detect-every", "0"): "auto or a number",
        ("track", clip, "--smooth", "much"): "smoothing",
        ("track", clip, "--start", "soon"): "expected seconds",
        ("track", clip, "--start", "5", "--end", "4"): "--end has to lie after",
    }.items():
        result = run(*args)
        assert result.exit_code in (1, 2) and words in result.stderr, (args, result.stderr)
    out.write_text("mine")
    assert "--overwrite" in run("overlay", clip, "-o", out).stderr
    assert out.read_text() == "mine"
    assert run("overlay", clip, "-o", out, "--overwrite", "--end", "0.1").exit_code == 0


def test_what_is_no_clip_is_one_line(tmp_path: Path, photo: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), photo)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "b.mp4").touch()
    for name, words in (
        ("a.png", "still picture"),
        ("missing.mp4", "no such file"),
        ("clips", f"`facealign batch videos {tmp_path}/clips -o rows` takes a folder of clips"),
        (
            "clips/*.mp4",
            "it is a pattern, not a file: without quotes the shell puts the files in its place",
        ),
        ("*.mp4", "no such file, and none that this pattern matches"),
        ("%d.jpg", "no file has such a name with a number in it"),
    ):
        result = run("track", tmp_path / name, "-o", tmp_path / "o.csv")
        assert result.exit_code == 1 and words in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert not (tmp_path / "o.csv").exists()


def test_a_camera_takes_the_same_path(tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    class Capture:
        def __init__(self, index: int) -> None:
            self.index, self.left = index, 6

        def isOpened(self) -> bool:
            return self.index == 0

        def read(self) -> tuple[bool, np.ndarray | None]:
            self.left -= 1
            time.sleep(0.01)
            return self.left >= 0, photo if self.left >= 0 else None

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    result = run("camera", "--landmarks", tmp_path / "c.csv", "-o", tmp_path / "c.mp4")
    assert result.exit_code == 0, result.stderr
    records = get_format("csv").read(tmp_path / "c.csv")
    assert [r.status for r in records] == ["ok"] * 6
    assert np.allclose(facts(tmp_path / "c.mp4").times, [r.timestamp_s for r in records], atol=1e-3)
    assert all(np.diff([r.timestamp_s for r in records]) > 0)
    assert "camera 3" in run("camera", "--device-index", 3).stderr


@pytest.mark.parametrize("name", ["overlay", "track", "camera"])
def test_every_option_is_explained(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    explained: Callable[[str], bool] = lambda line: not line.startswith("  -") or "  " in line.strip()  # noqa: E731
    assert "--smooth" in result.output and all(map(explained, result.output.splitlines()))


def test_one_line_says_what_was_done(clip: Path, tmp_path: Path) -> None:
    result = run("track", clip, "-o", tmp_path / "a.csv")
    assert result.exit_code == 0
    line = result.stderr.splitlines()[-1]
    assert "12 frames, 10 faces (0 doubtful) of 1 id, lost 1 and regained 0; a face in 83 % of the frames" in line
    assert line.endswith(f"s: {tmp_path / 'a.csv'}")


def test_measures_and_poses_beside_the_rows(clip: Path, tmp_path: Path) -> None:
    rows, measures = tmp_path / "a.csv", tmp_path / "m.csv"
    result = run("track", clip, "-o", rows, "--pose", "--measures", measures)
    assert result.exit_code == 0
    assert "regained 0, 0 blinks; " in result.stderr and result.stderr.endswith(f"m.csv, {tmp_path / 'm.blinks.csv'}\n")
    measures.unlink()
    again = run("track", clip, "-o", tmp_path / "b.csv", "--measures", measures)
    assert again.exit_code == 1 and "m.blinks.csv" in again.stderr and not (tmp_path / "b.csv").exists()
    (tmp_path / "m.blinks.csv").unlink()
    assert run("track", clip, "-o", tmp_path / "b.csv", "--measures", measures).exit_code == 0
    found = list(csv.DictReader(measures.read_text().splitlines()))
    records = get_format("csv").read(rows)
    assert len(found) == 10 and (tmp_path / "m.blinks.csv").exists()
    assert records[0].faces[0].pose is not None
    assert float(found[0]["pose_Ry"]) == pytest.approx(records[0].faces[0].pose.rotation_rad[1], abs=1e-3)
    again = CliRunner().invoke(main, ["measure", str(rows), "-o", str(tmp_path / "n.csv")])
    assert again.exit_code == 0
    later = list(csv.DictReader((tmp_path / "n.csv").read_text().splitlines()))
    assert [row["eye_opening_left"][:5] for row in later] == [row["eye_opening_left"][:5] for row in found]


def test_several_clips_go_into_a_folder(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "tables"
    result = run("track", clip, tmp_path / "missing.mp4", clip, "-o", out)
    assert result.exit_code == 3 and "missing.mp4" in result.stderr
    made = sorted(path.name for path in out.iterdir())
    assert len(made) == 2 and all(len(get_format("csv").read(out / name)) == 12 for name in made)
    assert run("track", clip, clip).exit_code == 2
    assert run("track", clip, clip, "-o", out, "--measures", tmp_path / "m.csv").exit_code == 2


def test_a_table_at_a_terminal(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facealign_cli.cli.console.is_terminal", lambda: True)
    result = run("track", clip)
    assert result.exit_code == 0
    assert "blinks" in result.stdout and '"results"' not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_clip_without_a_face_says_what_may_help(tmp_path: Path, astronaut: np.ndarray) -> None:
    clip = write_clip(tmp_path / "in.mp4", [np.ascontiguousarray(astronaut[::-1, ::-1])] * 4)
    result = run("track", clip, "-o", tmp_path / "a.csv")
    assert result.exit_code == 0
    assert "No face is reported in any of 4 frames" in result.stderr
    assert "--any-roll may help" in result.stderr
    result = run("track", clip, "-o", tmp_path / "b.csv", "--any-roll")
    assert result.exit_code == 0
    assert "any-roll" not in result.stderr
    assert [r.status for r in get_format("csv").read(tmp_path / "b.csv")] == ["ok"] * 4


def test_min_confidence_bounds_new_faces_and_followed_ones(clip: Path, tmp_path: Path) -> None:
    assert run("track", clip, "-o", tmp_path / "a.csv", "--min-confidence", 1).exit_code == 0
    assert {r.status for r in get_format("csv").read(tmp_path / "a.csv")} == {"no_face"}
