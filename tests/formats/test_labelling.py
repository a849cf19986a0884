"""The formats of labelling tools: there and back, what they leave out, and what others' code reads in them."""

from __future__ import annotations

import contextlib
import itertools
import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest

from facealign_cli.errors import FormatError, InputError
from facealign_cli.formats import cvat, label_studio, yolo_pose
from facealign_cli.formats.base import find_format, get_format
from facealign_cli.formats.labelling import edges, point_indices
from facealign_cli.landmarks import MIRROR_ORDER, POINT_NAMES
from facealign_cli.records import BBox, Face, FrameResult, LeftOut

TOLERANCE = {"coco": 0, "cvat": 0, "label-studio": 1e-4, "yolo-pose": 1e-4, "dlib-xml": 0.5}
"""Format → how far a point may move there and back, pixels: its own rounding."""

HIDDEN = np.arange(68) != 30
SIZES = {"width": 640, "height": 480}


@pytest.fixture
def faces(face) -> list[Face]:
    """Two faces inside a picture of 640 x 480, one of them with a point that cannot be seen."""
    return [face(0, visible=HIDDEN), face(1, confidence=0.25, detector_score=None)]


@pytest.fixture
def labels(faces, tmp_path: Path) -> list[FrameResult]:
    """A picture with two faces, one with one, one with none; their files are there."""
    names = ["a b.png", "sub/b#1.png", "sub/c.png"]
    (tmp_path / "sub").mkdir()
    for name in names:
        cv2.imwrite(str(tmp_path / name), np.zeros((480, 640, 3), np.uint8))
    return [FrameResult.of_faces(name, faces[:n], **SIZES) for name, n in zip(names, (2, 1, 0), strict=True)]


def save(name: str, results: list[FrameResult], folder: Path) -> Path:
    path = folder / {"cvat": "out.xml", "dlib-xml": "out.xml", "yolo-pose": "out"}.get(name, "out.json")
    fmt = get_format(name)
    fmt.write(path, results, **({"root": folder} if fmt.takes_root else {}))
    return path


@pytest.mark.parametrize("name", TOLERANCE)
def test_there_and_back(labels, tmp_path: Path, name: str) -> None:
    path = save(name, labels, tmp_path)
    assert find_format(path) == get_format(name)
    got = get_format(name).read(path)
    assert [(r.source, r.status, r.width, r.height) for r in got] == [
        (r.source, r.status, r.width, r.height) for r in labels
    ]
    for result, expected in zip(got, labels, strict=True):
        for one, other in zip(result.faces, expected.faces, strict=True):
            assert np.abs(one.landmarks - other.landmarks).max() <= TOLERANCE[name]
            if name == "dlib-xml":
                assert one.visible is None  # it cannot be held
            else:
                _same_visibility(one, other)


def _same_visibility(one: Face, other: Face) -> None:
    assert (one.visible is None) == (other.visible is None)
    if one.visible is not None and other.visible is not None:
        np.testing.assert_array_equal(one.visible, other.visible)


@pytest.mark.parametrize("name", ["coco", "label-studio", "yolo-pose", "dlib-xml"])
def test_the_box_comes_back(labels, tmp_path: Path, name: str) -> None:
    got = get_format(name).read(save(name, labels, tmp_path))[0].faces[1].bbox.xyxy
    np.testing.assert_allclose(got, labels[0].faces[1].bbox.xyxy, atol=1.0 if name == "dlib-xml" else 1e-4)


def test_without_a_box_it_is_the_tight_one(labels, tmp_path: Path) -> None:
    face = get_format("cvat").read(save("cvat", labels, tmp_path))[0].faces[0]
    assert face.bbox == BBox(*np.concatenate([face.landmarks.min(axis=0), face.landmarks.max(axis=0)]).tolist())


