"""Griffe extension: shows the parameters that a docstring explains as a list, and Raises and Returns as paragraphs.

A docstring says `image: (H, W, 3) uint8 BGR. source: the picture's path.`, each parameter or attribute behind its name;
Markdown alone would show all of that as one paragraph.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import griffe

_NAMES = re.compile(r"(?:^|(?<=[.;] ))([a-z_]\w*(?:, [a-z_]\w*)*): ")
_OWN = re.compile(r"(?<=[.:] )(?=(?:Raises|Returns|Source:) ?)")


class Docstrings(griffe.Extension):
    """Rewrites every docstring before it is shown."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Griffe calls this for each function and method."""
        _rewrite(func, {parameter.name.lstrip("*") for parameter in func.parameters})

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Griffe calls this for each class, when its members are known."""
        made = cls.members.get("__init__")
        parameters = {p.name for p in made.parameters} if isinstance(made, griffe.Function) else set[str]()
        _rewrite(cls, set(cls.members) | parameters)


def _rewrite(obj: griffe.Object, known: set[str]) -> None:
    if obj.docstring:
        obj.docstring.value = as_markdown(obj.docstring.value, known)


def as_markdown(docstring: str, known: set[str]) -> str:
    """The docstring, in which each of the names that are known and explained is an item of a list."""
    paragraphs = re.split(r"\n\s*\n", docstring)
    return "\n\n".join(part for paragraph in paragraphs for part in _parts(paragraph, known))


def _parts(paragraph: str, known: set[str]) -> Iterator[str]:
    if re.search(r"^(?:    |>>>)", paragraph, re.MULTILINE):  # code, or a table in plain text
        yield paragraph
        return
    for text in _OWN.split(" ".join(paragraph.split())):
        found = [match for match in _NAMES.finditer(text) if set(match[1].split(", ")) <= known]
        if before := text[: found[0].start()].strip() if found else text:
            yield before
        if found:
            ends = [*(match.start() for match in found[1:]), len(text)]
            yield "\n".join(_item(match[1], text[match.end() : end]) for match, end in zip(found, ends, strict=True))


def _item(names: str, text: str) -> str:
    shown = ", ".join(f"`{name}`" for name in names.split(", "))
    return f"- {shown}: {text.strip()}"
