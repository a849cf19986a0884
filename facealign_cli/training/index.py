"""Entries in a `models.json`: of exported graphs, and of the variants made of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from facealign_cli.errors import ModelError
from facealign_cli.files.output import write_bytes
from facealign_cli.models import sha256_of


def enter_model(index: Path, path: Path, *, name: str, figures: dict[str, float], **facts: Any) -> None:
    """Enter a graph's file; an earlier entry of that name is replaced, and the first one is the default.

    facts: licence, summary, multiply_adds. Raises ModelError for a file that is no models.json, OutputError.
    """
    content: dict[str, Any] = _read(index) if index.exists() else {"default": name, "models": {}}
    file = {"file": os.path.relpath(path, index.parent), "sha256": sha256_of(path)}
    content["models"][name] = {**file, **facts, "figures": figures}
    write_bytes(index, (json.dumps(content, indent=1) + "\n").encode(), overwrite=True)


def enter_variant(
    index: Path, path: Path, *, origin: str, name: str, difference: str, figures: dict[str, float]
) -> None:
    """Enter what was made of a graph that has an entry; its summary ends with the difference.

    Raises ModelError where `origin` has none, and as `enter_model`.
    """
    entry = _read(index)["models"].get(origin)
    if not isinstance(entry, dict):
        raise ModelError(f"{index}: it has no entry {origin}")
    summary = f"{entry.get('summary', '')}; {difference}"
    facts = {"licence": entry.get("licence", ""), "multiply_adds": entry.get("multiply_adds", 0)}
    enter_model(index, path, name=name, figures=figures, summary=summary, **facts)


def _read(index: Path) -> dict[str, Any]:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{index}: not a models.json: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("models"), dict):
        raise ModelError(f"{index}: not a models.json: it has no models")
    return content
