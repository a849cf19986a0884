"""`facealign batch folder`: run, killed, interrupted, resumed; what it says and how it exits."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from facealign_cli.cli.main import main
from facealign_cli.convert import read_faces

CODE = "from facealign_cli.cli.main import main; main(prog_name='facealign')"


def run(*args: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["batch", "folder", *map(str, args)], input=stdin)


def start(*args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CODE, "batch", "folder", *map(str, args)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def rows_of(folder: Path) -> list[dict]:
    rows = [row for path in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]
    timeless = [{k: v for k, v in row.items() if not k.endswith("_ms")} for row in rows]
    return sorted(timeless, key=lambda row: (row["source"], str(row["face_id"])))


def same(one: list[dict], other: list[dict]) -> bool:
    return json.dumps(one) == json.dumps(other)


@pytest.fixture(scope="module")
def folder(astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pictures: 50 with a face, 8 without, 2 damaged."""
    folder = tmp_path_factory.mktemp("many")
    face = cv2.resize(astronaut[:220, 110:330], (330, 330))
    for i in range(50):
        cv2.imwrite(str(folder / f"face{i}.jpg"), np.roll(face, i, axis=0))
    for i in range(8):
        cv2.imwrite(str(folder / f"grey{i}.png"), np.full((100, 100), i, np.uint8))
    (folder / "cut.jpg").write_bytes((folder / "face0.jpg").read_bytes()[:3000])
    (folder / "text.jpg").write_text("no")
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    out = tmp_path_factory.mktemp("undisturbed")
    assert run(folder, "-o", out, "--workers", 0, "--device", "cpu").exit_code == 3
    rows = rows_of(out)
    assert len(rows) == 60
    return rows


def test_it_counts_one_as_one(folder: Path, tmp_path: Path) -> None:
    result = run(folder / "face0.jpg", "-o", tmp_path / "out", "--workers", 0, "--format", "jsonl")
    assert "1 row of 1 picture, 1 face, 0 without" in result.stderr
    assert [one.source for one in read_faces(tmp_path / "out")] == [str(folder / "face0.jpg")]


@pytest.mark.parametrize("count", [1, 7])
def test_what_is_wrong_with_pictures_that_were_used_is_told(tmp_path: Path, count: int) -> None:
    for i in range(count):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((40, 40), 4000, np.uint16))  # 12 bits of 16
    result = run(tmp_path, "-o", tmp_path / "out", "--workers", 0, "--format", "jsonl")
    assert result.exit_code == 0
    told = [line for line in result.stderr.splitlines() if line.startswith("Warning: ")]
    assert len(told) == min(count, 5)
    assert all(f"Warning: {tmp_path}/" in line and ".png: its values go up to 4,000" in line for line in told)
    assert ("… and 2 more: rows with a warning." in result.stderr) == (count == 7)


@pytest.mark.long
def test_what_it_says(folder: Path, tmp_path: Path) -> None:
    result = run(folder, "-o", tmp_path / "out", "--workers", 1, "--format", "jsonl")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "60 rows of 60 pictures, 50 faces, 8 without a face, 2 failed." in result.stderr
    assert "Failed:" in result.stderr
    assert "text.jpg: not a picture of a known format" in result.stderr
    assert "Slowest:" in result.stderr
    assert "Processor time: read" in result.stderr
    again = run(folder, "-o", tmp_path / "out", "--workers", 1, "--format", "jsonl", "--resume")
    assert again.exit_code == 3
    assert "0 pictures, 60 done before, 0 faces" in again.stderr
    assert "Note: 2 of those done before had failed; --retry-errors tries them once more." in again.stderr
    assert "--retry-errors" not in result.stderr


@pytest.mark.long
def test_killed_at_random_and_resumed(folder: Path, tmp_path: Path, undisturbed: list[dict]) -> None:
    out, rng = tmp_path / "out", random.Random(6)
    arguments = (folder, "-o", out, "--workers", 2, "--batch-size", 2, "--shard-rows", 20, "--device", "cpu")
    for _ in range(3):
        process = start(*arguments)
        time.sleep(rng.uniform(0.8, 2.5))
        process.kill()
        process.communicate()
    process = start(*arguments)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 3, told
    assert same(rows_of(out), undisturbed)
    assert [p.name for p in (out / "_journal").iterdir() if not p.name.startswith("part-")] == []


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and b"spawn_main" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.long
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
def test_workers_that_somebody_kills_blame_no_picture(folder: Path, tmp_path: Path, undisturbed: list[dict]) -> None:
    out, rng, kills = tmp_path / "out", random.Random(6), 0
    process = start(folder, "-o", out, "--workers", 2, "--batch-size", 2, "--shard-rows", 20, "--device", "cpu")
    while process.poll() is None and kills < 6:
        time.sleep(rng.uniform(0.2, 1.0))
        for pid in workers_of(process)[:1]:
            os.kill(pid, signal.SIGKILL)
            kills += 1
    _, told = process.communicate(timeout=120)
    assert process.returncode == 3, told
    assert kills > 0
    assert same(rows_of(out), undisturbed)


