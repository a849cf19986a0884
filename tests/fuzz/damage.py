"""How a good file is damaged: bytes at random, and for JSON values that nobody expects at places at random."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import numpy as np

ODD_NUMBERS = (b"1e300", b"-1e300", b"1e-300", b"1e999", b"NaN", b"-Infinity", b"9" * 401, b"-1", b"0", b"1.5", b"")
ODD_TEXTS = (
    b"\x00",
    b"\xff\xfe",
    b"\x1b[2J",
    b'"',
    b"'",
    b"<",
    b"&",
    b",",
    b"\n",
    b"[" * 3000,
    b"\xed\xa0\x80",
    b" " * 5000,
)
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    1e300,
    -1e300,
    1e-300,
    10**30,
    "",
    "x",
    "\0",
    "\x1b[31m",
    [],
    {},
    [[]],
    [1, "a"],
    {"a": {"b": []}},
    "9" * 400,
)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """The content with one to three things done to it."""
    for _ in range(int(rng.integers(1, 4))):
        if data:
            data = _HOW[int(rng.integers(len(_HOW)))](data, rng)
    return data


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    content = bytearray(data)
    for place in rng.integers(len(content), size=int(rng.integers(1, 12))):
        content[place] = int(rng.integers(256))
    return bytes(content)


def _flip_start(data: bytes, rng: np.random.Generator) -> bytes:
    """Where headers are."""
    start = min(len(data), 400)
    return _flip(data[:start], rng) + data[start:]


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(len(data)))]


def _cut_end(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: -int(rng.integers(1, 12))]


def _leave_out(data: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(rng.integers(len(data) + 1, size=2))
    return data[:start] + data[end:]


def _double(data: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(rng.integers(len(data) + 1, size=2))
    return data[:end] + data[start:]


def _fill(data: bytes, rng: np.random.Generator) -> bytes:
    start, value = int(rng.integers(len(data))), bytes([int(rng.choice([0, 255]))])
    length = int(rng.integers(1, 64))
    return data[:start] + value * length + data[start + length :]


def _insert(data: bytes, rng: np.random.Generator) -> bytes:
    start, text = int(rng.integers(len(data) + 1)), ODD_TEXTS[int(rng.integers(len(ODD_TEXTS)))]
    return data[:start] + text + data[start:]


def _odd_number(data: bytes, rng: np.random.Generator) -> bytes:
    """In place of a number that stands in it as text."""
    found = [match.span() for match in re.finditer(rb"-?[0-9]+(?:\.[0-9]+)?", data[: 1 << 16])]
    if not found:
        return _flip(data, rng)
    start, end = found[int(rng.integers(len(found)))]
    return data[:start] + ODD_NUMBERS[int(rng.integers(len(ODD_NUMBERS)))] + data[end:]


_HOW = (
    _flip,
    _flip,
    _flip_start,
    _flip_start,
    _cut,
    _cut_end,
    _leave_out,
    _double,
    _fill,
    _insert,
    _odd_number,
    _odd_number,
)


def damaged_json(data: bytes, rng: np.random.Generator) -> bytes:
    """A document that is JSON still, with one to three values of another kind than they were."""
    document = json.loads(data)
    for _ in range(int(rng.integers(1, 4))):
        _change(document, rng)
    return json.dumps(document).encode()


def _change(document: Any, rng: np.random.Generator) -> None:
    inside, value = document, copy.deepcopy(ODD_VALUES[int(rng.integers(len(ODD_VALUES)))])
    while True:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        if not keys:
            return
        key = keys[int(rng.integers(len(keys)))]
        inner = inside[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.2:
            if rng.random() < 0.15:
                del inside[key]
            else:
                inside[key] = value
            return
        inside = inner
