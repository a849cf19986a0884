"""A graph's fixed image size made free, checked by the package `onnx` and by ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from facealign_cli.errors import ModelError
from facealign_cli.onnx_sizes import free_image_size
from facealign_cli.runtime import create_session


@pytest.fixture(scope="module")
def graph() -> bytes:
    """Twice the picture, for pictures of (1, 3, 640, 640) only; between two operators the size is written down, too."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    size = [1, 3, 640, 640]
    nodes = [helper.make_node("Add", ["x", "x"], ["sum"]), helper.make_node("Relu", ["sum"], ["y"])]
    inputs, outputs, between = ([helper.make_tensor_value_info(name, kind, size)] for name in ("x", "y", "sum"))
    made = helper.make_graph(nodes, "double", inputs, outputs, value_info=between, doc_string="kept")
    opset = [helper.make_opsetid("", 12)]
    return bytes(helper.make_model(made, opset_imports=opset, ir_version=7).SerializeToString())


def test_any_size_goes_in_and_nothing_else_changes(graph: bytes) -> None:
    onnx = pytest.importorskip("onnx")
    free = free_image_size(graph)
    model, before = onnx.load_model_from_string(free), onnx.load_model_from_string(graph)
    onnx.checker.check_model(model)
    assert [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [
        "batch", 3, "height", "width",
    ]  # fmt: skip
    assert len(model.graph.output[0].type.tensor_type.shape.dim) == 4
    assert not model.graph.value_info
    assert model.graph.node == before.graph.node
    assert (model.graph.doc_string, model.opset_import) == ("kept", before.opset_import)


def test_runs_with_other_sizes(graph: bytes) -> None:
    pixels = np.ones((2, 3, 32, 96), np.float32)
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        create_session(graph, "cpu").run(None, {"x": pixels})
    (out,) = create_session(graph, "cpu", prepare=free_image_size).run(None, {"x": pixels})
    np.testing.assert_array_equal(out, 2 * pixels)


def test_every_cut_is_an_error_or_a_shorter_graph(graph: bytes) -> None:
    """None runs on for ever or fails in another way."""
    refused = 0
    for length in range(len(graph)):
        try:
            free_image_size(graph[:length])
        except ValueError as error:
            assert "not an ONNX file" in str(error)
            refused += 1
    assert refused > 0.9 * len(graph)


def test_the_error_names_the_file(tmp_path: object) -> None:
    with pytest.raises(ModelError, match="the model: not an ONNX file"):
        create_session(b"\xff" * 20, "cpu", prepare=free_image_size)
