"""YOLO pose folders: what Ultralytics expects of them, and what it reads there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from labelling_files import save, scan

from facealign_cli.errors import InputError
from facealign_cli.formats import yolo_pose
from facealign_cli.formats.base import get_format
from facealign_cli.landmarks import MIRROR_ORDER, POINT_NAMES


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
