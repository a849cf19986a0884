"""The report's tables: the figures of each set, the published ones beside them, the parts of the face."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from facealign_cli.evaluation.figures import STATUSES, Evaluation, SubsetSummary
from facealign_cli.metrics import NORMALISERS, auc, failure_rate
from facealign_cli.report.base import Column, percent, plural, table

_SETS = ("common", "challenging", "full")
_PUBLISHED_AUC = ("inter-ocular", 0.08)


@dataclass(frozen=True)
class Published:
    """Figures of others on the 300-W test sets, percent: (common, challenging, full) under each normaliser.

    auc, failures: full set, inter-ocular, at 0.08. None: not stated. source: who published them.
    """

    name: str
    source: str
    inter_pupil: tuple[float, float, float] | None = None
    inter_ocular: tuple[float, float, float] | None = None
    auc: float | None = None
    failures: float | None = None


_DAN = "Kowalski et al., CVPRW 2017, arXiv 1706.01789"
PUBLISHED: tuple[Published, ...] = (
    Published("DAN, two stages", _DAN, (4.42, 7.57, 5.03), (3.19, 5.24, 3.59), 55.3, 1.16),
    Published("DAN, first stage alone", _DAN, (4.94, 8.96, 5.73)),
    Published("DAN in Caffe, two stages", "a reproduction, as facealign's design quotes it", (4.30, 7.95, 5.02)),
    Published("DAN in Caffe, first stage", "a reproduction, as facealign's design quotes it", (5.29, 9.37, 6.09)),
    Published(
        "best of today, about", "collected from papers for facealign's design", (3.56, 6.46, 4.13), (2.5, 4.3, 2.85)
    ),
)
"""Source of all: facealign's DESIGN.md, "The 300-W protocol, exactly"."""


def figures_table(evaluation: Evaluation) -> str:
    """One row a set: faces, mean NME under each normaliser, percentiles, AUC and failure rate."""
    normaliser, at = evaluation.normaliser, f"@{evaluation.threshold:g}"
    columns = [Column("set"), Column("faces"), Column("no prediction")]
    columns += [Column("mean NME %", name) for name in NORMALISERS]
    columns += [Column(f"{name} %", normaliser) for name in ("median", "P90", "P95", "P99")]
    columns += [Column(f"AUC{at} %", normaliser), Column(f"failures{at} %", normaliser)]
    return table(columns, [_figures(summary, normaliser) for summary in evaluation.summaries])


def _figures(summary: SubsetSummary, normaliser: str) -> list[str]:
    spread = summary.distributions[normaliser]
    means = [summary.distributions[name].mean for name in NORMALISERS]
    values = [*means, spread.median, spread.p90, spread.p95, spread.p99, summary.auc, summary.failure_rate]
    return [summary.title, str(summary.n), str(summary.missed), *(percent(value) for value in values)]


def published_table(evaluation: Evaluation) -> str:
    """This evaluation's complete test sets, then the published figures; a note where no set can be compared."""
    complete = {s.name: s for s in evaluation.summaries if s.complete and s.name in _SETS}
    columns = [Column("")]
    columns += [Column(f"{name} NME %", normaliser) for normaliser in ("inter-pupil", "inter-ocular") for name in _SETS]
    columns += [Column("AUC@0.08 %", "full, inter-ocular"), Column("failures@0.08 %", "full, inter-ocular")]
    rows = [[*_published(entry), entry.source] for entry in PUBLISHED]
    if complete:
        rows.insert(0, [*_ours(evaluation, complete), "mean over the faces with a prediction"])
    text = table([*columns, Column("source")], rows, emphasised=len(complete) > 0, text_last=True)
    return text if complete else f"<p>{_NOT_COMPARABLE}</p>{text}"


_NOT_COMPARABLE = (
    "None of the three test sets is complete here, so no figure above can be set against these; "
    "they only show where the field stands."
)


def _ours(evaluation: Evaluation, complete: dict[str, SubsetSummary]) -> list[str]:
    cells = [evaluation.about.get("model") or evaluation.about.get("title") or "this evaluation"]
    for normaliser in ("inter-pupil", "inter-ocular"):
        cells += [percent(complete[s].distributions[normaliser].mean) if s in complete else "–" for s in _SETS]
    if "full" not in complete:
        return [*cells, "–", "–"]
    normaliser, threshold = _PUBLISHED_AUC
    errors = np.array([row.nme(normaliser) for row in evaluation.rows_of(complete["full"])])
    return [*cells, percent(auc(errors, threshold)), percent(failure_rate(errors, threshold))]


def _published(entry: Published) -> list[str]:
    values = [*(entry.inter_pupil or [None] * 3), *(entry.inter_ocular or [None] * 3)]
    return [
        entry.name,
        *("–" if v is None else f"{v:.2f}" for v in values),
        "–" if entry.auc is None else f"{entry.auc:.1f}",
        "–" if entry.failures is None else f"{entry.failures:.2f}",
    ]


def points_table(evaluation: Evaluation) -> str:
    """One row a set: mean NME of each part of the face and after each stage; empty text without sets."""
    shown = dict.fromkeys(points for summary in evaluation.summaries for points in summary.nme)
    if not shown:
        return ""
    normaliser, names = evaluation.normaliser, {"68": "68 points", "51": "51 points"}
    columns = [Column("set"), *(Column(f"{names.get(p, p)} %", normaliser) for p in shown)]
    # a set of missed faces only has no stages
    rows = [
        [s.title, *(percent(s.nme[points][normaliser] if points in s.nme else math.nan) for points in shown)]
        for s in evaluation.summaries
    ]
    return table(columns, rows)


def status_sentence(evaluation: Evaluation) -> str:
    """How many faces there are and what became of those without a prediction; plain text."""
    counts = {status: sum(row.status == status for row in evaluation.rows) for status in STATUSES}
    missed = [f"{count} {STATUSES[status]}" for status, count in counts.items() if count and status != "ok"]
    sentence = f"{plural(len(evaluation.rows), 'face')}, {counts['ok']} with a prediction"
    return sentence + (f"; of the others: {', '.join(missed)}." if missed else ".")
