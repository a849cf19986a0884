"""What a training computes on, and in which numbers."""

from __future__ import annotations

import torch

from facealign_cli.errors import DeviceError, InputError
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


LEAST_CHANNELS = 8
"""Of what a 1×1 convolution that leaves pixels out sees. With fewer, oneDNN writes past its memory in the backward pass
on processors without AVX-512 (github.com/uxlfoundation/oneDNN/issues/6035, seen in PyTorch 2.13): training then ends in
a crash, or goes on with other numbers."""


def check_convolutions(model: Dan) -> None:
    """Raise InputError if the network has a convolution that PyTorch cannot train on every processor."""
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Conv2d) or module.kernel_size != (1, 1) or module.stride == (1, 1):
            continue
        if module.in_channels < LEAST_CHANNELS:
            raise InputError(
                f"{model.config.name} cannot be trained: {name}, a 1×1 convolution with a stride, sees "
                f"{module.in_channels} channels. On some processors PyTorch crashes if they are fewer than "
                f"{LEAST_CHANNELS}. Give the stem and the first levels more channels."
            )


def computes_in_bf16(device: torch.device) -> bool:
    """Whether this device has instructions for bfloat16, as far as PyTorch tells. Without them it takes several times
    as long as in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "NO AVX", "AVX2")


def run_backbones_in_bf16(model: Dan, device: str) -> None:
    """Convolutions in bfloat16; coordinates, heads and connection layers stay in float32, where pixels need it."""
    for module in model.modules():
        if isinstance(module, Backbone):
            module.forward = torch.autocast(device, torch.bfloat16)(module.forward)  # type: ignore[method-assign]
