"""Pictures without landmarks: where their face is, and points placed by hand in other schemes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign_cli.boxes import BBox
from facealign_cli.datasets.base import LeftOut, Sample
from facealign_cli.datasets.beside import Beside
from facealign_cli.datasets.unlabelled import points_of_shape, read
from facealign_cli.errors import FormatError, InputError
from facealign_cli.geometry import bbox_of_shape, init_shape_from_bbox
from facealign_cli.landmarks import MEAN_SHAPE


def picture(folder: Path, stem: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{stem}.jpg"), np.zeros((90, 80, 3), np.uint8))


def samples(root: Path, found: BBox | None = None) -> list[Sample | LeftOut]:
    return list(read(root, lambda path: found))


@pytest.mark.parametrize("count", [4, 5])
def test_points_say_where_the_face_is(tmp_path: Path, count: int) -> None:
    """Hand points of the mean shape, at half its size: the sample's shape is that face."""
    face = MEAN_SHAPE * 0.25 + np.array([40, 50])
    picture(tmp_path / "net7876", "a")
    (tmp_path / "net7876" / "points.json").write_text(json.dumps({"a": points_of_shape(face, count).tolist()}))
    (tmp_path / "net7876" / "info.json").write_text(json.dumps({"a": {"yaw": 12, "box": [0, 0, 5, 5]}}))
    (sample,) = samples(tmp_path)
    assert isinstance(sample, Sample)
    np.testing.assert_allclose(sample.landmarks, face, atol=1e-6)
    np.testing.assert_allclose(sample.points, points_of_shape(face, count))
    assert sample.weights is not None
    assert not sample.weights.any()
    assert (sample.dataset, sample.photo, sample.yaw) == ("net7876", "net7876/a", 12)


def test_a_profile_s_size_is_its_height(tmp_path: Path) -> None:
    """Eyes on one another say nothing of the size; the way to the mouth does."""
    face = MEAN_SHAPE * 0.25 + np.array([40, 50])
    points = points_of_shape(face, 5)
    points[:2, 0] = points[:2, 0].mean()
    picture(tmp_path / "net7876", "a")
    (tmp_path / "net7876" / "points.json").write_text(json.dumps({"a": points.tolist()}))
    (sample,) = samples(tmp_path)
    assert isinstance(sample, Sample)
    np.testing.assert_allclose(np.ptp(sample.landmarks, axis=0), np.ptp(face, axis=0), rtol=1e-6)


def test_of_two_pictures_of_a_name_one_has_the_points(tmp_path: Path) -> None:
    """A picture of a name that those files do not have is found as ever, its like too."""
    for stem in ("a", "b"):
        picture(tmp_path / "net7876", stem)
        (tmp_path / "net7876" / f"{stem}.png").write_bytes((tmp_path / "net7876" / f"{stem}.jpg").read_bytes())
    (tmp_path / "net7876" / "info.json").write_text(json.dumps({"a": {"yaw": 12, "box": [0, 0, 5, 5]}}))
    first, second, *others = samples(tmp_path, BBox(10, 10, 50, 50))
    assert isinstance(first, Sample) and first.name == "net7876/a.jpg" and first.yaw == 12
    assert isinstance(second, LeftOut) and second.name == "net7876/a.png"
    assert "tell of one picture called a: a.jpg is taken" in second.reason
    assert [other.name for other in others] == ["net7876/b.jpg", "net7876/b.png"]
    assert all(isinstance(other, Sample) for other in others)


def test_a_box_or_what_is_found(tmp_path: Path) -> None:
    picture(tmp_path / "lfw", "A_B_0001")
    picture(tmp_path / "lfw", "A_C_0001")
    (tmp_path / "lfw" / "info.json").write_text(json.dumps({"A_B_0001": {"box": [10, 20, 50, 60]}}))
    first, second = samples(tmp_path, found=BBox(5, 5, 45, 45))
    assert isinstance(first, Sample)
    assert isinstance(second, Sample)
    np.testing.assert_allclose(first.landmarks, init_shape_from_bbox([10, 20, 50, 60]))
    np.testing.assert_allclose(bbox_of_shape(second.landmarks).mean(), 25, atol=1)
    assert first.photo == "lfw/A_B"


@pytest.mark.parametrize("file", ["a.pts", "a.PTS", "a#0.pts", "a.jpg.pts"])
def test_labelled_pictures_are_passed_over(tmp_path: Path, file: str) -> None:
    picture(tmp_path / "fgnet", "a")
    (tmp_path / "fgnet" / file).write_text("")
    assert samples(tmp_path, found=BBox(1, 1, 9, 9)) == []


def test_pictures_that_are_known_to_be_labelled_are_passed_over(tmp_path: Path) -> None:
    picture(tmp_path, "a")
    assert list(read(tmp_path, lambda path: BBox(1, 1, 9, 9), labelled=[tmp_path / "a.jpg"])) == []


def test_left_out_with_a_reason(tmp_path: Path) -> None:
    picture(tmp_path / "some", "a")
    picture(tmp_path / "some", "b")
    (tmp_path / "some" / "info.json").write_text(json.dumps({"b": {"box": [9, 0, 5, 5]}}))
    none, broken = samples(tmp_path)
    assert isinstance(none, LeftOut)
    assert isinstance(broken, LeftOut)
    assert "no face found" in none.reason
    assert "its box in info.json" in broken.reason

    def refuse(path: Path) -> BBox | None:
        raise InputError("cannot be read")

    first = next(iter(read(tmp_path, refuse)))
    assert isinstance(first, LeftOut)
    assert first.reason == "cannot be read"


@pytest.mark.parametrize("values", ["1", [[1, 2]] * 3, [[1, 2, 3]] * 5, [[1, None]] * 5, [["a", 2]] * 4])
def test_points_that_are_none(tmp_path: Path, values: object) -> None:
    (tmp_path / "points.json").write_text(json.dumps({"a": values}))
    with pytest.raises(FormatError, match=r"points\.json: a: expected"):
        _ = Beside(tmp_path).points
