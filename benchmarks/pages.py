"""Measures a page's tables again: runs the commands that stand above them, and puts in their place what these print.

    python benchmarks/pages.py models/dan-light.md docs/confidence.md

A command is text in backticks that begins with `python benchmarks/` or `facealign `. It belongs to the tables that
follow it, up to the next command that follows a table, or the next heading. A table is measured again if one of its
commands prints one with the same columns; else it stays as it is. A command that docs/results has a record of gets a
new record. Sentences that repeat a figure have to be changed by hand: `git diff` shows which tables have changed.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import outcome
import record

RESULTS = outcome.ROOT / "docs" / "results"
_COMMAND = re.compile(r"`((?:python benchmarks/|facealign )[^`]+)`")


@dataclass(frozen=True)
class Table:
    """A table of a page. begin, end: its lines, the first and the one behind the last. header: its first line.

    commands: those that stand above it, the nearest first.
    """

    begin: int
    end: int
    header: str
    commands: tuple[str, ...]


def main() -> None:
    """Refresh the pages, and say of each table what became of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path, nargs="+", metavar="PAGE.md")
    parser.add_argument("--only", metavar="WORDS", default="", help="run only the commands that hold these words")
    options = parser.parse_args()
    printed = Printed(options.only)
    for page in options.pages:
        text, told = refreshed(page.read_text(encoding="utf-8"), printed)
        page.write_text(text, encoding="utf-8")
        print("\n".join(f"{page}: {line}" for line in told), flush=True)


class Printed:
    """What commands print, each run once. only: words that a command has to hold, or it is not run."""

    def __init__(self, only: str = "") -> None:
        self.only, self._texts = only, dict[str, str]()
        self._records = {
            json.loads(file.read_text(encoding="utf-8"))["command"]: file for file in RESULTS.glob("*.json")
        }

    def __call__(self, command: str) -> str:
        """What this command prints, "" if it is not among those that are to be run; its record is written anew."""
        if self.only not in command:
            return ""
        if command not in self._texts:
            if command in self._records:
                done = record.run(command.split())
                record.write(self._records[command], done)
                self._texts[command] = "\n".join(done["printed"])
            else:
                self._texts[command] = record.shown(command.split())
        return self._texts[command]


def refreshed(page: str, printed: Callable[[str], str]) -> tuple[str, list[str]]:
    """The page with its tables as the commands above them print them; for each table a sentence of what was done."""
    lines, told = page.splitlines(), []
    for table in reversed(list(tables_in(lines))):
        new = next((rows for command in table.commands if (rows := _like(table.header, printed(command)))), None)
        if new is not None:
            lines[table.begin : table.end] = new
        told.append(f"line {table.begin + 1}: {'measured again' if new else 'left as it is'}: {table.header}")
    return "\n".join(lines) + "\n", told[::-1]


def tables_in(lines: list[str]) -> Iterator[Table]:
    """The tables of a page from its first to its last line."""
    commands: list[str] = []
    begin, follows_table = None, False
    for i, line in enumerate([*lines, ""]):
        if line.startswith("|"):
            begin = i if begin is None else begin
            continue
        if begin is not None:
            yield Table(begin, i, lines[begin], tuple(reversed(commands)))
            begin, follows_table = None, True
        found = _COMMAND.findall(line)
        if line.startswith("#") or (found and follows_table):
            commands, follows_table = [], False
        commands += found


def _like(header: str, printed: str) -> list[str]:
    """The lines of the table that has this header, or none."""
    lines = printed.splitlines()
    tables = [lines[table.begin : table.end] for table in tables_in(lines)]
    return next((table for table in tables if _cells(table[0]) == _cells(header)), [])


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("| ").split("|")]


if __name__ == "__main__":
    main()
