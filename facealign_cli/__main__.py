"""`python -m facealign_cli`: the same as the command `facealign`."""

import sys


def run() -> None:
    """The command, also when Ctrl-C comes while its modules are loaded."""
    try:
        from facealign_cli.cli.main import main
    except KeyboardInterrupt:
        sys.exit(130)
    main(prog_name="facealign")


if __name__ == "__main__":
    run()
