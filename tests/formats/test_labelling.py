"""What every format of a labelling tool has to do: there and back, what it leaves out, damage."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest
from labelling_files import TOLERANCE, save

from facealign_cli.boxes import BBox
from facealign_cli.errors import FormatError
from facealign_cli.formats.base import find_format, get_format
from facealign_cli.formats.labelling import point_indices
from facealign_cli.landmarks import POINT_NAMES
from facealign_cli.records import Face, FrameResult


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


def test_names_of_points() -> None:
    assert point_indices(POINT_NAMES[::-1]) == list(range(67, -1, -1))
    assert point_indices([f"{i:02d}" for i in range(68)]) == list(range(68))
    assert point_indices([str(i + 1) for i in range(68)]) == list(range(68))
    for names in (POINT_NAMES[:67], [*POINT_NAMES[:67], "jaw_1"], [str(i + 2) for i in range(68)], ["x"] * 68):
        assert point_indices(names) is None


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
    whole, random, told = path.read_bytes(), Random(name), []
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
        try:
            list(get_format(name).scan(tmp_path / f"bad{path.suffix}"))
        except FormatError as error:
            told.append(str(error))
    assert told
    assert all(f"bad{path.suffix}" in text for text in told)
