"""Two evaluations of the same faces, face by face: what got better, what worse, and whether chance explains it.

A difference is the second evaluation's error less the first's: below 0 the second is better. A face that only one of
them has a prediction for is a win for that one; its infinite error has no place in a mean difference, but has in that
of the area under the curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.datasets.protocol import sets_of, title_of
from facealign_cli.errors import InputError
from facealign_cli.evaluation.figures import Evaluation, FaceRow
from facealign_cli.metrics import Interval, auc, paired_bootstrap

SAME_TRUTH_PX = 0.01
"""Annotations of one face that lie further apart than this are not the same."""
SAME_ERROR_PX = 0.001
"""Errors that differ by no more are the same: files keep landmarks with three decimals."""


@dataclass(frozen=True)
class Pair:
    """A face in both evaluations. before, after: its 68-point NME; inf without a prediction."""

    name: str
    folder: str
    before: float
    after: float

    @property
    def difference(self) -> float:
        """after - before; 0 where neither has a prediction."""
        return 0.0 if self.before == self.after else self.after - self.before


@dataclass(frozen=True)
class SetComparison:
    """One set's pairs. title: as `SubsetSummary.short_title`, since there may be fewer pairs than faces.

    mean_before, mean_after, nme: over the `both` faces that both have a prediction for; nme: mean difference and its
    interval, None if there are none. auc: the same of the area under the curve, over all pairs; above 0 is better.
    wins, losses, ties: faces whose error is smaller, larger, the same after.
    """

    title: str
    pairs: int
    both: int
    mean_before: float
    mean_after: float
    nme: Interval | None
    auc_before: float
    auc_after: float
    auc: Interval
    wins: int
    losses: int
    ties: int


@dataclass(frozen=True)
class Comparison:
    """All of one comparison.

    regressions: the faces that got worse, the worst first. only_before,
    only_after: names of faces that are in one of the evaluations only. other_truth: names of those whose annotations
    differ, so that they cannot be compared.
    """

    normaliser: str
    threshold: float
    sets: tuple[SetComparison, ...]
    regressions: tuple[Pair, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    other_truth: tuple[str, ...]


def compare(
    before: Evaluation, after: Evaluation, *, normaliser: str, threshold: float, level: float = 0.95, seed: int = 0
) -> Comparison:
    """Pair the faces by name and compare their 68-point errors.

    level, seed: of the bootstrap intervals. Raises InputError if no face with the same annotation is in both,
    ValueError for a threshold that is not above 0.
    """
    first, second = ({_key(row): row for row in evaluation.rows} for evaluation in (before, after))
    shared = [key for key in first if key in second]
    other_truth = [key for key in shared if not _same_truth(first[key], second[key])]
    pairs = [_pair(first[key], second[key], normaliser) for key in shared if key not in set(other_truth)]
    if not pairs:
        raise InputError("the two evaluations have no face with the same annotation in common")
    return Comparison(
        normaliser,
        threshold,
        tuple(_sets(pairs, "held-out" in (before.split, after.split), threshold, level, seed)),
        tuple(sorted((pair for pair in pairs if pair.difference > 0), key=lambda pair: -pair.difference)),
        tuple(first[key].name for key in first if key not in second),
        tuple(second[key].name for key in second if key not in first),
        tuple(second[key].name for key in other_truth),
    )


def _sets(pairs: list[Pair], held_out: bool, threshold: float, level: float, seed: int) -> Iterator[SetComparison]:
    bootstrap = partial(paired_bootstrap, level=level, seed=seed)
    for name, folders in sets_of({pair.folder for pair in pairs}).items():
        own = [pair for pair in pairs if pair.folder in folders]
        title = title_of(name, folders, len(own), held_out=held_out, count=False)
        yield _compare_set(title, own, bootstrap, threshold)


def _pair(first: FaceRow, second: FaceRow, normaliser: str) -> Pair:
    before, after = first.nme(normaliser), second.nme(normaliser)
    if abs(after - before) * second.scales_px[normaliser] <= SAME_ERROR_PX:  # False where one of them is infinite
        after = before
    return Pair(second.name, second.folder, before, after)


def _key(row: FaceRow) -> tuple[str, str]:
    """The same for a face whether its data set was read from its own folder or from one above."""
    return row.folder, row.name.rpartition("/")[2]


def _same_truth(one: FaceRow, other: FaceRow) -> bool:
    return bool(np.abs(one.truth - other.truth).max() <= SAME_TRUTH_PX)


def _compare_set(
    title: str, pairs: Sequence[Pair], bootstrap: Callable[[Floats], Interval], threshold: float
) -> SetComparison:
    before, after = np.array([pair.before for pair in pairs]), np.array([pair.after for pair in pairs])
    both = np.isfinite(before) & np.isfinite(after)
    gain = (np.minimum(before, threshold) - np.minimum(after, threshold)) / threshold
    difference = after[both] - before[both]
    return SetComparison(
        title=title,
        pairs=len(pairs),
        both=int(both.sum()),
        mean_before=float(before[both].mean()) if both.any() else math.nan,
        mean_after=float(after[both].mean()) if both.any() else math.nan,
        nme=bootstrap(difference) if both.any() else None,
        auc_before=auc(before, threshold),
        auc_after=auc(after, threshold),
        auc=bootstrap(gain),
        wins=int((after < before).sum()),
        losses=int((after > before).sum()),
        ties=int((after == before).sum()),
    )
