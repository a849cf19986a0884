"""Sigma made true: one factor, found on held-out faces, and what then lies within it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from facealign_cli.arrays import Floats
from facealign_cli.errors import InputError
from facealign_cli.training.measure import measured_faces, outputs_of
from facealign_cli.training.network import Dan
from facealign_cli.training.pack import Pack, crops_in_frame

FEWEST_FACES = 20
"""Fewer held-out faces say too little of sigma."""
LEVELS = (0.5, 0.68, 0.9, 0.95)
"""Shares of the points for which it is told how many lie within the radius that is said to hold them."""


@dataclass(frozen=True)
class SigmaReport:
    """factor: what sigma was multiplied by. within: for each of `LEVELS`, the share of points within the radius that
    should hold so many. rank_correlation: of sigma and the true distance over points, Spearman's.
    """

    factor: float
    within: tuple[float, ...]
    rank_correlation: float

    def figures(self) -> dict[str, float]:
        """These figures by name, as the graph's metadata and the registry state them."""
        shares = {
            f"held-out points within the {100 * level:.0f} % radius of sigma, %": round(100 * share, 1)
            for level, share in zip(LEVELS, self.within, strict=True)
        }
        return {**shares, "held-out rank correlation of sigma and error": round(self.rank_correlation, 3)}


def radius(level: float) -> float:
    """The radius that holds this share of the points, in units of sigma, which holds 68 %.

    Under the density exp(-d / b) / (2 pi b²) a share 1 - (1 + x) exp(-x) lies within x · b; solved by bisection.
    """
    return _quantile(level) / _quantile(0.68)


def _quantile(level: float) -> float:
    low, high = 0.0, 60.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - (1 + middle) * math.exp(-middle) < level else (low, middle)
    return (low + high) / 2


def calibrate_sigma(model: Dan, pack: Pack) -> SigmaReport:
    """Scale the network's sigma so that it holds 68 % of the points of every second held-out face; report on the rest.

    The network is changed in place. Raises InputError where it has no sigma, or where fewer than 20 faces are held out.
    """
    head = model.stages[-1].sigma
    if head is None:
        raise InputError(f"{model.config.name} does not say how far its landmarks may be off: no sigma to calibrate")
    faces = measured_faces(pack)
    if len(faces) < FEWEST_FACES:
        raise InputError(f"{len(faces)} held-out faces are too few for sigma; at least {FEWEST_FACES} are needed")
    distance, sigma = sigma_and_distance(model, faces)
    trusted = faces.weights > 0
    ratio = np.where(trusted, distance / sigma, np.nan)
    factor = float(np.nanquantile(ratio[0::2], 0.68))
    with torch.no_grad():
        head.dense.bias += math.log(factor)  # type: ignore[union-attr, operator]
    ratio = ratio[1::2][trusted[1::2]] / factor
    within = tuple(float((ratio <= radius(level)).mean()) for level in LEVELS)
    return SigmaReport(factor, within, rank_correlation(sigma[1::2][trusted[1::2]], distance[1::2][trusted[1::2]]))


@torch.no_grad()
def sigma_and_distance(model: Dan, pack: Pack) -> tuple[Floats, Floats]:
    """The distance of each point from the truth and its sigma, (N, 68) each, in crop pixels."""
    crops, truth = crops_in_frame(pack, model.config.crop_frame)
    distances, sigmas = [], []
    for rows, output in outputs_of(model, crops):
        distances.append(np.linalg.norm(output.landmarks[-1].cpu().numpy() - truth[rows], axis=2))
        sigmas.append(output.sigma.cpu().numpy())  # type: ignore[union-attr]
    return np.concatenate(distances), np.concatenate(sigmas)


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation of two arrays, without a correction for ties."""
    first, second = (np.argsort(np.argsort(values)).astype(float) for values in (a, b))
    return float(np.corrcoef(first, second)[0, 1])
