"""Crops, quality and fewer frames, as commands: what is written, what is said at the end."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from facealign_cli.cli.main import main
from facealign_cli.files.pictures import read_image
from facealign_cli.formats.base import get_format, read_results
from facealign_cli.records import FrameResult
from tests.clips import facts, write_clip


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [*map(str, args)])


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def folder(astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo, the same blurred, one without a face, one that is none, and two clips."""
    folder = tmp_path_factory.mktemp("in")
    photo = np.ascontiguousarray(astronaut[20:260, 100:340])
    cv2.imwrite(str(folder / "a.png"), photo)
    cv2.imwrite(str(folder / "b.png"), cv2.GaussianBlur(photo, (0, 0), 3))
    cv2.imwrite(str(folder / "grey.png"), np.full_like(photo, 90))
    (folder / "text.png").write_text("no")
    clips = folder / "clips"
    clips.mkdir()
    write_clip(clips / "face.mp4", [np.roll(photo, i // 2, axis=1) for i in range(50)], sound="aac")
    write_clip(clips / "grey.mp4", [np.full_like(photo, 90)] * 25)
    return folder


def assert_crops(record: FrameResult, place: Path, preset: str, size: int) -> None:
    """The matrix takes the row's landmarks to those beside the crop."""
    (face,) = record.faces
    document = json.loads((place.parent / f"{place.name}_0.json").read_text())
    assert (document["preset"], document["size"], document["face_id"]) == (preset, size, 0)
    assert document["source"] == record.source
    matrix = np.array(document["matrix"])
    np.testing.assert_allclose(face.landmarks @ matrix[:, :2].T + matrix[:, 2], document["landmarks"], atol=0.01)
    assert read_image(place.parent / f"{place.name}_0.jpg").shape == (size, size, 3)


def test_detect_image(folder: Path, tmp_path: Path) -> None:
    places = [folder / name for name in ("a.png", "b.png", "grey.png", "text.png")]
    how = ("--crops-dir", tmp_path / "crops", "--crop-preset", "arcface", "--quality")
    result = run("detect", "image", *places, "-o", tmp_path / "out.json", *how)
    assert result.exit_code == 3
    last = result.stderr.splitlines()[-1]
    assert re.fullmatch(
        r"4 pictures, 2 faces \(\d doubtful\), 0 left out, 1 failed; [\d.]+ s: \S+out\.json, \S+crops", last
    )
    first, blurred, *_ = read_results(tmp_path / "out.json")
    assert_crops(first, tmp_path / "crops" / "a", "arcface", 112)
    assert sorted(file.name for file in (tmp_path / "crops").iterdir()) == [
        "a_0.jpg",
        "a_0.json",
        "b_0.jpg",
        "b_0.json",
    ]
    one, other = first.faces[0].quality, blurred.faces[0].quality
    assert one is not None and other is not None
    assert other.sharpness < 0.7 * one.sharpness and other.brightness == pytest.approx(one.brightness, abs=3)
    again = run("detect", "image", places[0], "-o", tmp_path / "new.json", *how)
    assert (
        again.exit_code == 1
        and re.search(r"a_0\.\w+ exists already", again.stderr)
        and not (tmp_path / "new.json").exists()
    )
    assert run("detect", "image", places[0], "-o", tmp_path / "new.json", *how, "--overwrite").exit_code == 0


@pytest.mark.parametrize("command", [("detect", "image"), ("batch", "folder"), ("batch", "videos")])
def test_a_size_without_a_folder_for_crops(command: tuple[str, str], folder: Path, tmp_path: Path) -> None:
    result = run(*command, folder / "a.png", "-o", tmp_path / "out", "--crop-size", 99)
    assert result.exit_code == 2 and "--crop-size is about the crops: give --crops-dir, too" in result.stderr


def test_batch_folder(folder: Path, tmp_path: Path) -> None:
    how = ("--crops-dir", tmp_path / "crops", "--crop-preset", "ffhq", "--crop-size", 128, "--quality", "--workers", 0)
    result = run("batch", "folder", folder, "-o", tmp_path / "out", "--format", "jsonl", *how)
    assert result.exit_code == 3
    last = result.stderr.splitlines()[-1]
    assert re.fullmatch(r"4 pictures, 2 faces \(\d doubtful\), 0 left out, 1 failed; [\d.]+ s \(.*\): \S+out", last)
    records = {Path(r.source).name: r for r in get_format("jsonl").read(tmp_path / "out" / "part-000000.jsonl")}
    (place,) = (tmp_path / "crops").rglob("a.png_0.jpg")
    assert_crops(records["a.png"], place.with_name("a.png"), "ffhq", 128)
    assert records["a.png"].faces[0].quality.sharpness > records["b.png"].faces[0].quality.sharpness
    other = run("batch", "folder", folder, "-o", tmp_path / "out", "--format", "jsonl", "--workers", 0)
    assert other.exit_code == 1 and "crop_preset" in other.stderr


@pytest.mark.long
@pytest.mark.parametrize(("option", "frames"), [(("--every", 5), list(range(0, 50, 5))), (("--fps", 10), None)])
def test_fewer_frames(folder: Path, tmp_path: Path, option: tuple[str, int], frames: list[int] | None) -> None:
    clip = folder / "clips" / "face.mp4"
    assert run("video", "track", clip, "-o", tmp_path / "all.csv", "--smooth", "off").exit_code == 0
    result = run("video", "track", clip, "-o", tmp_path / "some.csv", "--smooth", "off", "--quality", *option)
    assert result.exit_code == 0
    whole, some = (read_results(tmp_path / name) for name in ("all.csv", "some.csv"))
    taken = [r.frame for r in some]
    assert taken == frames if frames else (taken[:4] == [0, 3, 5, 8] and len(taken) == 20)
    assert [r.timestamp_s for r in some] == [whole[frame or 0].timestamp_s for frame in taken]
    assert {face.track_id for r in some for face in r.faces} == {0} and all(len(r.faces) == 1 for r in some)
    for record in some[1:]:
        away = np.linalg.norm(record.faces[0].landmarks - whole[record.frame or 0].faces[0].landmarks, axis=1)
        assert away.mean() < 1.5  # pixels, of a face of 94
    assert all(face.quality is not None for r in some for face in r.faces)


def test_every_and_fps_together(folder: Path, tmp_path: Path) -> None:
    clip = folder / "clips" / "face.mp4"
    for command, out in ((("video", "track"), "out.csv"), (("batch", "videos"), "job"), (("video", "crop"), "crops")):
        result = run(*command, clip, "-o", tmp_path / out, "--every", 2, "--fps", 5)
        assert result.exit_code == 2 and "--every and --fps" in result.stderr


def test_fewer_frames_are_drawn_at_their_times(folder: Path, tmp_path: Path) -> None:
    result = run("video", "overlay", folder / "clips" / "face.mp4", "-o", tmp_path / "out.mp4", "--every", 10)
    assert result.exit_code == 0
    drawn = facts(tmp_path / "out.mp4")
    assert drawn.times == pytest.approx([0, 0.4, 0.8, 1.2, 1.6]) and drawn.length == pytest.approx(2.0, abs=0.05)
    assert drawn.sound


def test_pictures_of_a_rate(folder: Path, astronaut: np.ndarray, tmp_path: Path) -> None:
    """Of a folder of pictures, --fps is their rate."""
    (tmp_path / "in").mkdir()
    for i in range(6):
        cv2.imwrite(str(tmp_path / "in" / f"{i}.png"), astronaut[20:260, 100:340])
    assert run("video", "track", tmp_path / "in", "-o", tmp_path / "a.csv", "--fps", 5, "--every", 2).exit_code == 0
    assert [r.timestamp_s for r in read_results(tmp_path / "a.csv")] == [0, 0.4, 0.8]


@pytest.mark.long
def test_video_crop(folder: Path, tmp_path: Path) -> None:
    result = run("video", "crop", folder / "clips" / "face.mp4", "-o", tmp_path / "out", "--crop-size", 128)
    assert result.exit_code == 0
    assert re.search(r"50 frames, 50 faces .* of 1 id; .* s: 1 clip in \S+out", result.stderr.splitlines()[-1])
    made = facts(tmp_path / "out" / "id0.mp4")
    assert made.sizes == {(128, 128)} and len(made.times) == 50 and made.sound
    assert len(table(tmp_path / "out" / "id0.csv")) == 50
    (person,) = table(tmp_path / "out" / "crops.csv")
    assert (person["track_id"], person["frames"], person["files"], person["left_out"]) == ("0", "50", "1", "")
    again = run("video", "crop", folder / "clips" / "face.mp4", "-o", tmp_path / "out")
    assert again.exit_code == 1 and "exists already" in again.stderr


@pytest.mark.long
def test_video_crop_best(folder: Path, tmp_path: Path) -> None:
    how = ("--best", 3, "--crop-preset", "ffhq", "--crop-size", 96)
    result = run("video", "crop", folder / "clips" / "face.mp4", "-o", tmp_path / "out", *how)
    assert result.exit_code == 0 and "Fewer than 3 shots of 1 id" in result.stderr
    rows = table(tmp_path / "out" / "best.csv")
    assert len(rows) == 2 and float(rows[0]["score"]) >= float(rows[1]["score"])
    assert read_image(tmp_path / "out" / rows[0]["file"]).shape == (96, 96, 3)


def test_a_clip_without_a_face_says_so(folder: Path, tmp_path: Path) -> None:
    result = run("video", "crop", folder / "clips" / "grey.mp4", "-o", tmp_path / "out")
    assert result.exit_code == 0 and "No face is reported in any of 25 frames" in result.stderr
    assert "0 clips in" in result.stderr and not list((tmp_path / "out").iterdir())


@pytest.mark.long
def test_an_id_that_is_seen_briefly(folder: Path, tmp_path: Path) -> None:
    how = ("-o", tmp_path / "out", "--min-seconds", 10)
    result = run("video", "crop", folder / "clips" / "face.mp4", *how)
    assert result.exit_code == 0 and "Left out: 1 id seen for less than 10 s" in result.stderr
    assert table(tmp_path / "out" / "crops.csv")[0]["left_out"].startswith("seen for 1.96 s")


@pytest.mark.long
def test_batch_videos(folder: Path, tmp_path: Path) -> None:
    how = ("--crops-dir", tmp_path / "crops", "--crop-preset", "arcface", "--every", 2, "--workers", 0)
    result = run("batch", "videos", folder / "clips", "-o", tmp_path / "out", *how)
    assert result.exit_code == 0, result.stderr
    (clip,) = (tmp_path / "crops").rglob("id0.mp4")
    assert clip.parent.name == "face.mp4" and facts(clip).sizes == {(112, 112)}
    assert len(facts(clip).times) == len(table(clip.with_suffix(".csv"))) == 25
    assert {row["frames"] for row in table(tmp_path / "out" / "clips.csv")} == {"25", "13"}


@pytest.mark.long
def test_blinks_are_not_counted_where_frames_are_far_apart(folder: Path, tmp_path: Path) -> None:
    for every, blinks in ((1, "0"), (5, "")):
        out = tmp_path / f"{every}"
        result = run("batch", "videos", folder / "clips" / "face.mp4", "-o", out, "--every", every, "--workers", 0)
        assert result.exit_code == 0 and table(out / "clips.csv")[0]["blinks"] == blinks
        assert (", 0 blinks; " if blinks else ", blinks cannot be told in 1 clip; ") in result.stderr
