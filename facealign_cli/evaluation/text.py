"""The tables of an evaluation as plain text, up to 80 columns wide; every number's normaliser stands above it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from facealign_cli.datasets.protocol import TRAINING_FOLDERS
from facealign_cli.evaluation.compare import Comparison, SetComparison
from facealign_cli.evaluation.figures import STATUSES, Evaluation, SubsetSummary
from facealign_cli.metrics import Interval

_NAMES_SHOWN = 3


@dataclass(frozen=True)
class TextTable:
    """A title and cells of text; the first column is a name, the others are numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def describe(about: Mapping[str, str]) -> str:
    """What was measured, from where the init came, on which data."""
    model = f" ({about['model_sha256'][:8]})" if "model_sha256" in about else ""
    init = ", ".join(part for part in (about.get("init"), about.get("detector")) if part)
    least = f", confidence of {about['min_confidence']} and more" if "min_confidence" in about else ""
    scheme = f", {about['scheme']}" if "scheme" in about else ""
    return f"{about.get('title', '')}{model}{init and f', init: {init}'}{least}{scheme}, on {about.get('root', '')}"


def evaluation_tables(evaluation: Evaluation) -> list[TextTable]:
    """The figures of every set: means under each normaliser; the spread; points, regions and stages."""
    of = f"% of the {evaluation.normaliser} distance"
    summaries = evaluation.summaries
    spread = f"68 points: {of}; AUC and failures in % at {evaluation.threshold:g}"
    # all points, and the last stage, stand in the first table already
    points = [name for name in evaluation.points if name != "68"]
    points = points[:-1] if points[-1].startswith("stage") else points
    return [
        TextTable(
            "68 points: mean error of the faces with a prediction, % of the distance",
            ("set", "faces", "missed", "inter-\npupil", "inter-\nocular", "bbox-\ndiagonal"),
            tuple((s.short_title, s.count, str(s.missed), *map(_percent, s.nme["68"].values())) for s in summaries),
        ),
        TextTable(
            spread,
            ("set", "median", "P90", "P95", "P99", "AUC", "failures"),
            tuple((s.short_title, *_spread(s, evaluation.normaliser)) for s in summaries),
        ),
        TextTable(
            f"mean error by points: {of}",
            ("set", *points),
            tuple((s.short_title, *(_percent(s.nme[p][evaluation.normaliser]) for p in points)) for s in summaries),
        ),
    ]


def _spread(summary: SubsetSummary, normaliser: str) -> Iterator[str]:
    d = summary.distributions[normaliser]
    return map(_percent, (d.median, d.p90, d.p95, d.p99, summary.auc, summary.failure_rate))


def evaluation_notes(evaluation: Evaluation) -> list[str]:
    """One line for each kind of trouble: how many faces have no prediction and why, what else was odd, first names."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for row in evaluation.rows:
        if row.status != "ok":
            groups.setdefault(STATUSES[row.status], []).append((row.name, row.detail))
    for item in evaluation.irregularities:
        groups.setdefault(item.kind, []).append((item.name, item.detail))
    notes = [_note(kind, items) for kind, items in groups.items()]
    if evaluation.split == "all" and {row.folder for row in evaluation.rows} <= set(TRAINING_FOLDERS):
        notes.append("These are training folders: --split held-out takes only the faces that are not trained on.")
    return notes


def comparison_tables(comparison: Comparison, worst: int) -> list[TextTable]:
    """The sets' differences in mean error and in the area under the curve, wins and losses, the `worst` regressions."""
    sets, of = comparison.sets, f"{comparison.normaliser} distance"
    regressions = comparison.regressions[:worst]
    numbers = ("faces", "A", "B", "B - A", "95 % interval")
    tables = [
        TextTable(
            f"68 points: mean error of the faces in both, % of the {of}",
            ("set", *numbers),
            tuple(_difference(s, s.both, s.mean_before, s.mean_after, s.nme) for s in sets),
        ),
        TextTable(
            f"68 points: AUC of all faces, %, at {comparison.threshold:g} of the {of}",
            ("set", *numbers),
            tuple(_difference(s, s.pairs, s.auc_before, s.auc_after, s.auc) for s in sets),
        ),
        TextTable(
            "Faces with a smaller (win), larger (loss), or the same error in B",
            ("set", "faces", "wins", "losses", "ties"),
            tuple((s.title, *map(str, (s.pairs, s.wins, s.losses, s.ties))) for s in sets),
        ),
        TextTable(
            f"The {len(regressions)} worst of {len(comparison.regressions)} regressions, error in % of the {of}",
            ("face", "A", "B", "B - A"),
            tuple((r.name, _percent(r.before), _percent(r.after), _signed(r.difference)) for r in regressions),
        ),
    ]
    return tables if regressions else tables[:-1]


def comparison_notes(comparison: Comparison) -> list[str]:
    """One line for each reason why faces could not be compared."""
    groups = {
        "only in A": comparison.only_before,
        "only in B": comparison.only_after,
        "annotated otherwise in A than in B, not compared": comparison.other_truth,
    }
    return [_note(kind, [(name, "") for name in names]) for kind, names in groups.items() if names]


def _note(kind: str, items: Sequence[tuple[str, str]]) -> str:
    """How many, the first names, and the reason, once if it is the same for all."""
    details = {detail for _, detail in items}
    names = [name if len(details) == 1 else f"{name} ({detail})" for name, detail in items[:_NAMES_SHOWN]]
    why = f" ({details.pop()})" if len(details) == 1 and details != {""} else ""
    return f"{kind}: {len(items)}{why}: {', '.join(names)}{', …' if len(items) > _NAMES_SHOWN else ''}"


def _difference(s: SetComparison, n: int, before: float, after: float, interval: Interval | None) -> tuple[str, ...]:
    values = ("-", "-")
    if interval is not None:
        values = (_signed(interval.mean), f"{_signed(interval.low)} … {_signed(interval.high)}")
    return (s.title, str(n), _percent(before), _percent(after), *values)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def _signed(value: float) -> str:
    return f"{100 * value:+z.2f}"
