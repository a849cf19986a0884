"""The JSON files beside a folder's faces: each value is of its kind, and each name belongs to something."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from facealign_cli.datasets.beside import Beside
from facealign_cli.errors import FormatError

HALVES, FIVE = [0.5] * 68, [[9, 9], [20, 9], [15, 15], [10, 20], [19, 20]]


@pytest.mark.parametrize("weights", [[True] * 68, ["0.5"] * 68, [[0.5]] * 68, [0.5] * 67, [1e300] * 68, 0.5, None, {}])
def test_weights_that_are_none(tmp_path: Path, weights: object) -> None:
    (tmp_path / "weights.json").write_text(json.dumps({"a": weights}))
    with pytest.raises(FormatError, match=r"weights\.json: a: expected 68 numbers between 0 and 1: .*[Gg]ot"):
        _ = Beside(tmp_path).weights


@pytest.mark.parametrize("yaw", ["30", True, [30], 400, -1e300])
def test_a_yaw_that_is_none(tmp_path: Path, yaw: object) -> None:
    (tmp_path / "info.json").write_text(json.dumps({"a": {"yaw": yaw}}))
    with pytest.raises(FormatError, match=r"info\.json: a: expected .* yaw"):
        _ = Beside(tmp_path).info


@pytest.mark.parametrize("points", [[["9", "9"]] * 5, [[True, False]] * 5, [[1e300, 1]] * 5, FIVE[:3]])
def test_points_of_another_kind(tmp_path: Path, points: object) -> None:
    (tmp_path / "points.json").write_text(json.dumps({"a": points}))
    with pytest.raises(FormatError, match=r"points\.json: a: expected .* 4 or 5 points"):
        _ = Beside(tmp_path).points


def test_a_box_s_error_names_the_picture(tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text(json.dumps({"a.jpg": [1, 2, 3, 4], "b.jpg": [3, 4, 1, 2]}))
    with pytest.raises(FormatError, match=r"boxes\.json: b\.jpg: expected \[x1, y1, x2, y2\].*x1 < x2"):
        _ = Beside(tmp_path).boxes


def test_what_a_file_does_not_say(tmp_path: Path) -> None:
    (tmp_path / "info.json").write_text(json.dumps({"a": {"yaw": None, "box": None, "age": 3}, "b": {"yaw": -30}}))
    info = Beside(tmp_path).info
    assert np.isnan(info["a"].yaw_deg)
    assert info["a"].bbox() is None
    assert info["b"].yaw_deg == -30


def test_names_that_nothing_has_are_told(tmp_path: Path) -> None:
    """Pictures have their suffix in boxes.json, and none in the others."""
    for name in ("a.jpg", "a.pts", "b#1.pts"):
        (tmp_path / name).touch()
    (tmp_path / "weights.json").write_text(json.dumps({"a": HALVES, "b#1": HALVES}))
    (tmp_path / "boxes.json").write_text(json.dumps({"a.jpg": [1, 2, 3, 4]}))
    assert list(Beside(tmp_path).stray_names()) == []
    (tmp_path / "weights.json").write_text(json.dumps({"a.jpg": HALVES, "b#1": HALVES}))
    (tmp_path / "boxes.json").write_text(json.dumps({"a": [1, 2, 3, 4]}))
    boxes, weights = Beside(tmp_path).stray_names()
    assert boxes.name.endswith("/boxes.json")
    assert "1 of its 1 names, such as 'a'; a picture's name stands in it with its suffix" in boxes.reason
    assert "1 of its 2 names, such as 'a.jpg'; a picture's name stands in it without its suffix" in weights.reason


@pytest.mark.parametrize(("pts", "key"), [("a#0.pts", "a#0"), ("a.jpg.pts", "a.jpg")])
def test_a_picture_s_name_that_none_of_its_faces_has_is_told(tmp_path: Path, pts: str, key: str) -> None:
    for name in ("a.jpg", pts):
        (tmp_path / name).touch()
    (tmp_path / "weights.json").write_text(json.dumps({"a": HALVES, key: HALVES}))
    (told,) = Beside(tmp_path).stray_names()
    assert "1 of its 2 names, such as 'a'; " in told.reason


def told_unused(folder: Path) -> list[str]:
    return [str(item).removeprefix(folder.name) for item in Beside(folder).unused()]


def test_hand_points_of_a_face_with_a_pts_file_are_told(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.pts", "b.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "points.json").write_text(json.dumps({"b": FIVE}))
    assert told_unused(tmp_path) == []
    (tmp_path / "points.json").write_text(json.dumps({"b": FIVE, "a": FIVE}))
    (told,) = told_unused(tmp_path)
    assert told.startswith("/points.json: not used for 1 of its 2 names, such as 'a': these faces have a .pts file")


@pytest.mark.parametrize("pts", ["a.pts", "a#0.pts"])
def test_another_picture_of_a_face_s_name_is_told(tmp_path: Path, pts: str) -> None:
    for name in (pts, "a.jpg", "b.png", "a.txt"):
        (tmp_path / name).touch()
    (tmp_path / "a.PNG").symlink_to("a.jpg")  # as on a disk that ignores case
    assert told_unused(tmp_path) == []
    (tmp_path / "a.png").touch()
    (told,) = told_unused(tmp_path)
    assert told.startswith(": 1 picture is not used (a.png): a .pts file is of one picture, and a.pts is taken as that")
    assert told.endswith("of a.jpg; a.png.pts would be that of a.png")
    (tmp_path / pts).rename(tmp_path / "a.jpg.pts")
    assert told_unused(tmp_path) == []


def test_of_many_pictures_of_that_kind_three_are_named(tmp_path: Path) -> None:
    for name in (f"{stem}{suffix}" for stem in "abcd" for suffix in (".pts", ".jpg", ".png")):
        (tmp_path / name).touch()
    (told,) = told_unused(tmp_path)
    assert "4 pictures are not used (a.png, b.png, c.png, …): " in told
