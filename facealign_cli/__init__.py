"""Finds faces and places the 68 ibug landmarks with a Deep Alignment Network, run by ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facealign_cli.version import __version__

__all__ = ["Aligner", "__version__"]

if TYPE_CHECKING:
    from facealign_cli.aligner import Aligner


def __getattr__(name: str) -> Any:
    if name == "Aligner":  # imported when asked for, so that `import facealign_cli` answers at once
        from facealign_cli.aligner import Aligner

        return Aligner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
