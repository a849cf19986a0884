"""How a run begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("h5py")

from facealign_cli.errors import FormatError, InputError
from facealign_cli.training.checkpoint import load_checkpoint
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.pack import Pack
from facealign_cli.training.schedule import TrainConfig
from facealign_cli.training.start import Beginning, start_run

CONFIG = TrainConfig(1, batch_size=6, warmup_steps=0, decay_steps=1, eval_every=1, checkpoint_every=1, device="cpu")


def test_a_run_begins_with_the_weights_of_another(tiny_pack: Pack, tiny_light: NetworkConfig, tmp_path: Path) -> None:
    first = start_run(tmp_path / "a", tiny_pack, CONFIG, network=tiny_light)
    first.train(lambda row: None)
    told: list[str] = []
    last, other = tmp_path / "a" / "last.ckpt", replace(CONFIG, seed=1)
    second = start_run(
        tmp_path / "b", tiny_pack, other, network=tiny_light, begin=Beginning(init=last), tell=told.append
    )
    count = len(second.model.state_dict())
    assert told == [
        f"{count} of {count} tensors taken from {last}",
        f"{last} says nothing of its licence and training data: state both at `train export`",
    ]
    assert second.step == 0
    with pytest.raises(InputError, match="holds a run already"):
        start_run(tmp_path / "a", tiny_pack, CONFIG)


def test_a_run_begins_with_the_weights_of_an_earlier_version(
    tiny_pack: Pack, tiny_light: NetworkConfig, tmp_path: Path
) -> None:
    """Whose network was built in another way: what fits is taken; it cannot be exported or gone on with."""
    import torch

    first = start_run(tmp_path / "a", tiny_pack, CONFIG, network=tiny_light)
    first.train(lambda row: None)
    values = torch.load(tmp_path / "a" / "last.ckpt", weights_only=True)
    for part in ("average", "model"):
        name = next(key for key in values[part] if key.startswith("stages.1.") and key.endswith("weight"))
        values[part]["stages.1.as_it_was.weight"] = values[part].pop(name)
    old = tmp_path / "old.ckpt"
    told: list[str] = []
    torch.save(values, old)
    start_run(tmp_path / "b", tiny_pack, CONFIG, network=tiny_light, begin=Beginning(init=old), tell=told.append)
    count = len(first.model.state_dict())
    assert told[0] == f"{count - 1} of {count} tensors taken from {old}"
    with pytest.raises(FormatError, match="not those of its network"):
        load_checkpoint(old)


def test_a_stage_begins_as_the_one_before_sees(tiny_pack: Pack, tiny_vgg: NetworkConfig, tmp_path: Path) -> None:
    """Its net gives the same map of the image, whatever heatmap and feature image say; its last layer is fresh."""
    import torch

    first = start_run(tmp_path / "a", tiny_pack, CONFIG, network=tiny_vgg)
    first.train(lambda row: None)
    told: list[str] = []
    begin = Beginning(previous=tmp_path / "a" / "last.ckpt", warm_start=True)
    second = replace(CONFIG, stage=2)
    run = start_run(tmp_path / "b", tiny_pack, second, network=tiny_vgg, begin=begin, tell=told.append)
    model = run.model.eval()
    before, after = model.stages
    n_last = len(before.out.state_dict()) + len(before.confidence.state_dict())
    assert told == [f"{len(before.state_dict()) - n_last} tensors taken from stage 1"]
    image, extra = torch.rand(2, 1, 32, 32), torch.rand(2, 2, 32, 32)
    torch.testing.assert_close(after.backbone(image, extra)[-1], before.backbone(image, None)[-1])
    assert torch.equal(before.dense.weight, after.dense.weight)
    assert not torch.equal(before.out.weight, after.out.weight)


def test_a_stage_does_not_begin_as_another_net(tiny_pack: Pack, tiny_light: NetworkConfig, tmp_path: Path) -> None:
    start_run(tmp_path / "a", tiny_pack, CONFIG, network=tiny_light).train(lambda row: None)
    begin = Beginning(previous=tmp_path / "a" / "last.ckpt", warm_start=True)
    with pytest.raises(InputError, match="another net than the stage before"):
        start_run(tmp_path / "b", tiny_pack, replace(CONFIG, stage=2), network=tiny_light, begin=begin)


def test_what_cannot_begin(tiny_pack: Pack, tmp_path: Path) -> None:
    for config, options, words in (
        (CONFIG, {"network": "none"}, "none"),
        (replace(CONFIG, stage=3), {"network": "dan"}, "dan has 2 stages"),
        (replace(CONFIG, stage=2), {"network": "dan"}, "needs the checkpoint"),
        (replace(CONFIG, stage=1), {"network": "dan", "begin": Beginning(warm_start=True)}, "no stage before this one"),
        (
            replace(CONFIG, stage=1),
            {"network": "dan", "begin": Beginning(previous=tmp_path / "x.ckpt")},
            "starts afresh",
        ),
    ):
        with pytest.raises(InputError, match=words):
            start_run(tmp_path / "run", tiny_pack, config, **options)
    assert not (tmp_path / "run").exists()
