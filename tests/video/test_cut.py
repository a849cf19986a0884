"""A clip's faces cut out: squares that stay calm, the right part of time and sound, the best shots."""

from __future__ import annotations

import csv
import json
import math
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign_cli.aligner import Aligner
from facealign_cli.boxes import BBox
from facealign_cli.crops import CropOptions, crop_transform
from facealign_cli.errors import InputError, OutputError
from facealign_cli.files.pictures import read_image
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.pose import camera_matrix, mean_face, project
from facealign_cli.records import Face, FrameResult, HeadPose, Quality
from facealign_cli.video import open_source
from facealign_cli.video.best import APART_S, BestShots, Shot
from facealign_cli.video.cut import CutOptions, CutPerson, FaceCutter
from facealign_cli.video.steady import Sighted, Sightings, steadied
from tests.clips import facts, write_clip

RATE = 25
SHAPE = MEAN_SHAPE / np.ptp(MEAN_SHAPE, axis=0).max() * 60


def face_at(x: float, y: float, track_id: int = 0, **more: object) -> Face:
    landmarks = SHAPE + np.array([x, y])
    return Face(track_id, BBox(x - 30, y - 30, x + 30, y + 30), landmarks, 0.99, track_id=track_id, **more)  # type: ignore[arg-type]


def record(frame: int, *faces: Face) -> FrameResult:
    return FrameResult.of_faces("a.mp4", faces, frame=frame, timestamp_s=frame / RATE, width=240, height=180)


def blob_clip(path: Path, places: list[tuple[float, float] | None], sound: str | None = "aac") -> Path:
    """A clip with a white disc at these places, on grey; None: no disc."""
    images = []
    for place in places:
        image = np.full((180, 240, 3), 60, np.uint8)
        if place is not None:
            cv2.circle(
                image, (round(place[0] * 16), round(place[1] * 16)), 10 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4
            )
        images.append(image)
    return write_clip(path, images, time_base=Fraction(1, RATE), sound=sound)


def cut(clip: Path, folder: Path, records: list[FrameResult], options: CutOptions | None = None) -> list[CutPerson]:
    cutter = FaceCutter(folder, options or CutOptions(CropOptions("upright", 96)))
    for _ in cutter.passing(records):
        pass
    source = open_source(str(clip), sound=True)
    for _ in cutter.cut(source):
        pass
    source.close()
    cutter.close()
    return cutter.persons


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_moving_face_stays_in_its_place(tmp_path: Path) -> None:
    """The disc moves steadily by 1.5 pixels a frame, and its landmarks tremble: in the crop it stands still."""
    rng = np.random.default_rng(0)
    places = [(60 + 1.5 * i, 90 + 0.3 * i) for i in range(60)]
    clip = blob_clip(tmp_path / "a.mp4", list(places))
    records = [record(i, face_at(x + rng.normal(0, 1), y + rng.normal(0, 1))) for i, (x, y) in enumerate(places)]
    cut(clip, tmp_path / "out", records)
    import av

    with av.open(str(tmp_path / "out" / "id0.mp4")) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert len(frames) == 60 and frames[0].shape == (96, 96)
    centres = np.array([np.argwhere(frame > 160).mean(axis=0) for frame in frames])
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    unsteadied = np.array(
        [
            crop_transform(r.faces[0], CropOptions("upright", 96)).apply(np.array(p))
            for r, p in zip(records, places, strict=True)
        ]
    )
    assert np.median(steps) < 0.25 * np.median(np.linalg.norm(np.diff(unsteadied, axis=0), axis=1))
    assert np.abs(centres - centres.mean(axis=0)).max() < 1.5


