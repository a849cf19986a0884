"""The registry of formats. A format is a sibling module that calls `register_format` in its last line.

Other packages bring formats by such a module, too, which they name as an entry point (`plugins`).

A format writes any number of `FrameResult` and reads them back: `write(path, results, overwrite)`, `read(path)`; those
that make one file can also `dump(results, stream)` into a binary stream such as standard output.
"""

from __future__ import annotations

import contextlib
import functools
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from facealign_cli.arguments import check_flags, check_kind, checked_items
from facealign_cli.errors import ArgumentError, FormatError, InputError
from facealign_cli.files.base import check_path
from facealign_cli.files.documents import UTF16, PathLike, read_bytes, read_json, read_xml
from facealign_cli.files.output import atomic_write
from facealign_cli.plugins import FORMATS, find_plugins, load_plugin
from facealign_cli.records import FrameResult, LeftOut

OF_THE_RUN = "the pose, sigma, quality, which model placed the points"
"""For `Format.loses`: what only our own tables hold."""


class Write(Protocol):
    """Writes records to a path. Raises OutputError."""

    def __call__(
        self, path: PathLike, results: Iterable[FrameResult], overwrite: bool = False, **own: Any
    ) -> object: ...


class Read(Protocol):
    """Reads records from a path. Raises InputError, FormatError."""

    def __call__(self, path: PathLike) -> list[FrameResult]: ...


class Scan(Protocol):
    """Reads records, with what of the file has to be left out among them. Raises InputError, FormatError."""

    def __call__(self, path: PathLike) -> Iterable[FrameResult | LeftOut]: ...


class Check(Protocol):
    """Raises OutputError where the results of these sources could not be written: to be asked before long work."""

    def __call__(self, path: PathLike, sources: Sequence[str], overwrite: bool = False) -> None: ...


class Dump(Protocol):
    """Writes records into a binary stream."""

    def __call__(self, results: Iterable[FrameResult], stream: BinaryIO) -> None: ...


@dataclass(frozen=True)
class Format:
    """A registered format.

    extensions: with the dot; the first one is the format's own. dump: None if the format fills a folder. check: only
    for a format that fills a folder, since its file names follow from those of the pictures. require: raises
    MissingDependency if a package that the format needs is not installed; it is called before long work. grows: whether
    a file can be read while more is written to it. scan: as `read`, but where `read` raises FormatError it names what
    has to be left out, and goes on. why_not: says why a record cannot be held, and `write` leaves that record out; None
    if it can. recognises: whether a parsed JSON document, the root tag of an XML file (a str), the first characters of
    a .csv file without its quotation marks, or a folder (a Path) is of this format. loses: what of a face the format
    cannot hold; "" if it holds all. holds_size: whether it says how large a picture is. names_pictures: whether the
    format is made for labelling tools, which name pictures by their paths in a folder of pictures. takes_root:
    whether `write` takes that folder as `root`. copies_pictures: whether it copies the pictures, too. faces_alone:
    whether a picture without a face leaves nothing.
    named: whether people choose it by its name; else it is read alone, and found by what it looks like.
    """

    name: str
    extensions: tuple[str, ...]
    write: Write
    read: Read
    scan: Scan
    dump: Dump | None = None
    check: Check | None = None
    require: Callable[[], object] = lambda: None
    grows: bool = True
    why_not: Callable[[FrameResult], str | None] = lambda _result: None
    recognises: Callable[[Any], bool] = lambda _content: False
    loses: str = ""
    holds_size: bool = True
    names_pictures: bool = False
    takes_root: bool = False
    copies_pictures: bool = False
    faces_alone: bool = False
    named: bool = True

    def why_left_out(self, result: FrameResult) -> str | None:
        """Why the format leaves a record out that has not failed; one that has, says so itself."""
        return None if result.status == "error" else self.why_not(result)


_FORMATS: dict[str, Format] = {}


def register_format(name: str, extensions: Sequence[str], **parts: Any) -> None:
    """Make a format known by its name and its file extensions. A format without extensions has to be named by users.

    parts: `write`, and `read` or `scan` (each follows from the other), and the other fields of `Format`. Raises
    InputError for the name of one of facealign's own formats, and where a part is missing.
    """
    check_kind("name", name, str)
    if "write" not in parts or not {"read", "scan"} & set(parts):
        raise ArgumentError(f"the format {name!r} lacks a part: it needs write, and read or scan")
    if isinstance(extensions, str) or not all(isinstance(e, str) and e.startswith(".") for e in extensions):
        raise ArgumentError(
            f"the format {name!r}: expected a list of extensions such as ['.txt'], got {extensions!r:.80}"
        )
    if name.replace("-", "_") in _siblings() and not _is_own(parts["write"]):
        raise ArgumentError(f"the format {name!r} is one of facealign's own: yours needs another name")
    if "read" not in parts:
        parts["read"] = strict(parts["scan"])
    parts.setdefault("scan", parts["read"])
    _FORMATS[name] = Format(name, tuple(extensions), **parts)


def strict(scan: Scan) -> Read:
    """What reads as `scan` does, but raises FormatError for the first thing that has to be left out."""

    def read(path: PathLike) -> list[FrameResult]:
        results = []
        for item in scan(path):
            if isinstance(item, LeftOut):
                raise FormatError(item.within(path))
            results.append(item)
        return results

    return read


def format_names() -> tuple[str, ...]:
    """The names of all formats that people choose by name, sorted."""
    _import_siblings()
    return tuple(sorted(name for name, fmt in _FORMATS.items() if fmt.named))


