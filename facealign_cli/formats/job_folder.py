"""The folder that `facealign batch` wrote, for whoever reads it as one table: which of its files hold the rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facealign_cli.errors import FormatError, InputError
from facealign_cli.files.documents import read_json
from facealign_cli.formats.base import get_format

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
    files = sorted(_tables(folder, clips.get("format")) if clips else _shards(folder))
    missing = _missing(manifest, bool(clips))
    if not files:
        raise InputError(f"{folder}: no file of rows in it{f': {missing}' if missing else ''}")
    return JobFolder(tuple(files), bool(clips), missing)


def is_job_folder(folder: Path) -> bool:
    """Whether a job wrote into a folder. Raises InputError for a manifest that cannot be read."""
    return _manifest(folder) is not None


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


def _tables(folder: Path, name: object) -> Iterator[Path]:
    """The tables that were finished, in folders in folders. name: of their format."""
    suffix = (*get_format(str(name)).extensions, ".csv")[0]
    for summary in (folder / TABLES).rglob(f"*{SUMMARY}"):
        table = summary.with_name(summary.name.removesuffix(SUMMARY) + suffix)
        if table.is_file():
            yield table


def _missing(manifest: dict[str, Any], of_clips: bool) -> str | None:
    if manifest.get("state") != "complete":
        what = "the clips" if of_clips else "the files of rows"
        return f"the job has not ended, and only {what} that are finished are taken; the same batch command goes on"
    failed = _part(manifest, "counts").get("failed")
    if of_clips and isinstance(failed, int) and failed > 0:
        return f"{failed:,} of its clips failed and {'have' if failed > 1 else 'has'} no rows; clips.csv says why"
    return None
