"""Samples and predictions become report data; no model runs here.

How faces without a usable prediction count, for whatever reason (`status` is not "ok"): they are failures. Area under
the curve, failure rate, median and percentiles take their error as infinite. A mean of infinity says nothing, so the
mean is over the faces that have a prediction, and the number of those that have none always stands beside it.
Errors are kept in pixels, with each face's three normalisers, so that every NME can be had and checked from one record.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.datasets.base import Sample
from facealign_cli.datasets.protocol import TEST_FOLDERS, expected_size, folder_of, sets_of, title_of
from facealign_cli.evaluation.base import Irregularity, Prediction, Status
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.metrics import NORMALISERS, POINT_SETS, auc, failure_rate, percentile, point_errors, scale_of

DEFAULT_NORMALISER = "inter-ocular"
DEFAULT_THRESHOLD = 0.08

STATUSES: dict[str, str] = {
    "ok": "evaluated",
    "missed": "no face found",
    "no_prediction": "no prediction",
    "wrong_points": "wrong number of points",
    "nan": "points that are not finite",
    "no_box": "no face box",
    "error": "picture failed",
}
"""Status of a face → what it means. All but "ok" count as failures."""
FAILURES = {"left out", "extra prediction", "ambiguous prediction"}
"""Kinds of irregularity that mean that an input could not be used."""


@dataclass(frozen=True, eq=False)
class FaceRow:
    """One annotated face and its prediction.

    name: the path relative to the root. folder: the protocol's name of its folder ("lfpw/testset"), or the folder's own
    name; "" if there are no folders. truth: (68, 2) pixels. scales_px: the pixels of each normaliser. errors_px: the
    mean distance to the truth in pixels, for each point set ("68", "51", "jaw", "brows", "nose", "eyes", "mouth") and
    each stage ("stage1", …); empty unless the status is "ok". landmarks: (68, 2) pixels; None unless the status is
    "ok". detail: a sentence on why there are none. confidence: the model's, 0 to 1, if it gave one. image_path: an
    absolute path; None if no picture is known.
    """

    name: str
    folder: str
    status: Status
    truth: Floats
    scales_px: Mapping[str, float]
    errors_px: Mapping[str, float] = field(default_factory=dict)
    landmarks: Floats | None = None
    confidence: float | None = None
    image_path: str | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"{self.name}: expected status {', '.join(STATUSES)}, got {self.status!r}")
        if (self.status == "ok") != (self.landmarks is not None) or (self.status == "ok") != bool(self.errors_px):
            raise ValueError(f"{self.name}: status {self.status!r} does not go with its landmarks or errors")
        if not all(0 < self.scales_px.get(name, 0) < math.inf for name in NORMALISERS):
            raise ValueError(f"{self.name}: expected scales_px above 0, got {self.scales_px}")
        if self.errors_px and not self.errors_px.keys() >= POINT_SETS.keys():
            raise ValueError(f"{self.name}: expected errors_px of {', '.join(POINT_SETS)}, got {list(self.errors_px)}")
        if not all(0 <= error < math.inf for error in self.errors_px.values()):
            raise ValueError(f"{self.name}: expected finite errors_px of 0 or more, got {dict(self.errors_px)}")

    def nme(self, normaliser: str = DEFAULT_NORMALISER, points: str = "68") -> float:
        """The face's error as a fraction of the normaliser; infinite if there is no prediction.

        points: a key of `errors_px`.
        """
        if self.status != "ok":
            return math.inf
        return self.errors_px[points] / self.scales_px[normaliser]


@dataclass(frozen=True)
class Distribution:
    """How the 68-point NME of a set's faces is distributed, in fractions of one normaliser.

    mean: over the faces that have a prediction; NaN if none has. median, p90, p95, p99: over all faces, where one
    without a prediction counts as infinite.
    """

    mean: float
    median: float
    p90: float
    p95: float
    p99: float


@dataclass(frozen=True)
class SubsetSummary:
    """The figures of one set of faces.

    name: "full", "common", "challenging", "private", a folder, or "all". title: the text to print, which is the name,
    with what is missing if it is not the whole set of the protocol. folders: the folders that the set is made of.
    expected: how many faces the protocol has; None if it names no number. complete: whether `n` is that number, or no
    number is named. statuses: the number of faces of each status. distributions: one for each normaliser. nme: the mean
    over the faces with a prediction, by point set or stage and then by normaliser. auc, failure_rate: of 68 points, at
    the evaluation's threshold and normaliser.
    """

    name: str
    title: str
    folders: tuple[str, ...]
    n: int
    expected: int | None
    complete: bool
    statuses: Mapping[str, int]
    distributions: Mapping[str, Distribution]
    nme: Mapping[str, Mapping[str, float]]
    auc: float
    failure_rate: float

    @property
    def short_title(self) -> str:
        """The title to print if `count` is printed beside it."""
        return self.title if self.complete else self.title.partition(":")[0].rstrip(")") + ")"

    @property
    def count(self) -> str:
        """The number of faces; if it is not the protocol's, also of how many."""
        return str(self.n) if self.complete else f"{self.n} of {self.expected}"

    @property
    def found(self) -> int:
        """How many faces have a prediction."""
        return self.statuses.get("ok", 0)

    @property
    def missed(self) -> int:
        """How many faces have none, for whatever reason."""
        return self.n - self.found


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The whole of one evaluation.

    about: texts for people on what was evaluated ("title", "root", "init", "detector", "model", "provider", "split").
    normaliser, threshold: those of every AUC and failure rate. rows: one for each annotated face. summaries: the
    figures of each set, in the order in which they are shown; never empty. irregularities: inputs that were left out or
    could not be used. split: "all", or "held-out" if of folders that are no test sets only the held-out faces are here.
    """

    about: Mapping[str, str]
    normaliser: str
    threshold: float
    rows: tuple[FaceRow, ...]
    summaries: tuple[SubsetSummary, ...]
    irregularities: tuple[Irregularity, ...] = ()
    split: str = "all"

    def rows_of(self, summary: SubsetSummary) -> list[FaceRow]:
        """The rows of the faces that a summary is made of."""
        return [row for row in self.rows if row.folder in summary.folders]

    @property
    def predicted(self) -> dict[str, Floats]:
        """The (68, 2) landmarks, in pixels, of each face that has a prediction, by the face's name."""
        return {row.name: row.landmarks for row in self.rows if row.landmarks is not None}

    @property
    def failed(self) -> bool:
        """Whether an input could not be used: a status but "ok" and "missed", or an irregularity that hides one."""
        statuses = {row.status for row in self.rows}
        return bool(statuses - {"ok", "missed"} or {item.kind for item in self.irregularities} & FAILURES)

    @property
    def points(self) -> tuple[str, ...]:
        """The point sets and stages whose errors the rows have."""
        return tuple(self.summaries[0].nme)  # every summary has the same


