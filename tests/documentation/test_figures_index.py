"""Each figure is traced to a command by docs/figures.md: no benchmark is missing there, none of its pages either."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.documentation.pages import ROOT, check_line, inline_commands

INDEX = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+?) \| `(.+?)` \| (.+?) \|$", INDEX, re.MULTILINE)
CARDS = sorted((ROOT / "models").glob("*.md"))


def script_and_command(command: str) -> str:
    """Of `python benchmarks/x.py what ...` the script, and its subcommand, if that is a word of its own."""
    words = command.split()
    what = words[2:3] if words[2:3] and re.fullmatch(r"[a-z|]+", words[2]) else []
    return " ".join([words[1], *what])


def test_the_index_is_read() -> None:
    assert len(ROWS) == len(re.findall(r"^\| (?!Figure|---)", INDEX, re.MULTILINE)) > 30


@pytest.mark.parametrize(("figure", "command", "pages"), ROWS)
def test_its_command_exists_and_its_page_names_it(figure: str, command: str, pages: str) -> None:
    assert figure
    check_line(command)
    for page in re.findall(r"\]\((\w[\w-]*\.md)\)", pages):
        assert (ROOT / "docs" / page).is_file()
    if command.startswith("python"):
        texts = [(ROOT / "docs" / page).read_text("utf-8") for page in re.findall(r"\]\(([\w-]+\.md)\)", pages)]
        texts += [card.read_text("utf-8") for card in CARDS] if "model cards" in pages else []
        assert any(command.split()[1] in text for text in texts), f"no page of {pages} names {command.split()[1]}"


def test_every_benchmark_that_a_page_names_is_in_the_index() -> None:
    indexed = {script_and_command(command) for _, command, _ in ROWS if command.startswith("python")}
    elsewhere = [command for page, command in inline_commands() if "benchmarks/" in command and page != "figures.md"]
    assert len(elsewhere) > 20
    for named in map(script_and_command, elsewhere):
        script, _, words = named.partition(" ")
        assert {f"{script} {word}".strip() for word in words.split("|")} <= indexed


def test_every_benchmark_is_in_the_index() -> None:
    scripts = [path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text("utf-8")]
    missing = [path.name for path in scripts if f"benchmarks/{path.name}" not in INDEX and not is_part(path)]
    assert not missing


def is_part(path: Path) -> bool:
    """Whether another benchmark starts it."""
    others = [other for other in path.parent.glob("*.py") if other != path]
    return any(path.stem in other.read_text("utf-8") for other in others)
