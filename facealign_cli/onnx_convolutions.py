"""Makes an ONNX graph's convolutions quicker on a processor without changing what they compute, without package `onnx`.

What is done depends on how a graph is built, not on its names. A graph that is built in another way stays as it is.

Source: onnx.proto3 of the ONNX project, and its operators Conv (opset 1 on) and Split (opset 2 to 12).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.protobuf import BYTES, VARINT, edited, field, fields, integers, joined, messages, texts, varint

_GRAPH, _OPSET = 7, 8  # ModelProto.graph, .opset_import
_DOMAIN, _VERSION = 1, 2  # OperatorSetIdProto
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12  # GraphProto
_READS, _MAKES, _OPERATOR, _ATTRIBUTE = 1, 2, 4, 5  # NodeProto.input, .output, .op_type, .attribute
_ATTRIBUTE_NAME, _INT, _INTS, _TYPE = 1, 3, 8, 20  # AttributeProto
_TYPE_INT, _TYPE_INTS = 2, 7  # AttributeProto.AttributeType
_DIMS, _DATA_TYPE, _FLOAT_DATA, _TENSOR_NAME, _RAW_DATA = 1, 2, 4, 8, 9  # TensorProto
_FLOAT = 1  # TensorProto.DataType
_VALUE_NAME, _TO_SHAPE = 1, (2, 1, 2)  # ValueInfoProto.name; .type, TypeProto.tensor_type, TypeProto.Tensor.shape
_DIM, _DIM_VALUE = 1, 1  # TensorShapeProto.dim, TensorShapeProto.Dimension.dim_value


def interleaved_input(model: bytes) -> bytes:
    """The same network for pictures as they lie in memory: (N, 1, H, 3 W) in place of (N, 3, H, W).

    The convolution that reads the picture sees blue, green, red, blue, … as columns of one channel. Its window is three
    times as wide and moves on by three times as many columns, so it adds up the same products. Nobody has to sort the
    colours into planes, and ONNX Runtime goes over the picture once instead of three times. A graph whose input goes
    anywhere else than into one convolution of three channels stays as it is. Raises ValueError if the bytes are no ONNX
    file.
    """
    return edited(model, (_GRAPH,), _interleaved)


def heads_joined(model: bytes) -> bytes:
    """The same network, in which heads that read the same are one: each a 1 x 1 convolution, then one by channel.

    ONNX Runtime works on 16 channels at a time and fills up what is less: four heads of 1, 1, 4 and 10 channels take
    four times as long as one of 16, which is split at its end. A graph of an opset above 12, where Split is another,
    stays as it is. Raises ValueError if the bytes are no ONNX file.
    """
    opsets = [integers(opset, _VERSION) for opset in messages(model, _OPSET) if not any(messages(opset, _DOMAIN))]
    return edited(model, (_GRAPH,), _with_joined_heads) if opsets and [2] <= opsets[0] <= [12] else model


@dataclass(frozen=True)
class _Conv:
    """A convolution over pictures, without gaps in its window.

    inputs: what it reads, its weights and its bias. kernel_shape, strides: of rows and columns. pads: above, left,
    below, right.
    """

    inputs: tuple[str, ...]
    output: str
    kernel_shape: tuple[int, ...] = ()
    group: tuple[int, ...] = (1,)
    pads: tuple[int, ...] = (0, 0, 0, 0)
    strides: tuple[int, ...] = (1, 1)

    @classmethod
    def of(cls, node: bytes) -> _Conv | None:
        """None if the node is something else."""
        if texts(node, _OPERATOR) != ["Conv"]:
            return None
        numbers = {
            _name(attribute, _ATTRIBUTE_NAME): (*integers(attribute, _INT), *integers(attribute, _INTS))
            for attribute in messages(node, _ATTRIBUTE)
        }
        gaps, names = numbers.pop("dilations", (1, 1)), texts(node, _READS)
        known = {"kernel_shape", "group", "pads", "strides"}
        if gaps != (1, 1) or len(names) != 3 or len(numbers.get("kernel_shape", ())) != 2 or numbers.keys() - known:
            return None
        return cls(tuple(names), _name(node, _MAKES), **numbers)

    def encoded(self) -> bytes:
        several = {name: getattr(self, name) for name in ("kernel_shape", "pads", "strides")}
        return _node("Conv", self.inputs, [self.output], group=self.group[0], **several)


class _Graph:
    """A graph. parts: its fields, each a list: several or none can be put in the place of one.

    weights: the float32 initializers by name. inputs: the places of the inputs that are no initializers. convs: the
    convolutions with known weights and bias, by place. readers: the places of what reads a value, the outputs of the
    graph included. All but `parts` tell of the graph as it was.
    """

    def __init__(self, content: bytes) -> None:
        parts = list(fields(content))
        tensors = {_name(value, _TENSOR_NAME): value for number, _, value in parts if number == _INITIALIZER}
        self.parts = [[part] for part in parts]
        self.weights = {name: values for name, value in tensors.items() if (values := _floats(value)) is not None}
        self.inputs = {
            _name(value, _VALUE_NAME): place
            for place, (number, _, value) in enumerate(parts)
            if number == _INPUT and _name(value, _VALUE_NAME) not in tensors
        }
        convs = {place: _Conv.of(value) for place, (number, _, value) in enumerate(parts) if number == _NODE}
        self.convs = {place: conv for place, conv in convs.items() if conv is not None and self._is_known(conv)}
        self.readers: dict[str, list[int]] = {}
        for place, (number, _, value) in enumerate(parts):
            names = texts(value, _READS) if number == _NODE else texts(value, _VALUE_NAME) if number == _OUTPUT else []
            for name in names:
                self.readers.setdefault(name, []).append(place)

    def _is_known(self, conv: _Conv) -> bool:
        return [self.weights[name].ndim for name in conv.inputs[1:] if name in self.weights] == [4, 1]

    def put(self, place: int, nodes: Iterable[bytes]) -> None:
        """Put nodes, or none, in place of one."""
        self.parts[place] = [(_NODE, BYTES, node) for node in nodes]

    def add(self, name: str, values: Floats) -> str:
        """Add weights; returns their name."""
        self.parts.append([(_INITIALIZER, BYTES, _tensor(name, values))])
        return name

    def encoded(self) -> bytes:
        return joined(part for place in self.parts for part in place)


def _interleaved(content: bytes) -> bytes:
    graph = _Graph(content)
    if len(graph.inputs) != 1:
        return content
    ((name, at),) = graph.inputs.items()
    places = graph.readers.get(name, [])
    conv = graph.convs.get(places[0]) if len(places) == 1 else None
    if conv is None or graph.weights[conv.inputs[1]].shape[1] != 3 or conv.group != (1,):
        return content
    (rows, columns), (down, right) = conv.kernel_shape, conv.strides
    weights = graph.weights[conv.inputs[1]].transpose(0, 2, 3, 1).reshape(-1, 1, rows, 3 * columns)
    wide = replace(
        conv,
        inputs=(name, graph.add(f"{conv.inputs[1]}, interleaved", weights), conv.inputs[2]),
        kernel_shape=(rows, 3 * columns),
        pads=tuple(np.multiply(conv.pads, (1, 3, 1, 3)).tolist()),
        strides=(down, 3 * right),
    )
    graph.put(places[0], [wide.encoded()])
    graph.parts[at] = [(_INPUT, BYTES, edited(graph.parts[at][0][2], _TO_SHAPE, _of_one_channel))]
    return graph.encoded()


def _of_one_channel(shape: bytes) -> bytes:
    one = field(_DIM_VALUE, VARINT, varint(1))
    return joined((_DIM, BYTES, one if axis == 1 else value) for axis, value in enumerate(messages(shape, _DIM)))


def _with_joined_heads(content: bytes) -> bytes:
    graph = _Graph(content)
    for name, places in graph.readers.items():
        heads = {place: head for place in places if (head := _head(graph, name, place)) is not None}
        if len(heads) > 1 and len({(second.kernel_shape, second.pads) for _, second, _ in heads.values()}) == 1:
            _join(graph, heads)
    return graph.encoded()


def _head(graph: _Graph, name: str, place: int) -> tuple[_Conv, _Conv, int] | None:
    """The 1 x 1 convolution of a value at a place, the one by channel that alone reads it, and the place of that."""
    first = graph.convs.get(place)
    if first is None or first != _Conv((name, *first.inputs[1:]), first.output, (1, 1)):
        return None
    after = graph.readers.get(first.output, [])
    second = graph.convs.get(after[0]) if len(after) == 1 else None
    if second is None or second.strides != (1, 1):
        return None
    channels = len(graph.weights[first.inputs[1]])
    return (first, second, after[0]) if graph.weights[second.inputs[1]].shape[:2] == (channels, 1) else None


def _join(graph: _Graph, heads: dict[int, tuple[_Conv, _Conv, int]]) -> None:
    """One head in the place of the first, and none in those of the others."""
    firsts, seconds, ends = zip(*heads.values(), strict=True)
    for place in (*heads, *ends):
        graph.put(place, [])
    channels = [len(graph.weights[second.inputs[2]]) for second in seconds]
    first = _side_by_side(graph, firsts, firsts[0].inputs[0], 1)
    second = _side_by_side(graph, seconds, first.output, sum(channels))
    split = _node("Split", [second.output], [conv.output for conv in seconds], axis=1, split=channels)
    graph.put(min(heads), [first.encoded(), second.encoded(), split])


def _side_by_side(graph: _Graph, convs: Sequence[_Conv], reads: str, group: int) -> _Conv:
    """One convolution with the channels of several, which are alike but for their weights."""
    inputs = [
        graph.add(" and ".join(names), np.concatenate([graph.weights[name] for name in names]))
        for names in zip(*(conv.inputs[1:] for conv in convs), strict=True)
    ]
    made = " and ".join(conv.output for conv in convs)
    return replace(convs[0], inputs=(reads, *inputs), output=made, group=(group,))


def _node(operator: str, reads: Iterable[str], makes: Iterable[str], **attributes: int | Iterable[int]) -> bytes:
    names = [(_READS, BYTES, name.encode()) for name in reads] + [(_MAKES, BYTES, name.encode()) for name in makes]
    numbers = [(_ATTRIBUTE, BYTES, _attribute(name, value)) for name, value in attributes.items()]
    return joined([*names, (_OPERATOR, BYTES, operator.encode()), *numbers])


def _attribute(name: str, value: int | Iterable[int]) -> bytes:
    if isinstance(value, int):
        kind, numbers = _TYPE_INT, [(_INT, VARINT, varint(value))]
    else:
        kind, numbers = _TYPE_INTS, [(_INTS, VARINT, varint(number)) for number in value]
    return joined([(_ATTRIBUTE_NAME, BYTES, name.encode()), *numbers, (_TYPE, VARINT, varint(kind))])


def _floats(tensor: bytes) -> Floats | None:
    """The values as float32, if they are such and lie in the file: as bytes, packed or one by one, it is the same."""
    data = b"".join(value for number, _, value in fields(tensor) if number in (_FLOAT_DATA, _RAW_DATA))
    sizes = integers(tensor, _DIMS)
    whole = integers(tensor, _DATA_TYPE) == [_FLOAT] and len(data) == 4 * math.prod(sizes)
    return np.frombuffer(data, "<f4").reshape(sizes) if whole else None


def _name(message: bytes, number: int) -> str:
    """The text of a number; "" if there is none."""
    return next(iter(texts(message, number)), "")


def _tensor(name: str, values: Floats) -> bytes:
    sizes = [(_DIMS, VARINT, varint(size)) for size in values.shape]
    data = (_RAW_DATA, BYTES, np.ascontiguousarray(values, "<f4").tobytes())
    return joined([*sizes, (_DATA_TYPE, VARINT, varint(_FLOAT)), (_TENSOR_NAME, BYTES, name.encode()), data])
