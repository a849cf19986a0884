"""The commands and the Python that the documentation prints."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import click

from facealign_cli.cli import kinds
from facealign_cli.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"(?:^    (?:python|FACEALIGN_\w+=|facealign) .*\n)+", re.MULTILINE)
_INLINE = re.compile(r"`((?:facealign|python (?:-m|benchmarks/|docs/|tests/)[^\s`]*)[^`]*)`")


@dataclass(frozen=True)
class Block:
    """A block of one page. language: "" and "bash" are commands. number: counts the page's blocks from 1."""

    page: str
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"

    @property
    def lines(self) -> list[str]:
        """The commands, those that go on behind a backslash put together, without their comments."""
        joined = re.sub(r"\\\n\s*", " ", self.text)
        stripped = (re.sub(r"(^|\s+)#\s.*$", "", line).strip() for line in joined.splitlines())
        return [line for line in stripped if line]


def blocks() -> list[Block]:
    """All blocks of all pages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        parts = [(match[2], re.sub(f"^{match[1]}", "", match[3], flags=re.M)) for match in _FENCE.finditer(text)]
        parts += [("bash", match[0]) for match in _INDENTED.finditer(text)]
        found += [Block(page.name, number, *part) for number, part in enumerate(parts, start=1)]
    return found


def inline_commands() -> list[tuple[str, str]]:
    """Page and command of what stands within a sentence, in backticks."""
    found = []
    for page in PAGES:
        text = _FENCE.sub("", page.read_text(encoding="utf-8"))
        found += [(page.name, " ".join(match[1].split())) for match in _INLINE.finditer(text)]
    return found


def check_command(words: list[str]) -> None:
    """Raise click.UsageError if a command line of facealign names a command, option or choice that does not exist.

    Nothing is run, and files need not be there. A line that ends early (`facealign video`) names a group.
    """
    command: click.Command = main
    context = click.Context(main, info_name="facealign", **main.context_settings)
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, click.Context(found, parent=context, info_name=name)
    values, _, _ = command.make_parser(context).parse_args(list(rest))
    checked = (click.Choice, kinds.FormatName, kinds.Count, kinds.FiniteFloat, kinds.PixelCount)
    for parameter in command.params:
        given = values.get(str(parameter.name))
        for value in given if isinstance(given, list | tuple) else [given]:
            if isinstance(parameter.type, checked) and isinstance(value, str) and not value.isupper():
                parameter.type.convert(value, parameter, context)


def check_script(words: list[str]) -> None:
    """Raise AssertionError if `python FILE ...` names a file, a subcommand's word or an option that does not exist."""
    if words[1] in ("-m", "-c"):
        return
    script = ROOT / words[1]
    assert script.is_file(), f"{words[1]} is not there"
    text = _with_siblings(script)
    for option in (word.partition("=")[0] for word in words[2:] if word.startswith("-")):
        named = f'"{option}"' in text or option.lstrip("-").replace("-", "_") in text
        assert named, f"{words[1]} has no option {option}"
    known = subcommands(text)
    wrong = [word for word in words[2].split("|") if word not in known] if known else []
    assert not wrong, f"{words[1]} has no command {', '.join(wrong)}: {', '.join(known)}"


def _with_siblings(script: Path) -> str:
    """A script, and the modules beside it that it imports: they may hold its commands."""
    text = script.read_text(encoding="utf-8")
    beside = [script.with_name(f"{name}.py") for name in re.findall(r"^from (\w+) import", text, re.MULTILINE)]
    return "\n".join([text, *(module.read_text(encoding="utf-8") for module in beside if module.is_file())])


def subcommands(script: str) -> list[str]:
    """The commands of a click group, or the choices of argparse's first positional; empty for a script with neither."""
    of_click = re.findall(r'^@\w+\.command\((?:"([\w-]+)")?.*?^def (\w+)\(', script, re.DOTALL | re.MULTILINE)
    if of_click:
        return [name or function.replace("_", "-") for name, function in of_click]
    choices = re.search(r'add_argument\("\w+", choices=\[(.*?)\]', script)
    return re.findall(r'"([\w-]+)"', choices[1]) if choices else []


def check_line(line: str) -> None:
    """Check each command of a line, pipes and && taken apart. Raises as `check_command` and `check_script` do."""
    for part in re.split(r"\s(?:\||&&)\s", line):
        words = [word for word in shlex.split(part) if not re.match(r"[A-Z_]+=", word)]
        if words[0].endswith("facealign"):
            check_command(words)
        elif words[0] in ("python", ".venv/bin/python") and len(words) > 1:
            check_script(words)