def evaluate(
    samples: Sequence[Sample],
    predictions: Mapping[str, Prediction],
    *,
    about: Mapping[str, str],
    normaliser: str = DEFAULT_NORMALISER,
    threshold: float = DEFAULT_THRESHOLD,
    irregularities: Iterable[Irregularity] = (),
    split: str = "all",
) -> Evaluation:
    """Measure predictions against annotated faces.

    predictions: name of the sample → its prediction; a sample without one has status "no_prediction".
    Raises ValueError if there are no samples, for an unknown normaliser or a threshold that is not above 0, or where
    the points of an annotation have no extent.
    """
    rows = _rows(samples, predictions)
    summaries = summarise(rows, normaliser, threshold, split)
    return Evaluation(dict(about), normaliser, threshold, rows, summaries, tuple(irregularities), split)


def _rows(samples: Sequence[Sample], predictions: Mapping[str, Prediction]) -> tuple[FaceRow, ...]:
    truths = np.array([sample.landmarks for sample in samples]).reshape(-1, N_LANDMARKS, 2)
    scales = {name: scale_of(truths, name) for name in NORMALISERS}
    missing = Prediction("no_prediction", detail="no prediction of that name")
    return tuple(
        _row(sample, predictions.get(sample.name, missing), {name: float(scale[i]) for name, scale in scales.items()})
        for i, sample in enumerate(samples)
    )