def get_format(name: str) -> Format:
    """The format called `name`. Raises InputError, which lists the known ones."""
    check_kind("format", name, str)
    _import_siblings()
    if name not in _FORMATS and name in find_plugins(FORMATS):
        load_plugin(FORMATS, name)
    if name not in _FORMATS or not _FORMATS[name].named:
        raise InputError(f"unknown format {name!r}: known are {', '.join(format_names())}")
    return _FORMATS[name]


def format_for_path(path: PathLike, fits: Callable[[Format], bool] = lambda _format: True) -> Format:
    """The format that a path's extension stands for. Raises InputError, which lists the known ones that fit."""
    _import_siblings()
    suffix = Path(path).suffix.lower()
    for fmt in _FORMATS.values():
        if suffix in fmt.extensions:
            return fmt
    known = sorted(f"{ext} ({fmt.name})" for fmt in _FORMATS.values() if fits(fmt) for ext in fmt.extensions)
    raise InputError(
        f"no format goes with the name {Path(path).name!r}: known are {', '.join(known)}; or name the format"
    )


def write_results(
    path: PathLike, results: Iterable[FrameResult], *, format: str | None = None, overwrite: bool = False
) -> None:
    """Write records to a file. format: its name; None means the one that the file's extension stands for.

    Pictures that failed are not written in formats that hold no failures, such as "coco" and "pts". Raises InputError
    for an unknown format, for things that are no records and for other records that the format cannot hold, such as
    frames of a clip in "coco"; OutputError if the file exists or cannot be written; and MissingDependency.
    """
    check_path("path", path)
    check_flags(overwrite=overwrite)
    chosen = format_for_path(path) if format is None else get_format(format)
    chosen.require()
    chosen.write(path, _held(chosen, path, checked_items("results", results, FrameResult)), overwrite)


def _held(fmt: Format, path: PathLike, results: Iterable[FrameResult]) -> Iterator[FrameResult]:
    """Pass the records through. Raises InputError for one that the format would leave out, unless it has failed."""
    for result in results:
        if (why := fmt.why_left_out(result)) is not None:
            frame = "" if result.frame is None else f", frame {result.frame}"
            others = ", ".join(name for name in format_names() if _FORMATS[name].why_not(result) is None)
            raise InputError(
                f"cannot write {path}: the format {fmt.name} cannot hold {result.source}{frame}: {why}; "
                f"formats that can hold it: {others}"
            )
        yield result


def read_results(path: PathLike, *, format: str | None = None) -> list[FrameResult]:
    """Read records from a file or folder. format: its name; None means the one that the file looks like.

    Raises InputError for an unknown format or a file that cannot be read, FormatError for a damaged file, also for one
    whose last line was cut, and MissingDependency. `facealign convert` makes a file of what can be read of such a one.
    """
    return _format_to_read(path, format).read(path)


def scan_results(path: PathLike, format: str | None = None) -> Iterable[FrameResult | LeftOut]:
    """As `read_results`, but where that raises FormatError for a part, what has to be left out is named among them."""
    return _format_to_read(path, format).scan(path)


def _format_to_read(path: PathLike, format: str | None) -> Format:
    check_path("path", path)
    chosen = (find_format(path) or format_for_path(path)) if format is None else get_format(format)
    chosen.require()
    return chosen


def find_format(path: PathLike) -> Format | None:
    """Find the format of the records at a path by what they look like; None if they look like none.

    Each format says whether a JSON document, the root tag of an XML file, or a folder is its own; for other files the
    extension decides. Raises InputError if the file cannot be read, FormatError if it is damaged JSON or XML.
    """
    _import_siblings()
    content = _content(Path(path))
    known = [fmt for fmt in _FORMATS.values() if content is not None and _recognises(fmt, content, path)]
    if known or Path(path).suffix.lower() in _SHARED_SUFFIXES or Path(path).is_dir():
        return known[0] if known else None
    return next((fmt for fmt in _FORMATS.values() if Path(path).suffix.lower() in fmt.extensions), None)


def _recognises(fmt: Format, content: Any, path: PathLike) -> bool:
    try:
        return bool(fmt.recognises(content))
    except (Exception, SystemExit) as error:
        if _is_own(fmt.write):
            raise
        module = getattr(fmt.write, "__module__", "another package")
        raise InputError(
            f"{path}: the format {fmt.name!r} of {module} failed to say whether the file is of its kind: {error!r}; "
            f"name the file's format, or remove that package"
        ) from error


_SHARED_SUFFIXES = (".json", ".xml", ".csv")
"""What several formats and other files are called, too."""


def _content(path: Path) -> Any:
    """What `Format.recognises` looks at; None where there is nothing to look at."""
    if path.is_dir():
        return path
    suffix = path.suffix.lower()
    if suffix == ".json":
        return read_json(path, nan=True)
    if suffix == ".xml":
        return read_xml(path).tag
    if suffix != ".csv":
        return None
    start = read_bytes(path)[:400]
    text = start.decode("utf-16" if start.startswith(UTF16) else "utf-8-sig", "replace")
    return text.replace('"', "")[:200]  # some programs put every cell into quotation marks


@functools.cache
def _siblings() -> frozenset[str]:
    return frozenset(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))


def _is_own(function: Callable[..., object]) -> bool:
    return str(getattr(function, "__module__", "")).startswith(f"{__package__}.")


@functools.cache
def _import_siblings() -> None:
    for name in sorted(_siblings() - {"base"}):
        import_module(f"{__package__}.{name}")
    for name in find_plugins(FORMATS):
        with contextlib.suppress(InputError):  # told where the format is asked for by name
            load_plugin(FORMATS, name)


def write_file(path: PathLike, results: Iterable[FrameResult], dump: Dump, overwrite: bool = False) -> None:
    """Write a one-file format atomically. Raises OutputError."""
    with atomic_write(path, overwrite) as stream:
        dump(results, stream)
