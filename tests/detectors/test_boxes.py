"""Boxes from a JSON or CSV file, and everything that can be wrong with one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from facealign_cli.boxes import BBox, BoxCalibration, Detection
from facealign_cli.convert import convert
from facealign_cli.detectors import create_detector
from facealign_cli.detectors.base import Detector
from facealign_cli.detectors.boxes import read_boxes
from facealign_cli.errors import FormatError, InputError
from facealign_cli.files.pictures import write_image
from facealign_cli.formats.base import get_format
from facealign_cli.formats.pts import write_pts

IMAGE = np.zeros((20, 20, 3), np.uint8)


def detector_of(tmp_path: Path, text: str, suffix: str = ".json", **options: object) -> Detector:
    path = tmp_path / f"boxes{suffix}"
    path.write_text(text, encoding="utf-8")
    return create_detector("boxes", boxes_file=path, **options)


def test_json_of_single_boxes_lists_and_nothing(tmp_path: Path) -> None:
    content = {"a.jpg": [1, 2, 3.5, 4], "b.jpg": [[1, 2, 3, 4], [5, 6, 9, 9]], "c.jpg": []}
    detector = detector_of(tmp_path, json.dumps(content))
    assert detector.calibration == BoxCalibration()
    assert detector.detect(IMAGE, "a.jpg") == [Detection(BBox(1, 2, 3.5, 4))]
    assert detector.detect(IMAGE, "b.jpg") == [Detection(BBox(1, 2, 3, 4)), Detection(BBox(5, 6, 9, 9))]
    assert detector.detect(IMAGE, "c.jpg") == []


def test_csv_with_and_without_scores(tmp_path: Path) -> None:
    rows = "image,x1,y1,x2,y2,score\na.jpg,0,0,5,5,0.5\nb.jpg,1,1,2,2,\na.jpg,1,1,9,9,0.9\n"
    detector = detector_of(tmp_path, rows, ".csv")
    assert detector.detect(IMAGE, "a.jpg") == [Detection(BBox(1, 1, 9, 9), 0.9), Detection(BBox(0, 0, 5, 5), 0.5)]
    assert detector.detect(IMAGE, "b.jpg") == [Detection(BBox(1, 1, 2, 2))]
    assert detector_of(tmp_path, "image,x1,y1,x2,y2\na.jpg,0,0,5,5\n", ".csv").detect(IMAGE, "a.jpg")[0].score is None


def test_score_and_max_faces(tmp_path: Path) -> None:
    rows = "image,x1,y1,x2,y2,score\na.jpg,0,0,5,5,0.5\na.jpg,1,1,9,9,0.9\n"
    assert len(detector_of(tmp_path, rows, ".csv", score=0.6).detect(IMAGE, "a.jpg")) == 1
    assert detector_of(tmp_path, rows, ".csv", max_faces=1).detect(IMAGE, "a.jpg")[0].bbox.size == 8


@pytest.mark.parametrize(
    ("source", "x2"),
    [("one/a.jpg", 1), ("two/a.jpg", 2), ("/data/one/a.jpg", 1), ("/data/set/two/a.jpg", 3), ("elsewhere/b.jpg", 4),
     ("b.jpg", 4), ("one\\a.jpg", 1)],
)  # fmt: skip
def test_path_then_its_ending_then_file_name(tmp_path: Path, source: str, x2: float) -> None:
    content = {
        "one/a.jpg": [0, 0, 1, 1], "two/a.jpg": [0, 0, 2, 1], "set/two/a.jpg": [0, 0, 3, 1], "x/b.jpg": [0, 0, 4, 1]
    }  # fmt: skip
    (found,) = detector_of(tmp_path, json.dumps(content)).detect(IMAGE, source)
    assert found.bbox.x2 == x2


def test_missing_and_ambiguous_names(tmp_path: Path) -> None:
    detector = detector_of(tmp_path, json.dumps({"one/a.jpg": [0, 0, 1, 1], "two/a.jpg": [0, 0, 2, 1]}))
    with pytest.raises(InputError, match=r"no box for c\.jpg in .*boxes\.json"):
        detector.detect(IMAGE, "c.jpg")
    with pytest.raises(InputError, match=r"a\.jpg is ambiguous in .*: it could be one/a\.jpg or two/a\.jpg"):
        detector.detect(IMAGE, "three/a.jpg")
    with pytest.raises(InputError, match="needs pictures with a name"):
        detector.detect(IMAGE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1, 2]", "expected an object"),
        ('{"a.jpg": [1, 2, 3]}', r"'a\.jpg': expected four numbers"),
        ('{"a.jpg": [1, 2, 3, "x"]}', r"'a\.jpg': bbox: y2: expected a number, got 'x'"),
        ('{"a.jpg": [1, 2, 3, null]}', r"'a\.jpg': bbox: y2: expected a number, got None"),
        ('{"a.jpg": [5, 2, 3, 4]}', r"'a\.jpg': bbox: expected x1 < x2"),
        ('{"a.jpg": [1, 2, 3, NaN]}', "not JSON, or damaged: NaN is no JSON"),
        ('{"a.jpg": [[1, 2, 3, 4], 5]}', r"'a\.jpg': expected four numbers"),
        ('{"a.jpg": "1,2,3,4"}', r"'a\.jpg': expected \[x1"),
        ('{"a.jpg": [true, 2, 3, 4]}', r"'a\.jpg': expected four numbers"),
        ('{"a.jpg": [1, 2, 3, 4], "a.jpg": []}', r"key 'a\.jpg' stands there twice"),
    ],
)
def test_malformed_json(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        detector_of(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("a,b\n", "the header lacks image, x1, y1, x2, y2"),
        ("image,x1,y1,x2\na,1,2,3\n", "the header lacks y2"),
        ("image,x1,y1,x2,y2\na.jpg,1,2,3\n", "line 2: expected 5 cells, got 4"),
        ("x1,y1,x2,y2,image\n1,2,3,4\n", "line 2: expected 5 cells, got 4"),
        ("image,x1,y1,x2,y2\na.jpg,1,2,3,4,5\n", "line 2: expected 5 cells, got 6; are there decimal commas"),
        ("image;x1;y1;x2;y2\na.jpg;1;2;3;4\n", "separated by semicolons"),
        ("image,x1,y1,x2,y2\n,1,2,3,4\n", "line 2: .*a picture's name"),
        ("image,x1,y1,x2,y2\na.jpg,1,2,3,4\nb.jpg,1,2,x,4\n", "line 3: bbox: x2: expected a number, got 'x'"),
        ("image,x1,y1,x2,y2\na.jpg,3,2,1,4\n", "line 2: bbox: expected x1 < x2"),
        ("image,x1,y1,x2,y2,score\na.jpg,1,2,3,4,nan\n", "line 2: score: expected a finite number"),
    ],
)
def test_malformed_csv(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        detector_of(tmp_path, text, ".csv")


def test_unusable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a file of boxes"):
        create_detector("boxes")
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        read_boxes(tmp_path / "none.json")
    with pytest.raises(InputError, match=r"boxes\.txt: expected boxes: a \.json or \.csv"):
        read_boxes(tmp_path / "boxes.txt")
    (tmp_path / "latin.csv").write_bytes(b"image,x1,y1,x2,y2\n\xe4.jpg,1,2,3,4\n")
    assert list(read_boxes(tmp_path / "latin.csv")) == ["\udce4.jpg"]  # as Python names such a file


def test_pts_files_are_told_what_makes_boxes_of_them(tmp_path: Path) -> None:
    """They name no picture, and the rows that `convert` makes of them do."""
    folder = tmp_path / "my faces"
    folder.mkdir()
    landmarks = np.random.default_rng(0).uniform(2, 18, (68, 2))
    write_pts(folder / "a.pts", landmarks)
    write_image(folder / "a.png", IMAGE)
    rows = tmp_path / "rows.json"
    with pytest.raises(InputError, match=re.escape(f"facealign convert '{folder}' rows.json")):
        read_boxes(folder)
    convert([folder], rows, get_format("json"))
    (box,) = create_detector("boxes", boxes_file=rows).detect(IMAGE, str(folder / "a.png"))
    np.testing.assert_allclose(box.bbox.xyxy, BBox.around(landmarks).xyxy, atol=0.01)


def test_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbfimage,x1,y1,x2,y2\na.jpg,1,2,3,4\n")
    assert list(read_boxes(tmp_path / "b.csv")) == ["a.jpg"]


def test_reads_the_300w_boxes(shared_data: Path) -> None:
    boxes = read_boxes(shared_data / "300w" / "afw" / "boxes.json")
    assert len(boxes) == 337
    assert boxes["111076519_1.jpg"] == [Detection(BBox(141.5, 143.5, 281.5, 283.5))]
