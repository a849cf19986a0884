"""What every benchmark does with its figures: prints them, and keeps them in files that can be compared later.

-o FILE.md writes what is printed. --json FILE writes a record of the run: the command, commit, date, machine and
versions, the tables that were printed, and what the benchmark measured besides, without rounding. docs/results holds
such records; record.py writes them for commands that have no --json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from facealign_cli.batch.manifest import versions

ROOT = Path(__file__).resolve().parent.parent
CODE = ("facealign_cli", "benchmarks", "models")
"""Folders whose content decides what a benchmark measures."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options -o and --json."""
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.md", help="write what is printed, too")
    parser.add_argument("--json", type=Path, metavar="FILE.json", help="write a record of the run: machine and figures")


def hand_over(text: str, options: argparse.Namespace, **raw: Any) -> None:
    """Print Markdown, and write the files that the options name. raw: figures without rounding, for the record."""
    print(text, end="")
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    if options.json:
        record = {**circumstances(), "tables": tables_of(text), **raw}
        options.json.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """A Markdown table of what was measured, and its value."""
    return "".join(f"| {what} | {value} |\n" for what, value in [("What", "Measured"), ("---", "---"), *rows])


def circumstances(command: list[str] | None = None) -> dict[str, Any]:
    """What a figure depends on: command (this process's unless told), code, date, machine, its load, and versions.

    The code is named by its commit, and by git's hashes of the folders in CODE, which stay the same through a rebase.
    """
    program = Path(sys.argv[0])
    words = command or ["python", f"{program.parent.name}/{program.name}", *sys.argv[1:]]
    return {
        "command": shlex.join(map(_short, words)),
        "commit": _commit(),
        "trees": trees("HEAD"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "load_average": [round(value, 1) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        },
        "python": platform.python_version(),
        "versions": versions(),
    }


def tables_of(markdown: str) -> list[list[dict[str, str]]]:
    """Every table of the text: a list of its rows, each by the names of the columns. No two may have one name."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", markdown, re.MULTILINE)
    return [_rows([_cells(line) for line in block.splitlines()]) for block in blocks]


def _rows(lines: list[list[str]]) -> list[dict[str, str]]:
    if len(set(lines[0])) < len(lines[0]):
        raise ValueError(f"two columns of one name, of which a record would hold one: {lines[0]}")
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]


def _short(argument: str) -> str:
    """An argument without the folders of this machine: nobody else has them."""
    return Path(argument).name if argument.startswith(os.sep) else argument


def git(*words: str) -> str | None:
    """What git prints in this checkout, or None where it fails, is missing, or this is no checkout."""
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def trees(commit: str, folders: tuple[str, ...] = CODE) -> dict[str, str | None]:
    """Git's hash of each folder as it is in a commit; None where git does not know it."""
    return {folder: git("rev-parse", "--verify", "--quiet", f"{commit}:{folder}") for folder in folders}


def _commit() -> str | None:
    """The commit of this checkout, with "+changes" where the code or the models differ from it; None outside of git."""
    found = git("rev-parse", "--short=10", "HEAD")
    changes = git("status", "--porcelain", "--", *CODE)
    return f"{found}+changes" if found and changes else found


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor()
