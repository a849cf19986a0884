"""A clip as one HTML file that stands alone: who is seen when, and what each face does, with values to read off.

Its only script reads values off the charts under the pointer; its hash is in the page's policy, so no other runs. The
values of every frame are in the page up to `MOST_VALUES` faces; beyond that, those of the charts' columns, from the
least to the greatest, so that a page stays within a few megabytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facealign_cli.arrays import Floats, Ints
from facealign_cli.files.output import check_output, write_bytes
from facealign_cli.records import DOUBTFUL, FrameResult
from facealign_cli.report.base import Column, escape, jpeg_data, page, plural, section, table
from facealign_cli.report.series import DECIMALS, VALUES, ClipSeries, Person, read_series
from facealign_cli.report.stills import Still, read_stills
from facealign_cli.report.style import CLIP_STYLE, STYLE
from facealign_cli.report.timeline import COLUMNS, TimeAxis, clock, presence_chart, value_chart

MOST_CURVES = 8
"""Persons of whom there are curves: those seen longest."""

MOST_BARS = 40
"""Persons who have a bar and a row of the table."""

MOST_VALUES = 60_000
"""Faces up to which the page holds the values of every frame."""

_SCRIPT = Path(__file__).with_name("clip.js")


@dataclass(frozen=True)
class ClipPage:
    """What a page shows besides the rows. clip: frames of it are drawn. The others: as in `series.read_series`.

    title: None: the clip's name.
    """

    clip: str | None = None
    title: str | None = None
    focal_px: float | None = None
    size: tuple[int, int] | None = None
    rate: float | None = None
    start_s: float | None = None
    end_s: float | None = None


def write_clip_page(
    path: str | os.PathLike[str],
    results: Iterable[FrameResult],
    options: ClipPage | None = None,
    overwrite: bool = False,
) -> ClipSeries:
    """Write the page about a clip's records; returns what it shows.

    Raises InputError for records that are not those of one clip, and for a clip that cannot be read or is another one;
    OutputError; MissingDependency (`options.clip` needs PyAV).
    """
    check_output(path, overwrite)
    options = options or ClipPage()
    size, rate = _facts(options)
    series = read_series(
        results, focal_px=options.focal_px, size=size, rate=rate, start_s=options.start_s, end_s=options.end_s
    )
    stills = [] if options.clip is None else list(read_stills(options.clip, series))
    write_bytes(path, render_clip_page(series, stills, options.title).encode("utf-8"), overwrite)
    return series


def _facts(options: ClipPage) -> tuple[tuple[int, int] | None, float | None]:
    """Size and frame rate, of the clip where nobody has said them."""
    if options.clip is None or (options.size and options.rate):
        return options.size, options.rate
    from facealign_cli.video import open_source

    source = open_source(options.clip)
    source.close()
    rate = None if source.info.rate is None else float(source.info.rate)
    return options.size or (source.info.width, source.info.height), options.rate or rate


def render_clip_page(series: ClipSeries, stills: Sequence[Still] = (), title: str | None = None) -> str:
    """The page's HTML."""
    persons, axis = series.persons[:MOST_CURVES], TimeAxis.of(series)
    sections = [
        _about(series),
        section("Who is seen when", _bars_note(series), _presence(axis, series, persons)),
        section("Head pose", _POSE_NOTE, _charts(axis, series, persons, (0, 1, 2))),
        section("Eyes and mouth", _eyes_note(series), _charts(axis, series, persons, (3, 4))),
        section("Confidence", _CONFIDENCE_NOTE, _charts(axis, series, persons, (5,))),
        section("Frames", "", _gallery(axis, stills)),
        section("Persons", _persons_note(series), _table(series)),
        _readout(persons),
        f'<script type="application/json" id="data">{_embedded(_data(axis, series, persons))}</script>',
    ]
    name = title or Path(series.source).name or "A clip"
    return page(name, sections, STYLE + CLIP_STYLE, _SCRIPT.read_text(encoding="utf-8"))


_POSE_NOTE = (
    "Degrees; zero is straight ahead. Positive yaw: the nose turns to the left in the picture. Positive pitch: the "
    "face looks down. Positive roll: the top of the head leans to the right in the picture."
)
_CONFIDENCE_NOTE = (
    f"How likely the landmarks are right, 0 to 1. Faces below {DOUBTFUL:g}, the dashed line, count as doubtful."
)
_CHARTS = (
    "Yaw, degrees",
    "Pitch, degrees",
    "Roll, degrees",
    "Eye opening, mean of both eyes (EAR)",
    "Mouth opening, in outer-eye distances",
    "Confidence",
)


