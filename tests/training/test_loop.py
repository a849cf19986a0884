"""The loop: schedules, what is trained, and that a run which was killed and resumed ends as one that was not."""

from __future__ import annotations

import csv
import math
import os
import pickle
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facealign_cli.errors import FormatError, InputError
from facealign_cli.metrics import nme
from facealign_cli.training import loop, measure
from facealign_cli.training.augmentation import PAPER, Augmentation
from facealign_cli.training.batches import drawn_rows, rows_of_step
from facealign_cli.training.checkpoint import (
    load_checkpoint,
    model_of,
    save_checkpoint,
    save_weights,
    transfer_weights,
)
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.loop import Run
from facealign_cli.training.measure import held_out_errors, predict_pack
from facealign_cli.training.network import Dan, DanOutput
from facealign_cli.training.pack import Pack, crops_in_frame
from facealign_cli.training.schedule import TrainConfig

CONFIG = TrainConfig(
    12, batch_size=6, warmup_steps=3, decay_steps=5, average=0.9, eval_every=4, checkpoint_every=5, device="cpu"
)
GENTLE = replace(PAPER, shift_sigma=0.05, angle_sigma=5.0, scale_sigma=0.05, light=0.3)


class Killed(Exception):
    """Stands for the end of the process."""


def new_run(folder: Path, network: NetworkConfig, pack: Pack, config: TrainConfig = CONFIG) -> Run:
    torch.manual_seed(0)
    return Run(folder, Dan(network), config, pack)


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


def log_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def timeless(path: Path) -> dict[str, Any]:
    """A checkpoint without the seconds that the run took."""
    values = load_checkpoint(path)
    assert values.pop("seconds") > 0
    return values


