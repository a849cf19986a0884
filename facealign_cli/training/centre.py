"""Landmarks without a constant error: what a network is off by on the mean, point by point, is taken off at the end."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from facealign_cli.training.measure import faces_of_300w, outputs_of
from facealign_cli.training.network import Dan
from facealign_cli.training.pack import Pack, crops_in_frame

FEWEST_FACES = 200
"""Labelled by hand; the mean error of fewer says too little."""


@torch.no_grad()
def centre_landmarks(model: Dan, pack: Pack) -> float:
    """Take off the mean error of each point, found on the pack's training faces that were labelled by hand.

    Faces of 300-W alone, where there are any: every data set has an opinion of its own where a point lies, and a
    network that learns from several, from other networks' labels and from distorted pictures ends between them. More
    training does not mend that; a constant in the last layer does. No held-out face is looked at.

    The network is changed in place. Returns how far points were moved on the mean, in shares of the frame's face; 0
    where there are fewer than 200 such faces, and nothing is changed.
    """
    faces = faces_of_300w(pack.select(~pack.held_out & ~pack.rough & pack.labelled))
    if len(faces) < FEWEST_FACES:
        return 0.0
    crops, truth = crops_in_frame(faces, model.config.crop_frame)
    device, errors = model.mean_image.device, []
    for rows, output in outputs_of(model, crops):
        both = (output.landmarks[-1], torch.from_numpy(truth[rows]).to(device).float())
        landmarks, labels = (model.in_last_frame(output, values) for values in both)
        errors.append((landmarks - labels).double().cpu().numpy())
    weights = faces.weights[..., None]
    offset = (np.concatenate(errors) * weights).sum(axis=0) / np.maximum(weights.sum(axis=0), 1e-9)  # (68, 2)
    bias: Tensor = model.last_layer().bias
    bias -= torch.from_numpy(offset).reshape(-1).to(device).float()
    last = model.config.stages[-1]
    return float(np.linalg.norm(offset, axis=1).mean() / (last.frame_size * last.frame_share))
