"""The script for a lent GPU: which commands it runs, on which packs, and what it does where a step fails."""

from __future__ import annotations

import importlib
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from facealign_cli.cli.main import main

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def train_all(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("train_all")


def run(train_all: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> tuple[int, dict]:
    """The number of failures, and the words of each command by its step; files that a command writes are made."""
    commands: dict[str, list[str]] = {}

    def fake(self: object, name: str, command: str) -> bool:
        commands[name] = words = shlex.split(command)
        if name == failing:
            return False
        if "--run" in words:
            folder = Path(words[words.index("--run") + 1])
            folder.mkdir(exist_ok=True)
            (folder / "best.ckpt").touch()
        elif "-o" in words:
            Path(words[words.index("-o") + 1]).touch()
        return True

    monkeypatch.setattr(train_all.Plan, "run", fake)
    (tmp_path / "data" / "more" / "aflw2000").mkdir(parents=True)
    (tmp_path / "own.h5").touch()
    words = [tmp_path / "data", tmp_path / "out", "--minutes", "1", "--pack", tmp_path / "own.h5"]
    return train_all.main([str(word) for word in words]), commands


def packs_of(words: list[str]) -> list[str]:
    return [Path(words[i + 1]).name for i, word in enumerate(words) if word == "--data"]


def test_dan_large_teaches_through_labels(
    train_all: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, commands = run(train_all, tmp_path, monkeypatch, "")
    assert failed == 0
    order = list(commands)
    assert order.index("export dan-large") < order.index("dan-large labels the faces") < order.index("dan-light")
    model = commands["dan-large labels the faces"]
    assert Path(model[model.index("--model") + 1]).exists()
    assert packs_of(commands["dan-light"]) == ["taught.h5", "more.h5", "own.h5"]
    assert packs_of(commands["dan-large"]) == ["faces.h5", "more.h5", "own.h5"]
    assert "--teacher" not in commands["dan-light"]


def test_without_its_labels_the_others_serve(
    train_all: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, commands = run(train_all, tmp_path, monkeypatch, "dan-large labels the faces")
    assert failed == 1
    assert packs_of(commands["dan-light"])[0] == "faces.h5"
    assert "export dan-light" in commands


def test_every_command_and_option_is_there(
    train_all: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, commands = run(train_all, tmp_path, monkeypatch, "")
    for words in commands.values():
        group = main.commands["train"]
        known = {option for parameter in group.commands[words[1]].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
