"""`facealign batch videos`: many clips, a table each; killed, resumed; what failed, what was passed over."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from clips import write_clip

from facealign_cli.cli.main import main
from facealign_cli.formats.base import get_format

CODE = "from facealign_cli.cli.main import main; main(prog_name='facealign')"


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["batch", "videos", *map(str, args), "--workers", "0"])


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def tables(out: Path) -> dict[str, bytes]:
    """All that a job has made of its clips, but for times."""
    made = {str(path.relative_to(out)): path.read_bytes() for path in (out / "clips").rglob("*") if path.is_file()}
    return made | {"clips.csv": (out / "clips.csv").read_bytes()}


@pytest.fixture(scope="module")
def folder(astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips with a face, one without, one that is none, a picture, and a clip in a folder inside."""
    folder = tmp_path_factory.mktemp("clips")
    face = np.ascontiguousarray(astronaut[20:260, 100:340])
    for i in range(6):
        write_clip(folder / f"{i}.mp4", [np.roll(face, i + j, axis=1) for j in range(20)])
    write_clip(folder / "grey.mp4", [np.full_like(face, 90)] * 10)
    (folder / "text.mp4").write_text("no")
    cv2.imwrite(str(folder / "picture.png"), face)
    (folder / "inner").mkdir()
    write_clip(folder / "inner" / "0.mp4", [face] * 12)
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("job") / "out"
    result = run(folder, "-o", out, "--recursive", "--pose")
    assert result.exit_code == 3, result.output
    assert "9 clips, 0 of them done before, 1 failed: 142 frames, 132 faces" in result.stderr
    assert "Failed:" in result.stderr and "text.mp4" in result.stderr
    return out


@pytest.mark.long
def test_each_clip_has_its_row_and_its_tables(folder: Path, undisturbed: Path) -> None:
    rows = {Path(row["source"]).relative_to(folder).as_posix(): row for row in table(undisturbed / "clips.csv")}
    assert sorted(rows) == ["0.mp4", "1.mp4", "2.mp4", "3.mp4", "4.mp4", "5.mp4", "grey.mp4", "inner/0.mp4", "text.mp4"]
    face, grey, text = rows["3.mp4"], rows["grey.mp4"], rows["text.mp4"]
    assert (face["status"], face["frames"], face["faces"], face["ids"], face["with_face"]) == (
        "ok",
        "20",
        "20",
        "1",
        "1.0",
    )
    assert float(face["duration_s"]) == pytest.approx(19 / 25) and float(face["mean_confidence"]) > 0.9
    assert -40 < float(face["yaw_min"]) <= float(face["yaw_max"]) < 40
    assert (grey["status"], grey["faces"], grey["with_face"], grey["yaw_min"]) == ("no_face", "0", "0.0", "")
    assert text["status"] == "error" and "text.mp4" in text["error"]
    assert {value for name, value in text.items() if name not in ("source", "status", "error")} == {""}
    (place,) = (undisturbed / "clips").rglob("inner/0.mp4.csv")
    records = get_format("csv").read(place)
    assert len(records) == 12 and all(record.faces[0].pose is not None for record in records)
    assert len(table(place.with_name("0.mp4.measures.csv"))) == 12
    assert place.with_name("0.mp4.blinks.csv").exists()
    persons = undisturbed.parent / "persons.csv"
    done = CliRunner().invoke(main, ["measure", str(undisturbed), "--summary", str(persons)])
    assert "132 faces of" in done.stderr and "1 of its clips failed and has no rows; clips.csv" in done.stderr
    assert len({row["source"] for row in table(persons)}) == 7


