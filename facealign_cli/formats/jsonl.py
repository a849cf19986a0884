"""JSON Lines: a record a line, as the results of a JSON document, without the document around them.

    {"source": "a.jpg", "status": "ok", …, "faces": [{"face_id": 0, "bbox": [x1, y1, x2, y2], …,
     "landmarks": [[x, y], …], "sigma": [s, …]}]}
    …

(Broken here.) Lines can be appended, split and joined; each can be read when it stands. So a file whose writing was
ended by force is read as far as it goes: a last line without its line feed that is not whole is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from facealign_cli.errors import FormatError
from facealign_cli.files.base import without_waiting
from facealign_cli.files.documents import PathLike, parse_json, reading
from facealign_cli.formats.base import register_format, write_file
from facealign_cli.formats.codec import from_dict, json_line, to_dict
from facealign_cli.records import FrameResult

_KEYS = frozenset(to_dict(FrameResult("", "no_face")))


def line(result: FrameResult, extra: Mapping[str, Any] | None = None) -> bytes:
    """A record's line, with its line feed. extra: JSON values that follow under keys of their own.

    Raises ValueError where a key is one of the record's.
    """
    taken = _KEYS & (extra or {}).keys()
    if taken:
        raise ValueError(f"extra: keys of the record: {', '.join(sorted(taken))}")
    return json_line({**to_dict(result), **(extra or {})}) + b"\n"


def dump(results: Iterable[FrameResult], stream: BinaryIO) -> None:
    """Write the lines into a binary stream, result by result, as UTF-8."""
    for result in results:
        stream.write(line(result))


def write(path: PathLike, results: Iterable[FrameResult], overwrite: bool = False) -> None:
    """Write the lines to a file, atomically. Raises OutputError."""
    write_file(path, results, dump, overwrite)


def read(path: PathLike) -> list[FrameResult]:
    """The results of the lines. Raises InputError if it cannot be read, FormatError if a line breaks the rules."""
    return list(iterate(path))


def iterate(path: PathLike) -> Iterator[FrameResult]:
    """The results one by one, so that the file may be larger than the memory.

    Keys other than a record's own are passed over, and so are empty lines. Raises as `read` does.
    """
    with reading(path), open(path, "rb", opener=without_waiting) as stream:
        for number, text in enumerate(stream, start=1):
            if text.strip() and (result := _result(f"{path}: line {number}", text)) is not None:
                yield result


def _result(place: str, text: bytes) -> FrameResult | None:
    """None for what a killed run left of its last line."""
    try:
        record = parse_json(text)
    except ValueError as error:
        if not text.endswith(b"\n") and text.startswith(b"{"):
            return None
        raise FormatError(f"{place}: not JSON: {error}") from error
    try:
        return from_dict({k: v for k, v in record.items() if k in _KEYS} if isinstance(record, dict) else record)
    except FormatError as error:
        raise FormatError(f"{place}: {error}") from error


register_format("jsonl", [".jsonl", ".ndjson"], write=write, read=read, dump=dump)
