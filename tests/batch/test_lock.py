"""Of two runs one gets a folder; a run that has gone holds nobody up, and one that was only asleep notices."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from facealign_cli.batch import lock
from facealign_cli.batch.lock import LOCK, lock_folder
from facealign_cli.errors import OutputError
from facealign_cli.files.storage import LocalStorage, storage_for


@pytest.fixture
def folder() -> str:
    return f"memory://{uuid.uuid4()}/out"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_S", 0.05)
    monkeypatch.setattr(lock, "WATCH_S", 0.5)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another run of this process counts as one of another machine: nothing is known of it."""

    class Forgetful(set[str]):
        def add(self, _run: str) -> None:
            return

    monkeypatch.setattr(lock, "_runs_here", Forgetful())
    monkeypatch.setattr(lock, "_machine", lambda: None)
    yield


def held(folder: str, **values: object) -> None:
    """A lock file that somebody has left."""
    known = lock._own_values() | {"run": "another"} | values
    fsspec.filesystem("memory").pipe_file(f"{folder}/{LOCK}".removeprefix("memory:/"), json.dumps(known).encode())


def take(folder: str, told: list[str] | None = None) -> lock.Lock:
    return lock_folder(storage_for(folder), folder, (told if told is not None else []).append)


def test_of_two_runs_one_gets_it(folder: str) -> None:
    names = storage_for(folder).names
    with take(folder):
        for _ in range(2):
            with pytest.raises(OutputError, match=rf"another run is writing there \(process {os.getpid()} on"):
                take(folder)
        assert names(folder) == [LOCK]
    assert names(folder) == []
    with take(folder):
        pass


def test_of_many_at_once_one_gets_it(folder: str, elsewhere: None, quick: None) -> None:
    """Also of those that find the lock of a run that has gone."""
    for left in (False, True):
        if left:
            held(folder, host="another", beats=7)
        got: list[lock.Lock] = []
        start = threading.Barrier(8)

        def run(start: threading.Barrier = start, got: list[lock.Lock] = got) -> None:
            start.wait()
            try:
                got.append(take(folder))
            except OutputError:
                return

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1
        got[0].__exit__()


def test_a_run_that_shows_signs_of_life_is_left_alone(folder: str, elsewhere: None, quick: None) -> None:
    told: list[str] = []
    with take(folder) as first:
        time.sleep(0.2)
        with pytest.raises(OutputError, match="another run is writing"):
            take(folder, told)
        first.check()
    assert "watching for 0.5 s whether it still is" in told[0]


def gone_pid() -> int:
    gone = subprocess.Popen(["true"])
    gone.wait()
    return gone.pid


@pytest.mark.skipif(lock._machine() is None, reason="needs /proc to know what a process is")
@pytest.mark.parametrize(
    "values",
    [
        {"pid": gone_pid(), "started": "1"},
        {"pid": os.getpid()},  # a run of this very process that has ended
        {"pid": 1, "started": "1"},  # the number stands for another process by now
    ],
)
def test_a_process_that_is_known_to_be_gone_is_followed_at_once(folder: str, values: dict[str, Any]) -> None:
    held(folder, **values)
    begin = time.monotonic()
    with take(folder):
        assert time.monotonic() - begin < 1
        assert storage_for(folder).names(folder) == [f"{LOCK}-2"]


@pytest.mark.parametrize(
    "values",
    [
        {"host": "another"},
        {"machine": "the same boot, another space of numbers: a container", "pid": 1},
        {"machine": None, "pid": 1},
        {"pid": "1"},
        {"pid": -1},
        {"pid": 10**400},
    ],
)
def test_where_nothing_is_known_the_lock_is_watched(folder: str, values: dict[str, Any], quick: None) -> None:
    """So that a container's first process, which always has the number 1, goes on where it was killed."""
    held(folder, **values)
    told: list[str] = []
    with take(folder, told):
        assert len(told) == 1


def test_what_is_no_lock_is_watched_too(folder: str, quick: None) -> None:
    for text in (b"", b"[]", b"{", b"[" * 100_000):
        storage_for(folder).write(f"{folder}/{LOCK}", text)
        told: list[str] = []
        with take(folder, told):
            assert "watching for 0.5 s" in told[0]


@pytest.mark.parametrize("how", ["followed", "removed", "overwritten"])
def test_who_was_asleep_notices(folder: str, quick: None, how: str) -> None:
    storage = storage_for(folder)
    with take(folder) as mine:
        if how == "removed":
            storage.remove(f"{folder}/{LOCK}")
        else:
            storage.write(f"{folder}/{LOCK}{'-2' if how == 'followed' else ''}", b'{"run": "another"}')
        until = time.monotonic() + 5
        with pytest.raises(OutputError, match="another run has taken this folder over"):
            while time.monotonic() < until:
                mine.check()
                time.sleep(0.02)
    assert (storage.names(folder) != []) is (how != "removed")


def test_a_network_that_is_down_proves_nothing(folder: str, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from facealign_cli.files import storage

    def down(*_: object) -> str:
        raise OutputError("no network")

    with take(folder) as mine:
        kind = storage.UrlStorage.kind
        monkeypatch.setattr(storage.UrlStorage, "kind", down)
        time.sleep(0.2)
        monkeypatch.setattr(storage.UrlStorage, "kind", kind)
        time.sleep(0.2)
        mine.check()


@pytest.mark.skipif(lock._fcntl() is None, reason="needs flock")
@pytest.mark.parametrize("url", ["", "file://"])
def test_a_local_lock_is_not_written_through_a_link(tmp_path: Path, url: str) -> None:
    victim = tmp_path / "v"
    victim.write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK).symlink_to("../v")
    with pytest.raises(OutputError, match=r"facealign-lock: it is a link; remove it"):
        take(f"{url}{tmp_path}/out")
    assert victim.read_text() == "precious"
    (tmp_path / "out" / LOCK).unlink()
    os.mkfifo(tmp_path / "out" / LOCK)
    with pytest.raises(OutputError, match="a device or a pipe"):
        take(f"{url}{tmp_path}/out")


def test_without_the_systems_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows: the file itself counts."""
    monkeypatch.setattr(lock, "_fcntl", lambda: None)
    with lock_folder(LocalStorage(), str(tmp_path)):
        with pytest.raises(OutputError, match="another run is writing there"):
            lock_folder(LocalStorage(), str(tmp_path))
        assert os.listdir(tmp_path) == [LOCK]
    assert os.listdir(tmp_path) == []


def test_a_run_that_has_not_said_who_it_is_gets_no_question_marks() -> None:
    assert str(lock._held("out", {}, "wait for it")) == "out: another run is writing there; wait for it"
