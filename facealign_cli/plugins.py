"""Detectors and formats that other packages bring, by the entry points of their metadata.

[project.entry-points."facealign.detectors"]
my-detector = "my_package.detectors:MyDetector"     # takes DetectorOptions

[project.entry-points."facealign.formats"]
my-format = "my_package.my_format"                  # a module that calls register_format
"""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from facealign_cli.errors import InputError

DETECTORS, FORMATS = "facealign.detectors", "facealign.formats"


@functools.cache
def find_plugins(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name, as the installed packages state them; nothing is imported."""
    return {point.name: point for point in sorted(entry_points(group=group), reverse=True)}


def load_plugin(group: str, name: str) -> Any:
    """What an entry point names. Raises InputError, which names the package, if it cannot be imported."""
    point = find_plugins(group)[name]
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # whatever it is, the commands that do without it must go on
        package = point.dist.name if point.dist is not None else point.module
        raise InputError(f"{name!r} of the package {package} ({point.value}) cannot be loaded: {error!r}") from error


def plugin_version(group: str, name: str) -> str | None:
    """The name and the version of the package that brings `name`; None where no package does."""
    point = find_plugins(group).get(name)
    return None if point is None or point.dist is None else f"{point.dist.name} {point.dist.version}"
