"""The folder that `facealign batch` wrote, as one table: which of its files hold the rows, and a format to read them.

The format is found by what the folder looks like. People cannot choose it by a name, since a job alone writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from facealign_cli.errors import FormatError, InputError, OutputError
from facealign_cli.files.documents import PathLike, read_json
from facealign_cli.files.output import safe_tree
from facealign_cli.formats.base import find_format, format_for_path, get_format, register_format
from facealign_cli.records import FrameResult, LeftOut

MANIFEST = "manifest.json"
SCHEMA = "facealign-batch/1"

TABLES = "clips"
"""The folder of the clips' tables in that of their job."""

SUMMARY = ".summary.json"
"""What follows the name of a clip's table, without its suffix, in the name of the file that is written after it."""


@dataclass(frozen=True)
class JobFolder:
    """A job's files of rows, by name. of_clips: whether each is the table of a clip. missing: what they lack, in words.

    missing is None if the job has ended and every clip of it has a table.
    """

    files: tuple[Path, ...]
    of_clips: bool
    missing: str | None


def read_job_folder(folder: Path) -> JobFolder | None:
    """What a job wrote into a folder; None if it is no folder of a job.

    Raises InputError for a manifest that cannot be read, and where no file of rows is finished.
    """
    manifest = _manifest(folder)
    if manifest is None:
        return None
    clips = _part(_part(manifest, "config"), "clips")
    ended = manifest.get("state") == "complete"
    if not clips:
        files = sorted(_shards(folder))
    else:
        files = sorted(_tables(folder, clips, _listed(folder) if ended else _begun(folder, manifest)))
    if not files:
        missing = _missing(manifest, bool(clips)) if ended else "the job has not ended: the same batch command goes on"
        raise InputError(f"{folder}: no file of rows in it is finished{f'; {missing}' if missing else ''}")
    return JobFolder(tuple(files), bool(clips), _missing(manifest, bool(clips)))


def is_job_folder(folder: Path) -> bool:
    """Whether a job wrote into a folder. Raises InputError for a manifest that cannot be read."""
    return _manifest(folder) is not None


def job_of_surest_frames(file: Path) -> Path | None:
    """The folder of the job of clips of which this is a file of rows: of each clip it holds one frame, the surest one.

    None for any other file. Raises InputError for a manifest that cannot be read.
    """
    manifest = _manifest(folder := file.parent)
    of_clips = manifest is not None and bool(_part(_part(manifest, "config"), "clips"))
    return folder if of_clips and file in _shards(folder) else None


def _manifest(folder: Path) -> dict[str, Any] | None:
    if not (folder / MANIFEST).is_file():
        return None
    try:
        manifest = read_json(folder / MANIFEST)
    except FormatError:  # another program's file may be called so
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("schema") == SCHEMA else None


def _part(values: dict[str, Any], name: str) -> dict[str, Any]:
    part = values.get(name)
    return part if isinstance(part, dict) else {}


def _shards(folder: Path) -> Iterator[Path]:
    for suffix in ("parquet", "jsonl", "csv"):
        yield from folder.glob(f"part-*.{suffix}")


def _tables(folder: Path, clips: dict[str, Any], names: Iterable[str]) -> Iterator[Path]:
    """The tables of clips. names: their paths in the folder of tables, without the suffix."""
    suffix = (*get_format(str(clips.get("format"))).extensions, ".csv")[0]
    return (folder / TABLES / f"{name}{suffix}" for name in names)


def _listed(folder: Path) -> Iterator[str]:
    """The names of the clips of a job that has ended; tables that an earlier job left there are not among them."""
    for shard in _shards(folder):
        for record in get_format(shard.suffix[1:]).read(shard):
            if record.status != "error":
                yield safe_tree(record.source)


def _begun(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """The names of the clips that are finished since a job began: their summaries are written after their tables."""
    try:
        begin = datetime.fromisoformat(str(manifest.get("created"))).timestamp()
    except ValueError:
        begin = 0.0
    for summary in (folder / TABLES).rglob(f"*{SUMMARY}"):
        if summary.stat().st_mtime >= begin:
            yield summary.relative_to(folder / TABLES).as_posix().removesuffix(SUMMARY)


def _missing(manifest: dict[str, Any], of_clips: bool) -> str | None:
    if manifest.get("state") != "complete":
        what = "the clips" if of_clips else "the files of rows"
        return f"the job has not ended: only {what} that are finished are taken; the same batch command goes on with it"
    failed = _part(manifest, "counts").get("failed")
    if of_clips and isinstance(failed, int) and failed > 0:
        return f"{failed:,} of its clips failed and {'have' if failed > 1 else 'has'} no rows; clips.csv says why"
    return None


def scan(path: PathLike) -> Iterator[FrameResult | LeftOut]:
    """The records of all files of rows, and what they lack as what is left out. Raises InputError, FormatError."""
    job = read_job_folder(Path(path))
    if job is None:
        raise FormatError(f"{path}: not a folder that batch wrote")
    for file in job.files:
        fmt = find_format(file) or format_for_path(file)
        fmt.require()
        yield from fmt.scan(file)
    if job.missing is not None:
        yield LeftOut(str(path), job.missing)


def write(path: PathLike, results: Iterable[FrameResult], overwrite: bool = False) -> None:
    """Raises OutputError: only a job writes its folder."""
    raise OutputError(f"cannot write {path}: the folder of a job is written by `facealign batch` alone")


def _recognises(folder: Any) -> bool:
    return isinstance(folder, Path) and is_job_folder(folder)


register_format("batch", [], write=write, scan=scan, recognises=_recognises, named=False)
