"""`python -m facealign_cli`: the same as the command `facealign`."""

from facealign_cli.cli.main import main

main(prog_name="facealign")
