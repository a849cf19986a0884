"""Worker processes: none prints a traceback when the run is ended while it starts, and none outlives its parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker

ENDING_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if name in signal.Signals.__members__
)
"""What asks a process to end: Ctrl-C; `kill`, Slurm, `docker stop` and `timeout`; a terminal that is closed."""


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
