"""Licence and training data go from the weights that a run begins with to those that it makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("h5py")
pytest.importorskip("onnx")

from facealign_cli.models.dan import DanModel
from facealign_cli.training.checkpoint import load_checkpoint, save_weights
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.loop import Run
from facealign_cli.training.origin import inherited, origin_of
from facealign_cli.training.pack import Pack
from facealign_cli.training.schedule import TrainConfig
from facealign_cli.training.start import Beginning, start_run

CONFIG = TrainConfig(1, batch_size=6, warmup_steps=0, decay_steps=1, eval_every=1, checkpoint_every=1, device="cpu")
ABOUT = {"name": "mine 1", "licence": "CC0", "training_data": "my photos"}
ROOT = Path(__file__).resolve().parents[2]


def test_a_chain_of_runs_inherits(tiny_pack: Pack, tiny_light: NetworkConfig, tmp_path: Path) -> None:
    first = start_run(tmp_path / "a", tiny_pack, CONFIG, network=tiny_light)
    first.train(lambda row: None)
    save_weights(tmp_path / "w.ckpt", load_checkpoint(tmp_path / "a" / "last.ckpt"), origin=ABOUT)
    told: list[str] = []
    second = start_run(
        tmp_path / "b",
        tiny_pack,
        CONFIG,
        network=tiny_light,
        begin=Beginning(init=tmp_path / "w.ckpt"),
        tell=told.append,
    )
    assert told[-1] == "mine 1, licence: CC0: the new weights inherit this"
    second.train(lambda row: None)
    last = tmp_path / "b" / "last.ckpt"
    assert load_checkpoint(last)["origin"] == ABOUT
    resumed = Run.resume(tmp_path / "b", tiny_pack, steps=2)
    assert resumed.origin == ABOUT
    third = start_run(
        tmp_path / "c", tiny_pack, replace(CONFIG, seed=1), network=tiny_light, begin=Beginning(init=last)
    )
    assert third.origin == ABOUT


def test_the_shipped_weights_say_it_by_the_graph_beside_them() -> None:
    weights = ROOT / "models" / "dan-light.ckpt"
    about = DanModel(ROOT / "models" / "dan-light.onnx", device="cpu").metadata
    origin = origin_of(weights, load_checkpoint(weights))
    assert origin == {
        "name": f"{about.name} {about.version}",
        "licence": about.licence,
        "training_data": about.training_data,
    }
    assert "research only" in origin["licence"]


def test_nothing_is_known_of_a_checkpoint_alone(tmp_path: Path) -> None:
    assert origin_of(tmp_path / "x.ckpt", {}) is None


@pytest.mark.parametrize(
    ("origin", "stated", "expected"),
    [
        (None, ("", ""), ("", "")),
        (None, ("MIT", "mine"), ("MIT", "mine")),
        (ABOUT, ("", ""), ("CC0", "not stated; begun with mine 1 (my photos)")),
        (ABOUT, ("MIT", "ten photos"), ("MIT", "ten photos; begun with mine 1 (my photos)")),
        (ABOUT, ("", "my photos"), ("CC0", "my photos; begun with mine 1 (the same data)")),
        (
            {**ABOUT, "training_data": "my photos; begun with old 1 (others)"},
            ("", "my photos"),
            ("CC0", "my photos; begun with mine 1 (the same data; begun with old 1 (others))"),
        ),
        (
            {**ABOUT, "training_data": "my photos too"},
            ("", "my photos"),
            ("CC0", "my photos; begun with mine 1 (my photos too)"),
        ),
        (
            {**ABOUT, "training_data": ""},
            ("", "ten photos"),
            ("CC0", "ten photos; begun with mine 1 (training data not stated)"),
        ),
    ],
)
def test_what_is_stated_and_what_is_inherited(origin, stated, expected) -> None:
    assert inherited(origin, *stated) == expected
