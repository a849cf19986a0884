"""Does the confidence tell right landmarks from wrong ones? Its ROC on the held-out faces of a pack.

    python benchmarks/confidence.py FACES.h5 [--model NAME|FILE] [--repeats 3] [--seed 0] [-o FILE.md]

Every held-out face gives crops of four kinds: around the organisers' box as it is; around an init shape perturbed as in
training; around one far off; and one without a face (background beside it, the face in shuffled tiles, or noise), all
from `training/augment.py`, with a fixed seed. Landmarks whose inter-pupil NME is below 10 % are right, whatever the
crop; all others, and all of faceless crops, are wrong. The area under the ROC is the chance that a right one gets the
higher confidence (ties count half). The recommended threshold has the largest difference between the share of right
ones that it lets pass and that of wrong ones; where several do, the middle one.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import outcome

from facealign_cli.metrics import nme
from facealign_cli.models.dan import DanModel
from facealign_cli.models.registry import load_model
from facealign_cli.training.augment import make_batch
from facealign_cli.training.augmentation import PAPER, Augmentation
from facealign_cli.training.pack import Pack, crops_in_frame, read_pack

RIGHT_WITHIN = 0.10
"""Inter-pupil NME below which landmarks are right; as in training."""
GRID = np.arange(1, 100) / 100
"""Thresholds that may be recommended."""
SHOWN = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_USUAL = Augmentation()
_PERTURBED = replace(
    PAPER,
    shift_sigma=_USUAL.shift_sigma,
    angle_sigma=_USUAL.angle_sigma,
    scale_sigma=_USUAL.scale_sigma,
    label_shift=_USUAL.label_shift,
)
KINDS: dict[str, Augmentation] = {
    "perturbed": _PERTURBED,
    "displaced": replace(_PERTURBED, displaced=1.0),
    "faceless": replace(_PERTURBED, faceless=1.0),
}
"""Kind of crop → how `make_batch` makes it."""


@dataclass(frozen=True, eq=False)
class Scored:
    """Crops of one kind. confidence: (N,); error: (N,) inter-pupil NME, inf without a face."""

    kind: str
    confidence: np.ndarray
    error: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """(N,) whether the landmarks are right."""
        return self.error < RIGHT_WITHIN


def area_under_roc(right: np.ndarray, wrong: np.ndarray) -> float:
    """The chance that one of the `right` (N,) confidences is above one of the `wrong` (M,); ties count half.

    Raises ValueError if either is empty or holds NaN. Source: Hanley and McNeil, Radiology 143 (1982).
    """
    right, wrong = _checked(right), np.sort(_checked(wrong))
    below, up_to = np.searchsorted(wrong, right, "left"), np.searchsorted(wrong, right, "right")
    return float((below + up_to).mean() / 2 / len(wrong))


def rates(right: np.ndarray, wrong: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(K,) shares of the right and of the wrong that reach each threshold: true and false positive rates."""
    right, wrong, thresholds = _checked(right), _checked(wrong), np.asarray(thresholds, float)
    return (right[:, None] >= thresholds).mean(axis=0), (wrong[:, None] >= thresholds).mean(axis=0)


def recommended_threshold(right: np.ndarray, wrong: np.ndarray) -> float:
    """The threshold on `GRID` with the largest difference of the rates (Youden's J); of several, the middle one."""
    passed, slipped = rates(right, wrong, GRID)
    best = np.flatnonzero(passed - slipped >= (passed - slipped).max() - 1e-12)
    return float(GRID[best[len(best) // 2]])


def _checked(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, float)
    if scores.ndim != 1 or not scores.size or np.isnan(scores).any():
        raise ValueError(f"expected one or more confidences, none of them NaN, got shape {scores.shape}")
    return scores


def score(model: DanModel, pack: Pack, repeats: int, seed: int) -> list[Scored]:
    """All kinds of crops of all faces of the pack through the model; the random ones `repeats` times."""
    crops, truth = crops_in_frame(pack, model.frame)
    prediction = model.predict(crops)
    scored = [Scored("organisers' box", prediction.confidence, nme(prediction.landmarks, truth, "inter-pupil"))]
    rows = np.tile(np.arange(len(pack)), repeats)
    for number, (kind, augmentation) in enumerate(KINDS.items()):
        batch = make_batch(pack, rows, model.frame, augmentation, np.random.default_rng([seed, number]))
        prediction = model.predict(batch.crops)
        error = nme(prediction.landmarks, batch.landmarks, "inter-pupil")
        scored.append(Scored(kind, prediction.confidence, np.where(batch.has_face, error, np.inf)))
    return scored


def table(scored: list[Scored]) -> str:
    """Markdown: what was scored, the areas, the rates at thresholds, the recommendation."""
    confidence, right = (np.concatenate([getattr(s, key) for s in scored]) for key in ("confidence", "right"))
    good, bad = confidence[right], confidence[~right]
    lines = [
        "| crops | right | wrong | ROC area, right of all kinds against its wrong |",
        "| --- | ---: | ---: | ---: |",
    ]
    for s in scored:
        area = f"{area_under_roc(good, s.confidence[~s.right]):.4f}" if not s.right.all() else "–"
        lines.append(f"| {s.kind} | {s.right.sum()} | {(~s.right).sum()} | {area} |")
    lines += [f"| all | {len(good)} | {len(bad)} | **{area_under_roc(good, bad):.4f}** |", ""]
    best = recommended_threshold(good, bad)
    shown = np.unique([*SHOWN, best])
    lines += ["| threshold | right that pass, % | wrong that pass, % |", "| ---: | ---: | ---: |"]
    for threshold, passed, slipped in zip(shown, *rates(good, bad, shown), strict=True):
        mark = "**" if threshold == best else ""
        lines.append(f"| {mark}{threshold:g}{mark} | {100 * passed:.2f} | {100 * slipped:.2f} |")
    return "\n".join([*lines, "", f"Recommended threshold: {best:g}.", ""])


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--model", help="name or file; by default the shipped one")
    parser.add_argument("--repeats", type=int, default=3, help="random crops of a kind for each face")
    parser.add_argument("--seed", type=int, default=0)
    outcome.add_options(parser)
    args = parser.parse_args()
    pack, model = read_pack(args.pack), load_model(args.model, device="cpu")
    held_out = pack.select(pack.held_out)
    text = f"{model.name}, {len(held_out)} held-out faces, seed {args.seed}.\n\n"
    text += table(score(model, held_out, args.repeats, args.seed))
    outcome.hand_over(text, args)


if __name__ == "__main__":
    main()
