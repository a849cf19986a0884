"""Makes the fixed image size of an ONNX graph free, without the package `onnx`.

Of the file's fields only the two that declare sizes are touched: the input's dimensions get names instead of numbers,
and what was worked out from the numbers (the sizes between the operators and of the outputs) is left out, since ONNX
Runtime works it out anew.

Source: onnx.proto3 of the ONNX project.
"""

from __future__ import annotations

from facealign_cli.protobuf import BYTES, edited, field, fields, joined

_GRAPH = 7  # ModelProto.graph
_INPUT, _OUTPUT, _VALUE_INFO = 11, 12, 13  # GraphProto
_TO_SHAPE = (2, 1, 2)  # ValueInfoProto.type, TypeProto.tensor_type, TypeProto.Tensor.shape
_DIM, _DIM_PARAM = 1, 2  # TensorShapeProto.dim, TensorShapeProto.Dimension.dim_param


def free_image_size(model: bytes) -> bytes:
    """The same graph, whose inputs of four dimensions (N, C, H, W) take every N, H and W.

    Raises ValueError if the bytes are no ONNX file.
    """
    return edited(model, (_GRAPH,), _free_graph)


def _free_graph(graph: bytes) -> bytes:
    graph = edited(graph, (_INPUT, *_TO_SHAPE), _named_input)
    graph = edited(graph, (_OUTPUT, *_TO_SHAPE), _unknown)
    return joined(part for part in fields(graph) if part[0] != _VALUE_INFO)


def _named_input(shape: bytes) -> bytes:
    """The second of four dimensions, the channels, stays; another number of dimensions stays as it is."""
    names = (b"batch", None, b"height", b"width")
    dimensions = [value for number, _, value in fields(shape) if number == _DIM]
    if len(dimensions) != len(names):
        return shape
    return joined(
        (_DIM, BYTES, old if name is None else field(_DIM_PARAM, BYTES, name))
        for name, old in zip(names, dimensions, strict=True)
    )


def _unknown(shape: bytes) -> bytes:
    """As many dimensions, nothing said of their sizes."""
    return joined((number, wire, b"") for number, wire, _ in fields(shape) if number == _DIM)
