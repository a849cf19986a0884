"""Checkpoints: damaged and foreign ones are refused, no code in them runs; weights taken from another network."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facealign_cli.errors import FormatError, InputError, OutputError
from facealign_cli.training.checkpoint import (
    load_checkpoint,
    mean_of,
    model_of,
    save_checkpoint,
    save_weights,
    transfer_weights,
)
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.loop import Run
from facealign_cli.training.network import Dan
from facealign_cli.training.pack import Pack
from tests.training.runs import new_run


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
        with pytest.raises(FormatError, match="not a checkpoint, or damaged" if size else "the file is empty"):
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

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without /dev/full")
    def test_a_full_disk_is_said(self) -> None:
        with pytest.raises(OutputError, match="cannot write /dev/full: the disk is full"):
            save_checkpoint(Path("/dev/full"), {"step": 1})


_KERNEL = "stages.0.backbone.stem.0.weight"


def _changed(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    """Puts another value in a place such as "config.lr"."""
    *path, last = key.split(".")

    def change(values: dict[str, Any]) -> None:
        for name in path:
            values = values[name]
        values[last] = value

    return change


def _kernel(
    change: Callable[[torch.Tensor], torch.Tensor], part: str = "average"
) -> Callable[[dict[str, Any]], object]:
    return lambda values: values[part].update({_KERNEL: change(values[part][_KERNEL])})


def _in_stage(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda values: values["network"].update(stages=({**values["network"]["stages"][0], **changes},))


@pytest.fixture(scope="module")
def content(tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a run of one step of one stage."""
    run = new_run(tmp_path_factory.mktemp("run"), replace(tiny_light, stages=tiny_light.stages[:1]), tiny_pack)
    run.config = replace(run.config, steps=1)
    run.train()
    return run.folder / "last.ckpt"


class TestOtherContent:
    """A checkpoint that torch reads, and whose parts are not those of a run."""

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (_kernel(lambda w: w * torch.nan), "holds NaN or infinity"),
            (_kernel(lambda w: w / 0.0, "model"), "model: .* holds NaN or infinity"),
            (_kernel(lambda w: w[:1]), f"not those of its network: {_KERNEL}"),
            (_kernel(lambda w: w.long()), f"not those of its network: {_KERNEL}"),
            (_kernel(lambda w: w.to(torch.complex64)), "complex64, not numbers"),
            (_kernel(lambda w: w > 0), "bool, not numbers"),
            (_kernel(lambda w: w.to_sparse()), "no tensor that can be used"),
            (_kernel(lambda w: torch.empty(w.shape, device="meta")), "no tensor that can be used"),
            (_kernel(lambda w: torch.zeros(1).expand(10**6, 10**6)), "claims more numbers than it holds"),
            (_changed("average.more", torch.zeros(3)), "not those of its network: more"),
            (lambda values: values["model"].pop(_KERNEL), f"not those of its network: {_KERNEL}"),
            (_changed("average", {3: torch.zeros(3)}), "expected tensors by name"),
            (_changed("network", torch.zeros(3)), "damaged"),
            (_changed("network.crop_size", 10**9), "crop_size: expected 8 to 2048"),
            (_changed("network.stages", ()), "stages: expected 1 to 9"),
            (_in_stage(backbone="other"), "other"),
            (_in_stage(local_steps=10**9), "local_steps: expected 0 to 16"),
            (_in_stage(channels=(4,), blocks=(1, 1)), "channels, blocks"),
            (_in_stage(dropout=-1.0), "dropout: expected 0 to 1"),
            (_changed("config", {}), "which stage was trained"),
            (_changed("config.batch_size", 0), "batch_size: expected 1 to"),
            (_changed("config.lr", torch.nan), "lr: expected 0 to"),
            (_changed("config.turned", (1, 2, 3)), "turned"),
            (_changed("config.augmentation", None), "augmentation"),
            (_changed("config.augmentation.cover", 1e12), "cover: expected 0 to 1"),
            (_changed("step", 10**30), "step: expected 0 to"),
            (_changed("best", torch.nan), "best: expected 0 to"),
            (_changed("origin", "somebody"), "origin"),
            (_changed("origin", {"name": "a"}), "origin: expected name, licence and training_data"),
        ],
    )
    def test_is_refused(self, content: Path, tmp_path: Path, change: Callable[[Any], object], match: str) -> None:
        values = torch.load(content, weights_only=True)
        change(values)
        torch.save(values, tmp_path / "bad.ckpt")
        with pytest.raises(FormatError, match=rf"(?s)bad\.ckpt.*{match}"):
            load_checkpoint(tmp_path / "bad.ckpt")

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (lambda values: values.pop("model"), "no run can go on from it"),
            (lambda values: values.pop("optimizer"), "optimizer's state is missing"),
            (_changed("optimizer.state", {}), "optimizer's state is empty"),
            (_changed("optimizer.state", {99: {}}), "optimizer is that of another network"),
            (lambda values: values["optimizer"]["state"][0].pop("exp_avg"), "state of parameter 0 is not that"),
            (lambda values: values["optimizer"]["state"][0].update(exp_avg=torch.zeros(3)), "state of parameter 0"),
            (lambda values: values["optimizer"]["state"][0]["exp_avg"].fill_(torch.nan), "NaN"),
            (_kernel(lambda w: torch.full_like(w, 3e38), "model"), "gives no landmarks"),
        ],
    )
    def test_no_run_goes_on_from_it(
        self, content: Path, tiny_pack: Pack, tmp_path: Path, change: Callable[[Any], object], match: str
    ) -> None:
        values = torch.load(content, weights_only=True)
        change(values)
        torch.save(values, tmp_path / "last.ckpt")
        with pytest.raises(FormatError, match=match):
            Run.resume(tmp_path, tiny_pack)

    def test_rates_are_those_of_the_run(self, content: Path, tiny_pack: Pack, tmp_path: Path) -> None:
        """Not those of the saved optimizer, whatever stands there."""
        values = torch.load(content, weights_only=True)
        values["optimizer"]["param_groups"] = "none"
        torch.save(values, tmp_path / "last.ckpt")
        run = Run.resume(tmp_path, tiny_pack, steps=2)
        assert [group["weight_decay"] for group in run.optimizer.param_groups] == [run.config.weight_decay, 0.0]
        assert torch.equal(
            run.optimizer.state[run.parameters[0]]["exp_avg"], values["optimizer"]["state"][0]["exp_avg"]
        )


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


class TestMean:
    def test_the_weights_lie_in_the_middle_and_counters_stay(self, tiny_light: NetworkConfig) -> None:
        both = [_values(tiny_light, seed) for seed in (1, 2)]
        mean = mean_of(both)["average"]
        for key, value in both[0]["average"].items():
            other = both[1]["average"][key]
            expected = (value + other) / 2 if value.is_floating_point() else value
            assert torch.allclose(mean[key], expected) and mean[key].dtype == value.dtype
        assert torch.equal(
            mean_of(both[:1])["average"]["stages.0.out.weight"], both[0]["average"]["stages.0.out.weight"]
        )

    def test_of_different_networks_is_an_error(self, tiny_light: NetworkConfig, tiny_vgg: NetworkConfig) -> None:
        with pytest.raises(InputError, match="same network"):
            mean_of([_values(tiny_light, 1), _values(tiny_vgg, 1)])


def _values(network: NetworkConfig, seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = Dan(network)
    return {"config": {"stage": 0}, "network": network.to_dict(), "step": 1, "average": model.state_dict()}
