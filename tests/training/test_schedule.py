"""What a run is told: one set of defaults, the learning rate over its steps, configurations of earlier versions."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields, replace
from itertools import pairwise

import click
import numpy as np
import pytest

from facealign_cli.cli import train as commands
from facealign_cli.training.schedule import TEACHER_SHARE, TrainConfig
from tests.training.runs import GENTLE

NO_OPTIONS = {"stage", "confidence_weight", "sigma_weight", "decay_share", "augmentation"}
"""What the command sets by itself or leaves as it is."""


@pytest.mark.parametrize("command", [commands.run, commands.stage])
def test_the_command_has_the_configuration_s_names_and_defaults(command: click.Command) -> None:
    options = {option.name: option.default for option in command.params}
    defaults = {field.name: field.default for field in fields(TrainConfig) if field.name not in NO_OPTIONS}
    assert MISSING not in defaults.values()
    assert options["teacher_share"] == TEACHER_SHARE
    assert {name: options[name] for name in defaults} == {**defaults, "teacher_share": TEACHER_SHARE}


class TestLearningRate:
    CONFIG = TrainConfig(100, lr=1.0, warmup_steps=10, decay_steps=40)

    def test_rises_stays_and_falls(self) -> None:
        rates = [self.CONFIG.lr_at(step) for step in range(100)]
        np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
        np.testing.assert_allclose(rates[10:61], 1)
        assert rates[80] == pytest.approx(0.5)
        assert all(a > b for a, b in pairwise(rates[61:]))
        assert rates[99] == pytest.approx(0.5 * (1 - math.cos(math.pi / 40)))

    def test_without_warmup_and_decay(self) -> None:
        config = replace(self.CONFIG, warmup_steps=0, decay_steps=0)
        assert {config.lr_at(step) for step in range(100)} == {1.0}

    def test_a_run_shorter_than_the_decay_begins_at_the_whole_rate(self) -> None:
        short = replace(self.CONFIG, warmup_steps=0, decay_steps=5000)
        assert short.lr_at(0) == 1.0
        assert short.lr_at(50) == pytest.approx(0.5)
        assert 0 < short.lr_at(99) < 1e-3

    def test_by_the_clock(self) -> None:
        config = replace(self.CONFIG, minutes=2.0, decay_share=0.5, warmup_steps=0)
        rates = [config.lr_at(50, seconds) for seconds in (0, 59, 90, 119.9, 121)]
        assert rates[:2] == [1.0, 1.0]
        assert rates[2] == pytest.approx(0.5)
        assert 0 < rates[3] < 1e-4
        assert rates[4] == 0
        assert not config.ended(50, 119)
        assert config.ended(50, 121)
        assert config.ended(100, 1), "steps are the most that it may take"

    def test_an_old_checkpoint_s_configuration(self) -> None:
        """Fields that came later have their defaults; `batch_size` was `batch`."""
        values = self.CONFIG.to_dict()
        for name in ("turned", "minutes", "decay_share", "sigma_weight"):
            del values[name]
        values["batch"] = values.pop("batch_size")
        assert TrainConfig.from_dict(values) == self.CONFIG

    def test_config_round_trip(self) -> None:
        config = replace(self.CONFIG, augmentation=GENTLE)
        assert TrainConfig.from_dict(config.to_dict()) == config
