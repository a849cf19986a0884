"""Records written as they come, so that a run that is killed leaves the rows so far, readable.

Unlike other results they go straight to their place, not beside it: whole frames at a time, each by one write to the
system. A JSON document is closed after every frame, and the next one is written over its end. A Parquet file can only
be read when it is finished, so its rows stand as JSON Lines in a file beside it until then; see `partial_path`. Those
of a run that was killed stay there, and `facealign convert` makes them the file; see `recovery`.
"""

from __future__ import annotations

import io
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from facealign_cli.errors import FacealignError, InputError, OutputError
from facealign_cli.files.output import check_output, exists_already, write_reason
from facealign_cli.formats import jsonl
from facealign_cli.formats.base import Dump, Format, format_names, get_format
from facealign_cli.records import FrameResult

_TAILS = {"json": b"\n]}\n"}
"""What has to follow the last record for the file to be whole."""


def partial_path(fmt: Format, path: str | os.PathLike[str]) -> Path | None:
    """Where the rows stand until the run ends, PATH.partial.jsonl; None where they go straight to `path`."""
    path = Path(path)
    straight = fmt.grows or (path.exists() and not path.is_file())  # a device or a pipe takes them as they come
    return None if straight else path.with_name(f"{path.name}.partial.jsonl")


def recovery(fmt: Format, path: str | os.PathLike[str]) -> str:
    """The command that makes the rows of a run that was killed the file that was to be written."""
    name = "" if Path(path).suffix.lower() in fmt.extensions else f" --to {fmt.name}"
    return f"facealign convert {shlex.join([str(partial_path(fmt, path)), str(path)])}{name}"


_A_ROW = FrameResult("clip.mp4", "no_face", 1, 1, frame=0)


def holds_rows(fmt: Format) -> bool:
    """Whether the rows of a clip can be written in a format."""
    return fmt.dump is not None and fmt.why_not(_A_ROW) is None


def dump_of_rows(fmt: Format) -> Dump:
    """What writes a clip's rows into a stream in this format. Raises InputError where it cannot hold them."""
    if fmt.dump is None or not holds_rows(fmt):
        why = fmt.why_not(_A_ROW) or "it has a file for each face"
        names = ", ".join(name for name in format_names() if holds_rows(get_format(name)))
        raise InputError(f"the format {fmt.name} cannot hold the rows of a clip: {why}; these can: {names}")
    return fmt.dump


def check_rows(fmt: Format, path: str | os.PathLike[str] | None, overwrite: bool = False) -> Dump:
    """What writes rows of this format. Raises InputError or OutputError if they could not be written there.

    Also where a run that was killed left its rows: without `overwrite` they stay. MissingDependency: the format's.
    """
    dump = dump_of_rows(fmt)
    fmt.require()
    if path is None:
        return dump
    check_output(path, overwrite)
    partial = partial_path(fmt, path)
    if partial is not None and os.path.lexists(partial) and not overwrite:
        raise OutputError(
            f"{partial} holds the rows of a run that did not end: `{recovery(fmt, path)}` makes them a table; "
            "then remove it, or --overwrite replaces it"
        )
    return dump


def write_rows(
    path: str | os.PathLike[str], results: Iterable[FrameResult], fmt: Format, overwrite: bool = False
) -> None:
    """Write records to a file as they come. Raises as `check_rows` does, and OutputError for a full disk."""
    dump = check_rows(fmt, path, overwrite)
    partial = partial_path(fmt, path)
    if partial is None:
        _write_straight(path, results, dump, _TAILS.get(fmt.name, b""), overwrite)
        return
    try:
        _write_straight(partial, results, jsonl.dump, b"", overwrite)
    except Exception:
        _finish(partial, path, fmt, overwrite)
        raise
    _finish(partial, path, fmt, overwrite)


def _write_straight(
    path: str | os.PathLike[str], results: Iterable[FrameResult], dump: Dump, tail: bytes, overwrite: bool
) -> None:
    """A file is made here and by nobody else: another run may have begun it since it was asked for."""
    taken_over = overwrite or (os.path.exists(path) and not os.path.isfile(path))
    try:
        stream = open(path, "wb" if taken_over else "xb", buffering=0)  # noqa: SIM115 - closed below
    except FileExistsError as error:
        raise exists_already(path) from error
    except OSError as error:
        raise OutputError(f"cannot write {path}: {write_reason(error)}") from error
    with stream:
        _dump(results, dump, stream, tail if Path(path).is_file() else b"", str(path))


def _finish(partial: Path, path: str | os.PathLike[str], fmt: Format, overwrite: bool) -> None:
    """Turn the rows that stand beside into the file itself."""
    try:
        fmt.write(path, jsonl.iterate(partial), overwrite)
        partial.unlink()
    except (FacealignError, OSError) as error:
        raise OutputError(f"{error}; the rows are in {partial}: `{recovery(fmt, path)}` makes them a table") from error


def stream_rows(stream: BinaryIO, results: Iterable[FrameResult], fmt: Format) -> None:
    """Write records into a stream such as standard output, flushed frame by frame. Raises as `write_rows` does."""
    _dump(results, check_rows(fmt, None), stream, b"", "the output")


def _dump(results: Iterable[FrameResult], dump: Dump, stream: BinaryIO, tail: bytes, name: str) -> None:
    rows = _RowStream(stream, tail, name)
    dump(rows.marking(results), rows)  # type: ignore[arg-type]
    rows.end()


class _RowStream(io.RawIOBase):
    """Gathers what a format writes of one frame; `marking` tells where one ends."""

    def __init__(self, stream: BinaryIO, tail: bytes, name: str) -> None:
        super().__init__()
        self._stream, self._tail, self._name = stream, tail, name
        self._gathered = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._gathered += data
        return len(data)

    def marking(self, results: Iterable[FrameResult]) -> Iterator[FrameResult]:
        """The results; when the next one is asked for, those before it stand in the file."""
        self._put(self._tail)
        for result in results:
            yield result
            self._put(self._tail)

    def end(self) -> None:
        """Write the rest."""
        self._put(b"")

    def _put(self, tail: bytes) -> None:
        if not self._gathered:
            return
        data = bytes(self._gathered) + tail
        self._gathered.clear()
        try:
            written = self._stream.write(data)
            while written is not None and written < len(data):  # a full pipe takes a part
                data = data[written:]
                written = self._stream.write(data)
            if tail:
                self._stream.seek(-len(tail), os.SEEK_CUR)
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"cannot write {self._name}: {write_reason(error)}") from error
