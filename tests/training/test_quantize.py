"""Variants of an exported graph: which nodes become int8, what is carried over, what is compared and refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facealign_cli.errors import InputError, ModelError, OutputError
from facealign_cli.models.dan import DanModel
from facealign_cli.training import quantize
from facealign_cli.training.config import NetworkConfig, StageConfig
from facealign_cli.training.export import export_model
from facealign_cli.training.pack import Pack
from facealign_cli.training.quantize import nodes_to_quantize, quantize_int8, store_float16

Build = Callable[[NetworkConfig], Any]
_STAGE = StageConfig("residual", 64, 0.5, 16, (16, 32), (1, 1), n_features=32, local=8, local_steps=1)
WIDE = NetworkConfig("wide", 64, 0.5, (_STAGE,))
"""One stage, wide enough that every kind of layer is quantised."""


@pytest.fixture(scope="module")
def model(random_dan: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantize") / "wide.onnx"
    figures = {"held-out inter-pupil NME %, stage 1": 99.0}
    export_model(random_dan(WIDE), path, name="wide", version="3", licence="MIT", figures=figures)
    return path


@pytest.fixture(scope="module")
def int8(model: Path, tiny_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("int8") / "wide-int8.onnx"
    return path, quantize_int8(model, path, tiny_pack, crops=8, tolerance=100)


def held_out_nme(path: Path, pack: Pack) -> float:
    from facealign_cli.metrics import nme
    from facealign_cli.training.pack import crops_in_frame

    loaded = DanModel(path, device="cpu")
    crops, truth = crops_in_frame(pack.select(pack.held_out), loaded.frame)
    return float(nme(loaded.predict(crops).landmarks, truth, "inter-pupil").mean())


def test_int8_report(int8: tuple[Path, Any], model: Path, tiny_pack: Pack) -> None:
    path, report = int8
    assert (report.path, report.origin, report.name) == (path, "wide", "wide-int8")
    assert report.layers == 11, "6 convolutions in 2 levels, 2 laterals, fc, the local head's stack and its output"
    assert report.faces == 4
    assert report.before[1] == pytest.approx(held_out_nme(model, tiny_pack))
    assert report.after[1] == pytest.approx(held_out_nme(path, tiny_pack))
    assert report.before[0] == report.before[1], "there is one stage"
    assert 0 < report.moved_px < report.moved_most_px < 3
    assert report.bytes_after == path.stat().st_size < report.bytes_before / 2


def test_a_graph_that_takes_floats(model: Path, tiny_pack: Pack, tmp_path: Path) -> None:
    """Graphs may take crops as float32, as other exporters write them."""
    floats = onnx.load(str(model))
    floats.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(floats, str(tmp_path / "floats.onnx"))
    report = quantize_int8(tmp_path / "floats.onnx", tmp_path / "int8.onnx", tiny_pack, crops=8, tolerance=100)
    assert report.before[0] == pytest.approx(held_out_nme(model, tiny_pack))


def test_int8_graph(int8: tuple[Path, Any]) -> None:
    graph = onnx.load(str(int8[0]))
    assert [(entry.domain or "ai.onnx", entry.version) for entry in graph.opset_import] == [("ai.onnx", 18)]
    assert {node.domain for node in graph.graph.node} == {""}
    weights = {t.name: numpy_helper.to_array(t) for t in graph.graph.initializer}
    kernels = [w for w in weights.values() if w.dtype == np.int8 and w.ndim == 4]
    assert len(kernels) == 8
    assert max(int(np.abs(k.astype(int)).max()) for k in kernels) <= 64, "7 bits, so that no CPU saturates"
    scales = [n.input[1] for n in graph.graph.node if n.op_type == "DequantizeLinear" and weights[n.input[1]].ndim]
    assert {weights[name].shape for name in scales} >= {(16,), (32,)}, "one scale an output channel"


def test_metadata_is_carried_over(int8: tuple[Path, Any], model: Path) -> None:
    metadata, origin = DanModel(int8[0], device="cpu").metadata, DanModel(model, device="cpu").metadata
    assert (metadata.name, metadata.version, metadata.licence) == ("wide-int8", "3", "MIT")
    assert (metadata.crop_size, metadata.crop_share, metadata.stages) == (64, 0.5, origin.stages)
    assert metadata.figures == int8[1].figures
    assert metadata.figures["held-out inter-pupil NME %, stage 1"] == pytest.approx(100 * int8[1].after[0], abs=0.01)


def test_float16(model: Path, tiny_pack: Pack, tmp_path: Path) -> None:
    report = store_float16(model, tmp_path / "half.onnx", tiny_pack, tolerance=1)
    assert report.name == "wide-float16"
    assert report.moved_most_px < 0.1
    assert report.bytes_after < 0.6 * report.bytes_before
    graph = onnx.load(str(tmp_path / "half.onnx")).graph
    stored = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT16}
    casts = [node for node in graph.node if node.op_type == "Cast" and node.input[0] in stored]
    assert len(stored) == len(casts) == report.layers
    originals = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(model)).graph.initializer}
    for cast in casts:
        values = numpy_helper.to_array(stored[cast.input[0]]).astype(np.float32)
        np.testing.assert_allclose(values, originals[cast.output[0]], rtol=1e-3, atol=1e-6)


def test_weights_too_large_for_float16_stay(tmp_path: Path) -> None:
    big = np.full((40, 40), 1e5, np.float32)
    graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(big, "w")])
    onnx.save(helper.make_model(graph), str(tmp_path / "g.onnx"))
    with pytest.raises(ModelError, match="no weights large enough"):
        quantize._write_float16(tmp_path / "g.onnx", tmp_path / "h.onnx")


class TestNodes:
    """On a graph of nodes alone."""

    @staticmethod
    def graph() -> onnx.ModelProto:
        make = helper.make_node
        nodes = [
            make("Conv", ["x", "stem"], ["a"], "stem"),
            make("Relu", ["a"], ["b"], "stem relu"),
            make("Conv", ["b", "w"], ["c"], "conv"),
            make("Relu", ["c"], ["d"], "relu"),
            make("Conv", ["d", "w"], ["e"], "conv 2"),
            make("Add", ["d", "e"], ["f"], "residual"),
            make("MaxPool", ["f"], ["g"], "pool"),
            make("Add", ["g", "x"], ["h"], "join"),
            make("Gemm", ["g", "dense"], ["i"], "fc1"),
            make("MatMul", ["i", "small"], ["j"], "small"),
            make("Gemm", ["j", "out"], ["k"], "out"),
            make("MatMul", ["k", "stack"], ["m"], "stack"),
            make("Relu", ["k"], ["n"], "behind float"),
            make("Gemm", ["n", "shared"], ["o"], "shared", transB=1),
            make("MatMul", ["o", "grid"], ["p"], "grid"),
            make("Gemm", ["p", "wide"], ["q"], "wide", transB=1),
            make("Gemm", ["q", "dense"], ["r"], "/stage/sigma/dense"),
            make("MatMul", ["j", "k"], ["l"], "transform"),
        ]
        shapes: dict[str, tuple[int, ...]] = {"stem": (32, 1, 3, 3), "w": (32, 32, 3, 3), "dense": (800, 256)}
        shapes |= {"small": (9, 9), "out": (136, 200), "stack": (68, 100, 16)}
        shapes |= {"shared": (64, 288), "grid": (3, 25600), "wide": (300, 256)}
        weights = [numpy_helper.from_array(np.zeros(s, np.float32), name) for name, s in shapes.items()]
        return helper.make_model(helper.make_graph(nodes, "g", [], [], weights))

    def test_which(self) -> None:
        names = [node.name for node in nodes_to_quantize(self.graph())]
        assert names == ["conv", "relu", "conv 2", "residual", "pool", "fc1", "stack", "wide"]

    def test_kept(self) -> None:
        names = [node.name for node in nodes_to_quantize(self.graph(), ["conv 2", "fc*"])]
        assert names == ["conv", "relu", "stack", "wide"], "what needs the kept one's output stays in float too"

    def test_a_pattern_that_matches_nothing(self) -> None:
        with pytest.raises(InputError, match="--keep-float fc9: no such node"):
            nodes_to_quantize(self.graph(), ["conv", "fc9"])


class TestRefusals:
    def test_a_variant_that_is_worse(self, model: Path, tiny_pack: Pack, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"wide-float16 is worse by -?0\.\d+ percentage points .* on 4 held-out"):
            store_float16(model, tmp_path / "x.onnx", tiny_pack, tolerance=-5)
        assert list(tmp_path.iterdir()) == []

    def test_nothing_to_quantise(
        self, random_dan: Build, tiny_vgg: NetworkConfig, tiny_pack: Pack, tmp_path: Path
    ) -> None:
        export_model(random_dan(tiny_vgg), tmp_path / "m.onnx", name="x", version="1")
        with pytest.raises(ModelError, match="no layer that can be quantised"):
            quantize_int8(tmp_path / "m.onnx", tmp_path / "x.onnx", tiny_pack, keep_float=["*"])
        assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
        assert not logging.root.manager.disable, "logging should be as it was"

    def test_packs_without_the_faces_it_needs(self, model: Path, tiny_pack: Pack, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no held-out faces"):
            store_float16(model, tmp_path / "x.onnx", tiny_pack.select(~tiny_pack.held_out))
        with pytest.raises(InputError, match="no finely labelled training faces"):
            quantize_int8(model, tmp_path / "x.onnx", tiny_pack.select(tiny_pack.held_out))
        weights = tiny_pack.weights * ~tiny_pack.held_out[:, None]
        with pytest.raises(InputError, match="no held-out faces with labels"):
            store_float16(model, tmp_path / "x.onnx", replace(tiny_pack, weights=weights))

    def test_a_file_that_exists(self, model: Path, tiny_pack: Pack, tmp_path: Path) -> None:
        (tmp_path / "x.onnx").write_text("mine")
        with pytest.raises(OutputError, match="exists already"):
            store_float16(model, tmp_path / "x.onnx", tiny_pack)
        assert (tmp_path / "x.onnx").read_text() == "mine"

    def test_what_is_no_model(self, tiny_pack: Pack, tmp_path: Path) -> None:
        (tmp_path / "m.onnx").write_bytes(b"nothing")
        for convert in (quantize_int8, store_float16):
            with pytest.raises(ModelError, match="not an ONNX model"):
                convert(tmp_path / "m.onnx", tmp_path / "x.onnx", tiny_pack)


def test_calibration_takes_training_faces_only(
    model: Path, tiny_pack: Pack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[list[str]] = []
    crops = quantize.crops_in_frame
    monkeypatch.setattr(
        quantize, "crops_in_frame", lambda pack, frame: (seen.append(pack.names), crops(pack, frame))[1]
    )
    quantize_int8(model, tmp_path / "x.onnx", tiny_pack, crops=6, tolerance=100)
    held_out = {name for name, held in zip(tiny_pack.names, tiny_pack.held_out, strict=True) if held}
    calibration, compared = seen
    assert len(calibration) == 6
    assert not held_out & set(calibration)
    assert set(compared) == held_out