@pytest.mark.parametrize("name", ["coco", "cvat", "label-studio"])
def test_the_confidence_comes_back(labels, tmp_path: Path, name: str) -> None:
    got = get_format(name).read(save(name, labels, tmp_path))
    assert [face.confidence for face in got[0].faces] == [0.9875, 0.25]


@pytest.mark.parametrize("name", TOLERANCE)
def test_what_cannot_be_held_is_said_and_not_written(labels, tmp_path: Path, name: str) -> None:
    fmt = get_format(name)
    for odd, reason in (
        (FrameResult.of_error("x.jpg", "damaged"), "the picture failed: damaged"),
        (replace(labels[0], frame=3), "a frame of a clip"),
        (replace(labels[0], source="a\x01.jpg"), "characters that the format cannot hold"),
        (replace(labels[0], source="\udcff.jpg"), "characters that the format cannot hold"),
    ):
        assert reason in (fmt.why_not(odd) or "")
    if name != "dlib-xml":
        assert "size of its picture is not known" in (fmt.why_not(replace(labels[0], width=0)) or "")
    path = save(name, [FrameResult.of_error("x.jpg", "damaged"), *labels], tmp_path)
    assert len(fmt.read(path)) == len(labels)


@pytest.mark.parametrize("name", TOLERANCE)
def test_nothing_is_overwritten(labels, tmp_path: Path, name: str) -> None:
    path = save(name, labels, tmp_path)
    with pytest.raises(Exception, match="exists already"):
        save(name, labels, tmp_path)
    get_format(name).write(path, labels[:1], True, **({"root": tmp_path} if name == "yolo-pose" else {}))


def test_awkward_names_come_back(labels, tmp_path: Path) -> None:
    names = ["ö/日本 &<>\"'.jpg", "a%20b?d=1#2.png", " x .jpg"]
    for name in ("coco", "cvat", "label-studio", "dlib-xml"):
        path = tmp_path / f"{name}{'.xml' if name in ('cvat', 'dlib-xml') else '.json'}"
        get_format(name).write(path, [replace(labels[0], source=source) for source in names])
        assert [result.source for result in get_format(name).read(path)] == names


# COCO


def coco_document(labels: list[FrameResult], folder: Path) -> dict:
    return json.loads(save("coco", labels, folder).read_text())


def scan(name: str, path: Path) -> tuple[list[FrameResult], list[LeftOut]]:
    items = list(get_format(name).scan(path))
    return [i for i in items if isinstance(i, FrameResult)], [i for i in items if isinstance(i, LeftOut)]


def test_coco_leaves_out_what_is_not_whole(labels, tmp_path: Path) -> None:
    document = coco_document(labels, tmp_path)
    first, second, third = document["annotations"]
    first["keypoints"][2] = 0
    second["keypoints"] = second["keypoints"][:9]
    third["image_id"] = 99
    document["annotations"].append({**third, "id": 9, "category_id": 7})  # another category: none of ours
    (tmp_path / "half.json").write_text(json.dumps(document))
    got, lost = scan("coco", tmp_path / "half.json")
    assert [len(result.faces) for result in got] == [0, 0, 0]
    assert [item.name for item in lost] == ["a b.png#0", "a b.png#1", "annotation 3"]
    assert "1 of its 68 points are not labelled: jaw_1" in lost[0].reason
    assert "expected 204 numbers" in lost[1].reason
    with pytest.raises(FormatError, match=r"half\.json: a b\.png#0: annotation 1: 1 of its 68"):
        get_format("coco").read(tmp_path / "half.json")


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


# CVAT


def test_cvat_counts_from_the_corner(labels, tmp_path: Path) -> None:
    """The middle of the first pixel is 0.5, 0.5 there and 0, 0 here."""
    root = ET.parse(save("cvat", labels, tmp_path)).getroot()
    first = root.find("image/skeleton/points")
    x, y = (float(value) for value in first.get("points", "").split(","))
    assert (x, y) == pytest.approx(tuple(labels[0].faces[0].landmarks[0] + 0.5))
    assert first.get("label") == "jaw_1"
    hidden = root.findall("image/skeleton/points[@occluded='1']")
    assert [point.get("label") for point in hidden] == [POINT_NAMES[30]] * 2


