"""A record as a notebook shows it: the picture with its faces drawn, and a table of them."""

from __future__ import annotations

import base64
from html import escape

import numpy as np

from facealign_cli.arrays import Image
from facealign_cli.errors import InputError
from facealign_cli.files.pictures import encode_image, read_image
from facealign_cli.overlay import draw_overlay
from facealign_cli.records import FrameResult

SHOWN_SIDE = 800
"""Pixels: a larger picture is shown smaller."""

_COLUMNS = ("face", "track", "box x1, y1, x2, y2", "score", "confidence")


def html_of(result: FrameResult) -> str:
    """HTML of a record. A source that is no picture of the record's size, such as a clip, is told instead of drawn."""
    where = "" if result.frame is None else f", frame {result.frame} at {result.timestamp_s or 0:.3f} s"
    head = f"<p><b>{escape(result.source)}</b>{where}: {escape(result.error or result.status.replace('_', ' '))}</p>"
    return f"<div>{head}{_picture(result)}{_table(result) if result.faces else ''}</div>"


def _picture(result: FrameResult) -> str:
    if result.frame is not None or result.status == "error" or result.source == "-":
        return ""
    try:
        image = read_image(result.source)
    except InputError as error:
        return f"<p>{escape(str(error))}</p>"
    if image.shape[:2] != (result.height, result.width):
        return "<p>The picture is not the one that was aligned: it has another size.</p>"
    data = base64.b64encode(encode_image(_small(draw_overlay(image, result.faces)), ".jpg")).decode("ascii")
    text = f"{escape(result.source, quote=True)} with {len(result.faces)} faces drawn"
    return f'<img src="data:image/jpeg;base64,{data}" alt="{text}" style="max-width: 100%">'


def _small(image: Image) -> Image:
    import cv2

    scale = SHOWN_SIDE / max(image.shape[:2])
    if scale >= 1:
        return image
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False)


def _table(result: FrameResult) -> str:
    rows = []
    for face in result.faces:
        box = ", ".join(f"{value:.1f}" for value in face.bbox.xyxy)
        score = "" if face.detector_score is None else f"{face.detector_score:.3f}"
        track = "" if face.track_id is None else str(face.track_id)
        rows.append((str(face.face_id), track, box, score, f"{face.confidence:.3f}"))
    heads = "".join(f"<th>{column}</th>" for column in _COLUMNS)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
