"""The report's charts as hand-written SVG, 360 units wide: a phone shows them 1:1, so that 11-unit text stays legible.

Colours are classes of the page's style sheet (`c0` … `c7` for curves), so that they follow its light and dark modes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.evaluation.figures import Evaluation, SubsetSummary
from facealign_cli.landmarks import CONTOURS, MEAN_SHAPE
from facealign_cli.metrics import NORMALISERS, POINT_SETS, REGIONS, ced, point_errors
from facealign_cli.report.base import escape, nice_ticks, percent

MAX_CURVES = 8
_WIDTH, _HEIGHT = 360, 250
_BINS = 32
_BEYOND = 1.5
"""The charts reach to so many times the threshold."""


@dataclass(frozen=True)
class _Axes:
    """A plot's frame: data 0 … x_max, 0 … y_max in a box of the chart."""

    x_max: float
    y_max: float
    left: float = 42
    top: float = 10
    right: float = 348
    bottom: float = 208

    def x(self, value: float) -> float:
        return self.left + (self.right - self.left) * value / self.x_max

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - self.top) * value / self.y_max

    def draw(self, x_ticks: Sequence[float], y_ticks: Sequence[float], x_name: str, y_name: str) -> str:
        """Grid, ticks and names. x values are fractions shown in percent, y values are shown as they are."""
        parts = []
        for v in y_ticks:
            parts.append(f'<path class="grid" d="M{self.left} {self.y(v):.1f}H{self.right}"/>')
            parts.append(f'<text x="{self.left - 5}" y="{self.y(v) + 4:.1f}" text-anchor="end">{v:g}</text>')
        for v in x_ticks:
            parts.append(f'<path class="grid" d="M{self.x(v):.1f} {self.bottom}v4"/>')
            parts.append(f'<text x="{self.x(v):.1f}" y="{self.bottom + 16}" text-anchor="middle">{100 * v:g}</text>')
        middle = (self.left + self.right) / 2
        parts.append(f'<text x="{middle:.1f}" y="{self.bottom + 34}" text-anchor="middle">{escape(x_name)}</text>')
        turn = f'transform="translate(11 {(self.top + self.bottom) / 2:.1f}) rotate(-90)"'
        return "".join(parts) + f'<text {turn} text-anchor="middle">{escape(y_name)}</text>'


def _svg(title: str, body: str, height: float = _HEIGHT) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{escape(title)}">{body}</svg>'


def _threshold_line(axes: _Axes, threshold: float) -> str:
    return f'<path class="mark" d="M{axes.x(threshold):.1f} {axes.top}V{axes.bottom}"/>'


def ced_chart(evaluation: Evaluation) -> str:
    """Cumulative error distributions of the sets, and their legend (HTML); the dashed line is the threshold."""
    axes = _Axes(_BEYOND * evaluation.threshold, 100)
    shown = evaluation.summaries[:MAX_CURVES]
    name = f"NME in % of {evaluation.normaliser}"
    body = axes.draw(nice_ticks(axes.x_max, 6), [0, 20, 40, 60, 80, 100], name, "% of faces")
    body += _threshold_line(axes, evaluation.threshold)
    for i, summary in reversed(list(enumerate(shown))):
        body += f'<path class="curve c{i}" d="{_step_path(axes, _errors(evaluation, summary))}"/>'
    legend = "".join(_legend_entry(i, summary) for i, summary in enumerate(shown))
    rest = len(evaluation.summaries) - len(shown)
    more = f"<li>and {rest} more sets that are not drawn</li>" if rest else ""
    return _svg("Cumulative error distribution", body) + f'<ul class="legend">{legend}{more}</ul>'


def _legend_entry(i: int, summary: SubsetSummary) -> str:
    key = f'<svg viewBox="0 0 24 8" class="key"><path class="curve c{i}" d="M0 4H24"/></svg>'
    return f"<li>{key}{escape(summary.title)}: AUC {percent(summary.auc)} %</li>"


def _errors(evaluation: Evaluation, summary: SubsetSummary) -> Floats:
    return np.array([row.nme(evaluation.normaliser) for row in evaluation.rows_of(summary)])


