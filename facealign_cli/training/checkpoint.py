"""Checkpoints: everything a run needs to go on exactly, and the reading of them without unpickling objects."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from facealign_cli.errors import FormatError, InputError
from facealign_cli.files.arrays import check_zip
from facealign_cli.files.documents import parsing, reading, structured
from facealign_cli.files.output import atomic_write
from facealign_cli.training.bounds import MOST, check_bounds
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.network import Dan
from facealign_cli.training.origin import Origin
from facealign_cli.training.schedule import TrainConfig

FORMAT = "facealign-checkpoint/1"
MAX_BYTES = 16 << 30
"""The most that a checkpoint may hold: 16 GiB."""


def save_checkpoint(path: Path, values: dict[str, Any], overwrite: bool = True) -> None:
    """Write tensors and plain values; the file is whole or the old one stays. Raises OutputError.

    They are laid out in memory first: torch tells a disk that is full as a RuntimeError of its own.
    """
    content = io.BytesIO()
    torch.save({"format": FORMAT, **values}, content)
    with atomic_write(path, overwrite) as stream:
        stream.write(content.getbuffer())


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


def load_checkpoint(path: Path, *, as_built_today: bool = True) -> dict[str, Any]:
    """Read a checkpoint: tensors and plain values only, no pickled objects. Raises InputError, FormatError.

    What it gives can be believed: settings that a run can have, a network that can be built, and finite numbers of the
    names and shapes that this network has. as_built_today: False also takes one of an earlier version, whose network
    was built in another way; `transfer_weights` takes of it what fits.
    """
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
        stated = structured({key: value for key, value in values.items() if key in _READ}, _Fields)
        network = network_of(values)
        if TrainConfig.from_dict(stated.config).stage > len(network.stages):
            raise ValueError(
                f"it has {len(network.stages)} stages, of which number {stated.config['stage']} was trained"
            )
        own = _meta_weights(network)
        for name in ("average", "model"):
            if name == "average" or name in values:
                check_numbers(name, values.get(name))
                if as_built_today:
                    _check_names(own, values[name])
    return values


@dataclass(frozen=True)
class _Fields:
    """What stands in a checkpoint beside the weights. best: the least error, and none so far is infinite."""

    config: dict[str, Any]
    network: dict[str, Any]
    step: int
    best: float = math.inf
    since_best: int = 0
    seconds: float = 0.0
    origin: Origin | None = None

    def __post_init__(self) -> None:
        if "stage" not in self.config:
            raise ValueError("config: it does not say which stage was trained")
        check_bounds(self, {"step": (0, MOST), "since_best": (0, MOST), "best": (0, math.inf), "seconds": (0, MOST)})
        if self.origin is not None and not self.origin.keys() >= {"name", "licence", "training_data"}:
            raise ValueError(
                f"origin: expected name, licence and training_data, got {', '.join(self.origin) or 'none'}"
            )


_READ = frozenset(field.name for field in fields(_Fields))


def check_numbers(name: str, weights: Any) -> None:
    """Raise ValueError where something else stands than finite numbers, laid out in full, by names."""
    if not isinstance(weights, dict) or not all(isinstance(key, str) for key in weights):
        raise ValueError(f"{name}: expected tensors by name")
    for key, value in weights.items():
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.device.type != "cpu":
            raise ValueError(f"{name}: {key:.80} is no tensor that can be used")
        if value.is_quantized or value.is_complex() or value.dtype == torch.bool:
            raise ValueError(f"{name}: {key:.80} holds {value.dtype}, not numbers")
        if value.nbytes > value.untyped_storage().nbytes():  # one number, repeated, may claim terabytes
            raise ValueError(f"{name}: {key:.80} claims more numbers than it holds")
        if not torch.isfinite(value).all():
            raise ValueError(f"{name}: {key:.80} holds NaN or infinity: that training had diverged")


def load_optimizer(optimizer: torch.optim.Optimizer, checkpoint: dict[str, Any]) -> None:
    """Give AdamW the moments of a checkpoint; its rates stay those of the run. Raises ValueError for what is none."""
    own, saved = optimizer.state_dict(), checkpoint.get("optimizer")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not isinstance(saved, dict) or not isinstance(moments := saved.get("state"), dict):
        raise ValueError("its optimizer's state is missing")
    if checkpoint["step"] and not moments:
        raise ValueError("its optimizer's state is empty")
    for number, state in moments.items():
        if not isinstance(number, int) or not 0 <= number < len(parameters):
            raise ValueError("its optimizer is that of another network")
        check_numbers("optimizer", state)
        if state.keys() != {"step", "exp_avg", "exp_avg_sq"} or any(
            value.shape != (() if name == "step" else parameters[number].shape) for name, value in state.items()
        ):
            raise ValueError(f"its optimizer's state of parameter {number} is not that of its network")
    optimizer.load_state_dict({**own, "state": moments})


def network_of(checkpoint: dict[str, Any]) -> NetworkConfig:
    """The network of a checkpoint. Raises ValueError where its values are none."""
    return NetworkConfig.from_dict(checkpoint["network"])


def transfer_weights(model: Dan, checkpoint: dict[str, Any]) -> list[str]:
    """Give a network a checkpoint's averaged weights wherever name and shape agree; returns the names of those.

    The checkpoint may be of another architecture. Raises InputError where nothing agrees.
    """
    own, given = model.state_dict(), checkpoint["average"]
    taken = {key: given[key] for key in own.keys() & given.keys() if _kind(own[key]) == _kind(given[key])}
    if not taken:
        raise InputError("the checkpoint to start from has no weights of this network's names and shapes")
    model.load_state_dict({**own, **taken})
    return sorted(taken)


def model_of(checkpoint: dict[str, Any], averaged: bool = True, *, trained_only: bool = False) -> Dan:
    """The network of a checkpoint in evaluation mode, with the averaged weights or the last ones.

    trained_only: without the stages that come after the one that the run trained.
    """
    part = "average" if averaged else "model"
    if part not in checkpoint:
        raise FormatError(
            "the checkpoint holds the averaged weights alone, as `train export --weights` writes them: no "
            "run can go on from it, but one can begin with it (--init)"
        )
    network, weights = network_of(checkpoint), checkpoint[part]
    count = checkpoint["config"]["stage"] or len(network.stages)
    if trained_only and count < len(network.stages):
        network = replace(network, stages=network.stages[:count])
        wanted = _meta_weights(network)
        weights = {key: value for key, value in weights.items() if key in wanted}
    model = Dan(network)
    model.load_state_dict(weights)
    _check_runs(model.eval())
    return model


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


def _check_names(own: dict[str, torch.Tensor], weights: dict[str, torch.Tensor]) -> None:
    """Raise ValueError where weights are not a network's `own`, by their names, shapes and kinds of numbers."""
    differing = own.keys() ^ weights.keys()
    differing |= {key for key in own.keys() & weights.keys() if _kind(own[key]) != _kind(weights[key])}
    if differing:
        first = ", ".join(f"{key:.60}" for key in sorted(differing)[:3])
        raise ValueError(f"its weights are not those of its network: {first}")


def _kind(tensor: torch.Tensor) -> tuple[torch.Size, bool]:
    return tensor.shape, tensor.is_floating_point()


def _meta_weights(network: NetworkConfig) -> dict[str, torch.Tensor]:
    """A network's weights, without laying any out: a damaged configuration may ask for terabytes."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # layers of no size, which torch only warns about, have no weights that fit
        return Dan(network).state_dict()


@torch.no_grad()
def _check_runs(model: Dan) -> None:
    """Raise FormatError where a network gives no landmarks for a crop: finite numbers may still be wild."""
    size = model.config.crop_size
    try:
        output = model(torch.linspace(0, 255, size * size).reshape(1, 1, size, size))
        sound = all(bool(torch.isfinite(part).all()) for part in (*output.landmarks, output.logit))
    except (RuntimeError, IndexError):  # places to sample, worked out from them, that no picture has
        sound = False
    if not sound:
        raise FormatError(
            "the checkpoint's network gives no landmarks: its weights are damaged, or its training diverged"
        )
