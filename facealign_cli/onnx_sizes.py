"""Makes the fixed image size of an ONNX graph free, without the package `onnx`.

An ONNX file is a protocol buffer: fields, each a key (number and wire type) and a value. Only the two that declare
sizes are touched: the input's dimensions get names instead of numbers, and what was worked out from the numbers (the
sizes between the operators and of the outputs) is left out, since ONNX Runtime works it out anew.

Source: onnx.proto3 of the ONNX project, and the encoding at protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

_GRAPH = 7  # ModelProto.graph
_INPUT, _OUTPUT, _VALUE_INFO = 11, 12, 13  # GraphProto
_TO_SHAPE = (2, 1, 2)  # ValueInfoProto.type, TypeProto.tensor_type, TypeProto.Tensor.shape
_DIM, _DIM_PARAM = 1, 2  # TensorShapeProto.dim, TensorShapeProto.Dimension.dim_param
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def free_image_size(model: bytes) -> bytes:
    """The same graph, whose inputs of four dimensions (N, C, H, W) take every N, H and W.

    Raises ValueError if the bytes are no ONNX file.
    """
    return _edited(model, (_GRAPH,), _free_graph)


def _free_graph(graph: bytes) -> bytes:
    graph = _edited(graph, (_INPUT, *_TO_SHAPE), _named_input)
    graph = _edited(graph, (_OUTPUT, *_TO_SHAPE), _unknown)
    return b"".join(_field(*field) for field in _fields(graph) if field[0] != _VALUE_INFO)


def _named_input(shape: bytes) -> bytes:
    """The second of four dimensions, the channels, stays; another number of dimensions stays as it is."""
    names = (b"batch", None, b"height", b"width")
    dimensions = [value for number, _, value in _fields(shape) if number == _DIM]
    if len(dimensions) != len(names):
        return shape
    return b"".join(
        _field(_DIM, _BYTES, old if name is None else _field(_DIM_PARAM, _BYTES, name))
        for name, old in zip(names, dimensions, strict=True)
    )


def _unknown(shape: bytes) -> bytes:
    """As many dimensions, nothing said of their sizes."""
    return b"".join(_field(number, wire, b"") for number, wire, _ in _fields(shape) if number == _DIM)


def _edited(message: bytes, path: tuple[int, ...], change: Callable[[bytes], bytes]) -> bytes:
    """The message with the embedded messages at a path of field numbers changed."""
    if not path:
        return change(message)
    return b"".join(
        _field(number, wire, _edited(value, path[1:], change) if number == path[0] and wire == _BYTES else value)
        for number, wire, value in _fields(message)
    )


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(number, wire type, value) of each field; a varint's value as it is encoded. Raises ValueError."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        number, wire = key >> 3, key & 7
        begin = at
        if wire == _VARINT:
            end = _read_varint(message, at)[1]
        elif wire == _BYTES:
            length, begin = _read_varint(message, at)
            end = begin + length
        elif wire in (_FIXED32, _FIXED64):
            end = at + (8 if wire == _FIXED64 else 4)
        else:
            raise ValueError(f"not an ONNX file: a field of the unknown wire type {wire}")
        if end > len(message) or number == 0:
            raise ValueError("not an ONNX file, or one that is cut short")
        yield number, wire, message[begin:end]
        at = end


def _field(number: int, wire: int, value: bytes) -> bytes:
    length = _varint(len(value)) if wire == _BYTES else b""
    return _varint(number << 3 | wire) + length + value


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """The number that begins there, and where it ends. Raises ValueError."""
    number = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
    raise ValueError("not an ONNX file, or one that is cut short")


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
