"""Verification of models: what is found when all is well, and each thing that can be wrong."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facealign_cli.errors import FormatError, InputError, OutputError
from facealign_cli.geometry import CropFrame, init_shape_from_bbox
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.models import registry
from facealign_cli.models.check import (
    CheckSet,
    check_path,
    face_of,
    largest_difference,
    make_check,
    perturbed_crops,
    read_check,
    verify,
    write_check,
)
from facealign_cli.models.dan import DanModel, DanPrediction, GraphMetadata

SIZE = 24


def write_model(path: Path, name: str = "tiny", scale: float = 1.0) -> Path:
    """A graph of the contract: each landmark a weighted sum of the crop, confidence a sigmoid of its mean."""
    weight = np.random.default_rng(0).normal(0, 0.001, (SIZE * SIZE, 136)).astype(np.float32) * np.float32(scale)
    nodes = [
        helper.make_node("Cast", ["crop"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["grey"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["product"]),
        helper.make_node("Reshape", ["product", "shape"], ["landmarks"]),
        helper.make_node("Neg", ["landmarks"], ["stage1_landmarks"]),
        helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Sigmoid", ["mean"], ["confidence"]),
    ]
    outputs: dict[str, list[Any]] = {"landmarks": ["N", 68, 2], "stage1_landmarks": ["N", 68, 2], "confidence": ["N"]}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("crop", TensorProto.UINT8, ["N", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in outputs.items()],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.array([-1, 68, 2]), "shape")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    metadata = GraphMetadata(name, "1", "ibug-68", 2, SIZE, 0.5, MEAN_SHAPE.tolist())
    helper.set_model_props(model, {"facealign": metadata.to_json()})
    onnx.save(model, str(path))
    return path


def crops(count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 1, SIZE, SIZE), np.uint8)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one shipped model, whole with its check file."""
    path = write_model(tmp_path / "tiny.onnx")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = {"file": "tiny.onnx", "sha256": sha256, "licence": "none", "summary": "small"}
    (tmp_path / "models.json").write_text(json.dumps({"default": "tiny", "models": {"tiny": entry}}))
    write_check(make_check(path, crops()), check_path(path))
    monkeypatch.setattr(registry, "models_folder", lambda: tmp_path)
    return tmp_path


def states(name: str) -> dict[str, str]:
    return {finding.what: finding.state for finding in verify(name)}


def test_all_is_well(shipped: Path) -> None:
    assert states("tiny") == {"hash": "ok", "contract": "ok", "answers": "ok"}
    assert states(str(shipped / "tiny.onnx")) == {"contract": "ok", "answers": "ok"}
    (answers,) = [finding for finding in verify("tiny") if finding.what == "answers"]
    assert answers.detail.startswith("3 crops: at most 0.0000 px off (allowed 0.05)")


def test_another_file_under_the_name(shipped: Path) -> None:
    write_model(shipped / "tiny.onnx", scale=1.1)
    assert states("tiny") == {"hash": "differs", "contract": "ok", "answers": "differs"}
    (answers,) = [finding for finding in verify("tiny") if finding.what == "answers"]
    assert "made for another version" in answers.detail


def test_another_name_in_the_graph(shipped: Path) -> None:
    write_model(shipped / "tiny.onnx", name="small")
    assert states("tiny")["name"] == "differs"


def test_a_file_that_is_no_model(shipped: Path) -> None:
    (shipped / "tiny.onnx").write_bytes(b"nothing")
    assert states("tiny") == {"hash": "differs", "contract": "differs"}
    assert states(str(shipped / "missing.onnx")) == {"contract": "differs"}


def test_no_check_file(shipped: Path) -> None:
    check_path(shipped / "tiny.onnx").unlink()
    assert states("tiny")["answers"] == "missing"
    assert states(str(shipped / "tiny.onnx"))["answers"] == "none"


def test_unknown_name(shipped: Path) -> None:
    with pytest.raises(InputError, match="unknown model 'big'"):
        list(verify("big"))


@pytest.mark.parametrize(("output", "by"), [("landmarks", 0.06), ("stage1_landmarks", 0.06), ("confidence", 0.01)])
def test_each_answer_counts(output: str, by: float, shipped: Path) -> None:
    check = read_check(check_path(shipped / "tiny.onnx"))
    changed = {key: getattr(check.expected, key).copy() for key in ("landmarks", "stage1_landmarks", "confidence")}
    changed[output].flat[-1] += by
    write_check(replace(check, expected=DanPrediction(**changed)), check_path(shipped / "tiny.onnx"), overwrite=True)
    assert states("tiny") == {"hash": "ok", "contract": "ok", "answers": "differs"}
    wider = replace(check, expected=DanPrediction(**changed), tolerance_px=0.1, confidence_tolerance=0.02)
    write_check(wider, check_path(shipped / "tiny.onnx"), overwrite=True)
    assert states("tiny")["answers"] == "ok"


