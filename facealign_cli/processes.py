"""Worker processes: none prints a traceback when the run is ended while it starts, and none outlives its parent.

A worker runs the main module of the script that started it once more. A script that starts workers there needs the
guard of `__main__`; where it is missing, the error says so.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker

from facealign_cli.errors import FacealignError

ENDING_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if name in signal.Signals.__members__
)
"""What asks a process to end: Ctrl-C; `kill`, Slurm, `docker stop` and `timeout`; a terminal that is closed."""

GUARD_HINT = (
    'In a script of your own, what starts workers stands below `if __name__ == "__main__":`, '
    "since each worker runs the script's other lines once more; workers=0 needs no workers"
)


def check_main_guard() -> None:
    """Raise FacealignError in a worker process that is only just loading the script which started it."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself tells it
        raise FacealignError(f"worker processes cannot be started while the script is loaded in one. {GUARD_HINT}.")


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """Let signals that ask the process to end wait until the body has ended, also in the processes that it starts.

    A new process is deaf to them until it calls `begin_worker`: Python would print a traceback for a Ctrl-C that comes
    while it loads its modules. Windows has no such mask: there the body runs as it is.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # multiprocessing would start it in the body, and let the signals in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_worker(*, only_the_parent_ends_it: bool) -> None:
    """The first thing that a worker process does. From now on it ends when its parent has ended, however that ended.

    A Ctrl-C reaches every process at the terminal, but it is the parent's to handle. only_the_parent_ends_it: so are
    the other signals, which `timeout` and Slurm send to every process.
    """
    for number in ENDING_SIGNALS if only_the_parent_ends_it else (signal.SIGINT,):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
    threading.Thread(target=_end_with_the_parent, name="facealign-parent", daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def quiet_codecs() -> None:
    """Silence libjpeg, which writes a line to stderr for every odd file. Python's own messages still arrive there."""
    if sys.stderr is None:  # the parent has none, so nobody would see them
        return
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
