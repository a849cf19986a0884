"""What a training computes on: networks that PyTorch cannot train everywhere are refused before it crashes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from facealign_cli.errors import InputError
from facealign_cli.training.config import NETWORKS, NetworkConfig
from facealign_cli.training.device import check_convolutions, computes_in_bf16
from facealign_cli.training.network import Dan
from facealign_cli.training.pack import Pack
from tests.training.runs import new_run


@pytest.mark.parametrize("name", NETWORKS)
def test_the_shipped_networks_train_everywhere(name: str) -> None:
    check_convolutions(Dan(NETWORKS[name]))


def test_a_narrow_shortcut_is_refused(tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
    first, later = tiny_light.stages
    narrow = replace(tiny_light, stages=(first, replace(later, stem=4)))
    with pytest.raises(InputError, match=r"stages\.1\..*sees 4 channels.*crashes.*fewer than 8"):
        new_run(tmp_path, narrow, tiny_pack)


@pytest.mark.parametrize(("capability", "computes"), [("AVX2", False), ("DEFAULT", False), ("AVX512", True)])
def test_processors_that_compute_in_bfloat16(capability: str, computes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert computes_in_bf16(torch.device("cpu")) is computes
