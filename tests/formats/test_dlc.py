"""DeepLabCut's multi-animal table, also as movement reads it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from facealign_cli.convert import convert
from facealign_cli.errors import FormatError, OutputError
from facealign_cli.formats import jsonl
from facealign_cli.formats.base import find_format, get_format
from facealign_cli.formats.dlc import LONGEST_GAP, scan, write
from facealign_cli.records import FrameResult, LeftOut

read = get_format("dlc").read
MISSING = "needs pip install movement"
"""Not in the extra dev: it brings 70 packages, and sleap-io among them puts a package `tests` beside ours."""


@pytest.fixture
def clip(face) -> list[FrameResult]:
    """Ids 4 and 7 come and go; nobody in frame 1, frame 3 is damaged, frames 5 and 6 were left out."""
    seen: dict[int, list[int]] = {0: [4], 1: [], 2: [4, 7], 4: [7], 7: [4, 9]}
    rows = [
        FrameResult.of_faces(
            "v.mp4", [face(i, track_id=id) for i, id in enumerate(ids)], frame=frame, timestamp_s=frame / 25
        )
        for frame, ids in seen.items()
    ]
    return [*rows[:3], FrameResult.of_error("v.mp4", "damaged", frame=3, timestamp_s=3 / 25), *rows[3:]]


def test_the_table_is_deeplabcuts(clip, tmp_path: Path) -> None:
    write(tmp_path / "t.csv", clip)
    scorer, individuals, bodyparts, coords, *lines = csv.reader((tmp_path / "t.csv").read_text().splitlines())
    assert (scorer[0], individuals[0], bodyparts[0], coords[0]) == ("scorer", "individuals", "bodyparts", "coords")
    assert set(scorer[1:]) == {"facealign"}
    assert individuals[1:] == ["id4"] * 204 + ["id7"] * 204 + ["id9"] * 204
    assert bodyparts[1:8] == ["landmark_0"] * 3 + ["landmark_1"] * 3 + ["landmark_2"]
    assert coords[1:5] == ["x", "y", "likelihood", "x"]
    assert [line[0] for line in lines] == [str(i) for i in range(8)]
    assert all(len(line) == 1 + 3 * 204 for line in lines)
    first = clip[0].faces[0].landmarks[0]
    assert lines[0][1:4] == [f"{first[0]:.3f}", f"{first[1]:.3f}", "0.9875"]
    empty = [[place for place in range(3) if not any(line[1 + 204 * place : 205 + 204 * place])] for line in lines]
    assert empty == [[1, 2], [0, 1, 2], [2], [0, 1, 2], [0, 2], [0, 1, 2], [0, 1, 2], [1]]


def test_movement_loads_it(clip, tmp_path: Path) -> None:
    load_poses = pytest.importorskip("movement.io.load_poses", reason=MISSING)
    write(tmp_path / "t.csv", clip)
    dataset = load_poses.from_dlc_file(tmp_path / "t.csv", fps=25)
    assert dataset.position.dims == ("time", "space", "keypoints", "individuals")
    assert dataset.individuals.values.tolist() == ["id4", "id7", "id9"]
    assert dataset.keypoints.values.tolist() == [f"landmark_{i}" for i in range(68)]
    assert dataset.time.values == pytest.approx(np.arange(8) / 25)
    for result in clip:
        for id in (4, 7, 9):
            track = dataset.sel(time=result.timestamp_s, individuals=f"id{id}")
            face = next((face for face in result.faces if face.track_id == id), None)
            if face is None:
                assert np.isnan(track.position).all() and np.isnan(track.confidence).all()
            else:
                np.testing.assert_allclose(track.position.values.T, face.landmarks, atol=1e-9)
                np.testing.assert_allclose(track.confidence.values, face.confidence)


def test_movement_loads_a_clip_without_faces(tmp_path: Path) -> None:
    load_poses = pytest.importorskip("movement.io.load_poses", reason=MISSING)
    write(tmp_path / "t.csv", [FrameResult("v.mp4", "no_face", frame=i) for i in range(3)])
    dataset = load_poses.from_dlc_file(tmp_path / "t.csv")
    assert dataset.sizes == {"time": 3, "space": 2, "keypoints": 68, "individuals": 1}
    assert np.isnan(dataset.position).all()


def test_round_trip_of_what_the_format_holds(clip, tmp_path: Path) -> None:
    write(tmp_path / "t.csv", clip)
    got = {result.frame: result for result in read(tmp_path / "t.csv")}
    assert list(got) == list(range(8))
    for sent in clip:
        faces = got.pop(sent.frame).faces
        assert [face.track_id for face in faces] == [face.track_id for face in sent.faces]
        for face, other in zip(faces, sent.faces, strict=True):
            np.testing.assert_array_equal(face.landmarks, other.landmarks)
            assert face.confidence == pytest.approx(other.confidence)
    assert all(not result.faces for result in got.values())


def test_pictures_are_numbered_as_they_come(results, tmp_path: Path) -> None:
    write(tmp_path / "t.csv", results[:6])
    got = read(tmp_path / "t.csv")
    assert [[face.track_id for face in result.faces] for result in got] == [[0, 1], [0], [], [], [], []]


def test_it_is_known_by_its_content_and_converted(clip, tmp_path: Path) -> None:
    jsonl.write(tmp_path / "rows.jsonl", clip)
    convert([tmp_path / "rows.jsonl"], tmp_path / "t.csv", get_format("dlc"))
    assert find_format(tmp_path / "t.csv") is get_format("dlc")
    write(tmp_path / "direct.csv", clip)
    assert (tmp_path / "t.csv").read_bytes() == (tmp_path / "direct.csv").read_bytes()


def test_a_table_holds_one_clip(clip, face, tmp_path: Path) -> None:
    other = FrameResult.of_faces("w.mp4", [face()], frame=8)
    for odd in (other, clip[0], FrameResult("v.mp4", "no_face", frame=9 + LONGEST_GAP)):
        with pytest.raises(OutputError, match="a table for each clip"):
            write(tmp_path / "t.csv", [*clip, odd])
    assert not (tmp_path / "t.csv").exists()


def test_an_individual_with_some_points_alone_is_named(clip, tmp_path: Path) -> None:
    write(tmp_path / "t.csv", clip)
    lines = (tmp_path / "t.csv").read_text().splitlines()
    cells = lines[6].split(",")
    cells[4:7] = ["", "", ""]  # landmark_1 of id4 in frame 2
    (tmp_path / "t.csv").write_text("\n".join([*lines[:6], ",".join(cells), *lines[7:]]))
    left = [item for item in scan(tmp_path / "t.csv") if isinstance(item, LeftOut)]
    assert [(item.name, item.reason) for item in left] == [(f"{tmp_path / 't.csv'}: frame 2: id4", "no landmark_1")]
    with pytest.raises(FormatError, match="frame 2: id4: no landmark_1"):
        read(tmp_path / "t.csv")


def test_an_individual_whose_points_are_all_the_same_is_named(clip, tmp_path: Path) -> None:
    write(tmp_path / "t.csv", clip)
    lines = (tmp_path / "t.csv").read_text().splitlines()
    cells = lines[6].split(",")
    cells[1:205] = ["0", "0", "1"] * 68
    (tmp_path / "t.csv").write_text("\n".join([*lines[:6], ",".join(cells), *lines[7:]]) + "\n")
    items = list(scan(tmp_path / "t.csv"))
    (left,) = (item for item in items if isinstance(item, LeftOut))
    assert left.name.endswith("frame 2: id4") and "x1 < x2" in left.reason
    assert len(items) == 8 + 1


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("individuals", "bodyparts", "not a table of DeepLabCut"),
        ("landmark_3", "nose", "landmark_0 to landmark_67"),
        ("likelihood", "z", "x, y and likelihood"),
        ("id4", "id7", "side by side"),
        ("0.9875", "high", "line 5"),
        ("0.9875", "1.9", "frame 0: id4: confidence"),
        ("0.9875", "inf", "finite"),
        ("\n0,", "\n-1,", "counts from 0"),
        ("0.9875,", "", "expected 613 cells, got 612"),
    ],
)
def test_refuses(clip, tmp_path: Path, old: str, new: str, match: str) -> None:
    write(tmp_path / "t.csv", clip)
    count = 204 if match.endswith("confidence") else 1
    text = (tmp_path / "t.csv").read_text()
    (tmp_path / "t.csv").write_text(text.replace(old, new, count))
    with pytest.raises(FormatError, match=match):
        read(tmp_path / "t.csv")
