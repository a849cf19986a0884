"""What was run on what: the file that lets a job be resumed only as the one it was."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from facealign_cli.errors import InputError, OutputError
from facealign_cli.files.documents import parse_json, structured
from facealign_cli.files.storage import Storage, join
from facealign_cli.formats.job_folder import MANIFEST, SCHEMA
from facealign_cli.version import __version__

MAX_MANIFEST_BYTES = 16 << 20


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@dataclass(frozen=True)
class Manifest:
    """config: what decides the rows. counts: of the rows so far; after a kill the journal knows better.

    state: "running" (or killed), "interrupted" or "complete". Times are UTC, ISO 8601.
    """

    config: dict[str, Any]
    counts: dict[str, int] = field(default_factory=dict)
    shards: int = 0
    state: str = "running"
    created: str = field(default_factory=_now)
    updated: str = ""
    schema: str = SCHEMA

    def write(self, storage: Storage, folder: str) -> None:
        """Write the manifest into its folder. Raises OutputError."""
        values = asdict(self) | {"updated": _now()}
        storage.write(join(folder, MANIFEST), (json.dumps(values, indent=1) + "\n").encode())

    @classmethod
    def read(cls, storage: Storage, folder: str) -> Manifest | None:
        """Read the manifest of a folder; None if it has none. Raises OutputError if it cannot be used."""
        path = join(folder, MANIFEST)
        if not storage.kind(path):
            return None
        try:
            manifest = structured(parse_json(storage.read(path, MAX_MANIFEST_BYTES)), cls)
        except (InputError, ValueError) as error:
            raise OutputError(f"{path}: cannot be used ({error}); --restart begins anew") from error
        if manifest.schema != SCHEMA:
            raise OutputError(f"{path}: schema {manifest.schema!r:.40}, this version reads {SCHEMA}")
        return manifest

    def check_same(self, config: dict[str, Any], folder: str) -> None:
        """Raise OutputError, a line for each difference, if a job of `config` would make other rows."""
        changed = differences(self.config, config)
        if changed:
            raise OutputError(
                f"{folder} holds a job of another configuration; nothing was done. What differs:\n"
                + "\n".join(changed)
                + "\nResume it as it was, name another folder, or begin anew with --restart."
            )


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two configurations, a line of text each."""
    was, now = (flattened(json.loads(json.dumps(config))) for config in (old, new))
    return [f"  {k}: was {_shown(was.get(k))}, is {_shown(now.get(k))}" for k in was | now if was.get(k) != now.get(k)]


def versions() -> dict[str, str]:
    """The versions of what decides the rows."""
    packages = {"facealign": __version__}
    for name, distributions in (
        ("onnxruntime", ("onnxruntime", "onnxruntime-gpu")),
        ("opencv", ("opencv-python-headless", "opencv-python")),
    ):
        for distribution in distributions:
            with contextlib.suppress(metadata.PackageNotFoundError):
                packages.setdefault(name, metadata.version(distribution))
    return packages


def flattened(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots. A group is an entry of its own, too: all in it may be None, as nothing else is."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        is_group = isinstance(value, dict)
        flat[f"{prefix}{key}"] = "given" if is_group else value
        flat |= flattened(value, f"{prefix}{key}.") if is_group else {}
    return flat


def _shown(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) < 60 else f"{text[:12]}…{text[-12:]}" if " " not in text else f"{text[:57]}…"