def test_a_table_is_that_of_video_track(folder: Path, undisturbed: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.csv"
    assert CliRunner().invoke(main, ["video", "track", str(folder / "2.mp4"), "-o", str(one), "--pose"]).exit_code == 0
    (place,) = (undisturbed / "clips").rglob("2.mp4.csv")
    assert place.read_bytes() == one.read_bytes()


@pytest.mark.long
def test_killed_again_and_again_it_ends_as_undisturbed(folder: Path, undisturbed: Path, tmp_path: Path) -> None:
    out, rng = tmp_path / "out", random.Random(1)
    command = [sys.executable, "-c", CODE, "batch", "videos", str(folder), "-o", str(out)]
    command += ["--recursive", "--pose", "--workers", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    for _ in range(3):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment, start_new_session=True)
        begin = time.monotonic()
        while time.monotonic() - begin < 60 and not list((out / "_journal").glob("*")) and process.poll() is None:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 1))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert tables(out) == tables(undisturbed)


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_clips_behind_urls(folder: Path, undisturbed: Path, tmp_path: Path, scheme: str) -> None:
    """Their tables are those of local clips, but for the source; no copy stays."""
    fsspec = pytest.importorskip("fsspec", reason="need pip install -e '.[cloud]'")
    base = "memory://clips/of a day" if scheme == "memory" else folder.as_uri()
    if scheme == "memory":
        for name in ("2.mp4", "text.mp4"):
            fsspec.filesystem("memory").pipe_file(f"{base}/{name}", (folder / name).read_bytes())
    result = run(f"{base}/2.mp4", f"{base}/text.mp4", f"{base}/none.mp4", "-o", tmp_path / "out", "--pose")
    assert result.exit_code in (1, 3) and "none.mp4" in result.stderr
    result = run(f"{base}/2.mp4", f"{base}/text.mp4", "-o", tmp_path / "out", "--pose")
    assert result.exit_code == 3, result.output
    good, bad = table(tmp_path / "out" / "clips.csv")
    assert (good["source"], good["status"], good["frames"]) == (f"{base}/2.mp4", "ok", "20")
    assert bad["status"] == "error" and bad["error"].startswith(f"{base}/text.mp4: ")
    (place,) = (tmp_path / "out" / "clips").rglob("*2.mp4.csv")
    (other,) = (undisturbed / "clips").rglob("2.mp4.csv")
    assert place.read_text() == other.read_text().replace(str(folder / "2.mp4"), f"{base}/2.mp4")
    assert not [path for path in (tmp_path / "out" / "clips").rglob(".*") if path.is_file()]


def test_measures_need_no_option_and_clips_without_a_face_are_named(folder: Path, tmp_path: Path) -> None:
    result = run(folder / "grey.mp4", "-o", tmp_path / "out", "--measures")
    assert result.exit_code == 2 and "leave --measures out" in result.stderr
    result = run(folder / "grey.mp4", "-o", tmp_path / "out")
    assert f"No face is reported in 1 clip ({folder}/grey.mp4); if heads lie" in result.stderr
    assert "1 clip, 0 of them done before, 0 failed: 10 frames, 0 faces (0 doubtful), 0 ids; " in result.stderr


