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
from facealign_cli.training import loop
from facealign_cli.training.augment import PAPER, Augmentation
from facealign_cli.training.checkpoint import (
    load_checkpoint,
    model_of,
    save_checkpoint,
    save_weights,
    transfer_weights,
)
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.loop import (
    Run,
    TrainConfig,
    held_out_errors,
    predict_pack,
    rows_of_step,
)
from facealign_cli.training.network import Dan
from facealign_cli.training.pack import Pack, crops_in_frame

CONFIG = TrainConfig(12, batch=6, warmup_steps=3, decay_steps=5, average=0.9, eval_every=4, checkpoint_every=5)
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
        whole, again = (load_checkpoint(tmp_path / name / "last.ckpt") for name in ("whole", "killed"))
        assert whole["step"] == 12
        assert_same(whole, again)
        best, best_again = (load_checkpoint(tmp_path / name / "best.ckpt") for name in ("whole", "killed"))
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
        whole, again = (load_checkpoint(tmp_path / name / "last.ckpt") for name in ("whole", "killed"))
        assert_same(whole, again)


class TestTraining:
    def test_loss_goes_down(self, tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
        config = TrainConfig(
            60, batch=12, lr=5e-3, warmup_steps=2, average=0.8, eval_every=10, checkpoint_every=60, augmentation=GENTLE
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
            run._train_step(run._batch(step))
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
        config = replace(CONFIG, batch=8, augmentation=Augmentation(displaced=0.5, faceless=0.5))
        run = new_run(tmp_path, tiny_light, tiny_pack, config)
        batch = run._batch(0)
        assert not batch.aligned.any()
        output = run.model(torch.from_numpy(batch.crops).float())
        loss, _ = run._loss(output, batch)
        loss.backward()
        for stage in run.model.stages:
            assert stage.out.weight.grad is None or float(stage.out.weight.grad.abs().max()) == 0
        last = run.model.stages[-1].confidence.weight.grad
        assert last is not None
        assert float(last.abs().max()) > 0


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
