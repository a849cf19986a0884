"""What --help shows, what completion offers, and what is said where a file stands in place of a command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from facealign_cli.cli import help as helping
from facealign_cli.cli.main import main
from facealign_cli.detectors import known_detectors
from facealign_cli.formats.base import format_names
from facealign_cli.models.registry import read_registry


def contexts(command: click.Command = main, parent: click.Context | None = None) -> Iterator[click.Context]:
    """Of every command and group, from the top."""
    name = "facealign" if parent is None else command.name
    context = click.Context(command, parent=parent, info_name=name, **command.context_settings)
    yield context
    for below in getattr(command, "commands", {}).values():
        yield from contexts(below, context)


def commands() -> list[click.Context]:
    return [context for context in contexts() if not isinstance(context.command, click.Group)]


def error_of(*words: str) -> str:
    result = CliRunner().invoke(main, words, prog_name="facealign")
    assert result.exit_code == 2
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize("context", commands(), ids=lambda context: context.command_path)
def test_every_command_has_examples_of_its_own(context: click.Context) -> None:
    examples = context.command.examples  # type: ignore[attr-defined]
    assert examples
    assert all(f"{context.command_path} " in f"{example} " or context.command.name == "export" for example in examples)
    assert max(map(len, examples)) <= 78
    shown = CliRunner().invoke(main, [*context.command_path.split()[1:], "--help"], terminal_width=80).stdout
    assert [line.strip() for line in shown.partition("Examples:")[2].splitlines() if line.strip()] == examples


def test_every_section_and_exception_is_used() -> None:
    used = {
        (context.command_path.partition(" ")[2], parameter.opts[-1], title)
        for context in contexts()
        for title, parameters in helping.sections(context, context.command).items()
        for parameter in parameters
    }
    assert {option for options in helping.SECTIONS.values() for option in options.split()} <= {o for _, o, _ in used}
    assert set(helping.ELSEWHERE.items()) <= {(f"{path} {option}", title) for path, option, title in used}


@pytest.mark.parametrize("context", commands(), ids=lambda context: context.command_path)
def test_sections_hold_every_option_once(context: click.Context) -> None:
    shown = [p.opts[-1] for options in helping.sections(context, context.command).values() for p in options]
    every = [p.opts[-1] for p in context.command.get_params(context) if isinstance(p, click.Option) and not p.hidden]
    assert sorted(shown) == sorted(every)
    assert len(helping.sections(context, context.command).get("Options", [])) <= 7  # else they are to be sorted


@pytest.mark.parametrize("context", commands(), ids=lambda context: context.command_path)
def test_no_metavar_is_a_type_s_name(context: click.Context) -> None:
    for parameter in context.command.params:
        named = parameter.make_metavar(context)
        assert not any(word in named for word in ("INTEGER", "RANGE", "FLOAT")), named
        if isinstance(parameter, click.Option) and not parameter.is_flag and parameter.metavar is None:
            assert named not in ("TEXT", "FILE", "PATH"), f"{parameter.opts[-1]} {named}"


def test_bounds_are_words() -> None:
    shown = CliRunner().invoke(main, ["detect", "image", "--help"], terminal_width=200).stdout
    assert "[1 or more]" in shown
    assert "0 to 1]" in shown
    assert "above 0]" in shown
    assert "x>=" not in shown
    assert "1000000000" not in shown


def test_lists_of_commands_are_whole() -> None:
    for context in contexts():
        if isinstance(context.command, click.Group):
            text = " ".join(context.get_help().split())
            for command in context.command.commands.values():
                assert command.hidden or helping.first_sentence(command.help or "?") in text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("One. Two.", "One."),
        ("Of IN... and\n    more. Two.", "Of IN... and more."),
        ("Of SRC...\n\n    More.", "Of SRC..."),
        ("No stop", "No stop"),
    ],
)
def test_first_sentence(text: str, sentence: str) -> None:
    assert helping.first_sentence(text) == sentence


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("photo.jpg", "facealign detect image photo.jpg"),
        ("my photo.PNG", 'facealign detect image "my photo.PNG"'),
        ("clip.mp4", "facealign video track clip.mp4"),
        ("folder", "facealign batch folder folder -o rows"),
        ("detect photo.jpg", "facealign detect image photo.jpg"),
        ("detect clip.mp4", "facealign video track clip.mp4"),
        ("video clip.mp4", "facealign video track clip.mp4"),
        ("video photo.jpg", "facealign detect image photo.jpg"),
        ("batch folder", None),
        ("batch folder2", "facealign batch folder folder2 -o rows"),
        ("batch clip.mp4", "facealign batch videos clip.mp4 -o rows"),
        ("evaluate folder", "facealign evaluate dataset folder"),
        ("model mine.onnx", "facealign model info mine.onnx"),
        ("train folder", "facealign train pack folder -o faces.h5"),
    ],
)
def test_a_file_in_place_of_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, meant: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("folder", "folder2"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine.onnx").touch()
    words = [line] if line.startswith("my ") else line.split()
    if meant is None:
        assert "is no command" not in error_of(*words)
        return
    assert error_of(*words) == f"Error: {words[-1]} is no command. Did you mean: {meant}"
    path = shlex.split(meant)[1:3]  # and what it names is there
    assert path[1] in main.commands[path[0]].commands  # type: ignore[attr-defined]


def test_slips_of_the_pen() -> None:
    assert error_of("detct") == "Error: No such command 'detct'. Did you mean 'detect'?"
    assert "Did you mean" in error_of("detect", "image", "a.jpg", "--overlya", "x")
    assert error_of("nosuch") == "Error: No such command 'nosuch'."


@pytest.mark.parametrize(
    ("line", "begun", "names"),
    [
        ("detect image --model", "dan-l", {name for name in read_registry().models if name.startswith("dan-l")}),
        ("train label --model", "", set(read_registry().models)),
        ("model info", "dan-large", {"dan-large"}),
        ("model bench dan-light", "", set(read_registry().models)),
        ("video track --detector", "", set(known_detectors())),
        ("detect image --format", "o", {name for name in format_names() if name.startswith("o")}),
        ("convert --to", "", set(format_names())),
        ("batch folder --format", "", {"parquet", "jsonl", "csv", "pts"}),
        ("detect image --device", "c", {"cpu", "cuda"}),
        ("det", "", None),
    ],
)
def test_completion(line: str, begun: str, names: set[str] | None) -> None:
    found = ShellComplete(main, {}, "facealign", "_FACEALIGN_COMPLETE").get_completions(line.split(), begun)
    plain = {item.value for item in found if item.type == "plain"}
    assert plain == (set() if names is None else names) or names is None


def test_files_complete_beside_models() -> None:
    shell = ShellComplete(main, {}, "facealign", "_FACEALIGN_COMPLETE")
    assert [item.type for item in shell.get_completions(["detect", "image", "--model"], "mine")] == ["file"]
