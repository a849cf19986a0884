"""`facealign video`, run in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from facealign_cli.cli.main import main


def run(*args: object) -> Result:
    """`facealign video` with these arguments."""
    return CliRunner().invoke(main, ["video", *map(str, args)])
