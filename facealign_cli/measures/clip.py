"""A clip in one row: how much of it there is, who is seen in it, and how."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from facealign_cli.measures.base import CHUNK, MeasuredFace, measure_chunk
from facealign_cli.measures.blinks import Blink, BlinkCount, count_blinks, find_blinks
from facealign_cli.records import FrameResult


@dataclass(frozen=True)
class ClipSummary:
    """One clip. Shares are 0 to 1; angles are degrees of the head pose; what is not known is None.

    frames: read. damaged: of them, without a picture. duration_s: from the first frame to the last. faces: over all
    frames. doubtful: of these, those whose landmarks may be wrong. with_face: share of the frames that have one. ids:
    persons, as the tracker tells them apart. lost: how often a person went out of sight before the clip's end.
    regained: how often one came back with the same id. blinks: None where they cannot be told. Of a clip that failed
    nothing is known, and its cells are empty.
    """

    source: str
    status: str
    error: str | None = None
    frames: int = 0
    damaged: int = 0
    duration_s: float | None = None
    faces: int = 0
    doubtful: int = 0
    with_face: float | None = None
    ids: int = 0
    lost: int = 0
    regained: int = 0
    mean_confidence: float | None = None
    blinks: int | None = None
    pitch_min: float | None = None
    pitch_max: float | None = None
    yaw_min: float | None = None
    yaw_max: float | None = None
    roll_min: float | None = None
    roll_max: float | None = None

    def values(self) -> dict[str, Any]:
        """The cells of a table, rounded; None where nothing is known."""
        known = {name: round(v, 4) if isinstance(v, float) else v for name, v in asdict(self).items()}
        return {name: v if self.error is None or isinstance(v, str) else None for name, v in known.items()}


CLIP_COLUMNS: tuple[str, ...] = tuple(one.name for one in fields(ClipSummary))
"""The names of a summary's columns."""


@dataclass
class ClipSummariser:
    """Takes the records of one clip as they come. measured: also measure the faces, for pose and blinks."""

    source: str
    focal_px: float | None = None
    measured: bool = False

    def __post_init__(self) -> None:
        self._measures: list[MeasuredFace] = []
        self._waiting: list[FrameResult] = []  # to be measured
        self._frames = self._damaged = self._faces = self._doubtful = self._with_face = 0
        self._confidence = 0.0
        self._times: list[float] = []
        self._seen: dict[int, list[int]] = {}  # id → frames of its first and last sight, and how often it came back

    def add(self, record: FrameResult) -> None:
        """Take the next frame's."""
        self._damaged += record.status == "error"
        self._with_face += bool(record.faces)
        if record.timestamp_s is not None:
            self._times = [*self._times[:1], record.timestamp_s]
        for face in record.faces:
            self._faces += 1
            self._doubtful += face.doubtful
            self._confidence += face.confidence
            if face.track_id is not None:
                seen = self._seen.setdefault(face.track_id, [self._frames, self._frames, 0])
                seen[2] += self._frames > seen[1] + 1
                seen[1] = self._frames
        if self.measured:
            self._waiting.append(record)
            if len(self._waiting) == CHUNK:
                self._measure()
        self._frames += 1

    def _measure(self) -> None:
        self._measures += measure_chunk(self._waiting, focal_px=self.focal_px)
        self._waiting = []

    @property
    def measures(self) -> list[MeasuredFace]:
        """Those of the faces so far; none unless `measured`."""
        self._measure()
        return self._measures

    def blinks(self) -> list[Blink]:
        """Those of the frames so far."""
        return find_blinks(self.measures)

    def blink_count(self) -> BlinkCount:
        """How many they are."""
        return count_blinks(self.measures, self.blinks())

    def summary(self) -> ClipSummary:
        """What the frames so far come to."""
        poses = [face.pose.rotation_rad for face in self.measures if face.pose is not None]
        ranges: dict[str, Any] = {}
        for i, name in enumerate(("pitch", "yaw", "roll")):
            angles = [math.degrees(pose[i]) for pose in poses]
            ranges |= {f"{name}_min": min(angles, default=None), f"{name}_max": max(angles, default=None)}
        regained = sum(seen[2] for seen in self._seen.values())
        return ClipSummary(
            self.source,
            "ok" if self._faces else "no_face",
            frames=self._frames,
            damaged=self._damaged,
            duration_s=self._times[-1] - self._times[0] if self._times else None,
            faces=self._faces,
            doubtful=self._doubtful,
            with_face=self._with_face / self._frames if self._frames else None,
            ids=len(self._seen),
            lost=regained + sum(seen[1] < self._frames - 1 for seen in self._seen.values()),
            regained=regained,
            mean_confidence=self._confidence / self._faces if self._faces else None,
            blinks=self.blink_count().number,
            **ranges,
        )


def passing(records: Iterable[FrameResult], summariser: ClipSummariser) -> Iterable[FrameResult]:
    """The records, each shown to the summariser as it passes."""
    for record in records:
        summariser.add(record)
        yield record
