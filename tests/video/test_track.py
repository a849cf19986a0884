"""From a source to records and an overlay: threads that end, errors that arrive, memory that stays."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import facts, write_clip

from facealign_cli.aligner import Aligner
from facealign_cli.errors import InputError, OutputError
from facealign_cli.pose import PoseEstimator, camera_matrix, estimate_pose
from facealign_cli.video import SoundPacket, VideoFrame, VideoInfo, open_source
from facealign_cli.video.lookahead import LookAhead
from facealign_cli.video.sink import open_sink
from facealign_cli.video.smoothing import Smoothing
from facealign_cli.video.threads import QUEUED
from facealign_cli.video.track import VideoOptions, overlay_video, track_video
from facealign_cli.video.tracking import TrackingOptions

AHEAD = 7
"""Frames that `LookAhead` waits for at 25 a second."""


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    return Aligner()


@pytest.fixture(scope="module")
def photo(astronaut: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(astronaut[20:260, 100:340])


class Pictures:
    """A source of given pictures; None is a damaged frame. read: how many were asked for."""

    sound = ()
    offset_s = Fraction(0)

    def __init__(self, images: list[np.ndarray | None]) -> None:
        self.images, self.read = images, 0
        self.info = VideoInfo("made", 240, 240, Fraction(1, 25), Fraction(25), len(images))

    def __iter__(self) -> Iterator[VideoFrame | SoundPacket]:
        for i, image in enumerate(self.images):
            self.read += 1
            yield VideoFrame(i, i, i / 25, image, 1, None if image is not None else "damaged")

    def close(self) -> None:
        pass


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("facealign")}


def test_what_is_wrong_with_a_frame_that_is_used_stands_in_its_record(tmp_path: Path, aligner: Aligner) -> None:
    for i, value in enumerate((np.uint8(9), np.uint16(4000))):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((60, 60), value))
    first, second = track_video(tmp_path, aligner)
    assert (first.status, first.warning, second.status) == ("no_face", None, "no_face")
    assert second.warning is not None and "taken as 12-bit values" in second.warning


def test_one_record_per_frame_in_order(aligner: Aligner, photo: np.ndarray) -> None:
    source = Pictures([photo, photo, None, photo, np.zeros_like(photo)])
    records = list(track_video(source, aligner))
    assert [r.status for r in records] == ["ok", "ok", "error", "ok", "no_face"]
    assert [r.frame for r in records] == [0, 1, 2, 3, 4]
    assert [r.timestamp_s for r in records] == [0, 0.04, 0.08, 0.12, 0.16]
    assert {f.track_id for r in records for f in r.faces} == {0}
    assert (records[0].model, records[0].detector, records[0].width) == (aligner.model.name, "yunet", 240)
    assert not threads()


def test_the_overlay_shows_the_landmarks_and_keeps_the_sound(
    aligner: Aligner, photo: np.ndarray, tmp_path: Path
) -> None:
    path = write_clip(tmp_path / "in.mp4", [photo] * 8, sound="aac")
    for blank in (False, True):
        source, out = open_source(str(path), sound=True), tmp_path / f"{blank}.mp4"
        with open_sink(out, source.info, sound=source.sound) as sink:
            (*_, record) = track_video(source, aligner, VideoOptions(blank=blank), sink=sink)
        got, expected = facts(out), facts(path)
        assert (got.times, got.sound) == (expected.times, expected.sound)
        (*_, frame) = open_source(str(out))
        x, y = np.rint(record.faces[0].landmarks[30]).astype(int)
        assert frame.image_bgr[y, x].min() > 150  # the white dot on the tip of the nose
        assert (frame.image_bgr[230:, 230:].mean() < 5) == blank


def test_a_damaged_frame_is_left_out_of_the_clip(aligner: Aligner, photo: np.ndarray, tmp_path: Path) -> None:
    source = Pictures([photo, photo, None, photo])
    with open_sink(tmp_path / "out.mp4", source.info) as sink:
        list(track_video(source, aligner, sink=sink))
    assert np.allclose(facts(tmp_path / "out.mp4").times, [0, 0.04, 0.12], atol=1e-3)


def test_it_stops_when_asked(aligner: Aligner, photo: np.ndarray, tmp_path: Path) -> None:
    source, stop, records = Pictures([photo] * 100), threading.Event(), []
    with open_sink(tmp_path / "out.mp4", source.info) as sink:
        for record in track_video(source, aligner, sink=sink, stop=stop):
            records.append(record)
            if len(records) == 5:
                stop.set()
    assert 5 < len(records) <= 5 + AHEAD + 1  # those that waited for what follows
    assert len(records) == len(facts(tmp_path / "out.mp4").times)
    assert [record.frame for record in records] == list(range(len(records)))
    assert not threads()


def test_no_more_than_a_few_frames_wait(aligner: Aligner, photo: np.ndarray) -> None:
    source = Pictures([photo] * 100)
    results = track_video(source, aligner)
    for _ in range(3):
        next(results)
    results.close()
    assert source.read <= 3 + AHEAD + QUEUED + 1  # those that wait, and one without room
    assert not threads()


def test_queues_are_bounded_in_bytes(aligner: Aligner, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facealign_cli.video.threads.QUEUED_BYTES", 2 * photo.nbytes)
    source = Pictures([photo] * 100)
    results = track_video(source, aligner, VideoOptions(smoothing=Smoothing()))
    next(results)
    time.sleep(0.5)
    results.close()
    assert source.read <= 1 + 2 + 1  # with the caller, waiting, and one without room
    assert not threads()


def test_frames_that_wait_to_be_drawn_on_are_bounded_in_bytes(
    aligner: Aligner, photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facealign_cli.video.track.HELD_BYTES", 3 * photo.nbytes)
    source, told = Pictures([photo] * 30), []
    with open_sink(tmp_path / "out.mp4", source.info) as sink:
        results = track_video(source, aligner, sink=sink, tell=told.append)
        next(results)
        time.sleep(0.5)
        assert source.read <= 4 + QUEUED + QUEUED + 2
        records = list(results)
    assert [record.frame for record in records] == list(range(1, 30))
    assert all(record.faces for record in records)
    assert len(told) == 1 and "looks 3 of them ahead" in told[0]


def test_a_camera_waits_for_nothing(aligner: Aligner, photo: np.ndarray) -> None:
    source = Pictures([photo] * 100)
    results = track_video(source, aligner, VideoOptions(smoothing=Smoothing()))
    for _ in range(3):
        next(results)
    results.close()
    assert source.read <= 3 + QUEUED + 1


def test_records_that_wait_are_not_lost_when_the_source_fails(aligner: Aligner, photo: np.ndarray) -> None:
    class Broken(Pictures):
        def __iter__(self) -> Iterator[VideoFrame | SoundPacket]:
            yield from super().__iter__()
            raise InputError("torn")

    records = []
    with pytest.raises(InputError, match="torn"):
        for record in track_video(Broken([photo] * 4), aligner):
            records.append(record)
    assert [record.frame for record in records] == [0, 1, 2, 3]


@pytest.mark.parametrize("smoothing", [LookAhead(), Smoothing(), None])
def test_poses_are_those_of_the_smoothed_landmarks(
    aligner: Aligner, photo: np.ndarray, smoothing: LookAhead | Smoothing | None
) -> None:
    moved = [np.roll(photo, i % 2, axis=1) for i in range(6)]
    options = VideoOptions(smoothing=smoothing, pose=PoseEstimator(300.0))
    for record in track_video(Pictures(moved), aligner, options):
        (face,) = record.faces
        assert face.pose == estimate_pose(face.landmarks, camera_matrix(240, 240, 300.0)) is not None
    assert all(face.pose is None for r in track_video(Pictures(moved), aligner) for face in r.faces)


def test_what_goes_wrong_in_a_thread_arrives(aligner: Aligner, photo: np.ndarray) -> None:
    class Broken(Pictures):
        def __iter__(self) -> Iterator[VideoFrame | SoundPacket]:
            yield from super().__iter__()
            raise OSError("unplugged")

    class Full:
        def write(self, *_: object) -> None:
            raise OutputError("the disk is full")

    with pytest.raises(OSError, match="unplugged"):
        list(track_video(Broken([photo]), aligner))
    with pytest.raises(OutputError, match="full"):
        list(track_video(Pictures([photo] * 50), aligner, sink=Full()))  # type: ignore[arg-type]
    assert not threads()


@pytest.mark.long
def test_memory_is_flat(aligner: Aligner, photo: np.ndarray) -> None:
    import tracemalloc

    def images() -> Iterator[VideoFrame | SoundPacket]:
        for i in range(400):
            yield VideoFrame(i, i, i / 25, photo.copy())

    source = Pictures([])
    source.__class__ = type("Endless", (Pictures,), {"__iter__": lambda _: images()})
    tracemalloc.start()
    try:
        held = []
        for i, _ in enumerate(track_video(source, aligner, VideoOptions(TrackingOptions()))):
            if i in (100, 390):
                held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert held[1] - held[0] < 2 * photo.nbytes * QUEUED


@pytest.mark.long
def test_faces_of_the_shared_clips(aligner: Aligner, shared_data: Path) -> None:
    clips = shared_data / "video"
    records = list(track_video(open_source(str(clips / "no_face.mp4")), aligner))
    assert {r.status for r in records} == {"no_face"}
    records = list(track_video(open_source(str(clips / "noface_face.mov")), aligner))
    assert not any(r.faces for r in records[:96])  # the cut to the face
    assert any(r.faces for r in records[96:101])
    assert all([f.track_id for f in r.faces] == [0] for r in records[101:168])


@pytest.mark.long
def test_a_path_is_opened_and_closed(aligner: Aligner, photo: np.ndarray, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4", [photo] * 4, sound="aac")
    assert [r.status for r in track_video(clip, aligner)] == ["ok"] * 4
    records = list(overlay_video(clip, tmp_path / "out.mp4", aligner))
    assert [r.frame for r in records] == [0, 1, 2, 3]
    got, expected = facts(tmp_path / "out.mp4"), facts(clip)
    assert (got.times, got.sound) == (expected.times, expected.sound)
    with pytest.raises(InputError, match="no such file"):
        list(track_video(tmp_path / "missing.mp4", aligner))
    with pytest.raises(OutputError, match="exists already"):
        list(overlay_video(clip, tmp_path / "out.mp4", aligner))
    with pytest.raises(InputError, match=r"not as \.csv"):
        list(overlay_video(clip, tmp_path / "out.csv", aligner))
    assert not threads()


def test_an_overlay_that_is_closed_early_can_be_played(aligner: Aligner, photo: np.ndarray, tmp_path: Path) -> None:
    records = overlay_video(Pictures([photo] * 50), tmp_path / "out.mp4", aligner)
    for _ in range(5):
        next(records)
    records.close()
    assert len(facts(tmp_path / "out.mp4").times) == 5
    assert not threads()


def test_an_overlay_that_fails_leaves_nothing(aligner: Aligner, photo: np.ndarray, tmp_path: Path) -> None:
    class Torn(Pictures):
        def __iter__(self) -> Iterator[VideoFrame | SoundPacket]:
            yield from super().__iter__()
            raise InputError("the cable is out")

    with pytest.raises(InputError, match="cable"):
        list(overlay_video(Torn([photo] * 3), tmp_path / "out.mp4", aligner))
    assert list(tmp_path.iterdir()) == []
    assert not threads()