def test_cvat_labels_for_the_constructor(labels, tmp_path: Path) -> None:
    path = save("cvat", labels, tmp_path)
    (label,) = json.loads(path.with_suffix(".labels.json").read_text())
    assert label == cvat.label_constructor()[0]
    assert [sub["name"] for sub in label["sublabels"]] == list(POINT_NAMES)
    drawing = ET.fromstring(f"<svg>{label['svg']}</svg>")
    assert len(drawing.findall("circle")) == 68
    assert len(drawing.findall("line")) == len(edges())
    for node in drawing.findall("circle"):
        assert 0 < float(node.get("cx", "")) < 100 and 0 < float(node.get("cy", "")) < 100


def test_cvat_leaves_out_what_is_not_whole(labels, tmp_path: Path) -> None:
    tree = ET.parse(save("cvat", labels, tmp_path))
    first, second = tree.getroot().findall("image")[0].findall("skeleton")
    first.find("points").set("outside", "1")
    second.find("points").set("label", "chin")
    ET.SubElement(tree.getroot(), "track", id="0")
    ET.SubElement(tree.getroot().find("image"), "points", points="1,2;3,4")
    tree.write(tmp_path / "half.xml")
    got, lost = scan("cvat", tmp_path / "half.xml")
    assert [len(result.faces) for result in got] == [0, 1, 0]
    reasons = [item.reason for item in lost]
    assert "CVAT for images" in reasons[0]
    assert "not labelled: jaw_1" in reasons[1]
    assert "not the 68 by name" in reasons[2]
    assert "a shape of 2 points" in reasons[3]


def test_cvat_points_in_one_shape_and_numbered_names(labels, tmp_path: Path) -> None:
    tree = ET.parse(save("cvat", labels, tmp_path))
    image = tree.getroot().find("image")
    first, second = image.findall("skeleton")
    for number, point in enumerate(first.findall("points"), start=1):
        point.set("label", str(number))
    pairs = ";".join(point.get("points", "") for point in second.findall("points"))
    image.remove(second)
    ET.SubElement(image, "points", points=pairs)
    tree.write(tmp_path / "other.xml")
    got, lost = scan("cvat", tmp_path / "other.xml")
    assert not lost
    for one, other in zip(got[0].faces, labels[0].faces, strict=True):
        np.testing.assert_allclose(one.landmarks, other.landmarks, atol=1e-9)


def test_names_of_points() -> None:
    assert point_indices(POINT_NAMES[::-1]) == list(range(67, -1, -1))
    assert point_indices([f"{i:02d}" for i in range(68)]) == list(range(68))
    assert point_indices([str(i + 1) for i in range(68)]) == list(range(68))
    for names in (POINT_NAMES[:67], [*POINT_NAMES[:67], "jaw_1"], [str(i + 2) for i in range(68)], ["x"] * 68):
        assert point_indices(names) is None


# Label Studio


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


# YOLO


def test_yolo_is_what_ultralytics_expects(labels, tmp_path: Path) -> None:
    folder = save("yolo-pose", labels, tmp_path)
    assert (folder / "images" / "sub" / "b#1.png").read_bytes() == (tmp_path / "sub" / "b#1.png").read_bytes()
    lines = [line.split() for line in (folder / "labels" / "a b.txt").read_text().splitlines()]
    assert [len(words) for words in lines] == [5 + 3 * 68] * 2
    assert (folder / "labels" / "sub" / "c.txt").read_text() == ""
    values = np.array(lines[0], float)
    assert values[1:].min() >= 0 and values[5:].reshape(68, 3)[:, :2].max() <= 1
    np.testing.assert_allclose(values[5:7], (labels[0].faces[0].landmarks[0] + 0.5) / [640, 480], atol=1e-8)
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    data = yaml.safe_load((folder / "data.yaml").read_text())
    assert data["kpt_shape"] == [68, 3]
    assert data["flip_idx"] == list(MIRROR_ORDER)
    assert data["names"] == {0: "face"}
    assert data["kpt_names"] == {0: list(POINT_NAMES)}


