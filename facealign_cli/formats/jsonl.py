"""JSON Lines: a record a line, as the results of a JSON document, without the document around them.

    {"source": "a.jpg", "status": "ok", …, "faces": [{"face_id": 0, "bbox": [x1, y1, x2, y2], …,
     "landmarks": [[x, y], …], "sigma": [s, …]}]}
    …

(Broken here.) Lines can be appended, split and joined; each can be read when it stands. So a file whose writing was
ended by force can be read as far as it goes: `scan` leaves out a last line without its line feed that is not whole, and
names it; `read` raises an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from facealign_cli.errors import FormatError
from facealign_cli.files.base import without_waiting
from facealign_cli.files.documents import PathLike, parse_json, reading
from facealign_cli.formats.base import register_format, strict, write_file
from facealign_cli.formats.codec import from_dict, json_line, to_dict
from facealign_cli.records import FrameResult, LeftOut

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


def scan(path: PathLike) -> Iterator[FrameResult | LeftOut]:
    """The results one by one, so that the file may be larger than the memory; a last line that was cut is left out.

    Keys other than a record's own are passed over, and so are empty lines. Raises InputError if the file cannot be
    read, FormatError if a line breaks the rules.
    """
    with reading(path), open(path, "rb", opener=without_waiting) as stream:
        for number, text in enumerate(stream, start=1):
            if text.strip():
                yield _result(path, number, text)


read = strict(scan)


def iterate(path: PathLike) -> Iterator[FrameResult]:
    """The results that `scan` gives, without a last line that was cut: for a writer that failed and says so itself."""
    return (item for item in scan(path) if isinstance(item, FrameResult))


def _result(path: PathLike, number: int, text: bytes) -> FrameResult | LeftOut:
    place = f"{path}: line {number}"
    try:
        record = parse_json(text)
    except ValueError as error:
        if not text.endswith(b"\n") and text.removeprefix(b"\xef\xbb\xbf").startswith(b"{"):
            return LeftOut(str(path), f"line {number}: it was not written to its end")
        raise FormatError(f"{place}: not JSON: {error}") from error
    try:
        return from_dict({k: v for k, v in record.items() if k in _KEYS} if isinstance(record, dict) else record)
    except FormatError as error:
        raise FormatError(f"{place}: {error}") from error


register_format("jsonl", [".jsonl", ".ndjson"], write=write, scan=scan, dump=dump)
