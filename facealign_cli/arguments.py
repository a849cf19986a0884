"""Arguments of public functions, checked where they come in: an error names the argument, and what it got."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from numbers import Integral, Real
from typing import Any, TypeVar

from facealign_cli.errors import InputError

Item = TypeVar("Item")


def check_kind(name: str, value: Any, *kinds: type | None, hint: str = "") -> None:
    """Raise InputError unless the value is of one of the kinds. None stands for itself. hint: what to do instead."""
    if (value is None and None in kinds) or isinstance(value, tuple(kind for kind in kinds if kind is not None)):
        return
    words = " or ".join("None" if kind is None else kind.__name__ for kind in kinds)
    raise InputError(f"{name}: expected {words}, got {_shown(value)}{hint and f'; {hint}'}")


def check_number(name: str, value: Any, least: float, most: float = math.inf, *, whole: bool = False) -> None:
    """Raise InputError unless the value is a number from `least` to `most`; a truth value is none, and NaN neither."""
    kind = Integral if whole else Real
    if isinstance(value, kind) and not isinstance(value, bool) and least <= float(value) <= most:
        return
    span = f"{least:g} or more" if most == math.inf else f"{least:g} to {most:g}"
    raise InputError(f"{name}: expected {'a whole number, ' if whole else ''}{span}, got {_shown(value)}")


def checked_items(name: str, things: Any, kind: type[Item]) -> Iterator[Item]:
    """The things, one after another. Raises InputError unless they are several, each of that kind."""
    if not isinstance(things, Iterable):
        raise InputError(f"{name}: expected a list of {kind.__name__}, got {type(things).__name__}")
    for thing in things:
        if not isinstance(thing, kind):
            raise InputError(f"{name}: expected a list of {kind.__name__}, got {type(thing).__name__} in it")
        yield thing


def _shown(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__} itself"
    return f"{value!r:.40}" if isinstance(value, str | bytes | bool | int | float) else type(value).__name__
