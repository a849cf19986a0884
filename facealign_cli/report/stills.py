"""A few frames of a clip with their landmarks drawn, for the page about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from facealign_cli.arrays import Image, pixels
from facealign_cli.boxes import BBox
from facealign_cli.errors import InputError
from facealign_cli.overlay import draw_overlay
from facealign_cli.records import Face, FrameResult
from facealign_cli.report.series import ClipSeries
from facealign_cli.video import VideoFrame, open_source

STILLS = 6
_WIDTH_PX = 560


@dataclass(frozen=True, eq=False)
class Still:
    """A frame with its faces drawn, (H, W, 3) uint8, and its record."""

    image_bgr: Image
    record: FrameResult


def read_stills(clip: str, series: ClipSeries, count: int = STILLS) -> Iterator[Still]:
    """Frames evenly over those that have a face. A frame that the clip does not have at its time is left out.

    Raises InputError if the clip cannot be read, has another size than the rows say, or none of the frames;
    MissingDependency.
    """
    open_source(clip).close()
    rows = [row for row, record in enumerate(series.records) if record.faces]
    chosen = sorted({rows[int((i + 0.5) * len(rows) / count)] for i in range(count)}) if rows else []
    step = float(np.median(np.diff(series.times))) if len(series.times) > 1 else 0.04
    images = [(row, frame_at(clip, series.times[row], step / 2)) for row in chosen]
    if images and all(image is None for _, image in images):
        raise InputError(f"{clip}: it has no frame at the times of the rows: name the clip that was tracked")
    for row, image in images:
        if image is None:
            continue
        record = series.records[row]
        height, width = image.shape[:2]
        if record.width and (record.width, record.height) != (width, height):
            raise InputError(
                f"{clip}: its frames have {width} x {height} pixels, but the rows are of a clip of "
                f"{record.width} x {record.height}: name the clip that was tracked"
            )
        yield Still(_drawn(image, record), record)


def frame_at(clip: str, time_s: float, tolerance_s: float) -> Image | None:
    """The frame at a time, (H, W, 3) uint8, of a clip that can be read; None if there is none, or if it is damaged."""
    try:
        source = open_source(clip, start_s=max(0.0, time_s - tolerance_s), end_s=time_s + tolerance_s)
    except InputError:  # nothing between these times
        return None
    try:
        frames = [frame for frame in source if isinstance(frame, VideoFrame) and frame.image_bgr is not None]
    finally:
        source.close()
    return min(frames, key=lambda frame: abs(frame.timestamp_s - time_s)).image_bgr if frames else None


def _drawn(image_bgr: Image, record: FrameResult) -> Image:
    import cv2

    scale = min(1.0, _WIDTH_PX / image_bgr.shape[1])
    small = pixels(cv2.resize(image_bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    return draw_overlay(small, [_scaled(face, scale) for face in record.faces], axes=False)


def _scaled(face: Face, scale: float) -> Face:
    """The face in a picture reduced by a factor; pixel centres lie at integers in both."""
    points = (face.landmarks + 0.5) * scale - 0.5
    return replace(face, landmarks=points, bbox=BBox(*(scale * value for value in face.bbox.xyxy)))