def test_crops_of_another_size(shipped: Path) -> None:
    check = read_check(check_path(shipped / "tiny.onnx"))
    write_check(replace(check, crops=check.crops[..., 1:, 1:]), check_path(shipped / "tiny.onnx"), overwrite=True)
    assert states("tiny")["answers"] == "differs"


def test_written_and_read_back(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", name="m-int8")
    check = make_check(model, crops())
    assert (check.tolerance_px, check.confidence_tolerance) == (1.0, 0.05)
    assert make_check(model, crops(), 0.5).tolerance_px == 0.5
    write_check(check, tmp_path / "m.check.npz")
    with pytest.raises(OutputError, match="exists already"):
        write_check(check, tmp_path / "m.check.npz")
    back = read_check(tmp_path / "m.check.npz")
    assert (back.sha256, back.tolerance_px) == (check.sha256, 1.0)
    np.testing.assert_array_equal(back.crops, check.crops)
    expected = DanModel(model, device="cpu").predict(crops())
    assert largest_difference(back.expected, expected) == (0, 0)


def test_largest_difference() -> None:
    zeros = DanPrediction(np.zeros((2, 68, 2)), np.zeros((2, 68, 2)), np.zeros(2))
    moved = DanPrediction(np.zeros((2, 68, 2)), np.zeros((2, 68, 2)), np.array([0.1, 0.3]))
    moved.stage1_landmarks[1, 3] = [3, 4]
    assert largest_difference(zeros, moved) == (5, pytest.approx(0.3))


@pytest.mark.parametrize(
    "damage",
    [
        {"format": np.array("other/1")},
        {"format": None},
        {"crops": np.zeros((3, 1, SIZE, SIZE))},
        {"crops": np.zeros((0, 1, SIZE, SIZE), np.uint8)},
        {"landmarks": np.zeros((2, 68, 2))},
        {"landmarks": np.full((3, 68, 2), np.nan)},
        {"confidence": np.array(["a", "b", "c"])},
        {"confidence": None},
        {"tolerances": np.array([0.0, 0.1])},
        {"tolerances": np.array([np.nan, 0.1])},
        {"tolerances": np.array([np.inf, 0.1])},
        {"tolerances": np.array([0.1])},
        {"crops": np.array([{}], dtype=object)},
    ],
    ids=str,
)
def test_damaged_check_files(damage: dict[str, Any], shipped: Path) -> None:
    path = check_path(shipped / "tiny.onnx")
    with np.load(path) as file:
        arrays = {key: value for key, value in {**file, **damage}.items() if value is not None}
    np.savez(path, **arrays)
    with pytest.raises(FormatError, match=r"tiny\.check\.npz"):
        read_check(path)
    assert states("tiny")["answers"] == "differs"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"nothing", b"\x93NUMPY\x01\x00"])
def test_other_content(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(FormatError):
        read_check(tmp_path / "x.npz")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_check(tmp_path / "x.npz")


def test_a_check_set_checks_itself() -> None:
    expected = DanPrediction(np.zeros((1, 68, 2)), np.zeros((1, 68, 2)), np.zeros(1))
    with pytest.raises(ValueError, match="tolerances"):
        CheckSet("", crops(1), expected, 0, 1)
    with pytest.raises(ValueError, match="landmarks: expected"):
        CheckSet("", crops(2), expected, 1, 1)


def test_perturbed_crops(astronaut: np.ndarray) -> None:
    picture, box = face_of()
    np.testing.assert_array_equal(picture, astronaut)
    made = perturbed_crops(CropFrame(64), picture, box)
    assert (made.shape, made.dtype) == ((6, 1, 64, 64), np.uint8)
    np.testing.assert_array_equal(made, perturbed_crops(CropFrame(64), picture, box))
    plain = CropFrame(64).crop(picture, init_shape_from_bbox(box.xyxy))[0]
    assert np.abs(made[0, 0] - plain.mean(axis=2)).max() < 40  # grey, though weighted
    differences = [np.abs(made[i].astype(int) - made[0]).mean() for i in range(1, 6)]
    assert min(differences) > 3, "they should show the face in other places"


def test_face_of_a_picture(astronaut: np.ndarray, tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), astronaut)
    assert face_of(tmp_path / "a.png")[1].iou(face_of()[1]) > 0.7
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((80, 80, 3), np.uint8))
    with pytest.raises(InputError, match="no face in it"):
        face_of(tmp_path / "b.png")


def test_no_scikit_image(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from facealign_cli.errors import MissingPackage

    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(MissingPackage, match="scikit-image"):
        face_of()
