"""What the values of options and arguments are: files to read and to write, numbers with bounds, names of formats."""

from __future__ import annotations

import math
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facealign_cli.cli.help import completing, formats
from facealign_cli.errors import InputError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

STDOUT = Path("-")
"""What `OutputFile(stdout=True)` gives for "-": standard output, as "-" among the inputs is standard input."""


class OutputFile(click.Path):
    """A file to write. "-" is standard output where the command can write to it (`stdout`), else it is refused.

    suffix: what its name has to end in, so that other commands take it.
    """

    is_written = True  # what `help.Command` knows it by

    def __init__(self, *, stdout: bool = False, suffix: str = "") -> None:
        super().__init__(path_type=Path, allow_dash=True)
        self.stdout, self.suffix = stdout, suffix

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; `STDOUT` for "-"."""
        if not str(value):  # a script's variable that is not set: the working directory is not meant
            self.fail("the name is empty: name a file or a folder", param, ctx)
        if str(value) == "-" and not self.stdout:
            self.fail("this cannot go to standard output: name a file", param, ctx)
        if not str(value).lower().endswith(self.suffix):
            self.fail(f"{value} does not end in {self.suffix}, which a model's file needs", param, ctx)
        return super().convert(value, param, ctx)


def _why_no_rows(file: Path) -> str | None:
    """Of a clip or a picture, by its suffix: how to get at its rows. None for other files."""
    from facealign_cli.batch.walk import CLIP_SUFFIXES, PICTURE_SUFFIXES

    suffix = file.suffix.lower()
    if suffix in CLIP_SUFFIXES:
        rows = f"facealign video track {shlex.quote(str(file))} -o rows.csv"
        return f"{file} is a clip, not the rows of one; its rows are made by: {rows}"
    if suffix in PICTURE_SUFFIXES:
        rows = f"facealign detect image {shlex.quote(str(file))} -o rows.csv"
        return f"{file} is a picture, not rows of faces; its rows are made by: {rows}"
    return None


class FacesPath(click.Path):
    """A file or folder that holds faces, in any format. A clip or a picture is answered by how to get at its rows."""

    def __init__(self) -> None:
        super().__init__(exists=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if path.is_file() and (why := _why_no_rows(path)) is not None:
            self.fail(why, param, ctx)
        return path


class RowsFile(click.Path):
    """A file of a clip's rows. A clip, a picture or a folder in its place is answered by how to get at its rows.

    jobs: whether the folder of a job, which `batch` wrote, is taken, too.
    """

    def __init__(self, *, jobs: bool = False) -> None:
        super().__init__(exists=True, path_type=Path)
        self.jobs = jobs

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if path.is_dir():
            self._check_folder(path, param, ctx)
            return path
        if (why := _why_no_rows(path)) is not None:
            self.fail(why, param, ctx)
        self._check_shard(path, param, ctx)
        return path

    def _check_shard(self, path: Path, param: click.Parameter | None, ctx: click.Context | None) -> None:
        from facealign_cli.formats.job_folder import TABLES, job_of_surest_frames

        try:
            job = job_of_surest_frames(path)
        except InputError as error:
            self.fail(str(error), param, ctx)
        if job is not None:
            given = f"the tables of clips in {job / TABLES}{f', or the whole folder {job}' if self.jobs else ''}"
            self.fail(f"{path} holds only one frame of each clip, that of the surest face: give {given}", param, ctx)

    def _check_folder(self, path: Path, param: click.Parameter | None, ctx: click.Context | None) -> None:
        from facealign_cli.formats.job_folder import is_job_folder, read_job_folder

        try:
            job = read_job_folder(path)
            if job is not None and self.jobs:
                return
            upper = None if job is not None else next(filter(is_job_folder, path.parents), None)
        except InputError as error:
            self.fail(str(error), param, ctx)
        if job is not None:
            self.fail(f"{path} is a folder: give a file of rows, such as {job.files[0]}", param, ctx)
        if self.jobs:
            which = f"the whole of {upper}" if upper else "the folder that batch wrote, with manifest.json in it"
            self.fail(f"{path} is a folder: give files of rows, or {which}", param, ctx)
        self.fail(f"{path} is a folder: give a file of rows, such as one of the files in it", param, ctx)


MOST = 10**9
"""No option takes a larger number: nothing here is counted or measured beyond it, and some parts would overflow."""


def _bounds(least: float | None, most: float | None, *, above: bool) -> str:
    """The bounds of a number in words, for --help and errors. above: `least` itself is not one of the numbers."""
    low = "" if least is None else f"above {least:g}" if above else f"{least:g}"
    if most is None or most == MOST:
        return low if above or not low else f"{low} or more"
    return f"{low}, up to {most:g}" if above else f"{low} to {most:g}"


class Count(click.IntRange):
    """A whole number from `least` to `most`."""

    name = "n"

    def __init__(self, least: int, most: int = MOST) -> None:
        super().__init__(least, most)

    def _describe_range(self) -> str:
        return _bounds(self.min, self.max, above=False)


class FiniteFloat(click.FloatRange):
    """A number between bounds. NaN, infinity and numbers beyond `MOST` are refused, which click's own range takes."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number) or abs(number) > MOST:
            self.fail(f"{value} is not a finite number up to {MOST:,}", param, ctx)
        return number

    def _describe_range(self) -> str:
        return _bounds(self.min, self.max, above=self.min_open)


if TYPE_CHECKING:  # click has them generic from 8.5 on; before, there is nothing to put into brackets
    _ToInt = click.ParamType[int, Any]
    _ToStr = click.ParamType[str, Any]
else:
    _ToInt = _ToStr = click.ParamType


class PixelCount(_ToInt):
    """A number of pixels: 200000000, 2e8, 200k, 200M or 1.5G."""

    name = "pixels"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number, 1 or more."""
        match = re.fullmatch(r"(\d[\d_]*\.?\d*(?:e\+?\d{1,2})?)([kmg]?)", str(value).strip().lower())
        pixels = float(match[1]) * _FACTORS[match[2]] if match else 0
        if not 1 <= pixels <= 1e15:
            self.fail(f"{value} is not a number of pixels, such as 200000000, 200M or 2e8", param, ctx)
        return round(pixels)


_FACTORS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}


class FormatName(_ToStr):
    """The name of a format of records, ours or one that another package brings."""

    name = "name"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The formats' names."""
        return completing(formats)(ctx, param, incomplete)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name itself."""
        from facealign_cli.formats.base import get_format

        try:
            return get_format(value).name
        except InputError as error:
            self.fail(str(error), param, ctx)


FILE = OutputFile()
MODEL_FILE = OutputFile(suffix=".onnx")
FILE_OR_STDOUT = OutputFile(stdout=True)
EXISTING_PATH = click.Path(exists=True, path_type=Path)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
ROWS = RowsFile()
ROWS_OR_JOB = RowsFile(jobs=True)
EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
