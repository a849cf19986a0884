"""Arguments of public functions, checked where they come in: an error names the argument, and what it got."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np

from facealign_cli.arrays import real_number
from facealign_cli.errors import InputError

Item = TypeVar("Item")


def check_kind(name: str, value: Any, *kinds: type | None, hint: str = "") -> None:
    """Raise InputError unless the value is of one of the kinds. None stands for itself. hint: what to do instead."""
    known = (value is None and None in kinds) or isinstance(value, tuple(kind for kind in kinds if kind is not None))
    if known and (Iterable not in kinds or is_several(value)):
        return
    words = " or ".join("None" if kind is None else kind.__name__ for kind in kinds)
    raise InputError(f"{name}: expected {words}, got {_shown(value)}{hint and f'; {hint}'}")


def check_flags(**flags: Any) -> None:
    """Raise InputError unless each of the named values is True or False: a text such as "no" would count as True."""
    for name, value in flags.items():
        if not isinstance(value, bool | np.bool_):
            raise InputError(f"{name}: expected True or False, got {_shown(value)}")


def check_number(name: str, value: Any, least: float, most: float = math.inf, *, whole: bool = False) -> None:
    """Raise InputError unless the value is a number from `least` to `most`; a truth value is none, and NaN neither."""
    kind = Integral if whole else Real
    if isinstance(value, kind) and least <= real_number(value) <= most:
        return
    raise InputError(f"{name}: expected {'a whole number, ' if whole else ''}{_span(least, most)}, got {_shown(value)}")


def check_time(name: str, value: Any, before: float = -math.inf, hint: str = "") -> None:
    """Raise InputError unless the value is a time in seconds that comes after `before`. hint: what to do instead."""
    if not math.isfinite(real_number(value)):
        raise InputError(f"{name}: expected a finite number of seconds, got {_shown(value)}")
    if value <= before:
        order = f"{float(value)!r} s came after {float(before)!r} s"
        raise InputError(f"{name}: each frame comes later than the one before it, but {order}{hint and f'; {hint}'}")


def is_several(things: Any) -> bool:
    """Whether things can be gone through; an array without a dimension cannot, though it looks so."""
    return isinstance(things, Iterable) and getattr(things, "ndim", 1) != 0


def checked_items(name: str, things: Any, kind: type[Item]) -> Iterator[Item]:
    """The things, one after another. Raises InputError unless they are several, each of that kind."""
    if not is_several(things):
        raise InputError(f"{name}: expected a list of {kind.__name__}, got {type(things).__name__}")
    for thing in things:
        if not isinstance(thing, kind):
            raise InputError(f"{name}: expected a list of {kind.__name__}, got {type(thing).__name__} in it")
        yield thing


def check_choice(name: str, value: Any, known: Iterable[str]) -> None:
    """Raise InputError unless the value is one of the texts that are known."""
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        raise InputError(f"{name}: expected one of {', '.join(known)}, got {_shown(value)}")


def _span(least: float, most: float) -> str:
    if most == math.inf:
        return "a number" if least == -math.inf else f"{_plain(least)} or more"
    return f"{_plain(most)} or less" if least == -math.inf else f"{_plain(least)} to {_plain(most)}"


def _plain(bound: float) -> str:
    """A bound as people write it: 1,000,000 and 0.000001."""
    text = f"{bound:,.10g}"
    return f"{bound:.12f}".rstrip("0") if "e-" in text else text


def _shown(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__} itself"
    return f"{value!r:.40}" if isinstance(value, str | bytes | bool | int | float) else type(value).__name__
