"""The beginning of a run: which network it trains, from which weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from facealign_cli.errors import InputError
from facealign_cli.training.checkpoint import load_checkpoint, model_of, transfer_weights
from facealign_cli.training.config import NetworkConfig, network_config
from facealign_cli.training.loop import Run, new_model
from facealign_cli.training.mobilenet import take_imagenet
from facealign_cli.training.network import Dan
from facealign_cli.training.origin import origin_of
from facealign_cli.training.pack import Pack
from facealign_cli.training.schedule import TrainConfig


def start_run(
    folder: Path,
    pack: Pack,
    config: TrainConfig,
    *,
    network: str | NetworkConfig = "dan-light",
    previous: Path | None = None,
    init: Path | None = None,
    imagenet: bool = False,
    warm_start: bool = False,
    teacher: Dan | None = None,
    tell: Callable[[str], object] = lambda text: None,
) -> Run:
    """A run that has not made a step yet; `Run.resume` goes on with one that has.

    folder: for checkpoints, log and curves. config: its `stage` is 0 where all stages are trained together. previous:
    a checkpoint with the stages before that one. init: a checkpoint, also of another network, whose weights are taken
    where name and shape agree; tell: is told how many. imagenet: begin with ImageNet weights where the network has a
    place for them; `init` comes on top. warm_start: begin a later stage with the weights of the stage before, its last
    layer aside. teacher: see `Run`. Raises InputError for a folder that holds a run, an unknown
    network, a stage that the network has not, or without the stages before it, and for a checkpoint of another network.
    """
    if (folder / "last.ckpt").exists():
        raise InputError(f"{folder} holds a run already: --resume goes on with it, or name another folder")
    chosen = network_config(network) if isinstance(network, str) else network
    if config.stage > len(chosen.stages):
        raise InputError(f"{chosen.name} has {len(chosen.stages)} stages")
    if (config.stage > 1) != (previous is not None):
        raise InputError("stage 1 starts afresh; a later stage needs the checkpoint of the one before it")
    model = new_model(chosen, pack, config.seed) if previous is None else model_of(load_checkpoint(previous))
    if model.config.name != chosen.name:
        raise InputError(f"{previous} holds the network {model.config.name}, not {chosen.name}")
    if warm_start:
        if config.stage < 2:
            raise InputError("there is no stage before this one whose weights it could begin with")
        tell(f"{inherit_weights(model, config.stage)} tensors taken from stage {config.stage - 1}")
    if imagenet:
        tell(f"{take_imagenet(model)} tensors taken from ImageNet weights")
    origin = None
    if init is not None:
        values = load_checkpoint(init)
        taken = transfer_weights(model, values)
        tell(f"{len(taken)} of {len(model.state_dict())} tensors taken from {init}")
        origin = origin_of(init, values)
        tell(
            f"{init} says nothing of its licence and training data: state both at `train export`"
            if origin is None
            else f"{origin['name']}, licence: {origin['licence'] or 'not stated'}: the new weights inherit this"
        )
    return Run(folder, model, config, pack, origin=origin, teacher=teacher)


@torch.no_grad()
def inherit_weights(model: Dan, stage: int) -> int:
    """Give a stage (from 2 on) the weights of the one before where names and shapes agree; how many tensors it took.

    A convolution that sees more maps than the stage before (image, heatmap, feature image) begins with looking at the
    image alone. The last layers stay as they are: what they say of where the landmarks are would be said once more.
    """
    before, after = (model.stages[i].state_dict() for i in (stage - 2, stage - 1))
    taken = 0
    for name, value in before.items():
        own = after.get(name)
        if own is None or name.startswith(("out.", "confidence.")):
            continue
        if own.shape == value.shape:
            own.copy_(value)
        elif own.ndim == value.ndim == 4 and own.shape[1] > value.shape[1] and own[:, :1].shape == value[:, :1].shape:
            own.zero_()[:, : value.shape[1]] = value
        else:
            continue
        taken += 1
    return taken
