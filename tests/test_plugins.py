"""Detectors and formats of another package: it is built and installed here, and found by its entry points."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

CODE = '''
from facealign_cli import BBox, BoxCalibration, Detection, register_format


class Middle:
    """Finds a face in the middle of every picture."""

    name = "middle"
    calibration = BoxCalibration(top=0.25)

    def __init__(self, options):
        self.min_face = options.min_face

    def detect(self, image, source=None):
        height, width = image.shape[:2]
        return [Detection(BBox(width / 4, height / 4, width * 3 / 4, height * 3 / 4), self.min_face)]


def dump(results, stream):
    for result in results:
        stream.write(f"{result.source} {len(result.faces)}\\n".encode())


def write(path, results, overwrite=False):
    with open(path, "wb") as stream:
        dump(results, stream)


def read(path):
    return []


register_format("counts", (".counts",), write=write, read=read, dump=dump)
'''
POINTS = """[facealign.detectors]
middle = extra_faces:Middle
broken = extra_faces:Nothing
mtcnn = extra_faces:Middle

[facealign.formats]
counts = extra_faces
torn = extra_faces.torn
rude = extra_faces.rude
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package installed in it, as pip does it."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("needs pip")
    folder = tmp_path_factory.mktemp("plugin")
    wheel, info = folder / "extra_faces-1.0-py3-none-any.whl", "extra_faces-1.0.dist-info"
    files = {
        "extra_faces/__init__.py": CODE,
        "extra_faces/rude.py": "import sys\n\nsys.exit('this package leaves Python when it is imported')\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: extra-faces\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": POINTS,
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"]))
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target"]
    subprocess.run([*command, str(folder / "site"), str(wheel)], check=True, capture_output=True, timeout=120)
    cv2.imwrite(str(folder / "grey.png"), np.full((80, 120, 3), 90, np.uint8))
    return folder / "site"


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=site.parent,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def detect(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(site, "-m", "facealign_cli", "detect", "image", "grey.png", *arguments)


def test_its_detector_is_one_of_ours(site: Path) -> None:
    done = detect(site, "--detector", "middle", "--min-face", "33", "--min-confidence", "0")
    (record,) = json.loads(done.stdout)["results"]
    assert record["detector"] == "middle"
    assert (record["faces"][0]["bbox"], record["faces"][0]["detector_score"]) == ([30, 20, 90, 60], 33)


def test_its_format_is_one_of_ours(site: Path) -> None:
    assert detect(site, "--detector", "middle", "--min-confidence", "0", "--format", "counts").stdout == "grey.png 1\n"
    assert detect(site, "--detector", "middle", "--min-confidence", "0", "-o", "by-its-name.counts").returncode == 0
    assert (site.parent / "by-its-name.counts").read_text() == "grey.png 1\n"


def test_our_own_names_come_first(site: Path) -> None:
    (record,) = json.loads(detect(site, "--detector", "mtcnn").stdout)["results"]
    assert record["status"] == "no_face"


def test_what_cannot_be_loaded_names_its_package(site: Path) -> None:
    broken = detect(site, "--detector", "broken")
    assert broken.returncode == 1
    assert "'broken' of the package extra-faces (extra_faces:Nothing) cannot be loaded" in broken.stderr
    assert "Traceback" not in broken.stderr
    torn = detect(site, "--format", "torn")
    assert torn.returncode == 2 and "'torn' of the package extra-faces" in torn.stderr


def test_names_are_listed(site: Path) -> None:
    done = run(site, "-c", "import facealign_cli as f; print(*f.known_detectors())")
    assert {"middle", "broken"} < set(done.stdout.split())
    assert "middle" in detect(site, "--detector", "nobody").stderr
    assert "counts" in detect(site, "--format", "nothing").stderr
