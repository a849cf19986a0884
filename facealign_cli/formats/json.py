"""JSON: one document for any number of pictures or frames, described by `facealign-2.schema.json`.

    {"schema": "facealign/2", "version": "0.1.0", "results": [
    {"source": "a.jpg", "status": "ok", …, "faces": [{"face_id": 0, "bbox": [x1, y1, x2, y2], …,
     "landmarks": [[x, y], …], "sigma": [s, …]}]},
    …
    ]}

One result a line (broken here). `schema` changes when the layout does, `version` is the program's. Every result carries
its own model, detector and provider, so documents can be merged. No NaN; pixels have 3 decimals, scores 4. `sigma` is
null where the model does not say how far its landmarks may be off; documents of facealign/1 have none and are read too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Any, BinaryIO

from facealign_cli.errors import FormatError
from facealign_cli.files.documents import PathLike, read_json
from facealign_cli.formats.base import register_format, write_file
from facealign_cli.formats.codec import READABLE, SCHEMA, from_dict, json_line, to_dict
from facealign_cli.records import FrameResult
from facealign_cli.version import __version__


def dump(results: Iterable[FrameResult], stream: BinaryIO) -> None:
    """Write the document into a binary stream, result by result, as UTF-8."""
    stream.write(f'{{"schema": {json.dumps(SCHEMA)}, "version": {json.dumps(__version__)}, "results": ['.encode())
    for i, result in enumerate(results):
        stream.write(b",\n" if i else b"\n")
        stream.write(json_line(to_dict(result)))
    stream.write(b"\n]}\n")


def write(path: PathLike, results: Iterable[FrameResult], overwrite: bool = False) -> None:
    """Write the document to a file, atomically. Raises OutputError."""
    write_file(path, results, dump, overwrite)


def read(path: PathLike) -> list[FrameResult]:
    """The results of a document. Raises InputError if it cannot be read, FormatError if it breaks the schema."""
    document = read_json(path)
    if not isinstance(document, dict) or not isinstance(document.get("schema"), str):
        what = "it is the summary of a clip" if _is_summary(document) else "it has no schema"
        raise FormatError(f"{path}: not a facealign document: {what}")
    if document["schema"].startswith("facealign-batch/"):
        raise FormatError(f"{path}: not a facealign document: it is the manifest of a job; give its folder")
    if document["schema"] not in READABLE:
        raise FormatError(f"{path}: schema {document['schema']!r:.40}, this version reads {' and '.join(READABLE)}")
    if document.keys() != {"schema", "version", "results"} or not isinstance(document["results"], list):
        raise FormatError(f"{path}: expected schema, version and a list of results, got {sorted(document)}")
    return [_result(path, i, record) for i, record in enumerate(document["results"])]


def _is_summary(document: object) -> bool:
    """Whether it is the file that `batch videos` writes beside a clip's table, for the row of clips.csv."""
    return isinstance(document, dict) and {"source", "status", "error", "frames", "blinks"} <= document.keys()


def _result(path: PathLike, index: int, record: object) -> FrameResult:
    try:
        return from_dict(record)
    except FormatError as error:
        raise FormatError(f"{path}: results[{index}]: {error}") from error


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the document."""
    text = files("facealign_cli.formats").joinpath("facealign-2.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _recognises(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("schema"), str) and "results" in document


register_format("json", [".json"], write=write, read=read, dump=dump, recognises=_recognises)