def test_yolo_points_outside_are_not_labelled(labels, tmp_path: Path) -> None:
    face = labels[0].faces[0]
    outside = replace(labels[0], faces=(replace(face, landmarks=face.landmarks - [50, 0], visible=None),))
    folder = save("yolo-pose", [outside], tmp_path)
    rows = np.array((folder / "labels" / "a b.txt").read_text().split(), float)[5:].reshape(68, 3)
    gone = outside.faces[0].landmarks[:, 0] < -0.5
    assert gone.any() and not gone.all()
    np.testing.assert_array_equal(rows[gone], 0)
    assert (rows[~gone, 2] == 2).all()
    _, lost = scan("yolo-pose", folder)
    assert "points are not labelled" in lost[0].reason


def test_yolo_names_that_would_meet(labels, tmp_path: Path) -> None:
    """a.jpg and a.png have one label file; a folder `images` would be taken for the other one."""
    names = ["a.png", "a.jpg", "images/a.png"]
    (tmp_path / "images").mkdir()
    for name in names:
        cv2.imwrite(str(tmp_path / name), np.zeros((480, 640, 3), np.uint8))
    folder = save("yolo-pose", [replace(labels[i], source=name) for i, name in enumerate(names)], tmp_path)
    got = {result.source: len(result.faces) for result in get_format("yolo-pose").read(folder)}
    assert got == {"a.png": 2, "a-2.jpg": 1, "images_/a.png": 0}


