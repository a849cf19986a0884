"""Charts over the time of a clip as SVG that is stretched to the page's width; what is written beside them is HTML.

A chart has `COLUMNS` columns. Where a column holds more than a few frames, the line goes through its first, least,
greatest and last value: a blink of three frames can be seen in an hour. Where a face is out of sight for longer than a
column, the line ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facealign_cli.arrays import Floats, Ints
from facealign_cli.report.base import escape, nice_ticks
from facealign_cli.report.series import ClipSeries, Person

COLUMNS = 800
_WIDTH = 1000.0
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 36000, 86400)


@dataclass(frozen=True)
class TimeAxis:
    """From 0 to `_WIDTH` units. start, end: seconds, or frames where `timed` is False."""

    start: float
    end: float
    timed: bool

    @classmethod
    def of(cls, series: ClipSeries) -> TimeAxis:
        """The axis over all records of a clip, the last one's duration included."""
        times = series.times
        step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
        return cls(float(times[0]), float(times[-1]) + max(step, 1e-3), series.timed)

    def x(self, times: Floats | float) -> Floats:
        """Units."""
        return np.asarray((np.asarray(times) - self.start) / (self.end - self.start) * _WIDTH)

    def ticks(self, most: int = 5) -> list[tuple[float, str]]:
        """(percent, text) of each."""
        span = self.end - self.start
        steps = _STEPS_S if self.timed else (*(10.0**n * f for n in range(12) for f in (1, 2, 5)),)
        step = next((step for step in steps if span / step <= most), span)
        first = np.ceil(self.start / step - 1e-9)
        values = [(first + i) * step for i in range(most + 1) if (first + i) * step < self.end]
        return [(float(self.x(v)) / _WIDTH * 100, self.text(v, 1 if step < 1 else 0)) for v in values]

    def text(self, value: float, decimals: int = 3) -> str:
        """A time as 1:02:03.250, or a frame's number."""
        return clock(value, decimals) if self.timed else f"{value:.0f}"


def clock(seconds: float, decimals: int = 0) -> str:
    """Seconds as M:SS or H:MM:SS, with decimals."""
    units = round(seconds * 10**decimals)
    whole, rest = divmod(units, 10**decimals)
    minutes, second = divmod(whole, 60)
    text = f"{minutes // 60}:{minutes % 60:02d}" if minutes >= 60 else f"{minutes}"
    return f"{text}:{second:02d}" + (f".{rest:0{decimals}d}" if decimals else "")


def line_path(x: Floats, y: Floats, rows: Ints) -> str:
    """The path of a line through (x, y), in units; it ends where `rows` leap, and where y is NaN."""
    known = ~np.isnan(y)
    x, y, rows = x[known], y[known], rows[known]
    if not len(x):
        return ""
    columns = np.floor(x * (COLUMNS / _WIDTH)).astype(int)
    begins = np.flatnonzero(np.diff(columns, prepend=-1))
    pieces: list[list[int]] = []
    for begin, end in zip(begins.tolist(), [*begins[1:].tolist(), len(x)], strict=True):
        shown: Sequence[int] = range(begin, end)
        if end - begin > 4:
            low, high = begin + int(np.argmin(y[begin:end])), begin + int(np.argmax(y[begin:end]))
            shown = sorted({begin, low, high, end - 1})
        if begin == 0 or rows[begin] - rows[begin - 1] > 1:
            pieces.append([])
        pieces[-1] += shown
    return "".join(
        "M" + "L".join(f"{x[i]:.1f} {y[i]:.1f}" for i in piece) + "h0" * (len(piece) == 1) for piece in pieces
    )


