"""Runs a benchmark, or a command of facealign's that measures, and keeps what it prints as a record in a file.

    python benchmarks/record.py FILE.json python benchmarks/pose.py ../shared/data/more/aflw2000
    python benchmarks/record.py FILE.json facealign model bench dan-light dan-large
    python benchmarks/record.py --settle docs/results/*.json

The record names the command, the commit, the date, the machine with its load, the versions and the seconds that the
command took; it holds the tables that were printed and, as text, everything that was printed. `docs/results` holds such
records. If the command fails, nothing is written, and its exit code is this one's.

A rebase takes the commit of a run out of the history. So a record also holds git's hashes of the folders of code, and
`--settle` looks in the history for a commit that holds the same code and lets the record name that one. If there is
none, it says so: then the command has to be run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import outcome

MEASURED = ("facealign_cli", "models")
"""Folders that a record's commit holds as they were in the run. The script that measured them may be of another one."""


def main() -> None:
    """Run the command, show what it prints, and write the record; or settle records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settle", type=Path, nargs="+", metavar="FILE.json", help="look up the code of records")
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE.json")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="python SCRIPT ..., or facealign ...")
    options = parser.parse_args()
    if options.settle:
        for file in options.settle:
            write(file, settled(json.loads(file.read_text(encoding="utf-8")), file.name))
    elif options.file and options.command:
        write(options.file, run(options.command))
    else:
        parser.error("which command? For example: record.py pose.json python benchmarks/pose.py FOLDER")


def run(command: list[str]) -> dict[str, Any]:
    """Run a command, show what it prints, and return the record. If the command fails, this program ends as it did."""
    before = outcome.circumstances(command)  # the load from before the run, which adds to it
    start = time.monotonic()
    text = shown(command)
    measured = {"seconds": round(time.monotonic() - start, 1), "tables": outcome.tables_of(text)}
    return {**before, **measured, "printed": text.splitlines()}


def shown(command: list[str]) -> str:
    """Run a command, show what it prints, and return that. If the command fails, this program ends as it did."""
    done = subprocess.run(program(command), stdout=subprocess.PIPE, encoding="utf-8", check=False)
    print(done.stdout, end="")
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def write(file: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON."""
    file.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def program(words: list[str]) -> list[str]:
    """The command with this Python, so that both see the same packages."""
    if words[0] == "python":
        return [sys.executable, *words[1:]]
    if words[0] == "facealign":
        return [sys.executable, "-m", "facealign_cli", *words[1:]]
    return words


def settled(record: dict[str, Any], name: str) -> dict[str, Any]:
    """The record, naming a commit of the history that holds the code that ran. Ends the program if there is none."""
    commit = str(record.get("commit"))
    if outcome.git("merge-base", "--is-ancestor", commit, "HEAD") is not None:
        return record
    trees = record.get("trees") or outcome.trees(commit)  # git keeps a commit for some time after a rebase
    holder = holding({folder: trees[folder] for folder in MEASURED})
    script = holding({"benchmarks": trees["benchmarks"]})
    if commit.endswith("+changes") or holder is None or script is None:
        sys.exit(f"{name}: no commit of this history holds the code that ran. Run the command again.")
    note = f"The run was made at {commit}, which a rebase took out of the history. {holder} holds the same "
    note += "facealign_cli and models" + (f", and {script} the same benchmarks." if script != holder else ".")
    code = {"commit": holder, "trees": trees, "note": note}
    return {"command": record["command"], **code, **{key: record[key] for key in record if key not in code}}


def holding(trees: dict[str, str | None]) -> str | None:
    """The oldest commit of the history that holds these folders as git's hashes tell, or None."""
    listed = [_changes_of(tree) for tree in trees.values() if tree]
    holders = [c for commits in listed for c in commits if trees == outcome.trees(c, tuple(trees))]
    ages = {commit: int(outcome.git("rev-list", "--count", commit) or 0) for commit in holders}
    return min(holders, key=ages.__getitem__, default=None)


def _changes_of(tree: str) -> list[str]:
    """The commits of the history that brought a folder's content, or took it away."""
    listed = outcome.git("log", "-t", "-m", f"--find-object={tree}", "--format=%h", "--abbrev=10", "HEAD")
    return sorted(set((listed or "").split()))


if __name__ == "__main__":
    main()
