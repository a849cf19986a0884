"""OpenFace's table."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facealign_cli.boxes import BBox
from facealign_cli.errors import FormatError
from facealign_cli.formats.openface import COLUMNS, read, scan, write
from facealign_cli.pose import camera_matrix, mean_face, project
from facealign_cli.records import Face, FrameResult, HeadPose, LeftOut


def test_header_and_cells_as_openface_writes_them(results, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", results)
    text = (tmp_path / "a.csv").read_bytes().decode("utf-8")
    header, rows = text.partition("\n")[0], list(csv.reader(io.StringIO(text, newline=""), skipinitialspace=True))
    pose = "pose_Tx, pose_Ty, pose_Tz, pose_Rx, pose_Ry, pose_Rz"
    assert header.startswith(f"frame, face_id, timestamp, confidence, success, {pose}, x_0, x_1, ")
    assert ", x_67, y_0, " in header
    assert header.endswith(", y_67, source")
    assert text.splitlines()[1].startswith("1, 0, 0.000, 0.9875, 1, ")
    assert rows[2][:5] == ["1", "1", "0.000", "0.9875", "1"]
    assert rows[4][:-1] == ["3", "0", "0.000", "0.0000", "0", *["0.000"] * 3, *["0.00000"] * 3, *["0.000"] * 136]
    assert rows[9][:8] == ["2", "7", "0.033", "0.9875", "1", "12.345", "-6.500", "710.125"]
    assert rows[9][8:11] == ["0.12345", "-0.50000", "0.06250"]
    assert all(len(row) == len(COLUMNS) + 1 for row in rows)


def test_round_trip_of_what_the_format_holds(results, write_read) -> None:
    video = results[-2:]
    for got, sent in zip(write_read("openface", video), video, strict=True):
        assert (got.status, got.frame, got.timestamp_s) == (sent.status, sent.frame, round(sent.timestamp_s, 3))
        assert [face.face_id for face in got.faces] == [7]
        np.testing.assert_array_equal(got.faces[0].landmarks, sent.faces[0].landmarks)
        assert got.faces[0].confidence == sent.faces[0].confidence
    pictures = results[:6]
    got = write_read("openface", pictures, "b")
    assert [len(r.faces) for r in got] == [len(r.faces) for r in pictures]
    assert [r.frame for r in got] == list(range(6))
    assert [r.source for r in got] == [r.source for r in pictures]


@pytest.mark.parametrize("kept", [2, 300, -3])
def test_a_last_line_that_was_cut_is_left_out_and_named(results, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.csv"
    write(path, results[-2:])
    *lines, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines) + last[:kept])
    result, left_out = scan(path)
    assert isinstance(result, FrameResult) and len(result.faces) == 1
    assert isinstance(left_out, LeftOut) and left_out.name == str(path) and left_out.reason.startswith("line 3: it may")
    with pytest.raises(FormatError, match="line 3: it may not have been written to its end"):
        read(path)


def test_a_script_made_for_openface_2_reads_it(tmp_path: Path) -> None:
    """What scripts do: split the header at comma and space, take columns by OpenFace 2.2's names and order."""
    turned = HeadPose((40.0, -20.0, 600.0), (0.1, 0.4, -0.05))
    landmarks = project(mean_face(), turned, camera_matrix(640, 480))
    face = Face(0, BBox(0, 0, 9, 9), landmarks, 0.98, track_id=0)
    frames = [
        FrameResult.of_faces("v.mp4", [face], width=640, height=480, frame=i, timestamp_s=i / 30) for i in range(3)
    ]
    write(tmp_path / "v.csv", frames)
    header, *rows = [line.split(", ") for line in (tmp_path / "v.csv").read_text().splitlines()]
    openface_2 = ["frame", "face_id", "timestamp", "confidence", "success"]
    openface_2 += ["pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"]
    openface_2 += [f"x_{i}" for i in range(68)] + [f"y_{i}" for i in range(68)]
    assert header == [*openface_2, "source"]
    table = np.array([row[:-1] for row in rows], float)
    assert table[:, 0].tolist() == [1, 2, 3] and table[:, 2] == pytest.approx([0, 0.033, 0.067])
    pose = table[:, [header.index(name) for name in openface_2[5:11]]]
    assert pose[1, :3] == pytest.approx(turned.translation_mm, abs=0.1)  # where a face has no pose, it is estimated
    assert pose[1, 3:] == pytest.approx(turned.rotation_rad, abs=1e-3)
    (got, *_) = read(tmp_path / "v.csv")
    assert got.faces[0].pose is not None and got.faces[0].pose.rotation_rad == pytest.approx(
        turned.rotation_rad, abs=1e-3
    )


