"""`facealign doctor`."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from facealign_cli.cli import console, options
from facealign_cli.cli.help import Command


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
        console.print_table(("area", "name", "state", "detail"), [(c.area, c.name, c.state, c.detail) for c in checks])
    sys.exit(0 if is_healthy(checks) else 1)
