"""Runs a benchmark, or a command of facealign's that measures, and keeps what it prints as a record in a file.

    python benchmarks/record.py FILE.json python benchmarks/pose.py ../shared/data/more/aflw2000
    python benchmarks/record.py FILE.json facealign model bench dan-light dan-large

The record names the command, the commit, the date, the machine with its load, the versions and the seconds that the
command took; it holds the tables that were printed and, as text, everything that was printed. `docs/results` holds such
records. If the command fails, nothing is written, and its exit code is this one's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import outcome


def main() -> None:
    """Run the command, show what it prints, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE.json")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="python SCRIPT ..., or facealign ...")
    options = parser.parse_args()
    if not options.command:
        parser.error("which command? For example: record.py pose.json python benchmarks/pose.py FOLDER")
    before = outcome.circumstances(options.command)  # the load from before the run, which adds to it
    start = time.monotonic()
    done = subprocess.run(program(options.command), stdout=subprocess.PIPE, encoding="utf-8", check=False)
    print(done.stdout, end="")
    if done.returncode:
        sys.exit(done.returncode)
    measured = {"seconds": round(time.monotonic() - start, 1), "tables": outcome.tables_of(done.stdout)}
    record = {**before, **measured, "printed": done.stdout.splitlines()}
    options.file.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def program(words: list[str]) -> list[str]:
    """The command with this Python, so that both see the same packages."""
    if words[0] == "python":
        return [sys.executable, *words[1:]]
    if words[0] == "facealign":
        return [sys.executable, "-m", "facealign_cli", *words[1:]]
    return words


if __name__ == "__main__":
    main()
