"""COCO keypoints: the skeleton, the order of the points, what is left out, and what pycocotools reads in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from labelling_files import save, scan

from facealign_cli.boxes import BBox
from facealign_cli.errors import FormatError
from facealign_cli.formats.base import get_format
from facealign_cli.landmarks import POINT_NAMES
from facealign_cli.records import FrameResult


def coco_document(labels: list[FrameResult], folder: Path) -> dict:
    return json.loads(save("coco", labels, folder).read_text())


def test_coco_leaves_out_what_is_not_whole(labels, tmp_path: Path) -> None:
    document = coco_document(labels, tmp_path)
    first, second, third = document["annotations"]
    first["keypoints"][2] = 0
    second["keypoints"] = second["keypoints"][:9]
    third["image_id"] = 99
    document["categories"].append({"id": 7, "name": "person"})
    document["annotations"] += [
        {**third, "id": 9, "category_id": 7},  # another category: none of ours
        {**third, "id": 10, "category_id": 8},
        {"id": 11, "image_id": 1, "category_id": 1},
    ]
    (tmp_path / "half.json").write_text(json.dumps(document))
    got, lost = scan("coco", tmp_path / "half.json")
    assert [len(result.faces) for result in got] == [0, 0, 0]
    assert [item.name for item in lost] == ["a b.png#0", "a b.png#1", "a b.png#2", "annotation 3", "annotation 10"]
    assert "1 of its 68 points are not labelled: jaw_1" in lost[0].reason
    assert "expected 204 numbers" in lost[1].reason
    assert lost[2].reason == "annotation 11: it has no keypoints"
    assert lost[4].reason == "its category_id is not among the categories"
    with pytest.raises(FormatError, match=r"half\.json: a b\.png#0: annotation 1: 1 of its 68"):
        get_format("coco").read(tmp_path / "half.json")


@pytest.mark.parametrize("box", [None, [], [0, 0, 0, 0], [7, 8, 0.0, 0.0]])
def test_a_face_without_a_box_has_the_one_around_its_points(labels, tmp_path: Path, box: list | None) -> None:
    document = coco_document(labels, tmp_path)
    document["annotations"][0]["bbox"] = box
    (tmp_path / "boxless.json").write_text(json.dumps(document))
    face = get_format("coco").read(tmp_path / "boxless.json")[0].faces[0]
    assert face.bbox == BBox.around(face.landmarks)


@pytest.mark.parametrize("box", [[40, 8, -30, 20], [7, 8, 30, 0], [7, 8, "wide", 20]])
def test_a_face_whose_box_is_none_is_left_out(labels, tmp_path: Path, box: list) -> None:
    """Its points may be as wrong as its box; a box around them took that one's place in silence."""
    document = coco_document(labels, tmp_path)
    document["annotations"][0]["bbox"] = box
    (tmp_path / "bad.json").write_text(json.dumps(document))
    (lost,) = scan("coco", tmp_path / "bad.json")[1]
    assert lost.reason.startswith("annotation 1: bbox: expected ")


def test_cocos_skeleton_counts_from_one(labels, tmp_path: Path) -> None:
    """68 points, of which nine lines hold 63 pieces: four of them are closed."""
    (category,) = coco_document(labels, tmp_path)["categories"]
    skeleton = category["skeleton"]
    assert [1, 2] in skeleton and [42, 37] in skeleton and [68, 61] in skeleton
    assert [17, 18] not in skeleton  # the jaw does not go on into the brow
    assert len(skeleton) == 63
    assert {point for line in skeleton for point in line} == set(range(1, 69))


def test_coco_in_another_order_of_points(labels, tmp_path: Path) -> None:
    document = coco_document(labels, tmp_path)
    document["categories"][0]["keypoints"].reverse()
    for annotation in document["annotations"]:
        triples = np.array(annotation["keypoints"]).reshape(68, 3)[::-1]
        annotation["keypoints"] = triples.ravel().tolist()
    (tmp_path / "turned.json").write_text(json.dumps(document))
    got, _ = scan("coco", tmp_path / "turned.json")
    np.testing.assert_array_equal(got[0].faces[1].landmarks, labels[0].faces[1].landmarks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": None}, "not COCO"),
        ({"images": [{"id": 1}]}, "image 1"),
        ({"annotations": [{}]}, "not COCO"),
        (
            {"images": [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}]},
            "the images 'a.png' and 'b.png' have the same id, 1",
        ),
        ({"categories": []}, "none of its categories has 68 keypoints"),
    ],
)
def test_what_is_no_coco(labels, tmp_path: Path, change: dict, message: str) -> None:
    document = coco_document(labels, tmp_path) | change
    (tmp_path / "bad.json").write_text(json.dumps(document))
    with pytest.raises(FormatError, match=message):
        list(get_format("coco").scan(tmp_path / "bad.json"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pycocotools_reads_the_same(labels, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    data = coco.COCO(str(save("coco", labels, tmp_path)))
    (category,) = data.loadCats(data.getCatIds())
    assert category["keypoints"] == list(POINT_NAMES)
    assert len(data.getImgIds()) == 3 and len(data.getAnnIds()) == 3
    annotation = data.loadAnns(data.getAnnIds(imgIds=1))[1]
    points = np.array(annotation["keypoints"]).reshape(68, 3)
    np.testing.assert_array_equal(points[:, :2], labels[0].faces[1].landmarks)
    cocoeval = pytest.importorskip("pycocotools.cocoeval", reason="pycocotools is not installed")
    evaluation = cocoeval.COCOeval(data, data, "keypoints")
    evaluation.params.kpt_oks_sigmas = np.full(68, 0.05)
    evaluation.evaluate()
    evaluation.accumulate()
    assert evaluation.eval["precision"][:, :, 0, 0, 0].max() == pytest.approx(1)
