"""Each file of ../shared/cases outside video/, with its command: what its README says should come of it does.

Every run is a process of its own: none ends in a traceback or by a signal, takes over 20 s of processor time or 2 GiB.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from facealign_cli.formats import json as json_format
from facealign_cli.formats.pts import write_pts
from facealign_cli.landmarks import MEAN_SHAPE

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT.parent / "shared" / "cases"
MODELS = ROOT / "models"
ASTRONAUT = ROOT / "docs" / "astronaut.jpg"
MAX_CPU_S, MAX_BYTES = 20, 2 << 30

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"needs the failing inputs in {CASES}")

_MEASURED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_CPU, ({limit}, {limit}))
try:
    runpy.run_module("facealign_cli", run_name="__main__", alter_sys=True)
finally:
    own, inner = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print("MEMORY", max(own, inner) * 1024, file=sys.stderr)
"""


@dataclass(frozen=True)
class Done:
    """How a run ended. errors: what it said on stderr, line by line."""

    code: int
    output: str
    errors: list[str]

    def only_error(self) -> str:
        """The one line that it said."""
        errors = [line for line in self.errors if not re.match(r"[\d,]+ pictures?, ", line)]  # how it went, at the end
        assert len(errors) == 1, errors
        return errors[0]


def run(*args: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> Done:
    """Run the command and hold it against the bounds."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED.format(limit=MAX_CPU_S + 10), *map(str, args)],
        capture_output=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(env or {})},
        timeout=300,
        check=False,
    )
    errors = done.stderr.decode("utf-8", "replace").splitlines()
    memory = next((int(line.split()[1]) for line in errors if line.startswith("MEMORY ")), None)
    assert done.returncode >= 0, f"ended by signal {-done.returncode}"
    assert memory is not None, errors
    assert memory < MAX_BYTES, f"took {memory >> 20} MiB"
    assert not any("Traceback" in line for line in errors), errors
    told = [line for line in errors if not line.startswith("MEMORY ") and line.strip()]
    return Done(done.returncode, done.stdout.decode("utf-8", "replace"), told)


def assert_refused(done: Done, *words: str) -> None:
    """It failed as a whole, with one line that has these words."""
    assert done.code == 1, (done.code, done.errors)
    line = done.only_error()
    assert line.startswith("Error: ")
    assert all(word in line for word in words), line


def records_of(*paths: object) -> list[dict[str, object]]:
    """The records of `detect image`, some of which may have failed."""
    done = run("detect", "image", *paths, "--format", "json")
    assert done.code in (0, 3), done.errors
    results: list[dict[str, object]] = json.loads(done.output)["results"]
    return results


class TestPictures:
    @pytest.mark.long
    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("redos.ppm", "no size in the PNM header"),
            ("lie_14000x14000.jpg", "cut short"),
            ("lie_14000x14000.gif", "cut short"),
            ("IMG_2.HEIC", "a HEIC picture, which is not read here: convert it to JPEG first, with heif-convert"),
        ],
    )
    def test_an_error_row_at_once(self, name: str, words: str) -> None:
        done = run("detect", "image", CASES / "pictures" / name, "--format", "json")
        assert done.code == 3
        assert words in done.only_error()
        (record,) = json.loads(done.output)["results"]
        assert record["status"] == "error"
        assert words in record["error"]

    def test_floats_as_imagej_writes_them(self) -> None:
        (record,) = records_of(CASES / "pictures" / "grey_float32.tif")
        assert record["status"] == "ok"
        assert (record["width"], record["height"]) == (256, 256)

    @pytest.mark.long
    def test_too_wide_for_jpeg(self, tmp_path: Path) -> None:
        wide = CASES / "pictures" / "wide_70000x60.png"
        out, drawn = tmp_path / "w.json", tmp_path / "D"
        done = run("detect", "image", ASTRONAUT, wide, "-o", out, "--overlay", drawn)
        assert done.code == 0, done.errors
        assert [result.status for result in json_format.read(out)] == ["ok", "no_face"]
        assert sorted(path.name for path in drawn.iterdir()) == ["astronaut.jpg", "wide_70000x60.png"]
        done = run("detect", "image", wide, "-o", tmp_path / "one.json", "--overlay", tmp_path / "one.jpg")
        assert done.code == 0, done.errors
        (result,) = json_format.read(tmp_path / "one.json")
        assert "70000 x 60 pixels do not go into .jpg" in (result.warning or "")

    @pytest.mark.long
    def test_too_wide_in_a_folder_job(self, tmp_path: Path) -> None:
        (tmp_path / "src").mkdir()
        for picture in (ASTRONAUT, CASES / "pictures" / "wide_70000x60.png"):
            shutil.copy(picture, tmp_path / "src")
        done = run("batch", "folder", "src", "-o", "out", "--workers", 1, "--overlay-dir", "drawn", cwd=tmp_path)
        assert done.code == 0, done.errors
        assert json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"]["pictures"] == 2
        drawn = sorted(path.suffix for path in (tmp_path / "drawn").rglob("*") if path.is_file())
        assert drawn == [".jpg", ".png"]

    def test_other_kinds_in_a_folder_are_counted_and_named(self, tmp_path: Path) -> None:
        (tmp_path / "src").mkdir()
        for picture in (ASTRONAUT, CASES / "pictures" / "IMG_2.HEIC"):
            shutil.copy(picture, tmp_path / "src")
        done = run("batch", "folder", "src", "-o", "out", "--workers", 1, cwd=tmp_path)
        assert done.code == 0, done.errors
        assert any("1 file of another kind passed over (.heic)" in line for line in done.errors), done.errors


class TestTexts:
    @pytest.mark.parametrize("name", ["1e300", "bigint", "deep", "tiny"])
    def test_boxes(self, name: str, tmp_path: Path) -> None:
        picture = shutil.copy(ASTRONAUT, tmp_path / "p.jpg")
        boxes = CASES / "text" / f"boxes_{name}.json"
        assert_refused(run("detect", "image", picture, "--boxes", boxes), str(boxes))

    @pytest.fixture
    def truth(self, tmp_path: Path) -> Path:
        (tmp_path / "gt").mkdir()
        write_pts(tmp_path / "gt" / "image_042.pts", MEAN_SHAPE + 100)
        return tmp_path / "gt"

    @pytest.mark.parametrize("name", ["predictions_bigint.json", "predictions_header.csv"])
    def test_predictions(self, name: str, truth: Path) -> None:
        file = CASES / "text" / name
        assert_refused(run("evaluate", "predictions", file, truth), str(file))

    def test_a_point_beyond_any_picture(self, truth: Path, tmp_path: Path) -> None:
        file, out = CASES / "text" / "predictions_1e300.json", tmp_path / "out.json"
        done = run("evaluate", "predictions", file, truth, "--json", out)
        assert done.code == 3, done.errors
        assert [face["status"] for face in json.loads(out.read_text())["faces"]] == ["nan"]

    def test_an_evaluation(self) -> None:
        file = CASES / "text" / "evaluation_bigint.json"
        assert_refused(run("evaluate", "compare", file, file), str(file), "too large")

    @pytest.mark.parametrize("name", ["hugebox.xml", "longname.xml"])
    def test_xml(self, name: str, tmp_path: Path) -> None:
        shutil.copy(CASES / "text" / name, tmp_path)
        shutil.copy(ASTRONAUT, tmp_path / "image_042.jpg")
        done = run("evaluate", "dataset", tmp_path / name, "--init", "ground-truth")
        assert_refused(done, name, "no annotated face that can be evaluated (1 left out")

    def test_dlibs_utf8_under_latin1(self, tmp_path: Path) -> None:
        name = "dlib_utf8_under_latin1.xml"
        shutil.copy(CASES / "text" / name, tmp_path)
        for picture in ("José.jpg", "日.jpg", "José 日.jpg"):
            shutil.copy(ASTRONAUT, tmp_path / picture)
        done = run("evaluate", "dataset", tmp_path / name, "--init", "ground-truth", "--json", tmp_path / "e.json")
        assert done.code == 0, done.errors
        evaluation = json.loads((tmp_path / "e.json").read_text())
        assert evaluation["faces"]
        assert {face["status"] for face in evaluation["faces"]} == {"ok"}

    @pytest.mark.long
    def test_a_nul_in_a_list(self, tmp_path: Path) -> None:
        file = CASES / "text" / "list_nul.parquet"
        done = run(
            *("batch", "folder", "--list", file, "-o", "out", "--workers", 1, "--format", "jsonl"),
            cwd=tmp_path,
        )
        assert done.code == 3, done.errors
        rows = [
            json.loads(line)
            for part in (tmp_path / "out").glob("part-*.jsonl")
            for line in part.read_text().splitlines()
        ]
        odd = [row for row in rows if "\0" in row["source"]]
        assert len(odd) == 1
        assert odd[0]["status"] == "error"


class TestModels:
    @pytest.mark.parametrize("name", ["confidence", "landmarks"])
    def test_a_graph_that_gives_nan(self, name: str) -> None:
        file = CASES / "models" / f"graph_nan_{name}.onnx"
        done = run("detect", "image", ASTRONAUT, "--model", file)
        assert_refused(done, str(file), name)

    @pytest.mark.long
    @pytest.mark.parametrize("name", ["deep", "sha_integer"])
    @pytest.mark.parametrize("command", [("model", "list"), ("model", "info", "dan-light"), ("doctor",)])
    def test_a_damaged_registry(self, name: str, command: tuple[str, ...], tmp_path: Path) -> None:
        """The package is copied, so that the file can stand in place of its own."""
        shutil.copytree(ROOT / "facealign_cli", tmp_path / "facealign_cli", ignore=shutil.ignore_patterns("*.pyc"))
        (tmp_path / "models").mkdir()
        index = shutil.copy(CASES / "models" / f"models_{name}.json", tmp_path / "models" / "models.json")
        done = run(*command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
        assert done.code == 1
        if command == ("doctor",):
            assert "models.json" in "".join(done.output.split())
        else:
            assert_refused(done, str(index))


class TestTraining:
    @pytest.fixture(autouse=True)
    def needs_torch(self) -> None:
        for package in ("torch", "h5py", "onnx"):
            pytest.importorskip(package)

    @pytest.mark.parametrize("name", ["export-average_none.ckpt", "export-average_shape.ckpt"])
    def test_checkpoints(self, name: str, tmp_path: Path) -> None:
        file = CASES / "training" / name
        done = run("train", "export", file, "-o", tmp_path / "m.onnx", "--name", "m", "--model-version", "1")
        assert_refused(done, "checkpoint")

    @pytest.mark.parametrize(("name", "word"), [("encrypted.npz", "encrypted"), ("method.npz", "method")])
    def test_npz(self, name: str, word: str, tmp_path: Path) -> None:
        file = CASES / "training" / name
        assert_refused(run("model", "convert", file, "-o", tmp_path / "m.onnx"), str(file), word)

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("external_etc_passwd.h5", "keeps its bytes in another file"),
            ("jpeg_lie.h5", "cannot hold a JPEG of 65000 x 65000 pixels"),
        ],
    )
    def test_packs(self, name: str, words: str, tmp_path: Path) -> None:
        file = CASES / "training" / name
        assert_refused(run("train", "relabel", file, "-o", tmp_path / "new.h5", "--hand", 0.5), str(file), words)
        assert not (tmp_path / "new.h5").exists()


JOB = ("batch", "folder", "src", "-o", "out", "--workers", "0", "--format", "jsonl", "--shard-rows", "2")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished job whose shards have two rows each."""
    folder = tmp_path_factory.mktemp("job")
    (folder / "src").mkdir()
    for i in range(5):
        (folder / "src" / f"{i}.jpg").write_bytes(b"no picture")
    done = run(*JOB, cwd=folder)
    assert done.code == 3, done.errors
    return folder


@pytest.mark.parametrize(
    ("case", "place"),
    [
        ("manifest_config_list.json", "manifest.json"),
        ("manifest_shards_string.json", "manifest.json"),
        ("index_counts_string.json", "_journal/part-000000.json"),
        ("segment_ms_list.jsonl", "_journal/000099.jsonl"),
    ],
)
def test_a_damaged_file_of_a_job(job: Path, case: str, place: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(job, tmp_path / "job"))
    (folder / "out" / place).unlink(missing_ok=True)
    shutil.copy(CASES / "batch" / case, folder / "out" / place)
    assert_refused(run(*JOB, cwd=folder), f"out/{place}")


def test_every_case_has_its_test() -> None:
    """No file of the folders that belong here is left out."""
    text = Path(__file__).read_text()
    missing = [
        path.name
        for path in sorted(CASES.rglob("*"))
        if path.is_file() and path.parent not in (CASES, CASES / "video") and not _is_named(path, text)
    ]
    assert not missing


def _is_named(path: Path, text: str) -> bool:
    prefix, _, rest = path.stem.partition("_")
    return path.name in text or (f"{prefix}_" in text and f'"{rest}"' in text) or _graph(path, text)


def _graph(path: Path, text: str) -> bool:
    return path.stem.startswith("graph_nan_") and f'"{path.stem.removeprefix("graph_nan_")}"' in text