def _about(series: ClipSeries) -> str:
    summary, first = series.summary, series.records[0]
    seen = f"a face in {100 * (summary.with_face or 0):.0f} % of them"
    lost = f", lost {summary.lost} and regained {summary.regained} times" if summary.lost else ""
    damaged = f", {summary.damaged:,} of them damaged" if summary.damaged else ""
    text = (
        f"{summary.frames:,} frames{damaged}, {seen}; {summary.faces:,} faces of {plural(summary.ids, 'id')}{lost}; "
        f"{summary.doubtful:,} doubtful; {series.blink_count}."
    )
    items = {
        "Clip": series.source,
        "Length": clock(summary.duration_s or 0, 1) if series.timed else "the rows have no times: frames are counted",
        "Size": f"{first.width} x {first.height}" if first.width else "not known",
        "Model": first.model,
        "Detector": first.detector,
    }
    entries = "".join(f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in items.items() if v)
    return f"<p>{escape(text)}</p><p>{escape(_reading_note(series))}</p><dl>{entries}</dl>"


def _is_whole(series: ClipSeries) -> bool:
    """Whether the page holds the values of every frame."""
    faces = sum(len(person.rows) for person in series.persons[:MOST_CURVES])
    return max(faces, len(series.times)) <= MOST_VALUES


def _reading_note(series: ClipSeries) -> str:
    if _is_whole(series):
        return "Move over a chart, or tap it, to read the values of a frame; the arrow keys go on from frame to frame."
    axis = TimeAxis.of(series)
    width = (axis.end - axis.start) / COLUMNS
    unit = f"{width:.1f} s" if series.timed else f"{width:.0f} frames"
    return (
        f"The clip is long, so the charts have {COLUMNS} columns of {unit} each. A column shows its least and its "
        "greatest value, and so does what you read off when you move over a chart or tap it. For every frame's values "
        "make a page of a part, with --start and --end."
    )


def _presence(axis: TimeAxis, series: ClipSeries, persons: Sequence[Person]) -> str:
    nobody = "" if persons else "<p>No face is seen in this clip.</p>"
    return nobody + _legend(persons) + presence_chart(axis, series, MOST_BARS)


def _bars_note(series: ClipSeries) -> str:
    more = len(series.persons) - MOST_CURVES
    if more <= 0:
        return ""
    unseen = len(series.persons) - MOST_BARS
    beyond = f" {unseen} more are seen for less time and have no bar." if unseen > 0 else ""
    return f"The {MOST_CURVES} ids that are seen longest have curves below.{beyond}"


def _persons_note(series: ClipSeries) -> str:
    more = len(series.persons) - MOST_BARS
    return f"Those seen longest first; {more} more are not listed." if more > 0 else ""


def _eyes_note(series: ClipSeries) -> str:
    if not any(np.isfinite(person.values[:, 3:5]).any() for person in series.persons):
        return ""
    why = series.blink_count.why
    blinks = "Ticks at the top mark blinks." if why is None else f"Blinks cannot be told, since {why}."
    return f"{blinks} The turn of the head is taken out; where it is turned too far the lines are empty."


def _legend(persons: Sequence[Person]) -> str:
    """One button a person, which hides it and shows it again."""
    keys = "".join(
        f'<li><button type="button" aria-pressed="true" data-person="{i}"><svg viewBox="0 0 24 8" class="key">'
        f'<path class="curve c{i}" d="M0 4H24"/></svg>id {person.number}</button></li>'
        for i, person in enumerate(persons)
    )
    return f'<ul class="legend persons">{keys}</ul>' if len(persons) > 1 else ""


def _charts(axis: TimeAxis, series: ClipSeries, persons: Sequence[Person], which: Iterable[int]) -> str:
    charts = []
    for i in which:
        chart = value_chart(axis, series, persons, i, _CHARTS[i], mark=DOUBTFUL if i == 5 else None)
        if chart:
            charts.append(f"<figure><figcaption>{escape(_CHARTS[i])}</figcaption>{chart}</figure>")
    if not charts and persons and not series.records[0].width:
        return "<p>The rows do not say how large the pictures are, which this needs: give --size WxH, or --clip.</p>"
    return "".join(charts)


