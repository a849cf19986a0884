"""What the weights that a run began with say of their licence and training data: the new weights inherit it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from facealign_cli.models.dan import DanModel

Origin = dict[str, str]
"""name, licence and training_data of the weights that a run began with; it stands in checkpoints under "origin"."""


def origin_of(path: Path, checkpoint: dict[str, Any]) -> Origin | None:
    """What is known of a checkpoint's weights: what it says itself, else the graph of its name beside it; else None.

    Raises ModelError where that graph is damaged.
    """
    if checkpoint.get("origin"):
        return dict(checkpoint["origin"])
    graph = path.with_suffix(".onnx")
    if not graph.is_file():
        return None
    about = DanModel(graph, device="cpu").metadata
    return {
        "name": f"{about.name} {about.version}",
        "licence": about.licence,
        "training_data": about.training_data,
    }


def inherited(origin: Origin | None, licence: str, training_data: str) -> tuple[str, str]:
    """Licence and training data for the metadata of weights that began with others; what is stated counts first."""
    if origin is None:
        return licence, training_data
    before = origin["training_data"] or "training data not stated"
    if training_data and f"{before}; ".startswith(f"{training_data}; "):  # versions of a model repeat each other
        before = "the same data" + before.removeprefix(training_data)
    return licence or origin["licence"], f"{training_data or 'not stated'}; begun with {origin['name']} ({before})"
