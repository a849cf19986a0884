"""The exception tree. The command line turns it into messages and exit codes in one place (`cli/main.py`).

FacealignError
├── InputError          a picture, video, box file or option that cannot be used
│   ├── FormatError     a file whose content breaks its format's rules
│   └── ArgumentError   a value that a record or a function cannot take; it is a ValueError, too
├── ModelError          a model file that is corrupt, foreign, or whose hash or metadata does not match
├── DeviceError         the device that was asked for by name is not to be had
├── OutputError         a result cannot be written (it exists already, the disk is full, …)
└── MissingDependency   a package is needed; the message names the extra that brings it
    └── MissingPackage  a package that no extra brings; the message names it
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from typing import Any


class FacealignError(Exception):
    """Base of every error that facealign raises on purpose."""


class InputError(FacealignError):
    """An input that cannot be used; the message says which and why."""


class FormatError(InputError):
    """A file that was readable but breaks its format's rules."""


class ArgumentError(InputError, ValueError):
    """A value that a record or a function cannot take. It is a ValueError, too, as such errors are in Python."""


class ModelError(FacealignError):
    """A model file that is corrupt, foreign, or does not match its metadata or hash."""


class DeviceError(FacealignError):
    """The execution device asked for by name cannot be had here."""


class OutputError(FacealignError):
    """A result that cannot be written where it was asked for."""


class MissingDependency(FacealignError):
    """An optional package is not installed.

    feature: what was asked for, package: what is missing, extra: the extra of facealign that brings it.
    """

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(f"{feature} needs the package {package}: {pip('install', f'facealign[{extra}]')}")
        self.package = package
        self.extra = extra

    def __reduce__(self) -> tuple[Any, ...]:
        """A worker's error goes to its parent: it is made anew of its text, not of what the text was made of."""
        return _made_anew, (type(self), str(self), vars(self))


def _made_anew(kind: type[MissingDependency], message: str, values: dict[str, Any]) -> MissingDependency:
    error = kind.__new__(kind, message)
    vars(error).update(values)
    return error


class MissingPackage(MissingDependency):
    """A package that no extra of facealign brings; the message says what to install."""

    def __init__(self, feature: str, requirement: str, why: str) -> None:
        FacealignError.__init__(self, f"{feature}: {why}: {pip('install', requirement)}")
        self.package = requirement
        self.extra = ""


def in_python(argument: str) -> str:
    """A remark behind the name of an option: how the same is said in Python, such as overwrite=True."""
    return f" (in Python: {argument})"


def for_shell(message: str) -> str:
    """The message without the remarks of `in_python`, for somebody at the command line."""
    return re.sub(r" \(in Python: [\w=]+\)", "", message)


def pip(*arguments: str) -> str:
    """The command line that runs pip for the Python that runs now, quoted for the system's shell.

    A bare "pip" may belong to another Python, and what it installs would not be found here.
    """
    words = [sys.executable or "python", "-m", "pip", *arguments]
    if os.name != "nt":
        return shlex.join(words)
    import subprocess  # slow to import, and only needed here

    return subprocess.list2cmdline(words)