def _gallery(axis: TimeAxis, stills: Sequence[Still]) -> str:
    figures = []
    for still in stills:
        height, width = still.image_bgr.shape[:2]
        ids = ", ".join(f"id {face.track_id}" for face in still.record.faces)
        time = "" if still.record.timestamp_s is None else f"{clock(still.record.timestamp_s, 3)} · "
        caption = f"{time}frame {still.record.frame} · {ids}"
        image = f'<img src="{jpeg_data(still.image_bgr)}" width="{width}" height="{height}" alt="{escape(caption)}">'
        figures.append(f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>")
    return f'<div class="stills">{"".join(figures)}</div>' if figures else ""


def _table(series: ClipSeries) -> str:
    spread = ("yaw_deg", "pitch_deg", "pose_roll_deg")
    columns = [Column("id"), Column("first to last"), Column("frames"), Column("lost"), Column("confidence", "mean")]
    columns += [Column("blinks"), Column("blinks a minute")]
    columns += [Column(name, "degrees, P5 to P95") for name in VALUES[:3]]
    columns += [Column("eye left", "mean"), Column("eye right", "mean"), Column("mouth", "mean")]
    rows = []
    for person in series.persons[:MOST_BARS]:
        facts, times = person.statistics, series.times[person.rows]
        axis = TimeAxis(0, 1, series.timed)
        lost = len(person.lost) + int(person.rows[-1] < len(series.times) - 1)
        cells = [f"id {person.number}", f"{axis.text(times[0], 1)} to {axis.text(times[-1], 1)}", f"{len(times):,}"]
        cells += [str(lost), _text(facts["mean_confidence"], 2), _text(facts["blinks"], 0)]
        cells += [_text(facts["blinks_per_minute"], 1)]
        cells += [_between(facts[f"{name}_p05"], facts[f"{name}_p95"]) for name in spread]
        cells += [_text(facts[f"{name}_mean"], 2) for name in ("eye_opening_left", "eye_opening_right")]
        rows.append([*cells, _text(facts["mouth_opening_mean"], 2)])
    return table(columns, rows) if rows else ""


def _text(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"


def _between(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:.0f} to {high:.0f}"


def _readout(persons: Sequence[Person]) -> str:
    """Where the script writes what is under the pointer."""
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("id", *VALUES[:5], "conf."))
    rows = "".join(
        f'<tr class="p{i}"><th scope="row"><svg viewBox="0 0 24 8" class="key"><path class="curve c{i}" d="M0 4H24"/>'
        f"</svg>{person.number}</th>{'<td></td>' * len(VALUES)}</tr>"
        for i, person in enumerate(persons)
    )
    return (
        f'<div id="readout" hidden><p id="moment"></p><table class="values"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _data(axis: TimeAxis, series: ClipSeries, persons: Sequence[Person]) -> dict[str, Any]:
    """What the script reads: columns, and of each person the columns in which it is seen, with their values.

    Times are milliseconds (frames where there are no times), values whole numbers of the last decimal that is shown;
    rising numbers are given by their steps.
    """
    whole = _is_whole(series)
    places = np.arange(len(series.times)) if whole else np.floor(axis.x(series.times) * COLUMNS / 1000).astype(int)
    begins = np.flatnonzero(np.diff(places, prepend=-1))
    ends, column_of = np.append(begins[1:], len(places)) - 1, np.cumsum(np.diff(places, prepend=-1) > 0) - 1
    ticks = np.round(series.times * (1000 if series.timed else 1)).astype(int)
    found: dict[str, Any] = {
        "timed": series.timed,
        "span": [axis.start, axis.end],
        "decimals": DECIMALS,
        "time": _steps(ticks[begins]),
        "frame": _steps(series.frames[begins]),
    }
    if not whole:
        found |= {"timeEnd": _steps(ticks[ends]), "frameEnd": _steps(series.frames[ends])}
    found["persons"] = [_person_data(person, column_of, whole, series.timed) for person in persons]
    return found


def _person_data(person: Person, column_of: Ints, whole: bool, timed: bool) -> dict[str, Any]:
    columns = column_of[person.rows]
    begins = np.flatnonzero(np.diff(columns, prepend=-1))
    scaled = person.values * 10.0 ** np.array(DECIMALS)
    low, high = (
        extreme.reduceat(np.where(np.isnan(scaled), filler, scaled), begins, axis=0)
        for extreme, filler in ((np.minimum, np.inf), (np.maximum, -np.inf))
    )
    own: dict[str, Any] = {"columns": _steps(columns[begins]), "low": _whole_numbers(low)}
    if not whole:
        own["high"] = _whole_numbers(high)
    own["blinks"] = [[round(1000 * blink.start_s), round(1000 * blink.end_s)] for blink in person.blinks]
    return own


def _steps(rising: Ints) -> list[int]:
    return [int(step) for step in np.diff(rising, prepend=0)]


def _whole_numbers(values: Floats) -> list[list[int | None]]:
    """(N, 6) → six lists; None where there is no number."""
    return [[round(v) if np.isfinite(v) else None for v in column] for column in values.T.tolist()]


def _embedded(data: dict[str, Any]) -> str:
    """JSON that cannot end the element that it stands in."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
