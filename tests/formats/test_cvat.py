"""CVAT for images: its own pixels, its labels, and what is left out."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from labelling_files import save, scan

from facealign_cli.formats import cvat
from facealign_cli.formats.labelling import edges
from facealign_cli.landmarks import POINT_NAMES


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


def test_cvat_leaves_out_a_picture_without_a_name(labels, tmp_path: Path) -> None:
    tree = ET.parse(save("cvat", labels, tmp_path))
    del tree.getroot().findall("image")[0].attrib["name"]
    tree.write(tmp_path / "nameless.xml")
    got, lost = scan("cvat", tmp_path / "nameless.xml")
    assert [result.source for result in got] == [result.source for result in labels[1:]]
    assert [(item.name, item.reason) for item in lost] == [
        ("image 0", "it does not say which picture it is of: its name is missing")
    ]


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
