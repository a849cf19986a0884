"""The beginning of a run: which network it trains, from which weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Beginning:
    """The weights that a run begins with, other than random ones.

    previous: a checkpoint with the stages before the one that is trained. warm_start: this stage begins with the
    weights of the stage before, see `inherit_weights`. imagenet: ImageNet weights where the network has a place for
    them. init: a checkpoint, also of another network, whose weights are taken where name and shape agree; on top of all
    others.
    """

    previous: Path | None = None
    warm_start: bool = False
    imagenet: bool = False
    init: Path | None = None


def start_run(
    folder: Path,
    pack: Pack,
    config: TrainConfig,
    *,
    network: str | NetworkConfig = "dan-light",
    begin: Beginning = Beginning(),
    teacher: Dan | None = None,
    tell: Callable[[str], object] = lambda text: None,
) -> Run:
    """A run that has not made a step yet; `Run.resume` goes on with one that has.

    folder: for checkpoints, log and curves. config: its `stage` is 0 where all stages are trained together. begin: the
    weights that it begins with; tell: is told how many were taken. teacher: see `Run`. Raises InputError for a folder
    that holds a run, an unknown network, a stage that the network has not, or without the stages before it, for a
    checkpoint of another network, and for a warm start of a stage whose net is another one than the stage's before.
    """
    if (folder / "last.ckpt").exists():
        raise InputError(f"{folder} holds a run already: --resume goes on with it, or name another folder")
    chosen = network_config(network) if isinstance(network, str) else network
    if config.stage > len(chosen.stages):
        raise InputError(f"{chosen.name} has {len(chosen.stages)} stages")
    if (config.stage > 1) != (begin.previous is not None):
        raise InputError("stage 1 starts afresh; a later stage needs the checkpoint of the one before it")
    previous, init = begin.previous, begin.init
    model = new_model(chosen, pack, config.seed) if previous is None else model_of(load_checkpoint(previous))
    if model.config.name != chosen.name:
        raise InputError(f"{previous} holds the network {model.config.name}, not {chosen.name}")
    if begin.warm_start:
        tell(f"{inherit_weights(model, config.stage)} tensors taken from stage {config.stage - 1}")
    if begin.imagenet:
        tell(f"{take_imagenet(model)} tensors taken from ImageNet weights")
    origin = None
    if init is not None:
        values = load_checkpoint(init, as_built_today=False)
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
    """Give a stage the weights of the one before, which has to be the same net; how many tensors it took.

    A convolution that sees more maps than the stage before (image, heatmap, feature image) begins with looking at the
    image alone. The last layers stay as they are: what they say of where the landmarks are would be said once more.
    Raises InputError for the first stage, and where the nets differ.
    """
    if stage < 2:
        raise InputError("there is no stage before this one whose weights it could begin with")
    net, later = model.config.stages[stage - 2 : stage]
    if net != replace(later, feature_side=net.feature_side):
        raise InputError(f"stage {stage} of {model.config.name} is another net than the stage before: no warm start")
    before, own = (model.stages[i].state_dict() for i in (stage - 2, stage - 1))
    given = {name: value for name, value in before.items() if not name.startswith(("out.", "confidence."))}
    for name, value in given.items():
        if own[name].shape == value.shape:
            own[name].copy_(value)
        else:
            own[name].zero_()[:, : value.shape[1]] = value
    return len(given)