def test_the_table_beside_is_what_the_picture_shows(tmp_path: Path) -> None:
    places = [(80 + i, 90.0) for i in range(30)]
    clip = blob_clip(tmp_path / "a.mp4", list(places))
    cut(clip, tmp_path / "out", [record(i, face_at(*place)) for i, place in enumerate(places)])
    import av

    with av.open(str(tmp_path / "out" / "id0.mp4")) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    rows = rows_of(tmp_path / "out" / "id0.csv")
    assert [int(row["frame"]) for row in rows] == list(range(30)) and {row["seen"] for row in rows} == {"1"}
    for row, frame, place in zip(rows, frames, places, strict=True):
        matrix = np.array([float(row[f"m_{i}{j}"]) for i in range(2) for j in range(3)]).reshape(2, 3)
        expected = matrix @ [*place, 1]
        centre = np.argwhere(frame > 160).mean(axis=0)[::-1]
        np.testing.assert_allclose(centre, expected, atol=0.6)
        own = np.array([[float(row[f"x_{i}"]), float(row[f"y_{i}"])] for i in range(68)])
        np.testing.assert_allclose(own, (SHAPE + place) @ matrix[:, :2].T + matrix[:, 2], atol=2e-3)


def test_each_clip_is_the_part_in_which_its_person_is_seen(tmp_path: Path) -> None:
    """Three persons: from the beginning, from 1 s to 3 s with a loss of 0.4 s in between, and for a moment."""
    clip = blob_clip(tmp_path / "a.mp4", [(100.0, 90.0)] * 100)
    records = []
    for i in range(100):
        faces = [face_at(60, 60, 0)] if i < 50 else []
        if 25 <= i < 75 and not 40 <= i < 50:
            faces.append(face_at(100, 90, 4))
        if i == 90:
            faces.append(face_at(150, 90, 7))
        records.append(record(i, *faces))
    persons = cut(clip, tmp_path / "out", records)
    assert [(p.track_id, p.first_s, p.last_s, p.frames, p.files) for p in persons] == [
        (0, 0.0, 1.96, 50, 1),
        (4, 1.0, 2.96, 40, 1),
        (7, 3.6, 3.6, 1, 0),
    ]
    assert persons[2].left_out == "seen for 0.00 s, less than 0.5 s" and persons[0].left_out is None
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "id0.mp4",
        "id0.csv",
        "id4.mp4",
        "id4.csv",
        "crops.csv",
    }
    whole, first, second = (facts(p) for p in (clip, tmp_path / "out" / "id0.mp4", tmp_path / "out" / "id4.mp4"))
    assert first.times == pytest.approx(np.arange(50) / RATE) and second.times == pytest.approx(np.arange(50) / RATE)
    assert whole.sound[: len(first.sound) - 1] == first.sound[:-1]
    begin = whole.sound.index(second.sound[5])
    assert whole.sound[begin : begin + 40] == second.sound[5:45]  # the packets themselves, in their order
    assert second.length == pytest.approx(2.0, abs=0.05) and second.file_length == pytest.approx(2.0, abs=0.08)
    assert (begin - 5) * 1024 / 48000 == pytest.approx(1.0, abs=0.13)  # with 0.1 s before, for the decoder
    rows = rows_of(tmp_path / "out" / "id4.csv")
    assert [row["seen"] for row in rows] == ["1"] * 15 + ["0"] * 10 + ["1"] * 25
    assert rows[0]["clip_s"] == "0.0" and rows[0]["timestamp_s"] == "1.0" and rows[15]["x_0"] == ""


def test_out_of_sight_the_square_goes_on_in_a_straight_line() -> None:
    seen = Sightings(0, CropOptions("upright", 96))
    for i in [*range(30), *range(60, 90)]:
        seen.add(i, i / RATE, face_at(100 + i, 90))
    path = seen.steady()
    for i in range(90):
        np.testing.assert_allclose(
            path.transform(i / RATE).apply(np.array([100.0 + i, 90])),
            path.transform(0).apply(np.array([100.0, 90])),
            atol=0.05,
        )


