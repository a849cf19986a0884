"""Boxes from facealign's own records, labelling tools' files and the 300-W organisers' .mat files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facealign_cli.boxes import BBox, BoxCalibration, Detection
from facealign_cli.detectors import create_detector
from facealign_cli.detectors.base import calibration_of
from facealign_cli.detectors.boxes import read_boxes
from facealign_cli.errors import FormatError, InputError
from facealign_cli.formats.base import format_names, get_format
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.records import Face, FrameResult

BOX = BBox(10, 20, 110, 140)
IMAGE = np.zeros((480, 640, 3), np.uint8)


def results(detector: str | None = None) -> list[FrameResult]:
    face = Face(0, BOX, init_shape_from_bbox(BOX.xyxy), 0.75, 9.5)
    size = {"width": 640, "height": 480, "detector": detector}
    return [
        FrameResult.of_faces("one/a.jpg", [face, Face(1, BBox(200, 200, 300, 300), face.landmarks + 190, 1)], **size),
        FrameResult.of_faces("b.jpg", [], **size),
        FrameResult.of_error("c.jpg", "broken"),
    ]


@pytest.mark.parametrize("name", ["json", "jsonl", "csv", "parquet"])
def test_own_records(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"faces.{name}"
    get_format(name).write(path, results())
    assert read_boxes(path) == {
        "one/a.jpg": [Detection(BOX, 9.5), Detection(BBox(200, 200, 300, 300))],
        "b.jpg": [],
    }
    detector = create_detector("boxes", boxes_file=path)
    assert len(detector.detect(IMAGE, "/data/one/a.jpg")) == 2
    with pytest.raises(InputError, match=r"no box for c\.jpg"):
        detector.detect(IMAGE, "c.jpg")


@pytest.mark.parametrize("name", ["mtcnn", "dlib-hog"])
def test_a_detectors_boxes_become_the_boxes_of_the_landmarks(tmp_path: Path, name: str) -> None:
    get_format("json").write(tmp_path / "f.json", results(name))
    calibration = calibration_of(name)
    assert calibration != BoxCalibration()
    found = read_boxes(tmp_path / "f.json")["one/a.jpg"][0]
    np.testing.assert_allclose(found.bbox.xyxy, calibration.landmarks_bbox(BOX).xyxy, atol=1e-3)


@pytest.mark.parametrize("name", [None, "nobody", "boxes"])
def test_other_boxes_are_taken_as_they_are(name: str | None) -> None:
    assert calibration_of(name) == BoxCalibration()


@pytest.mark.parametrize("name", ["coco", "dlib-xml"])
def test_files_of_labelling_tools(tmp_path: Path, name: str) -> None:
    assert name in format_names()
    path = tmp_path / ("f.xml" if name == "dlib-xml" else "f.json")
    get_format(name).write(path, results())
    assert read_boxes(path)["one/a.jpg"][0].bbox == BOX


@pytest.mark.parametrize("name", ["json", "coco"])
def test_boxes_that_lie_in_a_picture_of_another_size_are_refused(tmp_path: Path, name: str) -> None:
    """A tool has reduced the pictures, say: all boxes would be half as large as the faces, and beside them."""
    get_format(name).write(tmp_path / "f.json", results()[:2])
    detector = create_detector("boxes", boxes_file=tmp_path / "f.json")
    with pytest.raises(
        InputError, match=r"one/a\.jpg: it has 20 x 10 pixels, but its faces were labelled in 640 x 480, says"
    ):
        detector.detect(IMAGE[:10, :20], "one/a.jpg")
    assert detector.detect(IMAGE[:10, :20], "b.jpg") == []  # no box, so none that is in a wrong place
    unstated = [replace(result, width=1, height=1) for result in results()[:1]]
    get_format("json").write(tmp_path / "one.json", unstated)
    assert len(create_detector("boxes", boxes_file=tmp_path / "one.json").detect(IMAGE, "one/a.jpg")) == 2


def test_frames_of_a_clip_are_no_pictures(tmp_path: Path) -> None:
    get_format("json").write(tmp_path / "f.json", [FrameResult("v.mp4", "no_face", frame=0)])
    with pytest.raises(InputError, match="frames of a clip"):
        read_boxes(tmp_path / "f.json")


def save_mat(path: Path, boxes: dict[str, list[float]]) -> None:
    """As the organisers' files are: a cell of structs."""
    savemat = pytest.importorskip("scipy.io", reason="scipy, which reads .mat files, is not installed").savemat
    cell = np.empty((1, len(boxes)), object)
    for i, (name, box) in enumerate(boxes.items()):
        cell[0, i] = {"imgName": name, "bb_detector": np.array([box]), "bb_ground_truth": np.array([[1, 1, 2, 2]])}
    savemat(path, {"bounding_boxes": cell})


def test_the_organisers_boxes(tmp_path: Path) -> None:
    """Counted from 1 there, from 0 here; both LFPW sets have an image_0001.png."""
    folder = tmp_path / "Bounding Boxes"
    folder.mkdir()
    save_mat(folder / "bounding_boxes_lfpw_testset.mat", {"image_0001.png": [2, 3, 12.5, 14]})
    save_mat(
        folder / "bounding_boxes_lfpw_trainset.mat",
        {"image_0001.png": [3, 3, 12.5, 14], "image_0002.png": [3, 4, 12.5, 14]},
    )
    save_mat(folder / "bounding_boxes_ibug.mat", {"image_003_1.jpg": [1, 1, 5, 5]})
    detector = create_detector("boxes", boxes_file=tmp_path)
    assert detector.detect(IMAGE, "/d/300w/lfpw/testset/image_0001.png") == [Detection(BBox(1, 2, 11.5, 13))]
    assert detector.detect(IMAGE, "/d/300w/lfpw/trainset/image_0001.png") == [Detection(BBox(2, 2, 11.5, 13))]
    assert detector.detect(IMAGE, "image_003_1.jpg") == [Detection(BBox(0, 0, 4, 4))]
    with pytest.raises(InputError, match="ambiguous"):
        detector.detect(IMAGE, "image_0001.png")
    single = read_boxes(folder / "bounding_boxes_ibug.mat")
    assert single == {"ibug/image_003_1.jpg": [Detection(BBox(0, 0, 4, 4))]}


def test_what_is_no_file_of_boxes(tmp_path: Path) -> None:
    savemat = pytest.importorskip("scipy.io", reason="scipy, which reads .mat files, is not installed").savemat
    with pytest.raises(InputError, match=r"neither a \.mat file"):
        read_boxes(tmp_path)
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0 MAT-file, damaged" + bytes(200))
    with pytest.raises(FormatError, match=r"a\.mat: not a \.mat file, or damaged"):
        read_boxes(tmp_path / "a.mat")
    savemat(tmp_path / "b.mat", {"other": [1, 2]})
    with pytest.raises(FormatError, match="expected bounding_boxes with imgName"):
        read_boxes(tmp_path / "b.mat")
