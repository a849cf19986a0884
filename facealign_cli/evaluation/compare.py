"""Two evaluations of the same faces, face by face: what got better, what worse, and whether chance explains it.

A difference is the second evaluation's error less the first's: below 0 the second is better. A face that only one of
them has a prediction for is a win for that one; its infinite error has no place in a mean difference, but has in that
of the area under the curve.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.datasets.protocol import sets_of, title_of
from facealign_cli.errors import InputError
from facealign_cli.evaluation.base import end_alike
from facealign_cli.evaluation.figures import Evaluation, FaceRow
from facealign_cli.formats.pts import split_face_stem
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

    A data set may have been read from its own folder once and from one above then, or in two formats: names mean the
    same picture if the one is the end of the other; of a picture's several faces those with the same annotation pair.
    level, seed: of the bootstrap intervals. Raises InputError if no face with the same annotation is in both,
    ValueError for a threshold that is not above 0.
    """
    shared, only_before, only_after = _shared(before.rows, after.rows)
    pairs = [_pair(one, other, normaliser) for one, other in shared if _same_truth(one, other)]
    other_truth = [other for one, other in shared if not _same_truth(one, other)]
    if not pairs:
        names = f"A's faces are called such as {before.rows[0].name}, B's such as {after.rows[0].name}"
        why = f"{len(shared)} have the same name, but other landmarks" if shared else names
        raise InputError(f"the two evaluations have no face with the same annotation in common: {why}")
    return Comparison(
        normaliser,
        threshold,
        tuple(_sets(pairs, "held-out" in (before.split, after.split), threshold, level, seed)),
        tuple(sorted((pair for pair in pairs if pair.difference > 0), key=lambda pair: -pair.difference)),
        tuple(row.name for row in only_before),
        tuple(row.name for row in only_after),
        tuple(row.name for row in other_truth),
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


def _shared(
    before: Sequence[FaceRow], after: Sequence[FaceRow]
) -> tuple[list[tuple[FaceRow, FaceRow]], list[FaceRow], list[FaceRow]]:
    """The faces that are in both evaluations, and those that are in one only. No face is in two pairs."""
    rows: dict[str, list[FaceRow]] = defaultdict(list)
    for row in after:
        rows[_path(row)[-1]].append(row)
    free = {row.name for row in after}
    found: dict[str, FaceRow] = {}
    for likeness in (_like_in_name_and_truth, _like_in_truth, _like_in_name):
        for row in before:
            like = [other for other in rows[_path(row)[-1]] if other.name in free and likeness(row, other)]
            if row.name not in found and like:
                found[row.name] = max(like, key=lambda other: (other.folder == row.folder, other.name == row.name))
                free.remove(found[row.name].name)
    pairs = [(row, found[row.name]) for row in before if row.name in found]
    return pairs, [row for row in before if row.name not in found], [row for row in after if row.name in free]


def _path(row: FaceRow) -> list[str]:
    """The folders and the name of a face's picture."""
    return split_face_stem(row.name)[0].split("/")


def _like_in_name_and_truth(one: FaceRow, other: FaceRow) -> bool:
    return one.name == other.name and _same_truth(one, other)


def _like_in_truth(one: FaceRow, other: FaceRow) -> bool:
    """Whether two faces are the same one, of a picture whose path is given from another folder."""
    return end_alike(_path(one), _path(other)) and _same_truth(one, other)


def _like_in_name(one: FaceRow, other: FaceRow) -> bool:
    """Whether two faces are called alike, in their picture too, however they are annotated."""
    numbers = (split_face_stem(row.name)[1] for row in (one, other))
    same_number = one.name == other.name or (one.folder == other.folder and len(set(numbers)) == 1)
    return same_number and end_alike(_path(one), _path(other))


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
