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
from typing import Any, Literal

import numpy as np

SCHEMA = "facealign-evaluation/1"
DEFAULT_NORMALISER = "inter-ocular"
DEFAULT_THRESHOLD = 0.08

Status = Literal["ok", "missed", "no_prediction", "wrong_points", "nan", "no_box", "error"]
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


@dataclass(frozen=True, eq=False)
class FaceRow:
    """One annotated face and its prediction.

    name: path relative to the root. folder: the protocol's name of its folder ("lfpw/testset"), or the folder's own,
    "" for a flat one. image_path: absolute, None where no picture is known. scales_px: normaliser → pixels.
    errors_px: point set ("68", "51", "jaw", "brows", "nose", "eyes", "mouth") or stage ("stage1", …) → mean distance
    to the truth, pixels; empty unless status is "ok". truth: (68, 2) pixels. landmarks: (68, 2), None unless "ok".
    detail: why there is none, for people. confidence: the model's, 0 to 1, if it gave one.
    """

    name: str
    folder: str
    status: Status
    truth: np.ndarray
    scales_px: Mapping[str, float]
    errors_px: Mapping[str, float] = field(default_factory=dict)
    landmarks: np.ndarray | None = None
    confidence: float | None = None
    image_path: str | None = None
    detail: str = ""

    def nme(self, normaliser: str = DEFAULT_NORMALISER, points: str = "68") -> float:
        """The face's error as a fraction of the normaliser; infinite where there is no prediction.

        points: a key of `errors_px`.
        """
        if self.status != "ok":
            return math.inf
        return self.errors_px[points] / self.scales_px[normaliser]


@dataclass(frozen=True)
class Distribution:
    """Of the 68-point NME of a set's faces, as fractions of one normaliser.

    mean: over the faces that have a prediction, NaN if none has. median and percentiles: over all faces, those without
    a prediction as infinity.
    """

    mean: float
    median: float
    p90: float
    p95: float
    p99: float


@dataclass(frozen=True)
class SubsetSummary:
    """The figures of one set.

    name: "full", "common", "challenging", "private", a folder, or "all". title: the name, or where it is not the whole
    set of the protocol, the name with what there is of it: the only text to print. folders: what it is made of.
    expected: faces by the protocol, None if it names no number. complete: all of them are there, and no more.
    statuses: status → faces. distributions: normaliser → figures. nme: point set or stage → normaliser → mean NME over
    the faces with a prediction. auc, failure_rate: of 68 points at the evaluation's threshold and normaliser.
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
    def found(self) -> int:
        """Faces with a prediction."""
        return self.statuses.get("ok", 0)

    @property
    def missed(self) -> int:
        """Faces without one, for whatever reason."""
        return self.n - self.found


@dataclass(frozen=True)
class Irregularity:
    """Something that did not go as it should, beside the rows' own status.

    kind: "left out", "extra prediction", "several faces", "ambiguous prediction", … name: the file's or face's.
    """

    kind: str
    name: str
    detail: str = ""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All of one evaluation.

    about: what was evaluated on what, for people ("title", "root", "init", "detector", "model", "provider", "split").
    normaliser, threshold: of every AUC and failure rate. summaries: in the order in which they are shown; never empty.
    """

    about: Mapping[str, str]
    normaliser: str
    threshold: float
    rows: tuple[FaceRow, ...]
    summaries: tuple[SubsetSummary, ...]
    irregularities: tuple[Irregularity, ...] = ()

    def rows_of(self, summary: SubsetSummary) -> list[FaceRow]:
        """The faces behind a summary."""
        return [row for row in self.rows if row.folder in summary.folders]

    @property
    def points(self) -> tuple[str, ...]:
        """The point sets and stages that the rows have errors of."""
        return tuple(self.summaries[0].nme)