STRANGER = """
import sys

table = open(sys.argv[1], encoding="utf-8").read().split("\\n")
header = table[0].split(", ")
assert header[:5] == ["frame", "face_id", "timestamp", "confidence", "success"], header[:5]
assert header[5:11] == ["pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"], header[5:11]
first = header.index("x_0")
assert header[first:first + 136] == ["x_%d" % i for i in range(68)] + ["y_%d" % i for i in range(68)]
for line in table[1:-1]:
    cells = line.split(", ")
    row = dict(zip(header, cells))
    if int(row["success"]):
        x = [float(row["x_%d" % i]) for i in range(68)]
        y = [float(row["y_%d" % i]) for i in range(68)]
        print(int(row["frame"]), int(row["face_id"]), float(row["timestamp"]), x[30], y[30], float(row["pose_Ry"]))
    else:
        assert not any(float(cell) for cell in cells[5:147]), "a frame without a face is all zeros"
        print(int(row["frame"]), "lost")
"""


def test_a_strangers_script(tmp_path: Path) -> None:
    """Written from OpenFace's wiki alone; it runs in a Python without facealign."""
    pose = HeadPose((0.0, 0.0, 600.0), (0.0, 0.4, 0.0))
    face = Face(0, BBox(0, 0, 9, 9), project(mean_face(), pose, camera_matrix(640, 480)), 0.9, track_id=3, pose=pose)
    rows = [[face], [], [face, replace(face, face_id=1, track_id=5)]]
    name = "=HYPERLINK(1), a b.mp4"
    write(tmp_path / "v.csv", [FrameResult.of_faces(name, r, frame=i, timestamp_s=i / 25) for i, r in enumerate(rows)])
    (tmp_path / "read.py").write_text(STRANGER)
    command = [sys.executable, "-I", "read.py", "v.csv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    x, y = np.round(face.landmarks[30], 3)
    expected = [f"1 3 0.0 {x} {y} 0.4", "2 lost", f"3 3 0.08 {x} {y} 0.4", f"3 5 0.08 {x} {y} 0.4"]
    assert done.stdout.splitlines() == expected


@pytest.mark.parametrize("name", ["=1+1.mp4", "+a", "-b.jpg", "@c", "'d", "=a, b"])
def test_no_name_runs_in_a_spreadsheet(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.csv", [FrameResult(name, "no_face")])
    text = io.StringIO((tmp_path / "a.csv").read_text(), newline="")
    assert list(csv.reader(text, skipinitialspace=True))[1][-1] == f"'{name}"
    assert [result.source for result in read(tmp_path / "a.csv")] == [name]


def test_a_pose_that_nobody_can_know(tmp_path: Path) -> None:
    face = Face(
        0, BBox(0, 0, 9, 9), project(mean_face(), HeadPose((0, 0, 600), (0, 0, 0)), camera_matrix(640, 480)), 0.5
    )
    write(tmp_path / "a.csv", [FrameResult.of_faces("a.pts", [face])])
    assert ", 1, nan, nan, nan, nan, nan, nan, " in (tmp_path / "a.csv").read_text()
    (got,) = read(tmp_path / "a.csv")
    assert got.faces[0].pose is None


def test_reads_openface_itself(results, tmp_path: Path) -> None:
    """Without face_id (before 2.0), with columns that we do not have."""
    write(tmp_path / "a.csv", results[:1])
    rows = [line.split(", ") for line in (tmp_path / "a.csv").read_text().splitlines()]
    rows = [[row[0], *row[2:5], "AU01_r" if row[0] == "frame" else "0.5", *row[5:]] for row in rows[:2]]
    (tmp_path / "b.csv").write_text("\n".join(", ".join(row) for row in rows) + "\n")
    (got,) = read(tmp_path / "b.csv")
    np.testing.assert_array_equal(got.faces[0].landmarks, results[0].faces[0].landmarks)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("x_5,", "z_5,", "no column x_5"),
        ("0.9875", "high", "line 2"),
        ("0.9875", "nan", "finite"),
        ("0.9875", "1.5", "frame 1: confidence"),
        ("0.9875, ", "", "expected 148 cells, got 147"),
        ("1, 0,", "-1, 0,", "counts from 1"),
        ("frame", "\xff", "no column frame"),
    ],
)
def test_refuses(results, tmp_path: Path, old: str, new: str, match: str) -> None:
    write(tmp_path / "a.csv", results[:1])
    text = (tmp_path / "a.csv").read_text()
    (tmp_path / "a.csv").write_text(text.replace(old, new, 1), encoding="latin-1")
    with pytest.raises(FormatError, match=match):
        read(tmp_path / "a.csv")


def test_an_error_does_not_repeat_a_long_cell(results, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write(path, results)
    head, first, *_ = path.read_text().splitlines()
    path.write_text("\n".join([head, ",".join([first.split(",")[0], "9" * 5000 + "x", *first.split(",")[2:]])]))
    with pytest.raises(FormatError) as caught:
        read(path)
    assert len(str(caught.value)) < 300 + len(str(path))
