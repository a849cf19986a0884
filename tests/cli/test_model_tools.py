"""`model verify`, `check-file`, `bench`, `quantize`, `convert`, `export`: from the command line to files and back."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

from facealign_cli.cli.main import main
from facealign_cli.geometry import CropFrame
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.models import registry
from facealign_cli.models.dan import DanModel
from facealign_cli.models.registry import read_registry


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the default model."""
    registry = read_registry()
    return Path(shutil.copy(registry.get(registry.default).path, tmp_path / "model.onnx"))


@pytest.fixture
def shipped(model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped models with that one in it, without its check file."""
    entry = read_registry().models[read_registry().default]
    values = {"file": "model.onnx", "sha256": entry.sha256, "licence": "none", "summary": "a copy"}
    name = DanModel(model, device="cpu").metadata.name
    index = {"default": name, "models": {name: values}}
    (model.parent / "models.json").write_text(json.dumps(index), encoding="utf-8")
    monkeypatch.setattr(registry, "models_folder", lambda: model.parent)
    return model.parent


@pytest.fixture(scope="module")
def pack(astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six faces: the astronaut's, a little moved each time; two of them held out. The truth is the model's own."""
    import cv2

    from facealign_cli.aligner import Aligner

    (face,) = Aligner().align(astronaut)
    frame, rng = CropFrame(160, 1 / 3), np.random.default_rng(0)
    path = tmp_path_factory.mktemp("pack") / "faces.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": "facealign-pack/1", "size": 160, "context": 3.0})
        jpeg = file.create_dataset("jpeg", (6,), dtype=h5py.vlen_dtype(np.uint8))
        landmarks = np.empty((6, 68, 2), np.float32)
        for i in range(6):
            picture, transform = frame.crop(astronaut, face.landmarks + rng.normal(0, 3, 2))
            jpeg[i] = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))[1].ravel()
            landmarks[i] = transform.apply(face.landmarks)
        file["landmarks"] = landmarks
        file["bbox"] = np.full((6, 4), np.nan, np.float32)
        file["rough"] = np.zeros(6, bool)
        file["held_out"] = np.arange(6) % 3 == 0
        file.create_dataset("name", data=[f"a:{i}" for i in range(6)], dtype=h5py.string_dtype())
    return path