def test_yolo_needs_the_pictures(labels, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.png: no such picture; name their folder"):
        yolo_pose.write(tmp_path / "out", [replace(labels[0], source="none.png")], root=tmp_path)
    assert not list((tmp_path / "out").iterdir())


def test_ultralytics_reads_the_same(labels, tmp_path: Path) -> None:
    utils = pytest.importorskip("ultralytics.data.utils", reason="ultralytics is not installed: it needs torchvision")
    folder = save("yolo-pose", labels, tmp_path)
    for result in labels:
        image = folder / "images" / result.source
        (label,) = utils.img2label_paths([str(image)])
        read = utils.verify_image_label((str(image), label, "", True, 1, 68, 3, False))
        assert read[0] == str(image), read[-1]  # None: Ultralytics would pass over the picture
        for found, face in zip(() if read[4] is None else read[4], result.faces, strict=True):
            np.testing.assert_allclose(found[:, :2] * [640, 480] - 0.5, face.landmarks, atol=1e-3)


# dlib


def test_dlib_trains_on_it(labels, tmp_path: Path) -> None:
    """dlib's own reader takes the file: a predictor that has learnt the faces by heart finds the points again."""
    dlib = pytest.importorskip("dlib", reason="dlib is not installed")
    generator = np.random.default_rng(0)
    for result in labels:
        cv2.imwrite(str(tmp_path / result.source), generator.integers(0, 255, (480, 640, 3), np.uint8))
    path = save("dlib-xml", labels, tmp_path)
    options = dlib.shape_predictor_training_options()
    options.cascade_depth, options.tree_depth, options.oversampling_amount, options.nu = 8, 2, 5, 1.0
    options.num_trees_per_cascade_level, options.feature_pool_size = 20, 50
    options.random_seed = "1"
    dlib.train_shape_predictor(str(path), str(tmp_path / "sp.dat"), options)
    assert dlib.test_shape_predictor(str(path), str(tmp_path / "sp.dat")) < 3
    face = labels[0].faces[1]
    image = cv2.imread(str(tmp_path / labels[0].source))
    x1, y1, x2, y2 = (round(value) for value in face.bbox.xyxy)
    found = dlib.shape_predictor(str(tmp_path / "sp.dat"))(image, dlib.rectangle(x1, y1, x2 - 1, y2 - 1))
    points = np.array([[p.x, p.y] for p in found.parts()])
    assert np.abs(points - face.landmarks).mean() < 3


def test_dlib_reads_utf_8_under_another_header(labels, tmp_path: Path) -> None:
    """As imglab writes it."""
    path = save("dlib-xml", [replace(labels[0], source="ö.jpg")], tmp_path)
    path.write_bytes(path.read_bytes().replace(b"encoding='UTF-8'", b"encoding='ISO-8859-1'"))
    assert get_format("dlib-xml").read(path)[0].source == "ö.jpg"
    path.write_bytes(path.read_bytes().decode("utf-8").encode("latin-1"))
    assert get_format("dlib-xml").read(path)[0].source == "ö.jpg"


# datumaro


@pytest.mark.parametrize("name", ["coco", "cvat"])
def test_datumaro_reads_the_same(labels, tmp_path: Path, name: str) -> None:
    """Every face and every point, in COCO's pixels and in CVAT's, which are half a pixel larger."""
    datumaro = pytest.importorskip("datumaro", reason="datumaro is not installed")
    named = [replace(labels[0], source="a.png"), replace(labels[1], source="b.png")]
    root = tmp_path / name
    images = root / "images"
    images.mkdir(parents=True)
    for result in named:
        cv2.imwrite(str(images / result.source), np.zeros((480, 640, 3), np.uint8))
    if name == "coco":
        (root / "annotations").mkdir()
        get_format("coco").write(root / "annotations" / "person_keypoints_default.json", named)
        found = datumaro.Dataset.import_from(str(root), "coco_person_keypoints")
        shift = 0.0
    else:
        get_format("cvat").write(root / "default.xml", named)
        found = datumaro.Dataset.import_from(str(root), "cvat")
        shift = 0.5
    items = {item.id: item for item in found}
    assert set(items) == {"a", "b"}
    for result in named:
        points = [a.points for a in items[result.source[:1]].annotations if a.type == datumaro.AnnotationType.points]
        places = np.array(list(itertools.chain.from_iterable(points))).reshape(-1, 68, 2)
        places = places[np.argsort(places[:, 0, 0])]  # its order of faces is its own
        expected = np.array([face.landmarks for face in result.faces])
        np.testing.assert_allclose(places, expected + shift, atol=0.006)  # datumaro rounds to two decimals


# Damage


ODD = [None, True, [], {}, "x", "", -1, 1e400, float("nan"), 10**401, [[]]]


def places(value: object, path: tuple = ()) -> Iterator[tuple]:
    """The paths of the values in a JSON document, of long lists the first ones."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value[:6]) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


@pytest.mark.parametrize("name", sorted(TOLERANCE.keys() - {"yolo-pose"}))
def test_damaged_files_end_in_an_error_that_says_so(labels, tmp_path: Path, name: str) -> None:
    """A hundred times: odd values in JSON, or bytes that are changed, lost or more than there were."""
    path = save(name, labels, tmp_path)
    whole, random = path.read_bytes(), Random(name)
    for _ in range(100):
        if path.suffix == ".json" and random.random() < 0.7:
            document = json.loads(whole)
            *above, last = random.choice([place for place in places(document) if place])
            reduce(lambda value, key: value[key], above, document)[last] = random.choice(ODD)
            damaged = json.dumps(document).encode()
        else:
            changed = bytearray(whole)
            at, length = random.randrange(len(changed)), random.randrange(60)
            changed[at : at + length] = random.choice([b"", b"\0", b"9" * 500, b"nan", b"<", b"&", b"1e400"])
            damaged = bytes(changed)
        (tmp_path / f"bad{path.suffix}").write_bytes(damaged)
        with contextlib.suppress(FormatError):
            list(get_format(name).scan(tmp_path / f"bad{path.suffix}"))
