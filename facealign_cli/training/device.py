"""What a training computes on, and in which numbers."""

from __future__ import annotations

import torch

from facealign_cli.errors import DeviceError
from facealign_cli.runtime import check_device
from facealign_cli.training.network import Backbone, Dan


def training_device(name: str) -> torch.device:
    """The device of that name; "auto" is a GPU if torch sees one. Raises InputError, DeviceError."""
    has_gpu = torch.cuda.is_available()
    if check_device(name) == "auto":
        return torch.device("cuda" if has_gpu else "cpu")
    if name.startswith("cuda") and not has_gpu:
        raise DeviceError(f"device {name}: torch {torch.__version__} sees no GPU; install a CUDA build of torch")
    return torch.device(name)


def run_backbones_in_bf16(model: Dan, device: str) -> None:
    """Convolutions in bfloat16; coordinates, heads and connection layers stay in float32, where pixels need it."""
    for module in model.modules():
        if isinstance(module, Backbone):
            module.forward = torch.autocast(device, torch.bfloat16)(module.forward)  # type: ignore[method-assign]