def _step_path(axes: _Axes, errors: Floats) -> str:
    """A step curve's path; steps within half a unit of the chart are joined, so that its length is bounded."""
    levels, shares = ced(errors, axes.x_max)
    places = np.round(2 * np.array([axes.x(v) for v in levels])) / 2
    last = np.append(places[1:] != places[:-1], True) if len(places) else np.zeros(0, bool)
    steps = "".join(f"H{x:g}V{axes.y(100 * s):.1f}" for x, s in zip(places[last], shares[last], strict=True))
    return f"M{axes.left} {axes.bottom}{steps}H{axes.right}"


def histogram(evaluation: Evaluation) -> str:
    """How many faces have which error; the last bar holds all that lie beyond, the missed ones among them."""
    errors = np.array([row.nme(evaluation.normaliser) for row in evaluation.rows])
    top = _BEYOND * evaluation.threshold
    width = top / _BINS
    counts = np.bincount(np.minimum(np.minimum(errors, 2 * top) / width, _BINS).astype(int), minlength=_BINS + 1)
    axes = _Axes(top + 2 * width, max(1.0, float(counts.max()) * 1.05))
    ticks = [v for v in nice_ticks(top, 6) if v <= top - 1.5 * width or v == 0]
    y_ticks = [v for v in nice_ticks(axes.y_max) if v == int(v)]
    body = axes.draw(ticks, y_ticks, f"NME in % of {evaluation.normaliser}", "faces")
    for i, count in enumerate(counts):
        if count:
            body += _bar(axes, (i + (i == _BINS)) * width, width, int(count), (i + 0.5) * width > evaluation.threshold)
    body += _threshold_line(axes, evaluation.threshold)
    beyond = f'<text x="{axes.right}" y="{axes.bottom + 16}" text-anchor="end">beyond</text>'
    return _svg("Histogram of errors", body + beyond)


def _bar(axes: _Axes, start: float, width: float, count: int, failed: bool) -> str:
    x, y = axes.x(start), axes.y(count)
    size = f'width="{axes.x(width) - axes.left - 1:.1f}" height="{axes.bottom - y:.1f}"'
    kind = "bad" if failed else "good"
    return f'<rect class="{kind}" x="{x + 0.5:.1f}" y="{y:.1f}" {size}><title>{count}</title></rect>'


def mean_face(evaluation: Evaluation) -> str:
    """The mean face; at each point a disc whose radius is the mean error there, at the face's scale; parts named.

    Over all faces with a prediction. Empty text if there is none.
    """
    rows = [row for row in evaluation.rows if row.landmarks is not None]
    if not rows:
        return ""
    scales = np.array([row.scales_px[evaluation.normaliser] for row in rows])
    distances = point_errors(np.array([row.landmarks for row in rows]), np.array([row.truth for row in rows]))
    errors = (distances / scales[:, None]).mean(axis=0)
    zoom, shift = 1.6, np.array([132.0, 112.0])
    points = MEAN_SHAPE * zoom + shift
    radii = errors * zoom * float(NORMALISERS[evaluation.normaliser](MEAN_SHAPE[None])[0])
    discs = "".join(
        f'<circle class="disc" cx="{x:.1f}" cy="{y:.1f}" r="{r:.2f}"><title>{i}: {percent(error)} %</title></circle>'
        for i, ((x, y), r, error) in enumerate(zip(points, radii, errors, strict=True))
    )
    labels = "".join(_region_label(name, errors, points) for name in REGIONS)
    title = f"Mean error per point in % of {evaluation.normaliser}"
    return _svg(title, labels + face_lines(points, "face") + discs)


_LABEL_Y = {"brows": 16.0, "eyes": 46.0, "nose": 110.0, "mouth": 160.0, "jaw": 208.0}


def _region_label(name: str, errors: Floats, points: Floats) -> str:
    indices = list(POINT_SETS[name])
    region, y = points[indices], _LABEL_Y[name]
    right = region[np.argmin(np.abs(region[:, 1] - y) - 2 * region[:, 0])]
    line = f'<path class="grid" d="M{right[0] + 6:.1f} {right[1]:.1f}L270 {y}H276"/>'
    return (
        f'{line}<text x="280" y="{y + 4}">{name} <tspan class="strong">{percent(errors[indices].mean())}</tspan></text>'
    )


def face_lines(points: Floats, kind: str) -> str:
    """The contours of (68, 2) points as one SVG path of a class."""
    parts = []
    for indices, closed in CONTOURS:
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points[list(indices)]) + ("Z" if closed else ""))
    return f'<path class="{kind}" d="{"".join(parts)}"/>'
