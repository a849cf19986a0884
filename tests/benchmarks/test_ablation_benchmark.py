"""The ablation: which faces a variant trains on and is measured on, and what its row says."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
for package in ("h5py", "torch"):
    pytest.importorskip(package)

from facealign_cli.training.pack import Pack  # noqa: E402 - once it is known that h5py is there


@pytest.fixture
def ablation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("ablation")


def pack(name: str, held_out: list[bool], weight: float = 1.0) -> Pack:
    n = len(held_out)
    nan = np.full((n, 5, 2), np.nan, np.float32)
    landmarks = np.random.default_rng(0).uniform(0, 9, (n, 68, 2)).astype(np.float32)
    weights = np.full((n, 68), weight, np.float32)
    weights[:, :17] = 0
    images, flags = np.zeros((n, 8, 8), np.uint8), np.zeros(n, bool)
    bbox, names = np.full((n, 4), np.nan, np.float32), [f"{name}:{i}" for i in range(n)]
    return Pack(images, landmarks, bbox, flags, np.array(held_out), weights, nan[:, 0, 0], nan, names)


def test_every_variant_is_measured_on_the_same_faces(ablation: ModuleType) -> None:
    packs = {"labels": pack("helen", [False, True]), "more": pack("aflw2000", [False, False, True], 0.4)}
    alone = ablation.pack_of(ablation.VARIANTS["shipped"], packs)
    both = ablation.pack_of(ablation.VARIANTS["more"], packs)
    assert [n for n, held in zip(alone.names, alone.held_out, strict=True) if held] == ["helen:1", "aflw2000:2"]
    assert alone.select(alone.held_out).names == both.select(both.held_out).names
    assert both.select(~both.held_out).names == ["helen:0", "aflw2000:0", "aflw2000:1"]
    assert alone.select(~alone.held_out).names == ["helen:0"]


def test_whole_points(ablation: ModuleType) -> None:
    packs = {"labels": pack("helen", [False, True], 0.3), "more": pack("aflw2000", [False], 0.4)}
    weights = ablation.pack_of(ablation.VARIANTS["whole-points"], packs).weights
    assert (weights[:, :17] == 0).all()
    assert (weights[:, 17:] == 1).all()


def test_the_leads_are_there_and_name_known_packs(ablation: ModuleType) -> None:
    leads = {"more", "more-turned", "labelled", "profiled", "whole-points", "inter-pupil", "taught", "live-teacher"}
    assert leads <= ablation.VARIANTS.keys()
    assert {name for variant in ablation.VARIANTS.values() for name in variant.packs} == {*ablation.PACKS}


def test_table(ablation: ModuleType) -> None:
    row = {"held_out_stage1": "0.07", "held_out_stage2": "0.05", "train_last": "0.04", "yaw_30_60": "0.023"}
    other = {**row, "held_out_stage2": "0.046", "yaw_30_60": ""}
    text = ablation.table([(ablation.VARIANTS["shipped"].what, row, 40_000_000), ("another", other, 0)])
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert {len(cells) for cells in lines} == {7}
    assert lines[0][5] == "30-60 degrees, % of the face's size"
    assert lines[2][1:] == ["5.00", "+0.00", "7.00", "4.00", "2.30", "40"]
    assert lines[3][1:] == ["4.60", "-0.40", "7.00", "4.00", "", "0"]
