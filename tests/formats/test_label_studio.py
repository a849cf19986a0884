"""Label Studio's tasks: percents, what people made of them, and the names of pictures."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from labelling_files import save, scan

from facealign_cli.errors import FormatError
from facealign_cli.formats import label_studio
from facealign_cli.formats.base import get_format
from facealign_cli.landmarks import POINT_NAMES


def test_label_studio_is_percent_from_the_corner(labels, tmp_path: Path) -> None:
    path = save("label-studio", labels, tmp_path)
    task = json.loads(path.read_text())[0]
    assert task["data"]["image"] == "/data/local-files/?d=a%20b.png"
    (prediction,) = task["predictions"]
    assert prediction["score"] == 0.25  # the worse face's: to sort by
    box, point = prediction["result"][:2]
    x, y = labels[0].faces[0].landmarks[0]
    assert point["value"]["x"] == pytest.approx((x + 0.5) / 640 * 100)
    assert point["value"]["y"] == pytest.approx((y + 0.5) / 480 * 100)
    assert point["parentID"] == box["id"]
    assert len({region["id"] for region in prediction["result"]}) == 2 * 69
    config = ET.parse(path.with_suffix(".config.xml")).getroot()
    assert [label.get("value") for label in config.findall("KeyPointLabels/Label")] == list(POINT_NAMES)
    names = {element.get("name") for element in config}
    assert {region["from_name"] for region in prediction["result"]} | {"image"} == names


def test_label_studio_takes_what_people_made(labels, tmp_path: Path) -> None:
    tasks = json.loads(save("label-studio", labels, tmp_path).read_text())
    for task in tasks:
        work = task["predictions"].pop()
        moved = json.loads(json.dumps(work))
        for region in moved["result"]:
            region["value"]["x"] += 1
        task["annotations"] = [{**work, "was_cancelled": False}, moved, {"was_cancelled": True, "result": []}]
        task["data"]["image"] = "/data/upload/3/1a2b-a.png"
    tasks[0]["annotations"][1]["result"].pop(5)
    (tmp_path / "made.json").write_text(json.dumps(tasks))
    got, lost = scan("label-studio", tmp_path / "made.json")
    assert got[0].source == "upload/3/1a2b-a.png"
    assert [len(result.faces) for result in got] == [1, 1, 0]
    np.testing.assert_allclose(got[1].faces[0].landmarks, labels[1].faces[0].landmarks + np.array([6.4, 0]), atol=1e-4)
    assert "1 of its 68 points are not labelled: jaw_5" in lost[0].reason


def test_a_task_that_was_skipped_is_left_out(labels, tmp_path: Path) -> None:
    """Its prediction would pass for what people made, or the picture for one without faces."""
    tasks = json.loads(save("label-studio", labels, tmp_path).read_text())
    tasks[0]["annotations"] = [{"was_cancelled": True, "result": []}]
    tasks[1]["annotations"] = [{"was_cancelled": True, "result": []}, {**tasks[1]["predictions"][0]}]
    (tmp_path / "made.json").write_text(json.dumps(tasks))
    got, lost = scan("label-studio", tmp_path / "made.json")
    assert [(one.name, one.reason.split(",")[0]) for one in lost] == [
        (labels[0].source, "it was skipped in Label Studio")
    ]
    assert [result.source for result in got] == [result.source for result in labels[1:3]]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/local-files/?d=a/b%20c.jpg", "a/b c.jpg"),
        ("http://localhost:8080/data/local-files/?d=a/b.jpg", "a/b.jpg"),
        ("/data/upload/1/x.jpg", "upload/1/x.jpg"),
        ("s3://bucket/a.jpg", "s3://bucket/a.jpg"),
        ("a.jpg", "a.jpg"),
    ],
)
def test_label_studio_names(address: str, name: str) -> None:
    assert label_studio.picture_name(address) == name


@pytest.mark.parametrize(
    "text", ["{}", "[1]", '[{"data": {}}]', '[{"data": {"image": "a"}, "predictions": [{}]}]', "["]
)
def test_what_is_no_list_of_tasks(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(FormatError, match=r"bad\.json"):
        list(get_format("label-studio").scan(tmp_path / "bad.json"))
