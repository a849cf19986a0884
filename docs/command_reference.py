"""MkDocs hook: puts the commands, from the same texts as --help, into the page commands.md."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import click

from facealign_cli.cli.help import sections
from facealign_cli.cli.main import main

MARK = "<!-- the commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark; MkDocs calls this for each page."""
    return markdown.replace(MARK, "\n".join(reference(main, click.Context(main, info_name="facealign"))))


def reference(command: click.Command, context: click.Context) -> Iterator[str]:
    """Markdown lines of a command and of those below it: what it does, examples, usage, options by section."""
    if command.hidden:
        return
    path = context.command_path
    depth = "#" * (1 + len(path.split()))
    yield f"\n{depth} {path} {{ #{path.replace(' ', '-')} data-toc-label='{context.info_name}' }}\n"
    yield f"{inspect.cleandoc(command.help or '')}\n"
    yield from _code([f"{path} {' '.join(command.collect_usage_pieces(context))}"])
    if examples := getattr(command, "examples", []):
        yield "Examples:\n"
        yield from _code(examples)
    for title, options in sections(context, command).items():
        if shown := [option for option in options if "--help" not in option.opts]:  # each command has it
            yield f"| {title} | |\n| --- | --- |"
            yield from (_row(option, context) for option in shown)
            yield ""
    for below in getattr(command, "commands", {}).values():
        yield from reference(below, click.Context(below, parent=context, info_name=below.name))


def _code(lines: list[str]) -> Iterator[str]:
    yield from ("```", *lines, "```\n")


def _row(option: click.Parameter, context: click.Context) -> str:
    names, text = option.get_help_record(context) or ("", "")
    escaped = text.replace("|", "\\|")  # within backticks a pipe ends no cell
    return f"| `{names}` | {escaped} |"
