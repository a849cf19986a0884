"""The loop: schedules, what is trained, and that a run which was killed and resumed ends as one that was not."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facealign_cli.errors import InputError
from facealign_cli.training import loop
from facealign_cli.training.augmentation import Augmentation
from facealign_cli.training.checkpoint import (
    load_checkpoint,
    model_of,
    save_checkpoint,
)
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.loop import Run
from facealign_cli.training.measure import predict_pack
from facealign_cli.training.network import DanOutput
from facealign_cli.training.pack import Pack
from tests.training.runs import CONFIG, GENTLE, LEARNING, assert_same, kill_at, new_run, timeless


def log_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("lr", [1e3, 1e8])
def test_a_training_that_diverges_says_so(
    lr: float, tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path: Path
) -> None:
    """And leaves the last checkpoint whose numbers are finite, which can be loaded."""
    run = new_run(tmp_path, tiny_light, tiny_pack, replace(CONFIG, lr=lr, warmup_steps=0, checkpoint_every=1))
    with pytest.raises(InputError, match=r"diverged at step \d+.*--lr"):
        run.train()
    if (tmp_path / "last.ckpt").exists():
        assert run.step - load_checkpoint(tmp_path / "last.ckpt")["step"] in (0, 1)


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

    def test_other_settings_are_refused(self, tiny_vgg: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
        new_run(tmp_path, tiny_vgg, tiny_pack).save()
        for name, value in (("lr", 0.5), ("network", "dan-large"), ("stage", 1), ("augmentation", None)):
            with pytest.raises(InputError, match=rf"{name} was .*, is {value}: a run goes on with the settings"):
                Run.resume(tmp_path, tiny_pack, same={name: value})
        same = {"lr": CONFIG.lr, "network": tiny_vgg.name, "augmentation": CONFIG.augmentation}
        assert Run.resume(tmp_path, tiny_pack, same=same).config == CONFIG

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
        rows: list[dict[str, Any]] = []
        new_run(tmp_path, tiny_light, tiny_pack, LEARNING).train(rows.append)
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
        counts = {k: v for k, v in run.average.items() if k.endswith("num_batches_tracked")}
        assert counts and all(int(count) == 4 for count in counts.values()), "whole numbers are those of the last step"

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
