"""Better labels: the opinion of trained models and the given labels, averaged.

For roughly labelled faces the two err independently (one is this project's network, the other somebody else's), so
their mean errs less than either; in hand-made labels it softens what no network can know, such as where along the jaw
somebody put a point. Source of the idea: self-training (Lee, "Pseudo-label", ICML workshop 2013), with averaging over
test-time transforms as in data distillation (Radosavovic et al., CVPR 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from facealign_cli.arrays import Bools, Floats, Image
from facealign_cli.datasets.splits import photo_key
from facealign_cli.errors import InputError
from facealign_cli.files.output import check_output
from facealign_cli.geometry import bbox_of_shape, extent_of_shape, init_shape_from_bbox
from facealign_cli.landmarks import MIRROR_ORDER
from facealign_cli.metrics import nme
from facealign_cli.models.dan import DanModel
from facealign_cli.placing import FaceCrops, align_crops, cut_crops
from facealign_cli.training.augment import perturbed_init
from facealign_cli.training.augmentation import Augmentation
from facealign_cli.training.pack import read_pack, rewrite_pack

_MIRROR = np.array(MIRROR_ORDER)
BY_HAND, HELD_OUT = "by hand", "held out"
_INIT = Augmentation(shift_sigma=0.04, angle_sigma=8.0, scale_sigma=0.08)


@dataclass(frozen=True)
class RelabelReport:
    """Per data set: name → (faces relabelled, left out, mean inter-pupil difference of all before averaging).

    Faces labelled by hand stand together under `BY_HAND`; under `HELD_OUT`, with none relabelled, the models' error.
    """

    sets: dict[str, tuple[int, int, float]]


def relabel_pack(
    source: Path,
    path: Path,
    models: Sequence[DanModel],
    *,
    hand: float = 0.0,
    per_photo: int = 4,
    rounds: int = 4,
    worst: float = 0.12,
    seed: int = 0,
    overwrite: bool = False,
) -> RelabelReport:
    """Write a pack whose rough faces have new labels, in the convention of the hand-made ones.

    A new label is the mean of the given one, freed of the constant offset that each point of its data set has from
    the models', and of the models' mean over `rounds` perturbed inits of the face and as many of its mirror image.
    A face on which the two differ by more than `worst` of the inter-pupil distance, or whose confidence is below 0.5,
    is left out; of one photo or person only `per_photo` rough faces stay, spread over it.
    hand: the models' share in the labels of training faces labelled by hand, 0 to 1; held-out faces never change.
    Raises InputError if there is nothing to relabel, or no face is left; OutputError if `path` cannot be written.
    """
    check_output(path, overwrite)
    pack = read_pack(source)
    by_hand = ~pack.rough & pack.labelled
    if not pack.rough.any() and not (hand and (by_hand & ~pack.held_out).any()):
        raise InputError(f"{source}: no {'' if hand else 'roughly '}labelled face in it to train on")
    landmarks, keep = pack.landmarks.astype(float), ~pack.rough
    sets: dict[str, tuple[int, int, float]] = {}
    names = [name.split(":")[0] for name in pack.names]
    for name in sorted({names[i] for i in np.flatnonzero(pack.rough)}):
        rows = np.flatnonzero(pack.rough & (np.array(names) == name))
        chosen = rows[_spread([photo_key(name, Path(pack.names[i]).stem) for i in rows], per_photo)]
        given = pack.landmarks[chosen].astype(float)
        seen, confidence = _opinion_of_all(models, pack.images[chosen], given, rounds, seed)
        extents = np.array([extent_of_shape(shape) for shape in seen])[:, None, None]
        given = given - np.median((given - seen) / extents, axis=0) * extents  # the constant offsets
        difference = nme(given, seen, "inter-pupil")
        good = (difference < worst) & (confidence > 0.5)
        landmarks[chosen[good]] = (given[good] + seen[good]) / 2
        keep[chosen[good]] = True
        sets[name] = (int(good.sum()), int(len(rows) - good.sum()), float(difference.mean()))
    for name, share, mask in ((BY_HAND, hand, by_hand & ~pack.held_out), (HELD_OUT, 0.0, by_hand & pack.held_out)):
        rows = np.flatnonzero(mask)
        if hand and len(rows):
            seen, _ = _opinion_of_all(models, pack.images[rows], landmarks[rows], rounds, seed)
            relabelled = len(rows) if share else 0
            sets[name] = (relabelled, 0, float(nme(seen, landmarks[rows], "inter-pupil").mean()))
            landmarks[rows] += share * (seen - landmarks[rows])
    better = replace(pack, landmarks=landmarks.astype(np.float32), rough=np.zeros(len(pack), bool))
    rewrite_pack(source, path, better, keep, overwrite)
    return RelabelReport(sets)


def _opinion_of_all(
    models: Sequence[DanModel], images: Image, landmarks: Floats, rounds: int, seed: int
) -> tuple[Floats, Floats]:
    """The models' mean landmarks and confidence."""
    said = [opinion(model, images, landmarks, rounds, np.random.default_rng(seed)) for model in models]
    return np.mean([shapes for shapes, _ in said], axis=0), np.mean([confidence for _, confidence in said], axis=0)


def opinion(
    model: DanModel, images: Image, landmarks: Floats, rounds: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """A model's landmarks on (N, P, P) grey pictures, averaged over perturbed inits and mirror images.

    landmarks: (N, 68, 2), roughly where they are. Returns (N, 68, 2) picture pixels and the (N,) confidence.
    """
    said, confidence = opinions(model, images, landmarks, rounds, rng)
    return said.mean(axis=0), confidence


def opinions(
    model: DanModel, images: Image, landmarks: Floats, rounds: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """As `opinion`, but not averaged: landmarks (2 · rounds, N, 68, 2), one from each init, half on mirror images."""
    first, confidence = _predict(model, images, [init_shape_from_bbox(bbox_of_shape(shape)) for shape in landmarks])
    width = images.shape[2]
    shift = 2 * Augmentation.label_shift * np.array([extent_of_shape(shape) for shape in first])[:, None]
    mirrored = first[:, _MIRROR].copy()
    mirrored[..., 0] = width - 1 - mirrored[..., 0]
    said = []
    for _ in range(rounds):
        said.append(_predict(model, images, [perturbed_init(shape, _INIT, rng) for shape in first])[0])
        inits = [perturbed_init(shape, _INIT, rng) for shape in mirrored]
        back = _predict(model, np.ascontiguousarray(images[:, :, ::-1]), inits)[0][:, _MIRROR]
        back[..., 0] = width - 1 - back[..., 0] + shift
        said.append(back)
    return np.array(said), confidence


def _predict(model: DanModel, images: Image, inits: list[Floats]) -> tuple[Floats, Floats]:
    faces = [cut_crops(model.frame, image, [init]) for image, init in zip(images, inits, strict=True)]
    aligned = align_crops(model, FaceCrops.joined(faces))
    return aligned.landmarks, aligned.confidence


def _spread(groups: list[str], most: int) -> Bools:
    """Rows of at most so many of each group, evenly spread over it."""
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    kept = [
        np.array(rows)[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)]
        for rows in members.values()
    ]
    return np.sort(np.concatenate(kept))
