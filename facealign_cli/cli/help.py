"""How --help looks, what completion offers, and what is said where a command's name was forgotten.

Help shows options in sections, numbers with their bounds in words, and examples, whose options the tests check.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

SECTIONS: dict[str, str] = {
    "What is read": "--recursive --glob --list --null --column --images --from --clip --start --end --every --fps "
    "--device-index --source --reconnect --max-pixels --size --picture --data --compare --mean-with --centre-with",
    "What is written": "--output --format --sigma --overlay --landmarks --blank --measures --no-sound --blinks "
    "--summary --crops-dir --crop-preset --crop-size --best --min-seconds --title --quality "
    "--overlay-dir --shard-rows --export --to --all --work --by --json --csv "
    "--report --predictions --run --index --weights --overwrite",
    "Which faces": "--detector --detector-model --boxes --min-face --max-faces --min-confidence --any-roll --score "
    "--upsample",
    "Following faces": "--detect-every --keep-lost --smooth",
    "Head pose": "--pose --focal",
    "What is measured": "--init --split --normaliser --threshold --worst",
    "The network": "--network --stage --imagenet --teacher --teacher-share --bf16 --augmentation --turned --seed",
    "The course of training": "--steps --minutes --batch-size --lr --warmup-steps --decay-steps --weight-decay "
    "--average --eval-every --checkpoint-every --patience",
    "About the model": "--name --model-version --training-data --licence",
    "Model and machine": "--model --device --threads --workers --loaders --timeout --engine --ray-address --port",
    "If it was run before": "--resume --restart --retry-errors --fail-fast",
}
"""The sections of options in --help, in this order. An option of another name is shown under "Options"."""

ELSEWHERE = {
    "train run --init": "The network",
    "train stage --from": "The network",
    "batch folder --batch-size": "Model and machine",
    "model bench --batch-size": "Options",
    "model info --format": "Options",
    "train export --summary": "About the model",
    "model export --summary": "About the model",
    "train pack --size": "Options",
    "train pack --jpeg-quality": "Options",
    "train relabel --worst": "Options",
}
"""Options that mean something else in one command, and the section in which they stand there."""

_SECTION_OF = {option: title for title, options in SECTIONS.items() for option in options.split()}


def section_of(ctx: click.Context, option: str) -> str:
    """The title under which the command's help shows an option, which is given by its long name."""
    path = ctx.command_path.partition(" ")[2]
    return ELSEWHERE.get(f"{path} {option}", _SECTION_OF.get(option, "Options"))


def sections(ctx: click.Context, command: click.Command) -> dict[str, list[click.Parameter]]:
    """The command's options that are shown, by the title of their section, in the order in which they are shown."""
    found: dict[str, list[click.Parameter]] = {title: [] for title in (*SECTIONS, "Options")}
    for parameter in command.get_params(ctx):
        if parameter.get_help_record(ctx) is not None and isinstance(parameter, click.Option):
            found[section_of(ctx, parameter.opts[-1])].append(parameter)
    return {title: parameters for title, parameters in found.items() if parameters}


class Command(click.Command):
    """A command with examples, a line each."""

    def __init__(self, *args: Any, examples: str = "", **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.examples = [line.strip() for line in examples.strip().splitlines()]

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, unless a result would replace what it is made from."""
        if ctx.params.get("overwrite"):
            _check_inputs_stay(self, ctx)
        return super().invoke(ctx)

    def get_short_help_str(self, limit: int = 45) -> str:
        """The first sentence whole, for the list of commands; it is wrapped there and never cut."""
        return first_sentence(self.help or "")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, by section."""
        for title, parameters in sections(ctx, self).items():
            with formatter.section(title):
                formatter.write_dl([parameter.get_help_record(ctx) or ("", "") for parameter in parameters])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples; they are never wrapped, so that they can be copied."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
        super().format_epilog(ctx, formatter)


_OF_INPUTS = ("What is read", "The network", "Model and machine")
"""Sections whose options may name a file that is read, or something else, such as a model by its name."""


def _check_inputs_stay(command: click.Command, ctx: click.Context) -> None:
    """Raise OutputError where a file or folder to write is one that is read, as arguments and options name them."""
    from facealign_cli.files.output import check_inputs_stay

    outputs, inputs = list[str](), list[str]()
    for parameter in command.params:
        is_written = getattr(parameter.type, "is_written", False)
        is_read = (
            isinstance(parameter.type, click.Path)
            or isinstance(parameter, click.Argument)
            or section_of(ctx, parameter.opts[-1]) in _OF_INPUTS
        )
        value = ctx.params.get(parameter.name or "")
        values = value if isinstance(value, tuple) else (value,)
        if is_written or is_read:
            (outputs if is_written else inputs).extend(str(v) for v in values if v is not None and str(v) != "-")
    check_inputs_stay(outputs, inputs, folders=True)


def first_sentence(text: str) -> str:
    """Of the first paragraph, up to a full stop that is not one of several, on one line."""
    words = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=[^.]\.)\s", words, maxsplit=1)[0]


class Group(Command, click.Group):
    """A group of such commands. Where a file stands in place of a command, the command that takes it is named.

    takes: kind of argument ("picture", "clip", "folder", "file") to the command line that takes it, with {} for its
    name.
    """

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, takes: dict[str, str] | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.takes = takes or {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands first: they are what a group is about."""
        self.format_commands(ctx, formatter)
        Command.format_options(self, ctx, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of that name. Raises click.UsageError, which says what was meant, for a file's name."""
        name = args[0]
        meant = None if self.get_command(ctx, name) else self.takes.get(kind_of(name))
        if meant is not None:
            place = f'"{name}"' if " " in name else name
            raise click.UsageError(f"{name} is no command. Did you mean: {meant.format(place)}", ctx)
        return super().resolve_command(ctx, args)


def kind_of(name: str) -> str:
    """Told from an argument's name: "picture", "clip", "folder" or "file"; "" for what is none of them."""
    from facealign_cli.batch.walk import CLIP_SUFFIXES, PICTURE_SUFFIXES

    suffix = os.path.splitext(name)[1].lower()
    if Path(name).is_dir():
        return "folder"
    if suffix in PICTURE_SUFFIXES:
        return "picture"
    if suffix in CLIP_SUFFIXES:
        return "clip"
    return "file" if Path(name).is_file() else ""


Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def completing(names: Callable[[], Iterator[str]], *, files: bool = False) -> Completer:
    """What `shell_complete` takes: these names as far as they fit, and with `files` the shell's own files, too."""

    def complete(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        found = [CompletionItem(name) for name in names() if name.startswith(begun)]
        return [*found, CompletionItem(begun, type="file")] if files else found

    return complete


def models() -> Iterator[str]:
    """The names of the shipped models."""
    from facealign_cli.models.registry import read_registry

    yield from read_registry().models


def detectors() -> Iterator[str]:
    """The names of the detectors."""
    from facealign_cli.detectors import known_detectors

    yield from known_detectors()


def formats() -> Iterator[str]:
    """The names of the formats of records."""
    from facealign_cli.formats.base import format_names

    yield from format_names()
