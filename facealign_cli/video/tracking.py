"""Faces followed through a clip, as DAN has it: the last frame's landmarks give the next init shape.

The detector runs where there is nothing to follow, when a face is lost, at a scene cut, and every so often for new
faces. A face is held while the network's confidence holds; for a second after it was lost its id is kept, moved on at
the speed it had. Who is who is told by overlap with the place where each one is expected, then by shape: the landmarks
with shift, turn and scale taken out, which differ from person to person and change little from frame to frame. Where a
face looks like another one from one frame to the next, as after a cut that keeps its place, it gets another id.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from facealign_cli.aligner import Aligner
from facealign_cli.arguments import check_kind, check_number, check_time
from facealign_cli.arrays import Floats, Image
from facealign_cli.boxes import BoxCalibration, Detection
from facealign_cli.detectors.base import Detector, detect_faces
from facealign_cli.errors import InputError
from facealign_cli.files.picture_arrays import check_image
from facealign_cli.records import Face
from facealign_cli.video.cuts import LOOK_S, CutDetector, is_another, look_of
from facealign_cli.video.foresight import Foresight
from facealign_cli.video.tracks import (
    Track,
    cost_of,
    covers,
    is_beside,
    is_same_place,
    normalised,
    size_of,
    strangeness,
)

_LOST_EVERY, _LOST_S = 2, 0.08  # frames, or seconds, between looks for a face that was lost
_EMPTY_EVERY, _EMPTY_S = 3, 0.12  # the same where no face has been for a while
FOLLOW_S = 0.3
"""Where frames are further apart than that, a head may be anywhere: the detector runs in each of them, and ids go on by
place and shape alone."""


class Shapes(Protocol):
    """What `FaceAligner.align_shapes` returns: (N, 68, 2) picture pixels, (N,) 0 to 1, and (N, 68) picture pixels."""

    @property
    def landmarks(self) -> Floats: ...

    @property
    def confidence(self) -> Floats: ...

    @property
    def sigma(self) -> Floats: ...


class FaceAligner(Protocol):
    """What tracking needs of an Aligner."""

    @property
    def detector(self) -> Detector: ...

    def align_boxes(
        self, image_bgr: Image, detections: Sequence[Detection], calibration: BoxCalibration | None = None
    ) -> list[Face]: ...

    def align_shapes(self, image_bgr: Image, init_shapes: Sequence[Floats]) -> Shapes: ...


@dataclass(frozen=True)
class TrackingOptions:
    """How faces are followed.

    detect_every: look for new faces every so many frames; None means about once a second, and 1 means that nothing is
    followed and each frame is worked on by itself. new_confidence, keep_confidence: the least confidence of a face that
    is new, and of one that is followed. keep_lost_s: for how many seconds the id of a lost face is kept. max_faces:
    only so many of the largest faces; None means all. Raises InputError for values out of range.
    """

    detect_every: int | None = None
    new_confidence: float = 0.6
    keep_confidence: float = 0.5
    keep_lost_s: float = 1.0
    max_faces: int | None = None

    def __post_init__(self) -> None:
        for name in ("detect_every", "max_faces"):
            value = getattr(self, name)
            if value is not None:
                check_number(f"tracking option {name}", value, 1, whole=True)
        for name in ("new_confidence", "keep_confidence"):
            check_number(f"tracking option {name}", getattr(self, name), 0, 1)
        check_number("tracking option keep_lost_s", self.keep_lost_s, 0)


class Tracker:
    """Follows faces from frame to frame: make one for each clip, and give it each frame by `update`.

    foresight: runs the network on the next frame meanwhile, if `update` is given that frame, too.
    """

    def __init__(
        self, aligner: FaceAligner, options: TrackingOptions | None = None, foresight: Foresight | None = None
    ) -> None:
        check_kind("options", options, TrackingOptions, None)
        if not hasattr(aligner, "detector"):
            check_kind("aligner", aligner, Aligner, hint="Aligner(model, detector) makes one")
        self._aligner, self._options, self._foresight = aligner, options or TrackingOptions(), foresight
        self._upcoming: Image | None = None
        self._calibration = aligner.detector.calibration
        self._tracks: list[Track] = []
        self._next_id = 0
        self._cuts = CutDetector()
        self._since_detection, self._detected_s, self._last_s = 0, -math.inf, -math.inf

    def update(
        self,
        image_bgr: Image,
        timestamp_s: float,
        source: str | None = None,
        *,
        upcoming: tuple[Image, float] | None = None,
    ) -> list[Face]:
        """The faces of the next frame, in the order of their track_id; their boxes are such as the detector would give.

        image_bgr: (H, W, 3) BGR or (H, W) grey, uint8. timestamp_s: seconds; later than that of the frame before.
        source: the clip's path, which only the detector `boxes` needs. upcoming: the picture of the frame that will be
        given next, and its time, if they are known; the faces are the same without.
        Raises InputError for another kind of array, and for a time that is none or does not come after the last one.
        """
        check_image(image_bgr)
        check_time("timestamp_s", timestamp_s, self._last_s, "make a Tracker for each clip")
        if upcoming is not None:
            if not isinstance(upcoming, tuple) or len(upcoming) != 2:
                raise InputError(f"upcoming: expected a picture and its time, got {type(upcoming).__name__}")
            check_image(upcoming[0])
            check_time("upcoming", upcoming[1], timestamp_s)
        self._upcoming = upcoming[0] if upcoming and self._is_followed(upcoming[1], timestamp_s) else None
        if self._cuts.is_cut(image_bgr):
            self._tracks = []
        self._forget(timestamp_s)
        follows = self._is_followed(timestamp_s, self._last_s)
        self._last_s = timestamp_s
        if follows:
            self._follow(image_bgr, timestamp_s)
        if not follows or self._is_detection_due(timestamp_s):
            self._detect(image_bgr, timestamp_s, source, follows)
            self._since_detection, self._detected_s = 0, timestamp_s
        self._since_detection += 1
        held = [track for track in self._tracks if not track.lost]
        self._begin_next([track.landmarks for track in held])
        held.sort(key=lambda track: track.track_id)
        return [track.face(i, self._calibration) for i, track in enumerate(held)]

    def _is_followed(self, time_s: float, before_s: float) -> bool:
        """Whether a frame is worked on from the landmarks of the one before."""
        return self._options.detect_every != 1 and time_s - before_s <= FOLLOW_S

    def _begin_next(self, landmarks: list[Floats]) -> None:
        """Let the network begin on the next frame from these landmarks."""
        if self._foresight is not None and self._upcoming is not None and landmarks:
            self._foresight.begin(self._upcoming, landmarks)

    def _forget(self, time_s: float) -> None:
        """Drop the tracks that were lost too long ago."""
        keep = self._options.keep_lost_s
        self._tracks = [t for t in self._tracks if time_s - t.seen_s <= keep or not t.lost]

    def _follow(self, image_bgr: Image, time_s: float) -> None:
        held = [track for track in self._tracks if not track.lost]
        if not held:
            return
        aligned = (self._foresight or self._aligner).align_shapes(image_bgr, [track.landmarks for track in held])
        found = [(float(c), np.asarray(s, float)) for c, s in zip(aligned.confidence, aligned.landmarks, strict=True)]
        self._begin_next([landmarks for confidence, landmarks in found if confidence >= self._options.keep_confidence])
        taken: list[int] = []
        others: list[Track] = []
        order = (
            [0]
            if len(held) == 1
            else np.argsort([strangeness(t, f[1], time_s) for t, f in zip(held, found, strict=True)])
        )
        for i in order:
            confidence, landmarks = found[i]
            doubled = any(is_same_place(landmarks, found[j][1]) for j in taken)
            if confidence < self._options.keep_confidence or doubled:
                held[i].lost = True
            else:
                taken.append(i)
        for i in taken:
            if self._is_another(held[i], look := look_of(image_bgr, found[i][1]), time_s):
                held[i].lost = True
                others.append(held[i])
                continue
            held[i].look = look
            sigma = aligned.sigma[i] if np.isfinite(aligned.sigma[i]).all() else None
            held[i].move(found[i][1], found[i][0], time_s, sigma=sigma)

        if others:  # another person is in the same place: that one gets an id of its own in this frame
            self._detected_s = -np.inf
            if self._cuts.moved_on:  # and the first one is as gone as after a cut that is noticed by itself
                gone = [track for track in others if not any(is_beside(track, other) for other in held)]
                self._tracks = [track for track in self._tracks if track not in gone]

    def _is_another(self, track: Track, look: Floats | None, time_s: float) -> bool:
        return time_s - track.seen_s <= LOOK_S and is_another(track.look, look, self._cuts.moved_on)

    def _is_detection_due(self, time_s: float) -> bool:
        every, since, since_s = self._options.detect_every, self._since_detection, time_s - self._detected_s
        held = [track for track in self._tracks if not track.lost]
        if self._detected_s == -np.inf:
            return True
        if not self._tracks:
            return self._cuts.just_cut or since >= min(_EMPTY_EVERY, every or _EMPTY_EVERY) or since_s >= _EMPTY_S
        if len(held) < len(self._tracks) and (since >= min(_LOST_EVERY, every or _LOST_EVERY) or since_s >= _LOST_S):
            return True
        return since_s >= 1.0 if every is None else since >= every

    def _detect(self, image_bgr: Image, time_s: float, source: str | None, follows: bool) -> None:
        followed = [t for t in self._tracks if not t.lost] if follows else []
        detections = [
            d
            for d in detect_faces(self._aligner.detector, image_bgr, source)
            if not any(covers(track, self._calibration.landmarks_bbox(d.bbox)) for track in followed)
        ]
        faces = self._distinct(self._aligner.align_boxes(image_bgr, detections, self._calibration), followed)
        free = [track for track in self._tracks if track not in followed]
        looks = [look_of(image_bgr, face.landmarks) for face in faces]
        pairs = self._assign(faces, looks, free, time_s)
        for (face, old), look in zip(pairs, looks, strict=True):
            if old is not None:
                old.look = look
                old.move(face.landmarks, face.confidence, time_s, face.detector_score, face.sigma)
            else:
                self._start(face, look, time_s)
        for track in free:
            track.lost = all(track is not old for _, old in pairs)

    def _distinct(self, faces: list[Face], followed: list[Track]) -> list[Face]:
        """Those that the network is sure of, each place once, and no more than are wanted."""
        distinct: list[Face] = []
        for face in sorted(faces, key=lambda f: -f.confidence):
            others = [t.landmarks for t in followed] + [f.landmarks for f in distinct]
            if face.confidence >= self._options.new_confidence and not any(
                is_same_place(face.landmarks, other) for other in others
            ):
                distinct.append(face)
        if self._options.max_faces is not None:
            distinct.sort(key=lambda f: -size_of(f.landmarks))
            distinct = distinct[: max(0, self._options.max_faces - len(followed))]
        return distinct

    def _assign(
        self, faces: list[Face], looks: list[Floats | None], tracks: list[Track], time_s: float
    ) -> list[tuple[Face, Track | None]]:
        """Each face with the track that it goes on with, the likeliest pairs first; None for a new one."""
        costs = [
            (cost_of(track, face, time_s), i, j)
            for i, (face, look) in enumerate(zip(faces, looks, strict=True))
            for j, track in enumerate(tracks)
            if not self._is_another(track, look, time_s)
        ]
        chosen: dict[int, int] = {}
        for _, i, j in sorted(pair for pair in costs if pair[0] < np.inf):
            if i not in chosen and j not in chosen.values():
                chosen[i] = j
        return [(face, tracks[chosen[i]] if i in chosen else None) for i, face in enumerate(faces)]

    def _start(self, face: Face, look: Floats | None, time_s: float) -> None:
        shape = normalised(face.landmarks)
        known = (face.landmarks, face.confidence, time_s, shape, face.detector_score, face.sigma)
        track = Track(self._next_id, *known, look=look)
        self._tracks.append(track)
        self._next_id += 1
