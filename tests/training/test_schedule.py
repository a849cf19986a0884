"""What a run is told: one set of defaults, the learning rate over its steps, configurations of earlier versions."""

from __future__ import annotations

from dataclasses import MISSING, fields

import click
import pytest

from facealign_cli.cli import train as commands
from facealign_cli.training.schedule import TEACHER_SHARE, TrainConfig

NO_OPTIONS = {"stage", "confidence_weight", "sigma_weight", "decay_share", "augmentation"}
"""What the command sets by itself or leaves as it is."""


@pytest.mark.parametrize("command", [commands.run, commands.stage])
def test_the_command_has_the_configuration_s_names_and_defaults(command: click.Command) -> None:
    options = {option.name: option.default for option in command.params}
    defaults = {field.name: field.default for field in fields(TrainConfig) if field.name not in NO_OPTIONS}
    assert MISSING not in defaults.values()
    assert options["teacher_share"] == TEACHER_SHARE
    assert {name: options[name] for name in defaults} == {**defaults, "teacher_share": TEACHER_SHARE}