@pytest.mark.long
def test_interrupted(folder: Path, tmp_path: Path, undisturbed: list[dict]) -> None:
    out = tmp_path / "out"
    many = tmp_path / "list"
    many.write_text("\n".join(str(folder / name) for name in sorted(os.listdir(folder))))
    process = start("--list", many, "-o", out, "--workers", 1, "--batch-size", 1, "--device", "cpu")
    until = time.monotonic() + 20
    while not (out / "manifest.json").exists() and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.9)  # a worker is there by now
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    if process.returncode == 3:
        pytest.skip("this machine was done before it could be interrupted")
    assert process.returncode == 130, told
    assert "Interrupted: what is finished is written" in told
    assert json.loads((out / "manifest.json").read_text())["state"] == "interrupted"
    done = json.loads((out / "manifest.json").read_text())["counts"]["pictures"]
    assert done < 60
    result = run("--list", many, "-o", out, "--workers", 0, "--device", "cpu")
    assert f"{60 - done} pictures, " in result.stderr
    assert same(rows_of(out), undisturbed)


def test_a_list_on_standard_input(folder: Path, tmp_path: Path) -> None:
    lines = b"\n".join(os.fsencode(folder / name) for name in ("face1.jpg", "face2.jpg", "face1.jpg"))
    result = run("-", "-o", tmp_path / "out", "--workers", 0, stdin=lines)
    assert result.exit_code == 0, result.stderr
    assert len(rows_of(tmp_path / "out")) == 2


def test_another_configuration(folder: Path, tmp_path: Path) -> None:
    glob = folder / "face1.jpg"
    assert run(glob, "-o", tmp_path / "out", "--workers", 0).exit_code == 0
    result = run(glob, "-o", tmp_path / "out", "--workers", 0, "--min-face", 50)
    assert result.exit_code == 1
    assert "detector.min_face: was 30.0, is 50.0" in result.stderr
    assert run(glob, "-o", tmp_path / "out", "--workers", 0, "--min-face", 50, "--restart").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a", "-o", "out", "--resume", "--restart"], "contradict"),
        (["-o", "out"], "name at least one SRC"),
        (["a"], "Missing option '-o'"),
        (["a", "-o", "-"], "not to standard output"),
        (["a", "-o", "out", "--timeout", "nan"], "nan"),
        (["a", "-o", "out", "--format", "xml"], "xml"),
        (["a", "-o", "out", "--boxes", __file__, "--detector", "haar"], "--boxes"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_an_empty_folder(tmp_path: Path) -> None:
    result = run(tmp_path, "-o", tmp_path / "out", "--workers", 0)
    assert result.exit_code == 1
    assert f"no pictures in {tmp_path}" in result.stderr


def test_a_pattern_with_an_empty_range_finds_nothing(folder: Path, tmp_path: Path) -> None:
    result = run(f"{folder}/[z-a]*.jpg", "-o", tmp_path / "out", "--workers", 0)
    assert result.exit_code == 1
    assert "no pictures in" in result.stderr


def test_a_nul_in_a_list_is_one_bad_path(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a.jpg\0b.jpg"]}), tmp_path / "l.parquet")
    result = run("--list", tmp_path / "l.parquet", "-o", tmp_path / "out", "--workers", 0)
    assert result.exit_code == 3
    (row,) = rows_of(tmp_path / "out")
    assert (row["status"], row["source"]) == ("error", "a.jpg\0b.jpg")
    assert "null" in row["error"]


def test_detect_image_points_here(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["detect", "image", str(tmp_path)])
    assert "facealign batch folder" in result.stderr


def test_help() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for option in ("--recursive", "--list", "--retry-errors", "--crops-dir", "--engine", "--timeout", "--detector"):
        assert option in result.stdout


def test_poses_are_in_the_rows(folder: Path, tmp_path: Path) -> None:
    result = run(folder / "face0.jpg", "-o", tmp_path / "out", "--workers", 0, "--pose", "--focal", 600)
    assert result.exit_code == 0, result.output
    (row,) = rows_of(tmp_path / "out")
    assert 100 < row["pose_Tz"] < 5000 and abs(row["pose_Ry"]) < 0.7
    resumed = run(folder / "face0.jpg", "-o", tmp_path / "out", "--workers", 0)
    assert resumed.exit_code == 1 and "pose" in resumed.stderr


def test_faces_that_are_left_out_are_counted(astronaut: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "face.png"), astronaut)
    result = run(tmp_path / "in", "-o", tmp_path / "out", "--workers", 0, "--min-confidence", 1)
    assert result.exit_code == 0
    assert "Left out: 1 face with a confidence below 1; --min-confidence 0 shows all." in result.stderr
    assert "No face is reported in 1 picture; if heads" in result.stderr
    (row,) = rows_of(tmp_path / "out")
    assert (row["status"], row["left_out"]) == ("no_face", 1)
    result = run(tmp_path / "in", "-o", tmp_path / "out", "--workers", 0)
    assert "min_confidence: was 1.0, is 0.5" in result.stderr
