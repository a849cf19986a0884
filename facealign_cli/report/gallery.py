"""The report's gallery: faces cut out of their pictures as JPEG data, truth and prediction drawn over them as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.errors import InputError
from facealign_cli.evaluation.base import Irregularity
from facealign_cli.evaluation.figures import STATUSES, Evaluation, FaceRow
from facealign_cli.landmarks import CONTOURS
from facealign_cli.report.base import escape, jpeg_data, percent

WORST = 24
"""Faces with the largest errors that are shown."""
WITHOUT = 12
"""Faces without a prediction that are shown; up to `LISTED` more are named."""
LISTED = 100
_SIDE = 256


def worst_rows(evaluation: Evaluation) -> list[FaceRow]:
    """The faces of the largest errors among those with a prediction, worst first."""
    rows = [row for row in evaluation.rows if row.status == "ok"]
    return sorted(rows, key=lambda row: -row.nme(evaluation.normaliser))[:WORST]


def worst_gallery(evaluation: Evaluation) -> str:
    """The worst faces as figures; empty text if no face has a prediction."""
    figures = []
    for row in worst_rows(evaluation):
        error = f"<strong>{percent(row.nme(evaluation.normaliser))} %</strong>"
        confidence = "" if row.confidence is None else f" · confidence {row.confidence:.2f}"
        figures.append(_figure(row, error + confidence))
    return f'<div class="gallery">{"".join(figures)}</div>' if figures else ""


def without_prediction(evaluation: Evaluation) -> str:
    """The faces without a prediction: some as figures, more by name; empty text if there is none."""
    rows = [row for row in evaluation.rows if row.status != "ok"]
    if not rows:
        return ""
    figures = "".join(_figure(row, escape(_reason(row))) for row in rows[:WITHOUT])
    entries = [f"{_link(row)}: {escape(_reason(row))}" for row in rows[WITHOUT:]]
    return f'<div class="gallery">{figures}</div>{_list(entries)}'


def irregularity_list(items: Sequence[Irregularity]) -> str:
    """What did not go as it should; empty text if all did."""
    return _list([f"{escape(i.kind)}: {escape(i.name)}{escape(' – ' + i.detail if i.detail else '')}" for i in items])


def _list(entries: list[str]) -> str:
    if not entries:
        return ""
    more = f"<li>and {len(entries) - LISTED} more</li>" if len(entries) > LISTED else ""
    return f'<ul class="names">{"".join(f"<li>{entry}</li>" for entry in entries[:LISTED])}{more}</ul>'


def _reason(row: FaceRow) -> str:
    return f"{STATUSES[row.status]} ({row.detail})" if row.detail else STATUSES[row.status]


def _link(row: FaceRow) -> str:
    """The face's name, linked to its picture where that is known."""
    if not row.image_path or not Path(row.image_path).is_absolute():
        return f"<span>{escape(row.name)}</span>"
    return f'<a href="{escape(Path(row.image_path).as_uri())}">{escape(row.name)}</a>'


def _figure(row: FaceRow, caption: str) -> str:
    left, top, side = crop_square(row)
    zoom = _SIDE / side
    shapes = _shape((row.truth - (left, top) + 0.5) * zoom, "truth")
    if row.landmarks is not None:
        shapes += _shape((row.landmarks - (left, top) + 0.5) * zoom, "guess")
    data = picture_data(row.image_path, left, top, side)
    picture = f'<image href="{data}" width="{_SIDE}" height="{_SIDE}"/>' if data else _NO_PICTURE
    svg = f'<svg viewBox="0 0 {_SIDE} {_SIDE}" role="img" aria-label="{escape(row.name)}">{picture}{shapes}</svg>'
    return f"<figure>{svg}<figcaption>{_link(row)}<br>{caption}</figcaption></figure>"


_NO_PICTURE = (
    f'<rect class="blank" width="{_SIDE}" height="{_SIDE}"/>'
    f'<text x="{_SIDE // 2}" y="16" text-anchor="middle">no picture</text>'
)


def _shape(points: Floats, kind: str) -> str:
    """Contours and dots of (68, 2) points."""
    lines = "".join(
        "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points[list(indices)]) + ("Z" if closed else "")
        for indices, closed in CONTOURS
    )
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points)
    return f'<path class="line {kind}" d="{lines}"/><path class="dot {kind}" d="{dots}"/>'


def crop_square(row: FaceRow) -> tuple[int, int, int]:
    """Left, top and side, pixels, of a square around the truth and as much of the prediction as lies near it."""
    low, high = row.truth.min(axis=0), row.truth.max(axis=0)
    size = float((high - low).max())
    if row.landmarks is not None:
        near = np.clip(row.landmarks, low - size, high + size)
        low, high = np.minimum(low, near.min(axis=0)), np.maximum(high, near.max(axis=0))
    side = max(8, math.ceil(1.25 * float((high - low).max())))
    left, top = np.floor((low + high) / 2 - side / 2).astype(int)
    return int(left), int(top), side


def picture_data(path: str | None, left: int, top: int, side: int) -> str | None:
    """A square of a picture as a JPEG data URI, grey beyond its edges; None where the picture cannot be read."""
    import cv2

    from facealign_cli.files.pictures import read_image

    try:
        image = read_image(path) if path else None
    except InputError:
        image = None
    if image is None:
        return None
    square = np.full((side, side, 3), 128, np.uint8)
    height, width = image.shape[:2]
    x1, y1, x2, y2 = max(0, left), max(0, top), min(width, left + side), min(height, top + side)
    if x2 > x1 and y2 > y1:
        square[y1 - top : y2 - top, x1 - left : x2 - left] = image[y1:y2, x1:x2]
    small = cv2.resize(square, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA if side > _SIDE else cv2.INTER_LINEAR)
    return jpeg_data(small)