def test_a_turn_beyond_180_degrees_does_not_jump() -> None:
    seen = Sightings(0, CropOptions("upright", 96))
    for i in range(50):
        angle = math.radians(150 + 2 * i)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        seen.add(i, i / RATE, Face(0, BBox(0, 0, 9, 9), SHAPE @ turn.T + 100, 1.0))
    angles = [path.angle_deg for path in map(seen.steady().transform, np.arange(50) / RATE)]
    for got, degrees in zip(angles, -(150 + 2 * np.arange(50)), strict=True):
        assert abs((got - degrees + 180) % 360 - 180) < 0.5


def test_steadying_keeps_straight_lines_and_calms_noise() -> None:
    times = np.cumsum(np.random.default_rng(1).uniform(0.01, 0.08, 200))
    line = np.stack([3 * times - 1, np.full(200, 5.0)], axis=1)
    np.testing.assert_allclose(steadied(times, line), line, atol=1e-9)
    noise = np.random.default_rng(2).normal(0, 1, (200, 1))
    assert steadied(times, noise)[20:-20].std() < 0.4


def test_the_landmarks_come_back_by_frame(tmp_path: Path) -> None:
    sighted = Sighted(tmp_path, CropOptions())
    for i in range(0, 2500, 2):
        sighted.add(record(i, face_at(i % 50, 10, 1), face_at(50, i % 70, 3)))
    found = list(sighted.landmarks([0, 3, 2400, 2498]))
    assert [sorted(one) for one in found] == [[1, 3], [], [1, 3], [1, 3]]
    np.testing.assert_allclose(found[3][1], face_at(2498 % 50, 10).landmarks, atol=1e-4)
    assert not list(tmp_path.iterdir())  # the temporary file has no name
    sighted.close()


def quality(sharpness: float, cut_off: float = 0.0) -> Quality:
    return Quality(sharpness, 100.0, 40.0, cut_off)


def test_the_best_shots_are_sharp_whole_and_apart() -> None:
    shots = BestShots(CropOptions("upright", 96))
    for i in range(200):
        sharp = 1.0 if i in (20, 21, 100) else 0.5
        shots.add(record(i, face_at(100, 90, quality=quality(sharp, 0.9 if i == 100 else 0.0))))
    first, second, third = shots.best(3)
    assert first.frame in (20, 21) and first.sharp == 1.0 and first.rank == 1
    assert second.sharp == pytest.approx(1.0) or second.score <= first.score
    assert 100 not in (first.frame, second.frame, third.frame)
    times = [shot.timestamp_s for shot in (first, second, third)]
    assert all(abs(a - b) >= APART_S for a in times for b in times if a != b)
    for shot in (first, second, third):
        factors = (shot.sharp, shot.frontal, shot.confidence, shot.large, shot.open_eyes, shot.whole)
        assert shot.score == pytest.approx(math.prod(factors))
        assert all(0 <= factor <= 1 for factor in factors)


def test_closed_eyes_and_turned_heads_are_no_best_shots() -> None:
    """The mean face, seen by the camera: every third frame turned by 40 degrees, every third with closed eyes."""
    camera, shots = camera_matrix(240, 180), BestShots(CropOptions("upright", 96))
    for i in range(90):
        pose = HeadPose((0.0, 0.0, 500.0), (0.0, math.radians(40) if i % 3 == 0 else 0.0, 0.0))
        landmarks = project(mean_face(), pose, camera)
        if i % 3 == 1:
            for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
                landmarks[upper] = landmarks[lower] - (0, 0.5)
        shots.add(record(i, Face(0, BBox(0, 0, 9, 9), landmarks, 0.99, track_id=0, quality=quality(1.0))))
    best = shots.best(3)
    assert [shot.frame % 3 for shot in best] == [2, 2, 2]
    assert best[0].score > 0.9 and best[0].eye_opening is not None and abs(best[0].yaw_deg or 0) < 1


