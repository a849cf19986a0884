"""How far a network in training is off on held-out faces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from facealign_cli.arrays import Floats, Image
from facealign_cli.datasets.w300 import SETS_OF_300W
from facealign_cli.landmarks import INNER_WITHOUT_BRIDGE, N_LANDMARKS
from facealign_cli.metrics import nme
from facealign_cli.training.network import Dan, DanOutput
from facealign_cli.training.pack import Pack, crops_in_frame

_AT_A_TIME = 64
YAW_BANDS = {"0_30": (0.0, 30.0), "30_60": (30.0, 60.0), "60_90": (60.0, 90.0)}
"""Name → degrees to either side; the lower bound is within."""


def turned_errors(model: Dan, pack: Pack, n_stages: int | None = None) -> dict[str, float]:
    """The mean error of the inner points without the bridge of the nose, by band of yaw, in shares of the face's size.

    The face's size is the square root of the area of the truth's box. Faces none of whose points count are left out,
    and so are bands without a face.
    """
    side = np.abs(pack.yaw)
    if not np.isfinite(side).any():
        return {}
    stages, truth = predict_pack(model, pack, n_stages)
    size = np.sqrt(np.ptp(truth, axis=1).prod(axis=1))
    weights = (pack.weights > 0) & np.isin(np.arange(N_LANDMARKS), INNER_WITHOUT_BRIDGE)
    distance = np.linalg.norm(stages[-1] - truth, axis=2)
    errors = (distance * weights).sum(axis=1) / np.maximum(1, weights.sum(axis=1)) / size
    counts = weights.any(axis=1)
    bands = {name: counts & (side >= low) & (side < high) for name, (low, high) in YAW_BANDS.items()}
    return {name: float(errors[band].mean()) for name, band in bands.items() if band.any()}


def measured_faces(pack: Pack) -> Pack:
    """The held-out faces with labels that errors are stated on: those of 300-W, or all where there are none of it."""
    return faces_of_300w(pack.select(pack.held_out & pack.labelled))


def faces_of_300w(pack: Pack) -> Pack:
    """A pack's faces of 300-W, or all where there are none of it."""
    of_300w = pack.select(np.isin(pack.sets, SETS_OF_300W))
    return of_300w if len(of_300w) else pack


def held_out_errors(model: Dan, pack: Pack, n_stages: int | None = None) -> list[float]:
    """Mean inter-pupil NME after each stage, init from the data set's boxes (the tight box where there is none)."""
    landmarks, truth = predict_pack(model, pack, n_stages)
    return [float(nme(stage, truth, "inter-pupil").mean()) for stage in landmarks]


def predict_pack(model: Dan, pack: Pack, n_stages: int | None = None) -> tuple[list[Floats], Floats]:
    """Landmarks per stage and the truth, each (N, 68, 2) in crop pixels, without augmentation."""
    crops, truth = crops_in_frame(pack, model.config.crop_frame)
    return predict_crops(model, crops, n_stages), truth


@torch.no_grad()
def predict_crops(model: Dan, crops: Image, n_stages: int | None = None) -> list[Floats]:
    """Landmarks per stage, each (N, 68, 2) in the pixels of the (N, 1, S, S) uint8 crops."""
    outputs = [[stage.cpu().numpy() for stage in output.landmarks] for _, output in outputs_of(model, crops, n_stages)]
    return [np.concatenate(stage) for stage in zip(*outputs, strict=True)]


@torch.no_grad()
def outputs_of(model: Dan, crops: Image, n_stages: int | None = None) -> Iterator[tuple[slice, DanOutput]]:
    """Yield what the network says of (N, 1, S, S) uint8 crops, some at a time: their rows, and its output for them."""
    model.eval()
    for begin in range(0, max(1, len(crops)), _AT_A_TIME):
        rows = slice(begin, begin + _AT_A_TIME)
        yield rows, model(torch.from_numpy(crops[rows]).to(model.mean_image.device).float(), n_stages)
