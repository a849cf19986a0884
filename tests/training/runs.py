"""Small runs of training for the tests of the loop and what is around it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from facealign_cli.training.augmentation import PAPER
from facealign_cli.training.checkpoint import load_checkpoint
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.loop import Run
from facealign_cli.training.network import Dan
from facealign_cli.training.pack import Pack
from facealign_cli.training.schedule import TrainConfig

CONFIG = TrainConfig(
    12, batch_size=6, warmup_steps=3, decay_steps=5, average=0.9, eval_every=4, checkpoint_every=5, device="cpu"
)
GENTLE = replace(PAPER, shift_sigma=0.05, angle_sigma=5.0, scale_sigma=0.05, light=0.3)
LEARNING = TrainConfig(
    60,
    batch_size=12,
    lr=5e-3,
    warmup_steps=2,
    decay_steps=0,
    average=0.8,
    eval_every=10,
    checkpoint_every=60,
    augmentation=GENTLE,
    device="cpu",
)
"""Enough for a small network to learn something."""


def new_run(folder: Path, network: NetworkConfig, pack: Pack, config: TrainConfig = CONFIG) -> Run:
    torch.manual_seed(0)
    return Run(folder, Dan(network), config, pack)


class Killed(Exception):
    """Stands for the end of the process."""


def kill_at(run: Run, step: int) -> None:
    """Train until `step` steps are done, then die without a word."""
    train_step = run._train_step

    def dying(batch: Any) -> list[float]:
        if run.step == step:
            raise Killed
        return train_step(batch)

    run._train_step = dying  # type: ignore[method-assign]
    with pytest.raises(Killed):
        run.train()


def assert_same(first: Any, second: Any, where: str = "") -> None:
    """Bit for bit, through nested dicts and lists."""
    assert type(first) is type(second), where
    if isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_same(first[key], second[key], f"{where}/{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), where
        for i, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_same(a, b, f"{where}/{i}")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    else:
        assert first == second, where


def timeless(path: Path) -> dict[str, Any]:
    """A checkpoint without the seconds that the run took."""
    values = load_checkpoint(path)
    assert values.pop("seconds") > 0
    return values