class TestDrawnRows:
    YAW = np.array([np.nan, 0, -29.9, 30, -59, 60, -88, 120], np.float32)

    def test_turned_heads_come_more_often(self) -> None:
        rows = drawn_rows(self.YAW, (2, 5))
        assert np.bincount(rows).tolist() == [1, 1, 1, 2, 2, 5, 5, 5]

    def test_evenly_by_default(self) -> None:
        np.testing.assert_array_equal(drawn_rows(self.YAW, (1, 1)), np.arange(8))

    def test_a_run_draws_them(self, tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
        yaw = np.where(np.arange(24) < 2, 75.0, np.nan).astype(np.float32)
        run = new_run(tmp_path, tiny_light, replace(tiny_pack, yaw=yaw), replace(CONFIG, turned=(1, 10)))
        drawn = run.batches.drawn[
            np.concatenate([rows_of_step(len(run.batches.drawn), 6, step, 0) for step in range(200)])
        ]
        assert np.isin(drawn, (0, 1)).mean() == pytest.approx(20 / (20 + 18), abs=0.02)


class TestRowsOfStep:
    @pytest.mark.parametrize(("n", "batch"), [(20, 8), (20, 20), (7, 16), (5, 1)])
    def test_each_pass_has_every_row_once(self, n: int, batch: int) -> None:
        """Also where a pass ends in the middle of a batch, or a batch holds several passes."""
        rows = np.concatenate([rows_of_step(n, batch, step, 3) for step in range(4 * n)])
        passes = rows[: len(rows) // n * n].reshape(-1, n)
        np.testing.assert_array_equal(np.sort(passes, axis=1), np.tile(np.arange(n), (len(passes), 1)))
        assert any((passes[0] != order).any() for order in passes[1:]), "each pass has an order of its own"

    def test_follows_from_seed_and_step(self) -> None:
        assert all(len(rows_of_step(20, 8, step, 0)) == 8 for step in range(30))
        np.testing.assert_array_equal(rows_of_step(20, 8, 11, 0), rows_of_step(20, 8, 11, 0))
        assert (rows_of_step(20, 8, 11, 0) != rows_of_step(20, 8, 11, 1)).any()


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


class TestResume:
    @pytest.mark.parametrize("network", ["tiny_vgg", "tiny_light"])
    @pytest.mark.parametrize("killed_at", [5, 9])
    def test_ends_as_if_never_killed(
        self, network: str, killed_at: int, request: pytest.FixtureRequest, tiny_pack: Pack, tmp_path: Path
    ) -> None:
        """Killed right at the checkpoint of step 5, or at step 9: four steps and the log row of step 8 are lost."""
        config: NetworkConfig = request.getfixturevalue(network)
        new_run(tmp_path / "whole", config, tiny_pack).train()
        kill_at(new_run(tmp_path / "killed", config, tiny_pack), killed_at)
        torch.manual_seed(99)
        resumed = Run.resume(tmp_path / "killed", tiny_pack)
        assert resumed.step == 5
        resumed.train()
        whole, again = (timeless(tmp_path / name / "last.ckpt") for name in ("whole", "killed"))
        assert whole["step"] == 12
        assert_same(whole, again)
        best, best_again = (timeless(tmp_path / name / "best.ckpt") for name in ("whole", "killed"))
        assert_same(best, best_again)

    def test_log_has_each_row_once(self, tiny_vgg: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
        new_run(tmp_path / "whole", tiny_vgg, tiny_pack).train()
        kill_at(new_run(tmp_path / "killed", tiny_vgg, tiny_pack), 9)
        assert [row["step"] for row in log_rows(tmp_path / "killed")] == ["4", "8"]
        Run.resume(tmp_path / "killed", tiny_pack).train()
        whole, again = log_rows(tmp_path / "whole"), log_rows(tmp_path / "killed")
        assert [row["step"] for row in again] == ["4", "8", "12"]
        for key in ("step", "faces", "lr", "held_out_stage1", "held_out_stage2"):
            assert [row[key] for row in again] == [row[key] for row in whole]

    def test_more_steps(self, tiny_vgg: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
        """Where nothing decays, a run of 6 steps prolonged to 9 is a run of 9."""
        config = replace(CONFIG, decay_steps=0, steps=9)
        new_run(tmp_path / "whole", tiny_vgg, tiny_pack, config).train()
        new_run(tmp_path / "short", tiny_vgg, tiny_pack, replace(config, steps=6)).train()
        resumed = Run.resume(tmp_path / "short", tiny_pack, steps=9)
        resumed.train()
        whole = load_checkpoint(tmp_path / "whole" / "last.ckpt")
        again = load_checkpoint(tmp_path / "short" / "last.ckpt")
        for key in ("model", "average", "optimizer", "step"):
            assert_same(whole[key], again[key])

    def test_a_run_of_an_earlier_version(self, tiny_vgg: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
        new_run(tmp_path, tiny_vgg, tiny_pack).save()
        values = load_checkpoint(tmp_path / "last.ckpt")
        values["config"]["batch"] = values["config"].pop("batch_size")
        save_checkpoint(tmp_path / "last.ckpt", values)
        assert Run.resume(tmp_path, tiny_pack).config == CONFIG

    def test_the_steps_matter(self, tiny_vgg: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
        """The comparison above would notice: a step more and nothing is the same."""
        for steps in (6, 7):
            new_run(tmp_path / str(steps), tiny_vgg, tiny_pack, replace(CONFIG, steps=steps, decay_steps=0)).train()
        six, seven = (load_checkpoint(tmp_path / name / "last.ckpt")["model"] for name in ("6", "7"))
        for name in ("stages.0.out.weight", "stages.1.out.weight", "stages.0.norm.running_var"):
            assert not torch.equal(six[name], seven[name])

    def test_nothing_to_resume(self, tiny_pack: Pack, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"last\.ckpt: no such checkpoint"):
            Run.resume(tmp_path, tiny_pack)


@pytest.fixture(scope="module")
def stage1(tiny_vgg: NetworkConfig, tiny_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stage1")
    before = {key: value.clone() for key, value in new_run(folder, tiny_vgg, tiny_pack).model.state_dict().items()}
    run = new_run(folder, tiny_vgg, tiny_pack, replace(CONFIG, stage=1))
    run.train()
    after = run.model.state_dict()
    changed = {key for key in after if not torch.equal(before[key], after[key])}
    assert changed
    assert all(key.startswith("stages.0.") for key in changed), "stage 1 alone is trained"
    return folder


class TestByTheClock:
    def test_ends_in_time_with_a_last_row(self, tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
        config = replace(CONFIG, steps=100_000, minutes=1 / 60, eval_every=100_000, checkpoint_every=100_000)
        run = new_run(tmp_path, tiny_light, tiny_pack, config)
        run.train()
        assert 0 < run.step < 100_000
        assert [int(row["step"]) for row in log_rows(tmp_path)] == [run.step]
        values = load_checkpoint(tmp_path / "last.ckpt")
        assert values["step"] == run.step
        assert values["seconds"] > 1

    def test_goes_on_where_the_clock_stood(self, tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
        config = replace(CONFIG, steps=100_000, minutes=1 / 60, eval_every=100_000, checkpoint_every=100_000)
        new_run(tmp_path, tiny_light, tiny_pack, config).train()
        again = Run.resume(tmp_path, tiny_pack)
        before = again.step
        again.train()
        assert again.step == before, "its time was over"


class TestYawErrors:
    def test_counts_inner_points_of_positive_weight_only(
        self, tiny_light: NetworkConfig, tiny_pack: Pack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Jaw, bridge and points of weight zero are a hundred pixels off, the others three percent of the size."""
        yaw = np.full(24, np.nan, np.float32)
        yaw[:3] = 10, -45, 75
        weights = np.ones((24, 68), np.float32)
        weights[:, 40] = 0
        pack = replace(tiny_pack, yaw=yaw, weights=weights).select(np.isfinite(yaw))

        def predict(model: Dan, pack: Pack, n_stages: int | None = None) -> tuple[list[np.ndarray], np.ndarray]:
            truth = pack.landmarks.astype(float)
            size = np.sqrt(np.ptp(truth, axis=1).prod(axis=1))
            off = np.zeros((3, 68, 2))
            off[..., 0] = 0.03 * size[:, None] * np.array([1, 2, 3])[:, None]
            off[:, [*range(17), 27, 28, 29, 40]] = 100
            return [truth + off], truth

        monkeypatch.setattr(measure, "predict_pack", predict)
        errors = measure.turned_errors(Dan(tiny_light), pack)
        assert errors == pytest.approx({"0_30": 0.03, "30_60": 0.06, "60_90": 0.09})

    def test_nothing_without_yaw(self, tiny_light: NetworkConfig, tiny_pack: Pack) -> None:
        assert measure.turned_errors(Dan(tiny_light), tiny_pack) == {}


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
        config = TrainConfig(
            80,
            batch_size=12,
            lr=5e-3,
            warmup_steps=2,
            decay_steps=0,
            average=0.8,
            eval_every=80,
            augmentation=GENTLE,
            device="cpu",
            teacher_share=1.0,
        )
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
        with pytest.raises(InputError, match="tiny-vgg sees other crops than tiny-light"):
            Run(Path("x"), Dan(tiny_light), self.CONFIG, tiny_pack, teacher=Dan(tiny_vgg))


class TestLoaders:
    def test_end_as_one_thread_does(self, tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
        """Three processes make the batches, out of order; a run that is stopped and resumed with two ends the same."""
        new_run(tmp_path / "thread", tiny_light, tiny_pack).train()
        new_run(tmp_path / "processes", tiny_light, tiny_pack).train(loaders=3)
        kill_at(new_run(tmp_path / "killed", tiny_light, tiny_pack), 9)
        Run.resume(tmp_path / "killed", tiny_pack).train(loaders=2)
        one, *others = (timeless(tmp_path / name / "last.ckpt") for name in ("thread", "processes", "killed"))
        for other in others:
            assert_same(one, other)

    def test_a_system_that_cannot_fork(
        self, tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
        with pytest.raises(InputError, match="fork"):
            new_run(tmp_path, tiny_light, tiny_pack).train(loaders=2)


class TestStageByStage:
    def stage2(self, folder: Path, stage1: Path, pack: Pack) -> Run:
        model = model_of(load_checkpoint(stage1 / "best.ckpt"))
        return Run(folder, model, replace(CONFIG, stage=2), pack)

    def test_log_of_stage_1_tells_of_one_stage(self, stage1: Path) -> None:
        assert [key for key in log_rows(stage1)[0] if key.startswith("held_out")] == ["held_out_stage1"]

    def test_stage_1_stays_bit_for_bit(self, stage1: Path, tiny_pack: Pack, tmp_path: Path) -> None:
        before = load_checkpoint(stage1 / "best.ckpt")["average"]
        self.stage2(tmp_path, stage1, tiny_pack).train()
        after = load_checkpoint(tmp_path / "last.ckpt")
        for key, value in before.items():
            frozen = key.startswith("stages.0.") or key.endswith("_image")
            for weights in (after["model"], after["average"]):
                assert torch.equal(weights[key], value) == frozen, key
        assert any("running_mean" in key for key in before if key.startswith("stages.0."))

    def test_resumes_exactly(self, stage1: Path, tiny_pack: Pack, tmp_path: Path) -> None:
        self.stage2(tmp_path / "whole", stage1, tiny_pack).train()
        kill_at(self.stage2(tmp_path / "killed", stage1, tiny_pack), 9)
        Run.resume(tmp_path / "killed", tiny_pack).train()
        whole, again = (timeless(tmp_path / name / "last.ckpt") for name in ("whole", "killed"))
        assert_same(whole, again)


class TestTraining:
    def test_loss_goes_down(self, tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
        config = TrainConfig(
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
        rows: list[dict[str, Any]] = []
        new_run(tmp_path, tiny_light, tiny_pack, config).train(rows.append)
        assert [row["step"] for row in rows] == [10, 20, 30, 40, 50, 60]
        assert rows[-1]["train_loss"] < 0.8 * rows[0]["train_loss"]
        assert rows[-1]["held_out_stage2"] < rows[0]["held_out_stage2"]
        assert [float(row["train_loss"]) for row in log_rows(tmp_path)] == [row["train_loss"] for row in rows]

    def test_average_follows_the_weights(self, tiny_vgg: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
        """The first steps count more: keep = (1 + step) / (10 + step) until that reaches `average`."""
        run = new_run(tmp_path, tiny_vgg, tiny_pack)
        name = "stages.0.out.weight"
        mean = run.model.state_dict()[name].double().clone()
        for step in range(4):
            run._train_step(run.batches.batch(step))
            keep = min(0.9, (1 + step) / (10 + step))
            mean = keep * mean + (1 - keep) * run.model.state_dict()[name].double()
            run.step += 1
        torch.testing.assert_close(run.average[name].double(), mean, rtol=1e-5, atol=1e-7)

    def test_best_is_kept(
        self, tiny_vgg: NetworkConfig, tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.score(monkeypatch, [0.5, 0.3, 0.4])
        run = new_run(tmp_path, tiny_vgg, tiny_pack)
        run.train()
        assert (run.best, run.since_best) == (0.3, 1)
        assert load_checkpoint(tmp_path / "best.ckpt")["step"] == 8
        assert load_checkpoint(tmp_path / "last.ckpt")["step"] == 12

    def test_stops_when_patience_is_at_an_end(
        self, tiny_vgg: NetworkConfig, tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.score(monkeypatch, [0.5, 0.4, 0.6, 0.45, 0.1])
        run = new_run(tmp_path, tiny_vgg, tiny_pack, replace(CONFIG, steps=50, eval_every=2, patience=2))
        run.train()
        assert run.step == 8
        assert run.best == 0.4

    def score(self, monkeypatch: pytest.MonkeyPatch, errors: Iterable[float]) -> None:
        remaining = iter(errors)
        monkeypatch.setattr(loop, "held_out_errors", lambda *args: [next(remaining)])

    def test_bf16_leaves_coordinates_in_float32(
        self, tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path: Path
    ) -> None:
        run = new_run(tmp_path, tiny_light, tiny_pack, replace(CONFIG, steps=2, bf16=True))
        run.train()
        (stage1, stage2), _ = predict_pack(run.model, run.held_out)
        assert stage1.dtype == stage2.dtype == np.float32
        assert np.isfinite(stage2).all()

    def test_needs_both_splits(self, tiny_vgg: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
        for mask in (tiny_pack.held_out, ~tiny_pack.held_out):
            with pytest.raises(InputError, match="both splits"):
                new_run(tmp_path, tiny_vgg, tiny_pack.select(mask))


class TestLoss:
    def test_weights_of_stages_and_steps(self, tiny_vgg: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
        """By hand, over the two aligned faces of three: means 2 and 4; then 3 and 1 within stage 2."""
        first, coarse, fine = torch.tensor([[1.0, 3, 9], [2.0, 4, 9], [1.0, 1, 9]])
        aligned = torch.tensor([1.0, 1, 0])
        jointly = new_run(tmp_path, tiny_vgg, tiny_pack)
        assert float(jointly._weighted([[first], [coarse, fine]], aligned)) == pytest.approx(1 + 0.5 * 3 + 0.5 * 2)
        alone = new_run(tmp_path, tiny_vgg, tiny_pack, replace(CONFIG, stage=2))
        assert float(alone._weighted([[first], [coarse, fine]], aligned)) == pytest.approx(1 + 0.5 * 3)
        assert float(alone._weighted([[first]], torch.zeros(3))) == 0

    def test_confidence_learns_from_all_landmarks_from_aligned_faces(
        self, tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path: Path
    ) -> None:
        config = replace(CONFIG, batch_size=8, augmentation=Augmentation(displaced=0.5, faceless=0.5))
        run = new_run(tmp_path, tiny_light, tiny_pack, config)
        batch = run.batches.batch(0)
        assert not batch.aligned.any()
        crops = torch.from_numpy(batch.crops).float()
        loss, _ = run._loss(run.model(crops), batch, crops)
        loss.backward()
        for stage in run.model.stages:
            assert stage.out.weight.grad is None or float(stage.out.weight.grad.abs().max()) == 0
        last = run.model.stages[-1].confidence.weight.grad
        assert last is not None
        assert float(last.abs().max()) > 0

    def test_confidence_says_which_landmarks_are_right(
        self, tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path: Path
    ) -> None:
        """Right are those close to the truth of a face that is there; by the cross-entropy, worked out by hand."""
        run = new_run(tmp_path, tiny_light, tiny_pack, replace(CONFIG, batch_size=3, augmentation=GENTLE))
        batch = run.batches.batch(0)
        batch.has_face[:] = [True, True, False]
        landmarks = torch.from_numpy(batch.landmarks).clone()
        landmarks[1] += 100
        said = [2.0, -3.0, -1.0]
        losses = [
            float(run._loss(DanOutput([[landmarks]] * 2, torch.tensor(logits)), batch, torch.empty(0))[0])
            for logits in (said, [-value for value in said])
        ]
        wrong_less_right = sum(abs(value) for value in said) / 3
        assert losses[1] - losses[0] == pytest.approx(CONFIG.confidence_weight * wrong_less_right, rel=1e-3)


class TestEvaluation:
    def test_crops_start_from_the_boxes(self, tiny_vgg: NetworkConfig, tiny_pack: Pack) -> None:
        """Where the box is the tight one, the face fills the frame; a box aside leaves it aside."""
        _, truth = crops_in_frame(tiny_pack, tiny_vgg.crop_frame)
        centers = (truth.max(axis=1) + truth.min(axis=1)) / 2
        np.testing.assert_allclose(centers[::2], 15.5, atol=1e-3)
        assert np.abs(centers[1::2] - 15.5).max() > 0.05

    def test_error_is_the_metric(
        self, tiny_light: NetworkConfig, tiny_pack: Pack, random_dan: Callable[..., Dan]
    ) -> None:
        model = random_dan(tiny_light)
        crops, truth = crops_in_frame(tiny_pack, tiny_light.crop_frame)
        with torch.no_grad():
            landmarks = model(torch.from_numpy(crops).float()).landmarks
        expected = [nme(stage.numpy(), truth, "inter-pupil").mean() for stage in landmarks]
        assert held_out_errors(model, tiny_pack) == pytest.approx(expected, rel=1e-4)
        assert held_out_errors(model, tiny_pack, 1) == pytest.approx(expected[:1], rel=1e-4)


class TestCheckpoint:
    @pytest.fixture
    def saved(self, tiny_vgg: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> Path:
        run = new_run(tmp_path, tiny_vgg, tiny_pack)
        run.save("a.ckpt")
        return tmp_path / "a.ckpt"

    def test_weights_alone(self, saved: Path, tmp_path: Path) -> None:
        """A fraction of the size, and the same network to within float16."""
        values = load_checkpoint(saved)
        save_weights(tmp_path / "weights.ckpt", values)
        assert (tmp_path / "weights.ckpt").stat().st_size < saved.stat().st_size / 3
        kept = model_of(load_checkpoint(tmp_path / "weights.ckpt")).state_dict()
        for key, value in model_of(values).state_dict().items():
            assert kept[key].dtype == value.dtype
            torch.testing.assert_close(kept[key], value, rtol=1e-3, atol=1e-4)

    def test_averaged_or_last_weights(self, saved: Path) -> None:
        values = load_checkpoint(saved)
        values["average"]["stages.0.out.bias"] += 1
        averaged: Any = model_of(values)
        last: Any = model_of(values, averaged=False)
        assert not averaged.training
        torch.testing.assert_close(averaged.stages[0].out.bias, last.stages[0].out.bias + 1)

    @pytest.mark.parametrize("size", [0, 1, 100, -1, -200])
    def test_cut_short(self, saved: Path, size: int) -> None:
        saved.write_bytes(saved.read_bytes()[:size])
        with pytest.raises(FormatError, match="not a checkpoint, or damaged"):
            load_checkpoint(saved)

    def test_flipped_bytes(self, saved: Path) -> None:
        """Damage anywhere but in the padding is noticed; nothing but a FormatError comes out."""
        content, rng = saved.read_bytes(), np.random.default_rng(0)
        noticed = 0
        for place in rng.integers(0, len(content), 60):
            broken = bytearray(content)
            broken[place : place + 8] = rng.bytes(8)
            saved.write_bytes(broken)
            try:
                load_checkpoint(saved)
            except FormatError:
                noticed += 1
        assert noticed > 50

    @pytest.mark.parametrize("content", [b"plain text", b"PK\x03\x04 and no more", bytes(range(256)), b"\x80\x02]."])
    def test_foreign(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "foreign.ckpt").write_bytes(content)
        with pytest.raises(FormatError, match=r"foreign\.ckpt"):
            load_checkpoint(tmp_path / "foreign.ckpt")

    def test_of_another_program(self, tmp_path: Path) -> None:
        torch.save({"model": {}}, tmp_path / "other.ckpt")
        with pytest.raises(FormatError, match="not a facealign-checkpoint/1 file"):
            load_checkpoint(tmp_path / "other.ckpt")

    @pytest.mark.parametrize("by", ["pickle", "torch"])
    def test_code_in_it_does_not_run(self, tmp_path: Path, by: str) -> None:
        class Attack:
            def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
                return os.mkdir, (str(tmp_path / "was here"),)

        if by == "pickle":
            (tmp_path / "bad.ckpt").write_bytes(pickle.dumps(Attack()))
        else:
            torch.save({"format": "facealign-checkpoint/1", "config": Attack()}, tmp_path / "bad.ckpt")
        with pytest.raises(FormatError, match=r"bad\.ckpt"):
            load_checkpoint(tmp_path / "bad.ckpt")
        assert not (tmp_path / "was here").exists()

    def test_a_failed_write_leaves_the_old_one(self, saved: Path) -> None:
        before = saved.read_bytes()
        with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
            save_checkpoint(saved, {"config": lambda: None})
        assert saved.read_bytes() == before
        assert list(saved.parent.iterdir()) == [saved]


class TestTransfer:
    """Beginning with another network's weights."""

    def test_what_agrees_is_taken_and_the_rest_stays(self, tiny_light: NetworkConfig) -> None:
        torch.manual_seed(1)
        old = Dan(tiny_light)
        wider = replace(tiny_light.stages[1], n_features=24)
        torch.manual_seed(2)
        new = Dan(replace(tiny_light, stages=(tiny_light.stages[0], wider)))
        before = {key: value.clone() for key, value in new.state_dict().items()}
        taken = transfer_weights(new, {"average": old.state_dict()})
        assert "stages.1.backbone.stem.0.weight" in taken
        assert "stages.1.dense.weight" not in taken
        for key, value in new.state_dict().items():
            torch.testing.assert_close(value, (old.state_dict() if key in taken else before)[key])

    def test_nothing_in_common_is_an_error(self, tiny_light: NetworkConfig) -> None:
        with pytest.raises(InputError, match="no weights"):
            transfer_weights(Dan(tiny_light), {"average": {"other.weight": torch.zeros(3)}})
