"""Worker processes run a script's main module once more: where that starts workers itself, the guard is missing."""

from __future__ import annotations

import multiprocessing

from facealign_cli.errors import FacealignError

GUARD_HINT = (
    'In a script of your own, what starts workers stands below `if __name__ == "__main__":`, '
    "since each worker runs the script's other lines once more; workers=0 needs no workers"
)


def check_main_guard() -> None:
    """Raise FacealignError in a worker process that is only just loading the script which started it."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself tells it
        raise FacealignError(f"worker processes cannot be started while the script is loaded in one. {GUARD_HINT}.")
