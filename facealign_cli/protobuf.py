"""The encoding of protocol buffers, as far as ONNX files need it: messages taken apart into fields, and put together.

A message is a sequence of fields, each a key (number and wire type) and a value. Embedded messages are bytes.

Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types."""

Field = tuple[int, int, bytes]
"""Number, wire type, value; a varint's value as it is encoded."""


def edited(message: bytes, path: tuple[int, ...], change: Callable[[bytes], bytes]) -> bytes:
    """The message with the embedded messages at a path of field numbers changed."""
    if not path:
        return change(message)
    return joined(
        (number, wire, edited(value, path[1:], change) if number == path[0] and wire == BYTES else value)
        for number, wire, value in fields(message)
    )


def joined(parts: Iterable[Field]) -> bytes:
    """The message of some fields."""
    return b"".join(field(*part) for part in parts)


def fields(message: bytes) -> Iterator[Field]:
    """The fields of a message. Raises ValueError if it is none."""
    at = 0
    while at < len(message):
        key, at = read_varint(message, at)
        number, wire = key >> 3, key & 7
        begin = at
        if wire == VARINT:
            end = read_varint(message, at)[1]
        elif wire == BYTES:
            length, begin = read_varint(message, at)
            end = begin + length
        elif wire in (FIXED32, FIXED64):
            end = at + (8 if wire == FIXED64 else 4)
        else:
            raise ValueError(f"not an ONNX file: a field of the unknown wire type {wire}")
        if end > len(message) or number == 0:
            raise ValueError("not an ONNX file, or one that is cut short")
        yield number, wire, message[begin:end]
        at = end


def messages(message: bytes, number: int) -> list[bytes]:
    """The embedded messages, or bytes, of a number."""
    return [value for found, wire, value in fields(message) if (found, wire) == (number, BYTES)]


def texts(message: bytes, number: int) -> list[str]:
    """The texts of a number. Raises ValueError if one is no UTF-8."""
    return [value.decode() for value in messages(message, number)]


def integers(message: bytes, number: int) -> list[int]:
    """The whole numbers, 0 or more, of a number of fields: each a field of its own, or packed into one."""
    found = []
    for packed in (value for place, wire, value in fields(message) if place == number and wire in (VARINT, BYTES)):
        at = 0
        while at < len(packed):
            one, at = read_varint(packed, at)
            found.append(one)
    return found


def field(number: int, wire: int, value: bytes) -> bytes:
    """A field as it is encoded."""
    length = varint(len(value)) if wire == BYTES else b""
    return varint(number << 3 | wire) + length + value


def read_varint(message: bytes, at: int) -> tuple[int, int]:
    """The number that begins there, and where it ends. Raises ValueError."""
    number = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
    raise ValueError("not an ONNX file, or one that is cut short")


def varint(number: int) -> bytes:
    """A number, 0 or more, as it is encoded."""
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
