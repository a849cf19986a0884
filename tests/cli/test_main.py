"""Errors that nobody handled where they happened: one line where the machine refuses something, else as they are."""

from __future__ import annotations

import errno

import pytest
from click.testing import CliRunner

from facealign_cli.cli.main import main


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("can't start new thread"), "no thread can be started: memory (ulimit -v)"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files; raise the limit (ulimit -n)"),
        (MemoryError(), "out of memory"),
    ],
)
def test_what_the_machine_does_not_give_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("facealign_cli.doctor.run_checks", fail)
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 1 and words in done.stderr


def test_a_runtime_error_that_nobody_foresaw_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("facealign_cli.doctor.run_checks", fail)
    assert isinstance(CliRunner().invoke(main, ["doctor"]).exception, RuntimeError)
