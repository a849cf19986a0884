"""Checkpoints: everything a run needs to go on exactly, and the reading of them without unpickling objects."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from facealign_cli.errors import FormatError, InputError
from facealign_cli.files.output import atomic_path
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.network import Dan

FORMAT = "facealign-checkpoint/1"


def save_checkpoint(path: Path, values: dict[str, Any], overwrite: bool = True) -> None:
    """Write tensors and plain values; the file is whole or the old one stays. Raises OutputError."""
    with atomic_path(path, overwrite) as temporary:
        torch.save({"format": FORMAT, **values}, temporary)


def save_weights(
    path: Path, checkpoint: dict[str, Any], overwrite: bool = False, origin: dict[str, str] | None = None
) -> None:
    """Write what `transfer_weights` and `model_of` need of a checkpoint, a seventh of its size: no run goes on from it.

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
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip():  # torch itself does not look at the checksums
                raise ValueError("a checksum does not match")
        values = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise FormatError(f"{path}: not a checkpoint, or a damaged one") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise FormatError(f"{path}: not a {FORMAT} file")
    return values


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
    network, weights = NetworkConfig.from_dict(checkpoint["network"]), checkpoint["average" if averaged else "model"]
    count = checkpoint["config"]["stage"] or len(network.stages)
    if trained_only and count < len(network.stages):
        network = replace(network, stages=network.stages[:count])
        wanted = Dan(network).state_dict()
        weights = {key: value for key, value in weights.items() if key in wanted}
    model = Dan(network)
    model.load_state_dict(weights)
    return model.eval()
