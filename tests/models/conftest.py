"""Files of graphs, sound ones or with something wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from linear_graph import Build


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Writes a graph; `metadata`: its text, or changes to the sound one; `without`: keys left out."""
    onnx = pytest.importorskip("onnx")
    from linear_graph import METADATA, graph

    def write(metadata: str | dict[str, Any] | None = None, without: tuple[str, ...] = (), **options: Any) -> Path:
        model = graph(**options)
        if not isinstance(metadata, str):
            values = {**METADATA, **(metadata or {})}
            metadata = json.dumps({key: value for key, value in values.items() if key not in without})
        onnx.helper.set_model_props(model, {"facealign": metadata})
        onnx.save(model, str(tmp_path / "model.onnx"))
        return tmp_path / "model.onnx"

    return write