def value_chart(
    axis: TimeAxis, series: ClipSeries, persons: Sequence[Person], which: int, name: str, *, mark: float | None = None
) -> str:
    """One value of the persons over time. mark: where a dashed line goes. Blinks are ticks at the top of eyes."""
    values = np.concatenate([person.values[:, which] for person in persons] or [np.zeros(0)])
    if not np.isfinite(values).any():
        return ""
    bottom, top, ticks = _range(which, values)
    height = 100 / (top - bottom)
    body = "".join(f'<path class="grid" d="M0 {(top - tick) * height:.1f}H{_WIDTH:g}"/>' for tick in ticks)
    if mark is not None:
        body += f'<path class="mark" d="M0 {(top - mark) * height:.1f}H{_WIDTH:g}"/>'
    for place, person in reversed(list(enumerate(persons))):
        y = (top - person.values[:, which]) * height
        path = line_path(axis.x(series.times[person.rows]), y, person.rows)
        body += f'<path class="curve c{place} p{place}" d="{path}"/>'
        if which == 3 and person.blinks:
            peaks = axis.x(np.array([blink.peak_s for blink in person.blinks]))
            ticks_of = "".join(f"M{x:.1f} 0v9" for x in peaks)
            body += f'<path class="curve blinks c{place} p{place}" d="{ticks_of}"/>'
    labels = [((top - tick) * height, f"{tick:g}") for tick in ticks]
    return plot(axis, body, labels, 120, name)


def _range(which: int, values: Floats) -> tuple[float, float, list[float]]:
    """Bottom, top and ticks of an axis: angles lie around 0, openings and confidence above it."""
    if which < 3:
        top = max(30.0, float(np.nanmax(np.abs(values))) * 1.05)
        ticks = nice_ticks(top, 2)
        return -top, top, [-tick for tick in ticks[:0:-1]] + ticks
    top = 1.05 if which == 5 else max(0.4, float(np.nanmax(values)) * 1.15)
    return min(0.0, float(np.nanmin(values))), top, nice_ticks(top, 4)


def presence_chart(axis: TimeAxis, series: ClipSeries, most: int) -> str:
    """A bar for each person while it is seen, and a red one for damaged frames."""
    shown = series.persons[:most]
    bars = [(f"id {person.number}", person.rows, f"c{i} p{i}" if i < 8 else "c7") for i, person in enumerate(shown)]
    if len(series.damaged):
        bars.append(("damaged", series.damaged, "broken"))
    if not bars:
        return ""
    step, body, labels = 100 / len(bars), "", []
    for place, (name, rows, kind) in enumerate(bars):
        path = bar_path(axis, series, rows, step * (place + 0.15), step * 0.7)
        body += f'<path class="bar {kind}" d="{path}"/>'
        labels.append((step * (place + 0.5), name))
    return plot(axis, body, labels, 18 * len(bars) + 4, "Who is seen when")


def bar_path(axis: TimeAxis, series: ClipSeries, rows: Ints, y: float, height: float) -> str:
    """Bars over the time of these records, each until the next record; gaps narrower than a column are closed."""
    ends_at = np.append(series.times[1:], axis.end)
    x1, x2 = axis.x(series.times[rows]), axis.x(ends_at[rows])
    breaks = np.flatnonzero((np.diff(rows) > 1) & (x1[1:] - x2[:-1] >= _WIDTH / COLUMNS)) + 1
    begins, ends = np.append(0, breaks), np.append(breaks, len(rows)) - 1
    runs = zip(x1[begins], np.maximum(x2[ends], x1[begins] + 1), strict=True)
    return "".join(f"M{a:.1f} {y:.1f}h{b - a:.1f}v{height:.1f}h-{b - a:.1f}z" for a, b in runs)


def plot(axis: TimeAxis, body: str, y_labels: Sequence[tuple[float, str]], height: int, name: str) -> str:
    """SVG 1000 units wide and 100 high, stretched, with its labels; y_labels: (percent from the top, text)."""
    ticks = axis.ticks()
    grid = "".join(f'<path class="grid" d="M{10 * at:.1f} 0V100"/>' for at, _ in ticks)
    svg = (
        f'<svg viewBox="0 0 {_WIDTH:g} 100" preserveAspectRatio="none" role="img" aria-label="{escape(name)}">'
        f"{grid}{body}</svg>"
    )
    beside = "".join(f'<span class="y" style="top:{at:.1f}%">{escape(text)}</span>' for at, text in y_labels)
    below = "".join(f'<span class="x" style="left:{at:.2f}%">{escape(text)}</span>' for at, text in ticks)
    return f'<div class="plot" style="height:{height}px">{svg}{beside}{below}<i class="cursor"></i></div>'
