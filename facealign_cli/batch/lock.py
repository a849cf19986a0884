"""The lock on a job's folder. Of two runs, one gets it. A run that has ended, in whatever way, keeps nobody waiting.

On a local folder it is a lock of the operating system, which ends with the process that holds it. Elsewhere (in an
object store, or on a system without such locks) it is a file. Only one of two runs can create it, by a conditional put.
The file names its run, which writes it anew every `BEAT_S` seconds.

A run that finds such a file takes its place at once if the process that it names is known to have ended on this
machine. If that cannot be known (the process ran on another machine, or in a container, whose first process always has
the number 1), the run watches the file, and takes its place if nothing is written to it for `WATCH_S` seconds.

To take its place, a run creates a file with the next number, which again only one run can do. A holder that was only
asleep sees this file, knows that another run has taken over, and ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import stat
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from facealign_cli.errors import InputError, OutputError
from facealign_cli.files.documents import parse_json
from facealign_cli.files.storage import Storage, join, storage_for

LOCK = ".facealign-lock"

BEAT_S, WATCH_S = 10.0, 35.0
"""Seconds after which a run shows again that it lives; seconds without such a sign after which it counts as ended."""

_NAME = re.compile(rf"{re.escape(LOCK)}(?:-(\d{{1,9}}))?")
_runs_here: set[str] = set()
"""The runs of this process that hold a lock."""


class Lock(contextlib.AbstractContextManager["Lock"]):
    """A lock on a folder, held from the time it is made until its context is left."""

    def __exit__(self, *_: object) -> None:
        """Give it back."""

    def check(self) -> None:
        """Raise OutputError if another run has taken the folder over."""


def lock_folder(
    storage: Storage,
    folder: str,
    tell: Callable[[str], None] = lambda text: None,
    stop: threading.Event | None = None,
) -> Lock:
    """Keep other runs away from a folder, which has to be there, until the lock's context is left.

    tell: is called with a sentence if this has to wait. stop: ends the waiting when it is set. Raises OutputError if
    another run holds the folder; the error names that run.
    """
    local = storage.local_path(folder)
    if local is not None and _fcntl() is not None:
        return _SystemLock(os.path.join(local, LOCK), folder)
    return _FileLock(storage, folder, tell, stop or threading.Event())


def hold_folders(storage: Storage, inside: Sequence[str], elsewhere: Sequence[str]) -> list[Storage]:
    """Make the folders that a job writes to. Return their storages, which can tell whether the folders were moved.

    inside: folders of `storage`, outer ones first, so that none is reached by a link. elsewhere: other folders. Raises
    OutputError.
    """
    for folder in inside:
        storage.hold(folder)
    places = [storage]
    for folder in elsewhere:
        places.append(storage_for(folder))
        places[-1].hold(folder)
    return places


def check_places(lock: Lock, places: Sequence[Storage]) -> None:
    """Raise OutputError if another run has taken the job's folder over, or if a folder is not where it was."""
    lock.check()
    for place in places:
        place.check_held()


class _SystemLock(Lock):
    """A lock by `flock` on a file in the folder. If there is a link in place of the file, it is not followed."""

    def __init__(self, path: str, folder: str) -> None:
        fcntl = _fcntl()
        try:
            self._stream = _open(path)
        except OSError as error:
            why = "it is a link" if os.path.islink(path) else (error.strerror or str(error)).lower()
            raise OutputError(f"cannot write {path}: {why}; remove it") from error
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            with self._stream:
                raise _held(folder, _holder(self._stream.read()), "wait for it or stop it") from error
        except OSError as error:
            self._stream.close()
            raise OutputError(f"cannot lock {path}: {error.strerror}") from error
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
            self._stream.truncate(0)
            self._stream.write(_to_json(_own_values()))

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def _open(path: str) -> BinaryIO:
    flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    stream = open(os.open(path, flags, 0o666), "r+b", buffering=0)  # noqa: SIM115 - the lock is held by it
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError("it is a device or a pipe")
    return stream


