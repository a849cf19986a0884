"""ONNX graphs, registries of models and check files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from facealign_cli.landmarks import MEAN_SHAPE, SCHEME
from facealign_cli.models.check import make_check, read_check, verify, write_check
from facealign_cli.models.dan import METADATA_KEY, DanModel, GraphMetadata
from facealign_cli.models.registry import models_folder, read_registry

Kind = tuple[list[tuple[str, bytes]], Callable[[Path], object]]
SIDE = 12


def tiny_graph(path: Path) -> Path:
    """A graph of the contract, of a few kilobytes: landmarks are the crop times a matrix."""
    import onnx

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
    from linear_graph import graph

    model = graph(side=SIDE)
    entry = model.metadata_props.add()
    metadata = GraphMetadata("tiny", "1", SCHEME, 2, SIDE, 0.5, MEAN_SHAPE.tolist(), figures={"NME": 5.0})
    entry.key, entry.value = METADATA_KEY, metadata.to_json()
    onnx.save(model, str(path))
    return path


def models(folder: Path) -> Kind:
    tiny = tiny_graph(folder / "tiny.onnx").read_bytes()
    light = (models_folder() / "dan-light.onnx").read_bytes()

    def read(file: Path) -> object:
        list(verify(str(file)))
        model = DanModel(file, device="cpu")
        side = model.metadata.crop_size
        return model.predict(np.random.default_rng(0).integers(0, 256, (3, 1, side, side), np.uint8))

    return [("m.onnx", tiny)] * 7 + [
        ("m.onnx", tiny[-3500:] if len(tiny) < 3500 else tiny),
        ("light.onnx", light),
    ], read


def registries(folder: Path) -> Kind:
    (folder / "models").mkdir()

    def read(file: Path) -> object:
        registry = read_registry(file.parent)
        return [entry.path.is_file() and entry.verify() for entry in registry.models.values()]

    return [("models/models.json", (models_folder() / "models.json").read_bytes())], read


def npz(folder: Path) -> Kind:
    graph = tiny_graph(folder / "tiny.onnx")
    crops = np.random.default_rng(0).integers(0, 256, (3, 1, SIDE, SIDE), np.uint8)
    write_check(make_check(graph, crops), folder / "c.npz")
    return [("c.npz", (folder / "c.npz").read_bytes())], read_check


KINDS = {"models": models, "registries": registries, "npz": npz}