@pytest.mark.long
def test_best_shots_are_pictures_with_a_table(astronaut: np.ndarray, tmp_path: Path) -> None:
    """The photo, blurred but for two frames; the picture that is written is the frame that is named."""
    photo = np.ascontiguousarray(astronaut[20:260, 100:340])
    blurred = cv2.GaussianBlur(photo, (0, 0), 4)
    clip = write_clip(tmp_path / "a.mp4", [photo if i in (12, 55) else blurred for i in range(80)], sound="aac")
    aligner = Aligner()
    from facealign_cli.video.track import VideoOptions, track_video

    cutter = FaceCutter(tmp_path / "out", CutOptions(CropOptions("arcface"), best=2))
    for _ in cutter.passing(track_video(str(clip), aligner, VideoOptions(quality=True))):
        pass
    source = open_source(str(clip))
    done = list(cutter.cut(source))
    source.close()
    cutter.close()
    assert done[-1].index == 55  # nothing is read beyond the last shot
    rows = rows_of(tmp_path / "out" / "best.csv")
    assert {row["frame"] for row in rows} == {"12", "55"} and [row["rank"] for row in rows] == ["1", "2"]
    for row in rows:
        crop = read_image(tmp_path / "out" / row["file"])
        document = json.loads((tmp_path / "out" / row["file"]).with_suffix(".json").read_text())
        assert crop.shape == (112, 112, 3) and document["preset"] == "arcface"
        assert (document["frame"], document["rank"]) == (int(row["frame"]), int(row["rank"]))
        assert cv2.Laplacian(crop, cv2.CV_64F).std() > 15
    assert list(rows[0])[:2] == ["file", "track_id"] and set(Shot.__dataclass_fields__) == set(rows[0]) - {"file"}


def test_sound_that_mp4_cannot_hold_goes_into_mkv(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", [np.full((180, 240, 3), 9, np.uint8)] * 30, sound="pcm_s16le")
    cutter = FaceCutter(tmp_path / "out", CutOptions(CropOptions("upright", 96)))
    list(cutter.passing([record(i, face_at(100, 90)) for i in range(30)]))
    list(cutter.cut(open_source(str(clip), sound=True)))
    cutter.close()
    assert (tmp_path / "out" / "id0.mkv").is_file() and "written as .mkv" in cutter.notes[0]
    assert facts(tmp_path / "out" / "id0.mkv").sound


def test_what_is_there_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "id5.mp4").write_text("mine")
    (tmp_path / "other.txt").write_text("other")
    with pytest.raises(OutputError, match=r"id5\.mp4 exists already"):
        FaceCutter(tmp_path)
    clip = blob_clip(tmp_path / "a.mp4", [(100.0, 90.0)] * 30, sound=None)
    cutter = FaceCutter(tmp_path, overwrite=True)
    list(cutter.passing([record(i, face_at(100, 90)) for i in range(30)]))
    list(cutter.cut(open_source(str(clip))))
    cutter.close()
    assert {file.name for file in tmp_path.iterdir()} == {"a.mp4", "other.txt", "id0.mp4", "id0.csv", "crops.csv"}


def test_of_two_runs_into_one_folder_the_second_replaces_nothing(tmp_path: Path) -> None:
    clip = blob_clip(tmp_path / "a.mp4", [(100.0, 90.0)] * 30, sound=None)
    first, second = FaceCutter(tmp_path / "out"), FaceCutter(tmp_path / "out")
    for cutter in (first, second):
        list(cutter.passing([record(i, face_at(100, 90)) for i in range(30)]))
    list(first.cut(open_source(str(clip))))
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    with pytest.raises(OutputError, match=r"id0\.\w+ exists already"):
        list(second.cut(open_source(str(clip))))
    first.close()
    second.close()
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


def test_options_that_are_wrong() -> None:
    with pytest.raises(InputError, match="best: expected 1"):
        CutOptions(best=0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_told_once(tmp_path: Path) -> None:
    sighted = Sighted(tmp_path, CropOptions())
    sighted._spool.close()
    sighted._spool = open("/dev/full", "w+b")  # noqa: SIM115 - closed by `close`, as the one before
    with pytest.raises(
        OutputError, match=f"cannot keep the landmarks in a temporary file in {tmp_path}: the disk is full"
    ):
        for number in range(100):
            sighted.add(record(number, face_at(50, 50)))
    sighted.close()