class _FileLock(Lock):
    """A lock by a file that only one run can create, and that its run writes anew again and again."""

    def __init__(self, storage: Storage, folder: str, tell: Callable[[str], None], stop: threading.Event) -> None:
        self._storage, self._folder, self._tell, self._stop = storage, folder, tell, stop
        self._values = _own_values()
        self._number = self._take_place()
        self._lost = False
        self._ended = threading.Event()
        _runs_here.add(self._values["run"])
        self._thread = threading.Thread(target=self._beat, name="facealign-lock", daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        _runs_here.discard(self._values["run"])
        if not self._lost:
            self._storage.remove(self._path(self._number))

    def check(self) -> None:
        if self._lost:
            raise OutputError(
                f"{self._folder}: another run has taken this folder over, because nothing was heard of this one for "
                f"{WATCH_S:g} s or its lock was removed; nothing more is written"
            )

    def _path(self, number: int) -> str:
        return join(self._folder, LOCK if number == 1 else f"{LOCK}-{number}")

    def _numbers(self) -> list[int]:
        matches = (_NAME.fullmatch(name) for name in self._storage.names(self._folder))
        return sorted(int(match[1] or 1) for match in matches if match)

    def _take_place(self) -> int:
        before = self._numbers()
        if before and not self._is_gone(before[-1]):
            raise self._refusal(before[-1])
        number = before[-1] + 1 if before else 1
        path = self._path(number)
        if not self._storage.create(path, _to_json(self._values)) or not self._is_ours(path):
            raise self._refusal(number)  # another run was faster
        for old in before:
            self._storage.remove(self._path(old))
        return number

    def _refusal(self, number: int) -> OutputError:
        path = self._path(number)
        return _held(self._folder, self._read(number), f"wait for it or stop it; if it is over, remove {path}")

    def _read(self, number: int) -> dict[str, Any]:
        """What the lock's file of this number says; nothing if the file has gone."""
        try:
            return _holder(self._storage.read(self._path(number)))
        except InputError:
            return {}

    def _is_gone(self, number: int) -> bool:
        """Whether the run that made the file of this number has ended without removing it."""
        first = self._read(number)
        alive = _is_alive(first)
        if alive is not None:
            return not alive
        self._tell(
            f"{self._folder}: {_named(first)} was writing there and has not said that it ended; "
            f"watching for {WATCH_S:g} s whether it still is"
        )
        until = time.monotonic() + WATCH_S
        while time.monotonic() < until:
            if self._stop.wait(min(1.0, WATCH_S / 5)) or self._read(number) != first:
                return False
        return True

    def _beat(self) -> None:
        """Show again and again that this run lives, until another run has taken the folder over."""
        path = self._path(self._number)
        while not self._ended.wait(BEAT_S):
            try:
                if self._storage.kind(self._path(self._number + 1)) or not self._is_ours(path):
                    self._lost = True
                    return
                self._values["beats"] += 1
                self._storage.write(path, _to_json(self._values))
            except (InputError, OutputError):
                continue  # a network that is down proves nothing; who has followed meanwhile is seen afterwards

    def _is_ours(self, path: str) -> bool:
        return bool(self._storage.kind(path)) and _holder(self._storage.read(path)).get("run") == self._values["run"]


def _own_values() -> dict[str, Any]:
    return {
        "run": secrets.token_hex(8),
        "beats": 0,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "machine": _machine(),
        "started": _started(os.getpid()),
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _machine() -> str | None:
    """The system's start and the namespace of process ids. Processes that share both can look each other up by id."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            return f"{stream.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """When a process of this machine was started, in the system's ticks; None if it has gone or there is no /proc."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _is_alive(holder: dict[str, Any]) -> bool | None:
    """Whether the process that wrote a lock lives; None if this process cannot know."""
    if holder.get("run") in _runs_here:
        return True
    pid, machine = holder.get("pid"), _machine()
    if not isinstance(pid, int) or not 0 < pid < 1 << 31 or holder.get("host") != socket.gethostname():
        return None
    if machine is None or holder.get("machine") != machine:
        return None
    return pid != os.getpid() and _started(pid) is not None and _started(pid) == holder.get("started")


def _fcntl() -> Any:
    try:
        import fcntl
    except ImportError:
        return None
    return fcntl


def _to_json(values: dict[str, Any]) -> bytes:
    return json.dumps(values).encode()


def _holder(text: bytes) -> dict[str, Any]:
    try:
        values = parse_json(text)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _named(holder: dict[str, Any]) -> str:
    return f"process {holder.get('pid', '?')} on {holder.get('host', '?')}, since {holder.get('since', '?')},"


def _held(folder: str, holder: dict[str, Any], advice: str) -> OutputError:
    who = f" ({_named(holder).rstrip(',')})" if holder else ""  # one that begins just now has not said who it is
    return OutputError(f"{folder}: another run is writing there{who}; {advice}")