def _row(sample: Sample, prediction: Prediction, scales: dict[str, float]) -> FaceRow:
    return FaceRow(
        name=sample.name,
        folder=folder_of(sample.name, sample.image_path),
        status=prediction.status,
        truth=sample.landmarks,
        scales_px=scales,
        errors_px=_errors(prediction.stages, sample.landmarks),
        landmarks=prediction.stages[-1] if prediction.stages else None,
        confidence=prediction.confidence,
        image_path=str(sample.image_path),
        detail=prediction.detail,
    )


def _errors(stages: tuple[Floats, ...], truth: Floats) -> dict[str, float]:
    """Mean pixel error of each point set after the last stage, and of all points after each, if there are several."""
    if not stages:
        return {}
    distances = point_errors(np.array(stages), np.array([truth] * len(stages)))
    errors = {name: float(distances[-1, list(indices)].mean()) for name, indices in POINT_SETS.items()}
    if len(stages) > 1:
        errors |= {f"stage{i}": float(stage.mean()) for i, stage in enumerate(distances, start=1)}
    return errors


def summarise(
    rows: Sequence[FaceRow], normaliser: str, threshold: float, split: str = "all"
) -> tuple[SubsetSummary, ...]:
    """The figures of each set that there are faces of; arguments and errors as `evaluate`."""
    if not rows:
        raise ValueError("there are no faces to evaluate")
    if normaliser not in NORMALISERS:
        raise ValueError(f"unknown normaliser {normaliser!r}; known: {', '.join(NORMALISERS)}")
    sets = sets_of({row.folder for row in rows})
    stages = sorted({key for row in rows for key in row.errors_px} - set(POINT_SETS))
    return tuple(
        _summary(
            name,
            folders,
            [row for row in rows if row.folder in folders],
            points=(*POINT_SETS, *stages),
            normaliser=normaliser,
            threshold=threshold,
            held_out=split == "held-out",
        )
        for name, folders in sets.items()
    )


def _summary(
    name: str,
    folders: tuple[str, ...],
    rows: list[FaceRow],
    *,
    points: tuple[str, ...],
    normaliser: str,
    threshold: float,
    held_out: bool,
) -> SubsetSummary:
    in_part = held_out and not TEST_FOLDERS.issuperset(folders)
    expected = None if in_part or name == "all" else expected_size(folders)
    errors = np.array([row.nme(normaliser) for row in rows])
    return SubsetSummary(
        name=name,
        title=title_of(name, folders, len(rows), held_out=held_out),
        folders=folders,
        n=len(rows),
        expected=expected,
        complete=expected in (None, len(rows)),
        statuses=dict(Counter(row.status for row in rows)),
        distributions={key: _distribution(rows, key) for key in NORMALISERS},
        nme=_means(rows, points),
        auc=auc(errors, threshold),
        failure_rate=failure_rate(errors, threshold),
    )


def _distribution(rows: list[FaceRow], normaliser: str) -> Distribution:
    errors = np.array([row.nme(normaliser) for row in rows])
    median, *high = (percentile(errors, percent) for percent in (50, 90, 95, 99))
    return Distribution(_mean(errors), median, *high)


def _means(rows: list[FaceRow], points: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Point set or stage → normaliser → mean over the faces with a prediction."""
    return {
        name: {key: _mean(np.array([row.nme(key, name) for row in rows])) for key in NORMALISERS} for name in points
    }


def _mean(errors: Floats) -> float:
    found = errors[np.isfinite(errors)]
    return float(found.mean()) if len(found) else math.nan
