"""Learning from a teacher: its landmarks are the target, its doubtful points weigh less."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from facealign_cli.errors import InputError
from facealign_cli.training import loop
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.loop import Run
from facealign_cli.training.network import Dan
from facealign_cli.training.pack import Pack, crops_in_frame
from tests.training.runs import CONFIG, LEARNING, assert_same, kill_at, timeless


class TestTeacher:
    CONFIG = replace(CONFIG, teacher_share=0.5)

    def test_its_landmarks_are_the_target(
        self, tiny_light: NetworkConfig, tiny_vgg: NetworkConfig, tiny_pack: Pack, tmp_path: Path
    ) -> None:
        """With the whole loss its own, a network is drawn to what the teacher says, however wrong that is."""
        torch.manual_seed(3)
        teacher = Dan(tiny_light)
        with torch.no_grad():
            for stage in teacher.stages:
                stage.out.weight.zero_()  # type: ignore[union-attr, operator]
                stage.out.bias.zero_()  # type: ignore[union-attr, operator]
                stage.out.bias[0] = 4.0  # type: ignore[union-attr, index]
        config = replace(LEARNING, steps=80, eval_every=80, teacher_share=1.0)
        run = Run(tmp_path, Dan(tiny_light), config, tiny_pack, teacher=teacher)
        crops = torch.from_numpy(crops_in_frame(tiny_pack, tiny_light.crop_frame)[0]).float()
        said, weights = loop.teaching(teacher, crops)
        assert (weights > 0).all()
        before = (run.model.eval()(crops).landmarks[-1] - said).norm(dim=2).mean()
        run.train()
        after = (run.model.eval()(crops).landmarks[-1] - said).norm(dim=2).mean()
        assert after < 0.6 * before
        assert not any(parameter.requires_grad for parameter in teacher.parameters())

    def test_doubtful_points_weigh_less(self, tiny_light: NetworkConfig, random_dan: Callable[..., Any]) -> None:
        teacher = random_dan(tiny_light)
        with torch.no_grad():
            teacher.stages[-1].sigma.dense.weight.zero_()
            teacher.stages[-1].sigma.dense.bias[:] = -3
            teacher.stages[-1].sigma.dense.bias[7] = -3 + math.log(4)
        _, weights = loop.teaching(teacher, torch.zeros(1, 1, 64, 64))
        assert weights[0, 7] == pytest.approx(0.25)
        assert weights[0, 8] == pytest.approx(1)

    def test_resumes_exactly(self, tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
        torch.manual_seed(4)
        teacher = Dan(tiny_light)
        for name in ("whole", "killed"):
            torch.manual_seed(0)
            run = Run(tmp_path / name, Dan(tiny_light), self.CONFIG, tiny_pack, teacher=teacher)
            if name == "whole":
                run.train()
            else:
                kill_at(run, 9)
        with pytest.raises(InputError, match="go together"):
            Run.resume(tmp_path / "killed", tiny_pack)
        Run.resume(tmp_path / "killed", tiny_pack, teacher).train()
        assert_same(*(timeless(tmp_path / name / "last.ckpt") for name in ("whole", "killed")))

    def test_one_that_sees_other_crops(
        self, tiny_light: NetworkConfig, tiny_vgg: NetworkConfig, tiny_pack: Pack
    ) -> None:
        with pytest.raises(InputError, match="tiny-vgg needs crops of 32 pixels, and tiny-light trains on crops of 64"):
            Run(Path("x"), Dan(tiny_light), self.CONFIG, tiny_pack, teacher=Dan(tiny_vgg))
