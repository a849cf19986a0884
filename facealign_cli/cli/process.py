"""What surrounds a command: its standard streams, which may be closed, full or ASCII, and the signals that end it."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TextIO, cast

from facealign_cli.errors import MissingDependency, OutputError
from facealign_cli.processes import ENDING_SIGNALS

Handler = Callable[[int, FrameType | None], object]


class _Raw(io.RawIOBase):
    """The file behind a standard stream, with errors that say what it is."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True


class _Results(_Raw):
    """Standard output: what cannot be written there is an OutputError, the first time; later nothing is tried."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._failed = False

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if self._failed:
            return len(data)
        try:
            return os.write(self._descriptor, data)
        except OSError as error:
            self._failed = True
            if isinstance(error, BrokenPipeError):
                raise  # whoever read it has gone, which is no error to tell
            from facealign_cli.files.output import write_reason

            raise OutputError(f"cannot write to standard output: {write_reason(error)}") from error


class _Closed(_Results):
    """Standard output of a process that was started without one."""

    def isatty(self) -> bool:
        return False

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if not self._failed:
            self._failed = True
            raise OutputError("standard output is closed: the results have nowhere to go")
        return len(data)


class _Messages(_Raw):
    """Standard error: what cannot be written there can be told nowhere, and the results do not depend on it."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        try:
            return os.write(self._descriptor, data)
        except OSError:
            return len(data)


_PLAIN = {"…": "...", "→": "->", "×": "x", "–": "-", "—": "-", "·": "*", "²": "^2", "±": "+-", "°": " degrees"}
"""What our own messages hold beyond ASCII, for terminals that do not have it."""


def _in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    escaped = (_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in characters)
    return "".join(escaped), error.end


codecs.register_error("facealign-plain", _in_plain_letters)


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Standard streams that a command can use whatever it was started with; they are the old ones again at the end.

    A closed one gets the null device, so that no file that is opened later takes its number and is written to by a C
    library's message. Whoever uses this flushes standard output at the end: OutputError tells what did not arrive.
    """
    for descriptor in (0, 1, 2):
        _fill(descriptor)
    before = sys.stdout, sys.stderr
    sys.stdout = _stream(sys.stdout, sys.__stdout__, _Closed(1) if sys.stdout is None else _Results(1))
    sys.stderr = _stream(sys.stderr, sys.__stderr__, _Messages(2))
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _fill(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)
        os.set_inheritable(descriptor, True)  # worker processes, too


def _stream(stream: TextIO | None, original: TextIO | None, raw: _Raw) -> TextIO:
    """The stream to use in place of a standard one; one that a test or a notebook has put there stays."""
    if stream is not original or not (stream is None or isinstance(stream, io.TextIOWrapper)):
        return cast(TextIO, stream)
    encoding, line_buffering = "utf-8", isinstance(raw, _Messages)
    if stream is not None:
        stream.flush()
        encoding, line_buffering = stream.encoding, stream.line_buffering or line_buffering
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "facealign-plain", line_buffering=line_buffering)


def _raise_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


_asked = threading.Event()
"""Whether the process was asked to end. The exception that says so is lost where Python calls a destructor or a weak
reference's function, as it often does while modules are loaded; it prints it and goes on."""


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the body as Ctrl-C does, once: files are closed, temporary ones and workers go.

    `timeout` sends its signal twice, so a second one would interrupt the ending. A signal that is ignored, as by
    nohup, stays so.
    """
    _asked.clear()

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT or not _asked.is_set():
            _asked.set()
            _raise_interrupt(number, frame)

    own_handler = signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    with _handling(handle, *[signal.SIGINT] * own_handler):
        yield


@contextlib.contextmanager
def interrupted_imports() -> Iterator[None]:
    """A package that seems to be missing, since Ctrl-C came while it was loaded, ends the body as Ctrl-C does.

    What is written in C makes an ImportError of the exception that a signal raised.
    """
    try:
        yield
    except (ImportError, MissingDependency) as error:
        if _asked.is_set():
            raise KeyboardInterrupt from error
        raise


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[], object], is_stopped: Callable[[], bool]) -> Iterator[None]:
    """The first signal that asks the process to end calls `stop`, so that what is in work is finished and written.

    A second Ctrl-C ends at once. A signal that was lost before the work began ends it now.
    """
    if _asked.is_set():
        raise KeyboardInterrupt

    def handle(number: int, frame: FrameType | None) -> None:
        if not is_stopped():
            stop()
        elif number == signal.SIGINT:
            _raise_interrupt(number, frame)

    with _handling(handle):
        yield


@contextlib.contextmanager
def _handling(handler: Handler, *others: int) -> Iterator[None]:
    """Have the ending signals call the handler, but for `others`. In another thread than the main one do nothing."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in ENDING_SIGNALS:
            ignored = number != signal.SIGINT and signal.getsignal(number) is signal.SIG_IGN
            if number not in others and not ignored:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
