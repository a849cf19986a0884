"""`facealign doctor`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from facealign_cli.cli import console, options
from facealign_cli.cli.help import Command

if TYPE_CHECKING:
    from facealign_cli.doctor import Check


@click.command(
    cls=Command,
    examples="""
    facealign doctor
    facealign doctor --format json
    """,
)
@options.print_format
def doctor(format_name: str) -> None:
    """Tell what is installed and works, and how to install what is missing.

    Every detector looks for the face in a small picture, and every codec writes and reads one. Exit code 1: something
    that should work does not.
    """
    from facealign_cli.doctor import is_healthy, run_checks

    checks = list(run_checks())
    if format_name == "json":
        console.print_json([asdict(check) for check in checks])
    else:
        _print(checks)
    sys.exit(0 if is_healthy(checks) else 1)


def _print(checks: list[Check]) -> None:
    """A table, and below it the commands that install the extras: a cell would break them into pieces."""
    below = {check.name: check.detail for check in checks if check.area == "extra" and check.state == "missing"}
    rows = [(c.area, c.name, c.state, "not installed; see below" if c.name in below else c.detail) for c in checks]
    console.print_table(("area", "name", "state", "detail"), rows)
    if below:
        console.message("The missing extras are optional. Each of these commands installs one of them:")
    for command in dict.fromkeys(below.values()):
        console.message(command)
