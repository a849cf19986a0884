"""Is a model's sigma true? How many points lie within the radius that should hold so many, on held-out faces of packs.

    python benchmarks/sigma.py --model dan-large --data FACES.h5 [--data OTHERS.h5]

By condition: the faces as they are, around the data set's boxes; their start moved and turned as in training; a quarter
of the face covered; and, where the packs have some, faces turned by 30 degrees and more: all their points, and the
inner ones with the labels placed where 300-W has them (`convention.py`). For that the packs need labels as they come,
by `train pack` alone, and training faces of known yaw. Points of weight 0 do not count. The rank correlation
(Spearman's) is that of sigma and the true distance over points. `train export` scaled the shipped models' sigma on
every second of the faces of 300-W here, so `as it is` flatters it a little.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from convention import INNER, convention

from facealign_cli.models.dan import DanModel
from facealign_cli.models.registry import load_model
from facealign_cli.training.augment import make_batch
from facealign_cli.training.augmentation import PAPER, Augmentation
from facealign_cli.training.calibrate import LEVELS, radius, rank_correlation
from facealign_cli.training.measure import measured_faces
from facealign_cli.training.pack import Pack, crops_in_frame, read_packs

Faces = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(N, 1, S, S) crops, (N, 68, 2) truth in them, (N, 68) whether a point counts."""


def as_it_is(pack: Pack, model: DanModel) -> Faces:
    """Around the data set's boxes, the tight ones where there are none."""
    crops, truth = crops_in_frame(pack, model.frame)
    return crops, truth, pack.weights > 0


def perturbed(pack: Pack, model: DanModel) -> Faces:
    """Starts moved, scaled and turned as in training."""
    usual = Augmentation()
    strength = replace(
        PAPER, shift_sigma=usual.shift_sigma, angle_sigma=usual.angle_sigma, scale_sigma=usual.scale_sigma
    )
    batch = make_batch(pack, np.arange(len(pack)), model.frame, strength, np.random.default_rng(0))
    return batch.crops, batch.landmarks, batch.weights > 0


def covered(pack: Pack, model: DanModel) -> Faces:
    """The lower left quarter of the face grey."""
    crops, truth, counts = as_it_is(pack, model)
    for crop, points in zip(crops, truth, strict=True):
        (x1, y1), (x2, y2) = points.min(axis=0).astype(int).clip(0), points.max(axis=0).astype(int)
        crop[0, (y1 + y2) // 2 : y2, x1 : (x1 + x2) // 2] = 128
    return crops, truth, counts


def placed(pack: Pack, model: DanModel) -> Faces:
    """The inner points of turned held-out faces, the labels of which are placed where 300-W has them."""
    pack = pack.select(np.isfinite(pack.yaw) & pack.labelled)
    crops, truth, counts = as_it_is(pack, model)
    size = np.sqrt(np.ptp(truth, axis=1).prod(axis=1))[:, None, None]
    missed = ((model.predict(crops).landmarks - truth) / size)[:, INNER]
    learnt = ~pack.held_out & counts[:, INNER].all(axis=1)
    truth[:, INNER] += convention(missed[learnt], pack.yaw[learnt], pack.yaw) * size
    rows = is_turned(pack)
    return crops[rows], truth[rows], counts[rows] & INNER


def is_turned(pack: Pack) -> np.ndarray:
    """(N,) held-out faces that are turned by 30 degrees and more."""
    return pack.held_out & (np.abs(np.nan_to_num(pack.yaw)) >= 30)


def row(name: str, model: DanModel, faces: Faces) -> str:
    """A line of the table."""
    crops, truth, counts = faces
    said = model.predict(crops)
    distance = np.linalg.norm(said.landmarks - truth, axis=2)[counts]
    sigma = said.sigma[counts]
    within = [f"{100 * (distance <= radius(level) * sigma).mean():.1f}" for level in LEVELS]
    return f"| {name} | {len(crops)} | {' | '.join(within)} | {rank_correlation(sigma, distance):.2f} |"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="dan-large")
    parser.add_argument("--data", type=Path, action="append", required=True)
    args = parser.parse_args()
    model, pack = load_model(args.model, device="cpu", batch_size=64), read_packs(args.data)
    if "sigma" not in model.metadata.outputs:
        parser.error(f"{args.model} does not say how far its landmarks may be off")
    faces = measured_faces(pack)
    levels = " | ".join(f"within the {100 * level:.0f} % radius, %" for level in LEVELS)
    print(f"| condition | faces | {levels} | rank correlation |\n| --- | --- {'| --- ' * (len(LEVELS) + 1)}|")
    conditions: dict[str, Callable[[Pack, DanModel], Faces]] = {
        "as it is": as_it_is,
        "start moved and turned": perturbed,
        "a quarter covered": covered,
    }
    for name, make in conditions.items():
        print(row(name, model, make(faces, model)), flush=True)
    turned = pack.select(is_turned(pack))
    if len(turned):
        print(row("turned by 30° and more", model, as_it_is(turned, model)), flush=True)
        print(row("the same, labels placed", model, placed(pack, model)))


if __name__ == "__main__":
    main()