class TestVerify:
    def test_from_no_check_file_to_a_sound_model(self, shipped: Path) -> None:
        name = read_registry().default
        missing = run("model", "verify")
        assert missing.exit_code == 1
        assert "missing" in missing.stdout
        made = run("model", "check-file", shipped / "model.onnx")
        assert made.exit_code == 0
        assert "6 crops, tolerance 0.05 px" in made.stderr
        assert made.stdout == ""
        result = run("model", "verify", name, shipped / "model.onnx", "--format", "json")
        assert result.exit_code == 0
        findings = json.loads(result.stdout)
        assert [f["what"] for f in findings] == ["hash", "contract", "answers", "contract", "answers"]
        assert {f["state"] for f in findings} == {"ok"}
        assert run("model", "check-file", shipped / "model.onnx").exit_code == 1  # it exists already
        assert run("model", "check-file", shipped / "model.onnx", "--overwrite").exit_code == 0

    def test_a_damaged_model(self, shipped: Path) -> None:
        content = bytearray((shipped / "model.onnx").read_bytes())
        content[len(content) // 2] ^= 0x41  # somewhere in the weights
        (shipped / "model.onnx").write_bytes(content)
        result = run("model", "verify")
        assert result.exit_code == 1
        assert "differs" in result.stdout

    def test_a_file_alone_needs_no_check_file(self, model: Path) -> None:
        result = run("model", "verify", model)
        assert result.exit_code == 0
        assert "none" in result.stdout

    def test_options_of_the_check_file(self, model: Path, astronaut: np.ndarray, tmp_path: Path) -> None:
        import cv2

        from facealign_cli.models.check import read_check

        cv2.imwrite(str(tmp_path / "face.png"), astronaut)
        options = ("-o", tmp_path / "x.npz", "--picture", tmp_path / "face.png", "--crops", 2, "--tolerance", 0.3)
        assert run("model", "check-file", model, *options).exit_code == 0
        check = read_check(tmp_path / "x.npz")
        assert (len(check.crops), check.tolerance_px) == (2, 0.3)
        assert check.sha256 == hashlib.sha256(model.read_bytes()).hexdigest()

    def test_unknown_names(self) -> None:
        result = run("model", "verify", "nothing")
        assert (result.exit_code, "unknown model 'nothing'" in result.stderr) == (1, True)
        assert run("model", "check-file", "nothing.onnx").exit_code == 2


class TestBench:
    def test_json(self, model: Path) -> None:
        options = ("--rounds", 1, "--batch-size", 1, "--batch-size", 2, "--threads", 1, "--format", "json")
        result = run("model", "bench", model, "--against", model, *options)
        assert result.exit_code == 0
        timings = json.loads(result.stdout)
        assert [(t["what"], t["batch"]) for t in timings[:3]] == [
            ("crop + grey", 1),
            ("crop → landmarks", 1),
            ("crop → landmarks", 2),
        ]
        assert len(timings) == 6
        assert all(t["ms_per_face"] > 0 and t["ratio"] > 0 for t in timings)

    def test_table_of_the_default_model(self) -> None:
        result = run("model", "bench", "--rounds", 1, "--batch-size", 1, "--threads", 1)
        assert result.exit_code == 0
        assert "ms per face" in result.stdout
        assert read_registry().default in result.stdout

    def test_usage(self, tmp_path: Path) -> None:
        assert run("model", "bench", "nothing").exit_code == 1
        assert run("model", "bench", "--against", tmp_path / "missing.onnx").exit_code == 2
        assert run("model", "bench", "--batch-size", 0).exit_code == 2


class TestQuantize:
    def test_int8(self, shipped: Path, pack: Path, tmp_path: Path) -> None:
        output = tmp_path / "small.onnx"
        options = ("--data", pack, "--crops", 3, "--tolerance", 5, "--index", shipped / "models.json")
        result = run("model", "quantize", shipped / "model.onnx", "-o", output, *options)
        assert result.exit_code == 0, result.stderr
        assert "NME %, last stage" in result.stdout
        assert "2 held-out faces" in result.stderr
        assert DanModel(output, device="cpu").metadata.name == f"{read_registry().default}-int8"
        assert output.stat().st_size < 0.8 * (shipped / "model.onnx").stat().st_size
        entry = read_registry().models[f"{read_registry().default}-int8"]
        entry.verify()
        again = run("model", "quantize", shipped / "model.onnx", "-o", output, *options)
        assert (again.exit_code, "--overwrite" in again.stderr) == (1, True)

    def test_float16(self, model: Path, pack: Path, tmp_path: Path) -> None:
        output = tmp_path / "half.onnx"
        result = run("model", "quantize", model, "-o", output, "--data", pack, "--float16", "--tolerance", 1)
        assert result.exit_code == 0, result.stderr
        assert DanModel(output, device="cpu").metadata.name.endswith("-float16")

    def test_usage(self, model: Path, pack: Path, tmp_path: Path) -> None:
        output = tmp_path / "x.onnx"
        assert run("model", "quantize", model, "-o", output).exit_code == 2
        both = run("model", "quantize", model, "-o", output, "--data", pack, "--float16", "--keep-float", "*")
        assert both.exit_code == 2
        unknown = run("model", "quantize", model, "-o", output, "--data", pack, "--keep-float", "nothing*")
        assert (unknown.exit_code, "no such node" in unknown.stderr) == (1, True)
        assert run("model", "quantize", model, "-o", output, "--data", model).exit_code == 1
        assert not output.exists()


def lasagne_arrays(size: int = 32, channels: int = 3) -> Iterator[np.ndarray]:
    """One stage in the authors' layout, with nothing but small weights."""
    n_in = 1
    for _ in range(8):
        yield np.full((channels, n_in, 3, 3), 0.1)
        yield from (np.zeros(channels), np.ones(channels), np.zeros(channels), np.ones(channels))
        n_in = channels
    yield np.full((channels * (size // 16) ** 2, 4), 0.01)
    yield from (np.zeros(4), np.ones(4), np.zeros(4), np.ones(4))
    yield from (np.full((4, 136), 0.01), np.zeros(136))


def test_convert(tmp_path: Path) -> None:
    init = MEAN_SHAPE * (16 / np.ptp(MEAN_SHAPE, axis=0).max()) + 16
    extra = {"meanImg": np.full((1, 32, 32), 128.0), "stdDevImg": np.ones((1, 32, 32)), "initLandmarks": init}
    np.savez(tmp_path / "DAN-Tiny.npz", *lasagne_arrays(), **extra)
    output = tmp_path / "dan.onnx"
    result = run("model", "convert", tmp_path / "DAN-Tiny.npz", "-o", output, "--licence", "theirs")
    assert result.exit_code == 0, result.stderr
    assert "always 1" in " ".join(result.stdout.split())
    converted = DanModel(output, device="cpu")
    assert (converted.name, converted.metadata.licence) == ("dan-tiny 1", "theirs")
    size = converted.metadata.crop_size
    assert converted.predict(np.zeros((2, 1, size, size), np.uint8)).confidence.tolist() == [1, 1]
    (tmp_path / "DAN-Tiny.npz").write_bytes(b"nothing")
    wrong = run("model", "convert", tmp_path / "DAN-Tiny.npz", "-o", output, "--overwrite")
    assert (wrong.exit_code, "not an .npz file" in wrong.stderr) == (1, True)
    assert run("model", "convert", tmp_path / "missing.npz", "-o", output).exit_code == 2
