"""Packs, checkpoints and the original authors' weights."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import cv2
import h5py
import numpy as np
import torch

from facealign_cli.geometry import CropFrame
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.training.checkpoint import load_checkpoint, model_of, save_checkpoint, transfer_weights
from facealign_cli.training.config import NetworkConfig, StageConfig
from facealign_cli.training.lasagne_file import read_lasagne
from facealign_cli.training.network import Dan
from facealign_cli.training.pack import FORMAT, crops_in_frame, read_pack

Kind = tuple[list[tuple[str, bytes]], Callable[[Path], object]]

_TINY = NetworkConfig("tiny", 32, 0.5, (StageConfig("residual", 32, 0.5, 8, (8, 8), (1, 1), n_features=8, squeeze=2),))


def checkpoints(folder: Path) -> Kind:
    torch.set_num_threads(1)
    weights = Dan(_TINY).state_dict()
    values = {"config": {"stage": 0}, "network": asdict(_TINY), "step": 7, "average": weights, "model": weights}
    save_checkpoint(folder / "c.ckpt", values)

    def read(file: Path) -> object:
        content = load_checkpoint(file)
        transfer_weights(Dan(_TINY), content)
        return model_of(content, trained_only=True)

    return [("c.ckpt", (folder / "c.ckpt").read_bytes())], read


def packs(folder: Path) -> Kind:
    jpeg = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))[1].ravel()
    with h5py.File(folder / "p.h5", "w") as file:
        file.attrs.update({"format": FORMAT, "size": 64, "context": 3.0})
        pictures = file.create_dataset("jpeg", (3,), dtype=h5py.vlen_dtype(np.uint8))
        for i in range(3):
            pictures[i] = jpeg
        file["landmarks"] = np.stack([MEAN_SHAPE / 4 + 32] * 3).astype(np.float32)
        file["bbox"] = np.full((3, 4), np.nan, np.float32)
        file["rough"], file["held_out"] = np.array([True, False, False]), np.array([False, False, True])
        file.create_dataset("name", data=["a:1", "b:2", "c:3"], dtype=h5py.string_dtype())

    def read(file: Path) -> object:
        return crops_in_frame(read_pack(file), CropFrame(32))

    return [("p.h5", (folder / "p.h5").read_bytes())], read


def lasagne(folder: Path) -> Kind:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))
    rng = np.random.default_rng(0)
    arrays = {f"arr_{i}": rng.normal(size=(4, 3)).astype(np.float32) for i in range(47)}
    pictures = {"meanImg": np.ones((32, 32)), "stdDevImg": np.ones((32, 32)), "initLandmarks": MEAN_SHAPE}
    np.savez(folder / "plain.npz", **arrays, **pictures)
    np.savez_compressed(folder / "packed.npz", **arrays, **pictures)
    names = ("plain.npz", "packed.npz")
    return [(name, (folder / name).read_bytes()) for name in names], lambda file: read_lasagne(file).n_stages


KINDS = {"checkpoints": checkpoints, "packs": packs, "lasagne": lasagne}
