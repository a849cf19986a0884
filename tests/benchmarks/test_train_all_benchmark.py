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


def run(
    train_all: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *extra: str, failing: str = ""
) -> tuple[int, dict[str, list[str]]]:
    """The number of failures, and the words of each command by its step; files that a command writes are made."""
    commands: dict[str, list[str]] = {}

    def fake(self: object, name: str, command: str) -> bool:
        commands[name] = words = shlex.split(command)
        if "--run" in words:
            folder = Path(value_of(words, "--run"))
            folder.mkdir(exist_ok=True)
            for file in ("last.ckpt", "best.ckpt", "log.csv"):  # a run that fails has written some, too
                (folder / file).touch()
        return name != failing

    monkeypatch.setattr(train_all.Steps, "run", fake)
    out = tmp_path / "with a space"
    words = [str(tmp_path / "a.h5"), str(tmp_path / "b.h5"), "-o", str(out), "--minutes", "9", *extra]
    return train_all.main(words), commands


def value_of(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def packs_of(words: list[str]) -> list[str]:
    return [Path(words[i + 1]).name for i, word in enumerate(words) if word == "--data"]


@pytest.mark.parametrize("network", ["dan-light", "dan-large"])
def test_mild_augmentation_goes_on_from_strong(
    train_all: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    failed, commands = run(train_all, tmp_path, monkeypatch, "--loaders", "11")
    assert failed == 0
    strong, mild = commands[f"{network}-strong"], commands[f"{network}-mild"]
    assert Path(value_of(strong, "--init")).is_file(), "the shipped checkpoint"
    assert value_of(mild, "--init") == f"{value_of(strong, '--run')}/last.ckpt"
    assert "--augmentation" not in strong and value_of(mild, "--augmentation") == "mild"
    assert packs_of(strong) == packs_of(mild) == ["a.h5", "b.h5"]
    assert [float(value_of(words, "--minutes")) for words in (strong, mild)] == pytest.approx([4.8, 3.2])
    rates = {"dan-light": [2e-3, 1.2e-3], "dan-large": [1e-3, 7e-4]}
    assert [float(value_of(words, "--lr")) for words in (strong, mild)] == rates[network]
    assert [words[words.index("--turned") + 1 :][:2] for words in (strong, mild)] == [["2", "4"], ["1", "2"]]
    assert value_of(mild, "--loaders") == {"dan-light": "4", "dan-large": "6"}[network]
    out = tmp_path / "with a space"
    assert (out / f"{network}-mild.log.csv").exists()
    assert value_of(commands[f"export {network}-mild"], "--weights") == str(out / f"{network}-mild.ckpt")


def test_dan_trains_by_stages_on_the_first_pack(
    train_all: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, commands = run(train_all, tmp_path, monkeypatch, "--dan")
    assert failed == 0
    one, two = commands["dan-1"], commands["dan-2"]
    assert [value_of(words, "--stage") for words in (one, two)] == ["1", "2"]
    assert value_of(two, "--from") == f"{value_of(one, '--run')}/best.ckpt"
    assert packs_of(one) == packs_of(two) == ["a.h5"]
    assert "export dan-2" in commands and "export dan-1" not in commands
    assert (tmp_path / "with a space" / "dan-1.log.csv").exists()


def test_a_failed_network_leaves_the_others(
    train_all: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, commands = run(train_all, tmp_path, monkeypatch, failing="dan-large-strong")
    assert failed == 1
    assert "dan-large-mild" not in commands
    assert "export dan-light-mild" in commands


def test_a_failed_end_keeps_the_beginning(
    train_all: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, commands = run(train_all, tmp_path, monkeypatch, failing="dan-light-mild")
    assert failed == 1
    assert "export dan-light-strong" in commands
    assert "export dan-light-mild" not in commands


def test_every_command_and_option_is_there(
    train_all: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, commands = run(train_all, tmp_path, monkeypatch, "--dan")
    for words in commands.values():
        group = main.commands["train"]
        known = {option for parameter in group.commands[words[1]].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
