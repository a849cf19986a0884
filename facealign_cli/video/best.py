"""The best shots of each person in a clip: sharp, frontal, sure, large, with open eyes, and nothing cut off.

The score of a face in a frame is the product of six numbers from 0 to 1:

    sharp       its sharpness (`facealign_cli.quality`) over the largest of the same person's
    frontal     cos(yaw) cos(pitch) of the head pose, 0 where there is none
    confidence  how likely the landmarks are right
    large       pixels of the picture on a pixel of the crop's side, at most 1: less where the crop has to enlarge
    open_eyes   the eye opening (`facealign_cli.measures`) over the 75th percentile of the same person's, at most 1;
                1 where it cannot be measured
    whole       1 - cut_off, the share of the face that lies within the picture

Shots of one person are at least `APART_S` apart.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, fields

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.crops import CropOptions, crop_transform
from facealign_cli.measures import MeasuredFace, measure_results
from facealign_cli.records import Face, FrameResult

APART_S = 1.0
"""Seconds between two shots of one person."""

_OPEN, _SHARPEST = 75, 100


@dataclass(frozen=True)
class Shot:
    """One of the best. rank: 1 is the best of its person. score, and what it is the product of: 0 to 1.

    sharpness, eye_opening, yaw_deg, pitch_deg: as they were measured; None where they cannot be.
    """

    track_id: int
    rank: int
    frame: int
    timestamp_s: float
    score: float
    sharp: float
    frontal: float
    confidence: float
    large: float
    open_eyes: float
    whole: float
    sharpness: float | None
    eye_opening: float | None
    yaw_deg: float | None
    pitch_deg: float | None

    def values(self) -> list[float | int | None]:
        """The cells of a table, rounded."""
        return [round(value, 4) if isinstance(value, float) else value for value in astuple(self)]


SHOT_COLUMNS: tuple[str, ...] = tuple(one.name for one in fields(Shot))

_KEPT = ("frame", "time", "sharpness", "yaw", "pitch", "confidence", "large", "eyes", "cut_off")


@dataclass
class BestShots:
    """Takes the records of one clip, whose faces have their quality, as they come. 72 bytes for each face are kept."""

    options: CropOptions
    _seen: dict[int, array[float]] = field(default_factory=dict)

    def add(self, record: FrameResult) -> None:
        """Take the next frame's."""
        for face, measured in zip(record.faces, measure_results([record]), strict=True):
            if face.track_id is not None and record.frame is not None and record.timestamp_s is not None:
                kept = self._kept(record.frame, record.timestamp_s, face, measured)
                self._seen.setdefault(face.track_id, array("d")).extend(kept)

    def _kept(self, frame: int, time_s: float, face: Face, measured: MeasuredFace) -> Iterable[float]:
        pose, quality, eyes = measured.pose, face.quality, measured.measures.eye_opening
        pitch, yaw, _ = (math.nan,) * 3 if pose is None else pose.rotation_rad
        sharpness = math.nan if quality is None or quality.sharpness is None else quality.sharpness
        large = min(1.0, 1 / max(crop_transform(face, self.options).scale, 1e-9))
        cut_off = 0.0 if quality is None else quality.cut_off
        eyes = math.nan if eyes is None else eyes
        return frame, time_s, sharpness, yaw, pitch, face.confidence, large, eyes, cut_off

    def best(self, count: int) -> list[Shot]:
        """The best `count` shots of each person, or as many as there are, by person and rank."""
        return [shot for track_id in sorted(self._seen) for shot in self._best_of(track_id, count)]

    def _best_of(self, track_id: int, count: int) -> list[Shot]:
        columns = dict(zip(_KEPT, np.array(self._seen[track_id]).reshape(-1, len(_KEPT)).T, strict=True))
        frontal = np.maximum(0.0, np.cos(columns["yaw"]) * np.cos(columns["pitch"]))
        factors = {
            "sharp": _over_percentile(columns["sharpness"], _SHARPEST, unknown=0.0),
            "frontal": np.nan_to_num(frontal, nan=0.0),
            "confidence": columns["confidence"],
            "large": columns["large"],
            "open_eyes": _over_percentile(columns["eyes"], _OPEN, unknown=1.0),
            "whole": 1 - columns["cut_off"],
        }
        scores = np.prod(list(factors.values()), axis=0)
        shots: list[Shot] = []
        for i in np.argsort(-scores, kind="stable").tolist():
            time_s = float(columns["time"][i])
            if len(shots) == count:
                break
            if all(abs(time_s - shot.timestamp_s) >= APART_S for shot in shots):
                own = [float(values[i]) for values in factors.values()]
                angles = (math.degrees(columns["yaw"][i]), math.degrees(columns["pitch"][i]))
                measured = map(_known, (columns["sharpness"][i], columns["eyes"][i], *angles))
                place = (track_id, len(shots) + 1, int(columns["frame"][i]), time_s)
                shots.append(Shot(*place, float(scores[i]), *own, *measured))
        return shots


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _over_percentile(values: Floats, percentile: float, unknown: float) -> Floats:
    """Values over a percentile of those that are known, at most 1."""
    known = values[~np.isnan(values)]
    level = float(np.percentile(known, percentile)) if len(known) else 0.0
    if not level > 0:
        return np.full(len(values), unknown)
    return np.where(np.isnan(values), unknown, np.minimum(1.0, values / level))
