"""`facealign doctor`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from facealign_cli.cli import console


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Tell what is installed and works, and what to install for what is missing."""
    from facealign_cli.doctor import is_healthy, run_checks

    checks = list(run_checks())
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        console.print_table(("area", "name", "state", "detail"), [(c.area, c.name, c.state, c.detail) for c in checks])
    sys.exit(0 if is_healthy(checks) else 1)
