"""The exported graph against torch, and what the exporter refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from facealign_cli.errors import ModelError, OutputError
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.models.dan import METADATA_KEY, DanModel, GraphMetadata
from facealign_cli.training import export
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.export import compare, export_model
from facealign_cli.training.network import Dan

Build = Callable[[NetworkConfig], Any]
FIGURES = {"held-out, 300-W boxes, inter-pupil NME": 0.05}


@pytest.fixture(scope="module", params=["tiny_vgg", "tiny_light"])
def exported(
    request: pytest.FixtureRequest, random_dan: Build, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Path]:
    model = random_dan(request.getfixturevalue(request.param))
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    report = export_model(model, path, name="tiny", version="3", training_data="drawn", licence="MIT", figures=FIGURES)
    assert report.path == path
    assert max(report.landmarks_px, report.stage1_landmarks_px) < 1e-3
    assert report.confidence < 1e-5
    return model, path


def noise(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 1, size, size), np.uint8)


@pytest.mark.parametrize("count", [0, 1, 5, 9])
def test_each_stage_equals_torch(exported: tuple[Any, Path], count: int) -> None:
    """Batch size 4: nine crops go through in three parts."""
    model, path = exported
    crops = noise(count, model.config.crop_size)
    got = DanModel(path, device="cpu", batch_size=4).predict(crops)
    with torch.no_grad():
        expected = model(torch.from_numpy(crops).float())
    np.testing.assert_allclose(got.landmarks, expected.landmarks[1].numpy(), atol=1e-3)
    np.testing.assert_allclose(got.stage1_landmarks, expected.landmarks[0].numpy(), atol=1e-3)
    np.testing.assert_allclose(got.confidence, torch.sigmoid(expected.logit).numpy(), atol=1e-5)
    if count:
        assert np.abs(got.landmarks - got.stage1_landmarks).max() > 1, "the stages should differ"


def test_landmarks_outside_the_crop_agree_too(random_dan: Build, tiny_light: NetworkConfig, tmp_path: Path) -> None:
    """Stage 1 thrown far aside: the warp reads zeros, the local head the border, in torch and in the graph alike."""
    model = random_dan(tiny_light)
    with torch.no_grad():
        model.stages[0].out.bias += 40
    report = export_model(model, tmp_path / "model.onnx", name="aside", version="1")
    assert max(report.landmarks_px, report.stage1_landmarks_px) < 1e-3


def test_metadata(exported: tuple[Any, Path]) -> None:
    model, path = exported
    graph = onnx.load(str(path))
    (text,) = [entry.value for entry in graph.metadata_props if entry.key == METADATA_KEY]
    metadata = GraphMetadata.from_json(text)
    assert (metadata.name, metadata.version, metadata.licence) == ("tiny", "3", "MIT")
    assert (metadata.scheme, metadata.stages, metadata.training_data) == ("ibug-68", 2, "drawn")
    assert (metadata.crop_size, metadata.crop_share) == (model.config.crop_size, model.config.crop_share)
    assert metadata.figures == FIGURES
    np.testing.assert_array_equal(metadata.mean_shape, MEAN_SHAPE)
    assert DanModel(path, device="cpu").name == "tiny 3"


def test_standard_operators_and_folded_norms_only(exported: tuple[Any, Path]) -> None:
    graph = onnx.load(str(exported[1]))
    assert {entry.domain for entry in graph.opset_import} <= {"", "ai.onnx"}
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx"}
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.count("BatchNormalization") <= 2, "those behind the dense layers; convolutions have theirs folded in"
    assert "Dropout" not in kinds


def test_the_whole_crop_is_read_once_as_it_is(tiny_light: NetworkConfig, tmp_path: Path) -> None:
    """One mean for all pixels is taken off what the stages see, which is less than the crop."""
    path = tmp_path / "m.onnx"
    assert export_model(Dan(tiny_light, 127.5, 48.0), path, name="m", version="1").landmarks_px < 1e-3
    graph = onnx.load(str(path)).graph
    (cast,) = [node for node in graph.node if "crop" in node.input]
    readers = {node.op_type for node in graph.node if cast.output[0] in node.input}
    assert cast.op_type == "Cast" and "Sub" not in readers


def test_interface(exported: tuple[Any, Path]) -> None:
    model, path = exported
    graph, size = onnx.load(str(path)).graph, model.config.crop_size
    (crop,) = graph.input
    assert crop.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    sides = [d.dim_param or d.dim_value for d in crop.type.tensor_type.shape.dim]
    assert sides == ["N", 1, size, size]
    expected = ["landmarks", "stage1_landmarks", "confidence"]
    has_sigma = model.config.stages[-1].sigma
    assert [output.name for output in graph.output] == [*expected, "sigma"] if has_sigma else expected
    assert DanModel(path, device="cpu").metadata.format == f"facealign-graph/{2 if has_sigma else 1}"


@torch.no_grad()
def test_sigma_is_that_of_torch(exported: tuple[Any, Path]) -> None:
    model, path = exported
    size = model.config.crop_size
    crops = np.random.default_rng(1).integers(0, 256, (3, 1, size, size), np.uint8)
    got, expected = DanModel(path, device="cpu").predict(crops).sigma, model(torch.from_numpy(crops).float()).sigma
    if expected is None:
        assert np.isnan(got).all()
    else:
        np.testing.assert_allclose(got, expected.numpy(), rtol=1e-3)
    assert got.shape == (3, 68)


class TestRefusals:
    def test_a_graph_that_differs(
        self, random_dan: Build, tiny_vgg: NetworkConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = export.write_graph

        def write_another(model: Dan, path: Path, metadata: GraphMetadata) -> None:
            other = random_dan(tiny_vgg)
            with torch.no_grad():
                other.stages[1].out.bias[7] += 0.02
            write(other, path, metadata)

        monkeypatch.setattr(export, "write_graph", write_another)
        with pytest.raises(ModelError, match=r"differs from torch by 0\.0[12]\d* px"):
            export_model(random_dan(tiny_vgg), tmp_path / "model.onnx", name="x", version="1")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "differences",
        [(0.02, 0, 0, 0), (0, 0.02, 0, 0), (0, 0, 1e-3, 0), (0, np.nan, 0, 0), (0, 0, np.nan, 0), (0, 0, 0, 0.02)],
    )
    def test_each_output_counts(
        self,
        differences: tuple[float, float, float, float],
        random_dan: Build,
        tiny_vgg: NetworkConfig,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(export, "compare", lambda *args: differences)
        with pytest.raises(ModelError, match="differs from torch"):
            export_model(random_dan(tiny_vgg), tmp_path / "model.onnx", name="x", version="1")
        assert list(tmp_path.iterdir()) == []

    def test_weights_that_are_not_numbers(self, random_dan: Build, tiny_vgg: NetworkConfig, tmp_path: Path) -> None:
        model = random_dan(tiny_vgg)
        with torch.no_grad():
            model.stages[-1].out.bias[0] = np.nan
        with pytest.raises(ModelError, match=r"it gave landmarks not within|differs from torch by nan"):
            export_model(model, tmp_path / "model.onnx", name="x", version="1")
        assert list(tmp_path.iterdir()) == []

    def test_a_file_that_exists(self, random_dan: Build, tiny_vgg: NetworkConfig, tmp_path: Path) -> None:
        path = tmp_path / "model.onnx"
        path.write_text("mine")
        with pytest.raises(OutputError, match="exists already"):
            export_model(random_dan(tiny_vgg), path, name="x", version="1")
        assert path.read_text() == "mine"
        export_model(random_dan(tiny_vgg), path, name="x", version="1", overwrite=True)
        assert DanModel(path, device="cpu").name == "x 1"


def test_compare_measures(exported: tuple[Any, Path]) -> None:
    model, path = exported
    moved: Any = Dan(model.config)
    moved.load_state_dict(model.state_dict())
    with torch.no_grad():
        moved.stages[0].confidence.bias += 1
        moved.stages[1].confidence.bias += 1
        if moved.stages[1].sigma is not None:
            moved.stages[1].sigma.dense.bias += 0.5
    landmarks, stage1, confidence, sigma = compare(moved, DanModel(path, device="cpu"))
    assert max(landmarks, stage1) < 1e-3
    assert confidence > 0.01
    assert (sigma > 0.1) == model.config.stages[-1].sigma


class TestDenormals:
    def test_that_folding_makes(self, random_dan: Build, tiny_vgg: NetworkConfig, tmp_path: Path) -> None:
        model = random_dan(tiny_vgg)
        convolution, norm = model.stages[0].backbone.layers[0][:2]
        with torch.no_grad():
            convolution.weight[0] *= 1e-18
            norm.weight[0] = 1e-22
        export_model(model, tmp_path / "model.onnx", name="x", version="1")
        for tensor in onnx.load(str(tmp_path / "model.onnx")).graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32:
                # as integers: where a library had this thread flush denormals, float comparisons miss them
                bits = values.view(np.uint32) & 0x7FFFFFFF
                assert not ((bits > 0) & (bits < 0x00800000)).any(), tensor.name
