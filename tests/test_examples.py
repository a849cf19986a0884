"""Every file in examples/ runs as a user runs it, and uses public names only."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import facealign_cli
from facealign_cli import Aligner, read_image
from facealign_cli.formats.pts import write_pts

FOLDER = Path(__file__).resolve().parents[1] / "examples"
NAMES = sorted(path.name for path in FOLDER.glob("*.py"))


@pytest.fixture
def portrait(tmp_path: Path, astronaut: np.ndarray) -> Path:
    """The face in the middle of a picture, over about half of it."""
    cv2.imwrite(str(tmp_path / "portrait.png"), astronaut[40:220, 130:310])
    return tmp_path / "portrait.png"


def run(folder: Path, name: str, *arguments: object) -> str:
    paths = [str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-W", "error", str(FOLDER / name), *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_each_example_is_listed_and_tested() -> None:
    listed = re.findall(r"^\| \[(\w+\.py)\]", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*example*.py"))
    tested = re.findall(r'(?:run\(\w+, |example\()"(\w+\.py)"', tests)
    assert sorted(listed) == sorted(set(tested)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_public_names_only(name: str) -> None:
    tree = ast.parse((FOLDER / name).read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not [alias.name for alias in node.names if alias.name.startswith("facealign_cli")]
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("facealign_cli"):
            assert node.module == "facealign_cli"
            assert {alias.name for alias in node.names} <= set(facealign_cli.__all__)


def test_pictures(tmp_path: Path, portrait: Path) -> None:
    (tmp_path / "torn.png").write_bytes(portrait.read_bytes()[:900])
    output = run(tmp_path, "pictures.py", portrait, "torn.png")
    assert "portrait.png ok" in output and "torn.png error" in output and "Face(0, bbox=" in output
    records = json.loads((tmp_path / "faces.json").read_text())["results"]
    assert [record["status"] for record in records] == ["ok", "error"]
    assert (read_image(tmp_path / "drawn-0.jpg") != read_image(portrait)).any()
    assert not (tmp_path / "drawn-1.jpg").exists()


def test_many_arrays(tmp_path: Path, portrait: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((90, 90), 80, np.uint8))
    output = run(tmp_path, "many_arrays.py", portrait, "grey.png", portrait)
    assert re.findall(r"(\d) faces", output) == ["1", "0", "1"]
    (faces,) = Aligner().align_many([portrait])
    x, y = faces[0].landmarks.mean(axis=0)
    assert output.count(f"centre ({x:.1f}, {y:.1f})") == 2


def test_own_boxes(tmp_path: Path, portrait: Path) -> None:
    output = run(tmp_path, "own_boxes.py", portrait, 47, 47, 136, 138)
    confidences = [float(value) for value in re.findall(r"confidence=([\d.]+)", output)]
    assert len(confidences) == 3 and confidences[0] > 0.9


def test_video_frames(tmp_path: Path, portrait: Path) -> None:
    pytest.importorskip("av")
    from clips import write_clip

    clip = write_clip(tmp_path / "clip.mp4", [read_image(portrait)] * 5)
    lines = run(tmp_path, "video_frames.py", clip).splitlines()
    assert [line.split(":")[0] for line in lines] == ["0.000 s", "0.040 s", "0.080 s", "0.120 s", "0.160 s"]
    assert all("person 0, nose tip" in line for line in lines)


def test_measures(tmp_path: Path, portrait: Path) -> None:
    pytest.importorskip("av")
    from clips import write_clip

    clip = write_clip(tmp_path / "clip.mp4", [read_image(portrait)] * 3)
    lines = run(tmp_path, "measures.py", clip).splitlines()
    found = [re.fullmatch(r"0\.(\d+) s: person 0, yaw (-?\d+)°, eyes (0\.\d\d)", line) for line in lines]
    assert [match[1] for match in found if match] == ["000", "040", "080"]
    assert all(match and abs(int(match[2])) < 25 and 0.2 < float(match[3]) < 0.45 for match in found)


def test_crops(tmp_path: Path, portrait: Path) -> None:
    assert run(tmp_path, "crops.py", portrait) == "face-0.png\n"
    crop = read_image(tmp_path / "face-0.png")
    assert crop.shape == (256, 256, 3)
    (face,) = Aligner().align(crop)
    np.testing.assert_allclose(face.landmarks.mean(axis=0), [127.5, 127.5], atol=15)


def test_evaluation(tmp_path: Path, portrait: Path) -> None:
    (face,) = Aligner().align(portrait)
    eyes = np.linalg.norm(face.landmarks[36] - face.landmarks[45])
    write_pts(portrait.with_suffix(".pts"), face.landmarks + np.array([0.02 * eyes, 0]))
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((180, 180), 80, np.uint8))
    write_pts(tmp_path / "grey.pts", face.landmarks)
    output = run(tmp_path, "evaluation.py", tmp_path)
    assert "2 faces, 1 without a prediction" in output and "mean NME 2.00 %" in output
    assert re.findall(r"AUC at 0.08 ([\d.]+), failures ([\d.]+)", output) == [("0.375", "0.500")] * 2


def test_own_detector(tmp_path: Path, portrait: Path) -> None:
    lines = run(tmp_path, "own_detector.py", portrait).splitlines()
    assert len(lines) == 2 and lines[0] == lines[1]
    assert "bbox=(45.0, 45.0, 135.0, 135.0)" in lines[0]


def test_thread_pool(tmp_path: Path, portrait: Path) -> None:
    lines = run(tmp_path, "thread_pool.py", *[portrait] * 6, "missing.png").splitlines()
    assert lines[6] == "missing.png missing.png: no such file"
    assert len(set(lines[:6])) == 1 and "[Face(0, bbox=" in lines[0]
