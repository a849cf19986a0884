"""Tensors for the tests of layers and losses."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def leaf(values: np.ndarray | Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64).clone().requires_grad_()
