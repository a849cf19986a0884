"""Landmarks without a constant error: what a network is off by, point by point, is taken off at the end."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from facealign_cli.arrays import Floats
from facealign_cli.errors import InputError
from facealign_cli.landmarks import INNER_WITHOUT_BRIDGE, N_LANDMARKS
from facealign_cli.training.layers import normaliser
from facealign_cli.training.measure import faces_of_300w, outputs_of
from facealign_cli.training.network import Dan
from facealign_cli.training.pack import Pack, crops_in_frame

FEWEST_FACES = 200
"""Labelled by hand; the error of fewer says too little."""
_ROUNDS, _NEAREST = 100, 1e-3


@torch.no_grad()
def centre_landmarks(model: Dan, pack: Pack, beside: Mapping[str, float] | None = None) -> float:
    """Move each point by the constant with which the mean error is least on training faces that were labelled by hand.

    Faces of 300-W alone, where there are any: every data set has an opinion of its own where a point lies, and a
    network that learns from several, from other networks' labels and from distorted pictures ends between them. More
    training does not mend that; a constant in the last layer does. No held-out face is looked at.

    beside: name of a data set → how much its faces count beside those, which count 1, for the inner points without the
    bridge of the nose. The points then lie between the places that the sets give them. An error counts in shares of
    `normaliser`, times the weight that the pack gives the point.

    The network is changed in place. Returns how far points were moved on the mean, in shares of the frame's face; 0
    where fewer than 200 faces were labelled by hand, and nothing is changed. Raises InputError for a set in `beside`
    of which the pack has no training faces with labels.
    """
    trained = pack.select(~pack.held_out & pack.labelled)
    faces = faces_of_300w(trained.select(~trained.rough))
    others = {name: trained.select(trained.sets == name) for name in beside or {}}
    if missing := [name for name, other in others.items() if not len(other)]:
        raise InputError(f"the packs have no labelled training face of {', '.join(missing)}, so that it cannot count")
    if len(faces) < FEWEST_FACES:
        return 0.0
    errors, weights = _errors(model, faces)
    errors_of, weights_of = [errors], [weights]
    inner = np.isin(np.arange(N_LANDMARKS), INNER_WITHOUT_BRIDGE)
    for name, other in others.items():
        errors, weights = _errors(model, other)
        errors_of.append(errors)
        weights_of.append((beside or {})[name] * weights * inner)
    offset = _median(np.concatenate(errors_of), np.concatenate(weights_of))
    bias: Tensor = model.last_layer().bias
    bias -= torch.from_numpy(offset).reshape(-1).to(bias)
    last = model.config.stages[-1]
    return float(np.linalg.norm(offset, axis=1).mean() / (last.frame_size * last.frame_share))


def _errors(model: Dan, faces: Pack) -> tuple[Floats, Floats]:
    """(N, 68, 2) by how much landmarks miss the labels, in pixels of the last frame, and (N, 68) how much that counts;
    all faces together count 1 where each point has the weight 1."""
    crops, truth = crops_in_frame(faces, model.config.crop_frame)
    device, errors, sizes = model.mean_image.device, [], []
    for rows, output in outputs_of(model, crops):
        both = (output.landmarks[-1], torch.from_numpy(truth[rows]).to(device).float())
        landmarks, labels = (model.in_last_frame(output, values) for values in both)
        errors.append((landmarks - labels).double().cpu().numpy())
        sizes.append(normaliser(labels).double().cpu().numpy())
    share = 1 / np.concatenate(sizes)
    return np.concatenate(errors), faces.weights * (share / share.sum())[:, None]


def _median(errors: Floats, weights: Floats) -> Floats:
    """(68, 2) for each point the geometric median of its (N, 68, 2) errors, by Weiszfeld's method; 0 without weight."""
    total = weights.sum(axis=0)[:, None]
    median: Floats = (errors * weights[..., None]).sum(axis=0) / np.maximum(total, 1e-12)
    for _ in range(_ROUNDS):
        pull = weights / np.maximum(np.linalg.norm(errors - median, axis=2), _NEAREST)
        median = (errors * pull[..., None]).sum(axis=0) / np.maximum(pull.sum(axis=0), 1e-12)[:, None]
    return median