def test_on_ray_the_tables_are_the_same_and_a_lost_row_costs_one_clip(
    folder: Path, undisturbed: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray.data", reason="the engine ray needs ray[data]: pip install 'facealign[ray]'")
    out, names = tmp_path / "out", ("0.mp4", "grey.mp4", "inner/0.mp4", "text.mp4")
    clips = [str(folder / name) for name in names]
    job = ["batch", "videos", *clips, "-o", str(out), "--pose", "--engine", "ray", "--workers", "1"]
    result = CliRunner().invoke(main, job)
    assert result.exit_code == 3, result.output
    assert "4 clips, 0 of them done before, 1 failed: 42 frames, 32 faces" in result.stderr

    def same() -> bool:
        made, expected = tables(out), tables(undisturbed)
        rows = [row for row in table(undisturbed / "clips.csv") if row["source"] in clips]
        assert table(out / "clips.csv") == rows and len(rows) == 4
        del made["clips.csv"]
        return len(made) == 12 and all(expected[name] == data for name, data in made.items())

    assert same()
    rows = sorted(out.glob("part-ray*.parquet"))
    assert len(rows) == 4
    rows[1].unlink()
    (out / "clips.csv").unlink()
    result = CliRunner().invoke(main, job)
    assert "4 clips, 3 of them done before, 1 failed" in result.stderr
    assert same()


def test_resumed_with_other_settings_it_refuses(folder: Path, undisturbed: Path) -> None:
    before = tables(undisturbed)
    result = run(folder, "-o", undisturbed, "--recursive", "--pose", "--smooth", "off")
    assert result.exit_code == 1 and "smoothing" in result.stderr
    assert tables(undisturbed) == before


def test_failed_clips_are_tried_again(astronaut: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_text("not yet")
    assert run(tmp_path / "in", "-o", tmp_path / "out").exit_code == 3
    write_clip(tmp_path / "in" / "a.mp4", [astronaut[20:260, 100:340]] * 5)
    assert run(tmp_path / "in", "-o", tmp_path / "out").exit_code == 3  # done is done, also badly
    assert run(tmp_path / "in", "-o", tmp_path / "out", "--retry-errors").exit_code == 0
    assert table(tmp_path / "out" / "clips.csv")[0]["faces"] == "5"


def test_overlays_and_other_formats(folder: Path, tmp_path: Path) -> None:
    result = run(folder / "0.mp4", "-o", tmp_path / "out", "--format", "openface", "--overlay-dir", tmp_path / "drawn")
    assert result.exit_code == 0, result.output
    (drawn,) = (tmp_path / "drawn").rglob("*.mp4.mp4")
    (place,) = (tmp_path / "out" / "clips").rglob("0.mp4.csv")
    assert drawn.stat().st_size > 1000 and place.read_text().startswith("frame, face_id, ")


def test_wrong_usage_is_said_before_the_work(folder: Path, tmp_path: Path) -> None:
    assert run("-o", tmp_path / "out").exit_code == 2
    assert "--focal is about" in run(folder, "-o", tmp_path / "out", "--focal", "900").stderr
    assert "local folders" in run(folder, "-o", "memory://out").stderr
    assert not (tmp_path / "out").exists()


def test_larger_frames_than_are_wanted(folder: Path, tmp_path: Path) -> None:
    how = ("-o", tmp_path / "out", "--workers", 0, "--max-pixels", "1k")
    result = run(folder / "grey.mp4", *how)
    assert result.exit_code == 3 and "more than the limit of 0" in result.stderr and "--max-pixels" in result.stderr


def test_files_that_are_no_clips_by_their_names_are_told(folder: Path, tmp_path: Path) -> None:
    """But for texts and tables, which lie beside most clips."""
    source = tmp_path / "mixed"
    source.mkdir()
    for name in ("a.gif", "b.MP3", "c.jpg", "d.mp3", "notes.txt", "clip.csv", "clip.srt", ".hidden.gif"):
        (source / name).touch()
    how = ("-o", tmp_path / "out", "--workers", 0)
    result = run(source, *how)
    assert result.exit_code == 1 and f"no clips in {source} (4 files of another kind passed over" in result.stderr
    for name in ("grey.mp4", "grey.MJPEG"):
        shutil.copy(folder / "grey.mp4", source / name)
    result = run(source, *how)
    (note,) = [line for line in result.stderr.splitlines() if line.startswith("Note: ")]
    assert note.startswith("Note: 4 files of another kind passed over (2 .mp3, 1 .") and note.count(str(source)) == 3
    assert note.endswith(", …; --glob '*.gif' takes GIFs as clips; facealign batch folder is for pictures.")


def test_batch_folder_says_which_clips_it_passes_over(folder: Path, tmp_path: Path) -> None:
    args = ["batch", "folder", str(folder), "-o", str(tmp_path / "out"), "--workers", "0", "--format", "jsonl"]
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 0, result.output
    assert "8 files of another kind passed over (.mp4): " in result.stderr
    assert ", …; facealign batch videos is for clips.\n" in result.stderr
    (line,) = (tmp_path / "out" / "part-000000.jsonl").read_text().splitlines()
    assert json.loads(line)["source"].endswith("picture.png")


def test_a_clip_that_is_cut_short_is_told(astronaut: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    face = np.ascontiguousarray(astronaut[20:260, 100:340])
    write_clip(tmp_path / "clips" / "whole.avi", [np.roll(face, i, axis=1) for i in range(12)])
    content = (tmp_path / "clips" / "whole.avi").read_bytes()
    (tmp_path / "clips" / "cut.avi").write_bytes(content[: len(content) * 2 // 3])
    result = run(tmp_path / "clips", "-o", tmp_path / "out")
    damaged = {row["source"]: int(row["damaged"]) for row in table(tmp_path / "out" / "clips.csv")}
    assert [Path(name).name for name, count in damaged.items() if count] == ["cut.avi"]
    assert f"Damaged: {tmp_path / 'clips' / 'cut.avi'}: of " in result.output
    assert "whole.avi" not in result.output
    assert result.exit_code == 3
