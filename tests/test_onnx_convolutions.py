"""Convolutions made quicker: the same results by ONNX Runtime, fewer operators, and graphs that stay as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from facealign_cli.detectors import yunet
from facealign_cli.onnx_convolutions import heads_joined, interleaved_input
from facealign_cli.runtime import create_session

HEADS = {"a": 1, "b": 4, "c": 2}
"""Channels of each head of `network`."""


def network(opset: int = 11, change: Callable[[Any], None] = lambda graph: None) -> bytes:
    """A convolution of a picture, (N, 3, H, W), with other sizes by rows than by columns, and three heads on it."""
    onnx = pytest.importorskip("onnx")
    helper, kind, rng = onnx.helper, onnx.TensorProto.FLOAT, np.random.default_rng(3)
    nodes, tensors = [], []

    def conv(reads: str, makes: str, shape: tuple[int, ...], **numbers: Any) -> None:
        for name, size in (("w", shape), ("b", shape[:1])):
            values = rng.normal(0, 1, size).astype(np.float32)
            packed = helper.make_tensor(f"{makes}.{name}", kind, size, values.ravel())  # as floats, not as bytes
            tensors.append(packed if name == "b" else onnx.numpy_helper.from_array(values, f"{makes}.{name}"))
        nodes.append(
            helper.make_node("Conv", [reads, f"{makes}.w", f"{makes}.b"], [makes], kernel_shape=shape[2:], **numbers)
        )

    conv("x", "stem", (5, 3, 3, 2), strides=[2, 1], pads=[1, 2, 0, 1])
    nodes.append(helper.make_node("Relu", ["stem"], ["features"]))
    for name, channels in HEADS.items():
        conv("features", f"{name}1", (channels, 5, 1, 1))
        conv(f"{name}1", name, (channels, 1, 3, 3), group=channels, pads=[1, 1, 1, 1])
    inputs = [helper.make_tensor_value_info("x", kind, [1, 3, None, None])]
    outputs = [helper.make_tensor_value_info(name, kind, [1, size, None, None]) for name, size in HEADS.items()]
    graph = helper.make_graph(nodes, "heads", inputs, outputs, tensors)
    change(graph)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    return bytes(made.SerializeToString())


def operators(model: bytes) -> Counter[str]:
    """How often each operator stands in a graph, which the package `onnx` has checked."""
    onnx = pytest.importorskip("onnx")
    loaded = onnx.load_model_from_string(model)
    onnx.checker.check_model(loaded, full_check=True)
    return Counter(node.op_type for node in loaded.graph.node)


def run(model: bytes, values: np.ndarray) -> list[np.ndarray]:
    session = create_session(model, "cpu")
    return list(session.run([output.name for output in session.get_outputs()], {session.get_inputs()[0].name: values}))


def picture(height: int, width: int) -> np.ndarray:
    """(H, W, 3) float32."""
    return np.random.default_rng(4).uniform(0, 255, (height, width, 3)).astype(np.float32)


def test_pixels_as_they_lie_in_memory_give_the_same() -> None:
    pixels, before = picture(6, 7), network()
    after = interleaved_input(before)
    assert operators(after) == operators(before)
    expected = run(before, pixels.transpose(2, 0, 1)[None])
    for value, other in zip(run(after, pixels.reshape(1, 1, 6, 21)), expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-4, atol=0.01)


def test_heads_become_one_and_give_the_same() -> None:
    planes, before = picture(6, 7).transpose(2, 0, 1)[None], network()
    after = heads_joined(before)
    assert operators(before) == {"Conv": 7, "Relu": 1}
    assert operators(after) == {"Conv": 3, "Relu": 1, "Split": 1}
    for value, other in zip(run(after, planes), run(before, planes), strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-5, atol=0.01)


def test_the_shipped_network_is_made_quicker() -> None:
    """Three grids with four heads of two convolutions each, of which one each is left."""
    before = yunet.free_image_size(yunet.weights_file().read_bytes())
    after = heads_joined(interleaved_input(before))
    counts = operators(before), operators(after)
    assert counts[0]["Conv"] - counts[1]["Conv"] == 3 * 3 * 2
    pixels = picture(64, 96)
    session = create_session(before, "cpu"), create_session(after, "cpu")
    expected = session[0].run(yunet.OUTPUTS, {"input": pixels.transpose(2, 0, 1)[None]})
    for value, other in zip(
        session[1].run(yunet.OUTPUTS, {"input": pixels.reshape(1, 1, 64, -1)}), expected, strict=True
    ):
        np.testing.assert_allclose(value, other, atol=1e-4)


def other_reader(graph: Any) -> None:
    onnx = pytest.importorskip("onnx")
    graph.node.append(onnx.helper.make_node("Identity", ["x"], ["copy"]))


def with_gaps(graph: Any) -> None:
    onnx = pytest.importorskip("onnx")
    graph.node[0].attribute.append(onnx.helper.make_attribute("dilations", [1, 2]))


def two_inputs(graph: Any) -> None:
    onnx = pytest.importorskip("onnx")
    graph.input.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1]))


def no_input(graph: Any) -> None:
    del graph.input[:]


def weights_elsewhere(graph: Any) -> None:
    for tensor in graph.initializer:
        tensor.ClearField("raw_data")


@pytest.mark.parametrize("change", [other_reader, with_gaps, two_inputs, no_input, weights_elsewhere])
def test_another_start_stays_as_it_is(change: Callable[[Any], None]) -> None:
    model = network(change=change)
    assert interleaved_input(model) == model


def read_twice(graph: Any) -> None:
    onnx = pytest.importorskip("onnx")
    graph.node.append(onnx.helper.make_node("Identity", ["a1"], ["copy"]))
    graph.node.append(onnx.helper.make_node("Identity", ["c1"], ["copy c"]))


def shown(graph: Any) -> None:
    onnx = pytest.importorskip("onnx")
    for name in ("a1", "b1"):
        graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, HEADS[name[0]], None, None])
        )


def of_other_windows(graph: Any) -> None:
    for node in graph.node:
        for attribute in node.attribute:
            if node.output[0] == "a" and attribute.name == "pads":
                attribute.ints[:] = [0, 0, 0, 0]


@pytest.mark.parametrize("change", [read_twice, shown, of_other_windows, weights_elsewhere])
def test_heads_that_are_not_alike_or_read_elsewhere_stay_as_they_are(change: Callable[[Any], None]) -> None:
    model = network(change=change)
    assert heads_joined(model) == model


def test_an_opset_with_another_split_stays_as_it_is() -> None:
    model = network(opset=13)
    assert heads_joined(model) == model


@pytest.mark.parametrize("make", [interleaved_input, heads_joined])
def test_every_cut_is_an_error_or_a_shorter_graph(make: Callable[[bytes], bytes]) -> None:
    model, refused = network(), 0
    for length in range(0, len(model), 7):
        try:
            make(model[:length])
        except ValueError:
            refused += 1
    assert refused > 0.9 * len(model) / 7
