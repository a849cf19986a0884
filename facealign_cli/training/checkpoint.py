"""Checkpoints: everything a run needs to go on exactly, and the reading of them without unpickling objects."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from facealign_cli.errors import FormatError, InputError
from facealign_cli.files.arrays import check_zip
from facealign_cli.files.documents import parsing, reading, structured
from facealign_cli.files.output import atomic_path
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.network import Dan

FORMAT = "facealign-checkpoint/1"
MAX_BYTES = 16 << 30
"""The most that a checkpoint may hold: 16 GiB."""


def save_checkpoint(path: Path, values: dict[str, Any], overwrite: bool = True) -> None:
    """Write tensors and plain values; the file is whole or the old one stays. Raises OutputError."""
    with atomic_path(path, overwrite) as temporary:
        torch.save({"format": FORMAT, **values}, temporary)


def save_weights(
    path: Path, checkpoint: dict[str, Any], overwrite: bool = False, origin: dict[str, str] | None = None
) -> None:
    """Write the seventh of a checkpoint that `transfer_weights` and `model_of` need. No run can go on from it.

    The averaged weights alone, matrices and kernels as float16. origin: what a run that begins with them inherits.
    Raises OutputError.
    """
    average = {key: value.half() if value.ndim > 1 else value for key, value in checkpoint["average"].items()}
    kept = {key: checkpoint[key] for key in ("config", "network", "step")}
    save_checkpoint(path, {**kept, "average": average, "origin": origin}, overwrite)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint: tensors and plain values only, no pickled objects. Raises InputError, FormatError."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such checkpoint")
    with reading(path), parsing(path, "a checkpoint"):
        with zipfile.ZipFile(path) as archive:
            check_zip(archive, MAX_BYTES)
            if archive.testzip():  # torch itself does not look at the checksums
                raise ValueError("a checksum does not match")
        values = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise FormatError(f"{path}: not a {FORMAT} file")
    try:
        fields = structured({key: values.get(key) for key in ("config", "network", "step")}, _Fields)
        weights = [values[key] for key in ("average", "model") if key == "average" or key in values]
        if not all(isinstance(part, dict) and all(map(torch.is_tensor, part.values())) for part in weights):
            raise ValueError("its weights are no tensors by name")
        network_of(values)
    except (ValueError, KeyError) as error:
        raise FormatError(f"{path}: a damaged checkpoint: {error}") from error
    if not 0 <= fields.config.stage <= len(network_of(values).stages) or fields.step < 0:
        raise FormatError(f"{path}: a damaged checkpoint: stage {fields.config.stage}, step {fields.step}")
    return values


@dataclass(frozen=True)
class _Stage:
    """What is needed of a run's configuration."""

    stage: int


@dataclass(frozen=True)
class _Fields:
    """What stands in every checkpoint beside the weights."""

    config: _Stage
    network: dict[str, Any]
    step: int


def network_of(checkpoint: dict[str, Any]) -> NetworkConfig:
    """The network of a checkpoint. Raises ValueError where its values are none."""
    return structured(checkpoint["network"], NetworkConfig)


def transfer_weights(model: Dan, checkpoint: dict[str, Any]) -> list[str]:
    """Give a network a checkpoint's averaged weights wherever name and shape agree; returns the names of those.

    The checkpoint may be of another architecture. Raises InputError where nothing agrees.
    """
    own, given = model.state_dict(), checkpoint["average"]
    taken = {key: given[key] for key in own.keys() & given.keys() if own[key].shape == given[key].shape}
    if not taken:
        raise InputError("the checkpoint to start from has no weights of this network's names and shapes")
    model.load_state_dict({**own, **taken})
    return sorted(taken)


def model_of(checkpoint: dict[str, Any], averaged: bool = True, *, trained_only: bool = False) -> Dan:
    """The network of a checkpoint in evaluation mode, with the averaged weights or the last ones.

    trained_only: without the stages that come after the one that the run trained.
    """
    network, weights = network_of(checkpoint), checkpoint["average" if averaged else "model"]
    count = checkpoint["config"]["stage"] or len(network.stages)
    if trained_only and count < len(network.stages):
        network = replace(network, stages=network.stages[:count])
        wanted = _shapes(network)
        weights = {key: value for key, value in weights.items() if key in wanted}
    shapes = _shapes(network)
    differing = [
        key for key in shapes.keys() | weights.keys() if key not in weights or shapes.get(key) != weights[key].shape
    ]
    if differing:
        raise FormatError(f"the checkpoint's weights are not those of its network: {', '.join(sorted(differing)[:3])}")
    model = Dan(network)
    model.load_state_dict(weights)
    return model.eval()


def mean_of(checkpoints: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The first of several checkpoints, with the mean of the averaged weights of all.

    Of runs that began with the same weights this is often better than each alone (Wortsman et al., "Model soups", ICML
    2022). Raises InputError where they are not of one network.
    """
    first, weights = checkpoints[0], [checkpoint["average"] for checkpoint in checkpoints]
    if any(network_of(checkpoint) != network_of(first) for checkpoint in checkpoints[1:]):
        raise InputError("the mean of checkpoints needs checkpoints of the same network")
    mean = {
        key: torch.stack([w[key].float() for w in weights]).mean(dim=0).to(value.dtype)
        if value.is_floating_point()
        else value
        for key, value in weights[0].items()
    }
    return {**first, "average": mean}


def _shapes(network: NetworkConfig) -> dict[str, torch.Size]:
    """The shapes of a network's weights, without laying any out: a damaged configuration may ask for terabytes."""
    with torch.device("meta"):
        return {key: value.shape for key, value in Dan(network).state_dict().items()}
