"""Training: the networks, the data pack, the loop, the export. The only place with torch (extra `train`)."""

from __future__ import annotations

from facealign_cli.errors import MissingDependency


def require_packages() -> None:
    """Raise MissingDependency, which names the extra, where a package that training needs is not installed."""
    from importlib.util import find_spec

    for package in ("torch", "h5py", "onnx"):
        if find_spec(package) is None:
            raise MissingDependency("training", package, "train")


def use_threads(count: int) -> None:
    """Let torch use so many threads within an operator."""
    import torch

    torch.set_num_threads(count)
