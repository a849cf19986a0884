"""The detectors' benchmark: its recall, false boxes and average precision on cases worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from facealign_cli.boxes import BBox

LARGE, OTHER = BBox(0, 0, 100, 100), BBox(300, 0, 350, 50)
NOWHERE = BBox(600, 600, 650, 650)


@pytest.fixture
def wider(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("wider")


@pytest.fixture
def detectors(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("detectors")


def test_each_face_goes_to_the_best_box_and_a_second_one_is_false(wider: ModuleType) -> None:
    score = wider.Score("x")
    picture = wider.Picture(Path("a.jpg"), [LARGE, OTHER], [])
    score.take(picture, [(BBox(0, 0, 100, 110), 0.7), (LARGE, 0.9), (NOWHERE, 0.8)], 2.0)
    assert score.found == [(100, True), (50, False)]
    assert score.hits == [(0.9, True), (0.8, False), (0.7, False)]
    assert (score.pictures, score.seconds) == (1, 2.0)


def test_a_box_must_overlap_a_face_by_0_4_over_the_union(wider: ModuleType) -> None:
    for height, found in ((41, True), (39, False)):
        score = wider.Score("x")
        score.take(wider.Picture(Path("a.jpg"), [LARGE], []), [(BBox(0, 0, 100, height), 0.9)], 0.0)
        assert score.found == [(100, found)]
        assert score.hits == [(0.9, found)]


def test_a_face_of_40_pixels_is_one_of_40_wherever_it_lies(wider: ModuleType) -> None:
    score = wider.Score("x")
    score.take(wider.Picture(Path("a.jpg"), [BBox.from_xywh(10, y / 100, 30, 40) for y in range(999)], []), [], 0.0)
    assert {height for height, _ in score.found} == {40.0}


def test_boxes_on_ignored_faces_and_tiny_ones_are_not_counted(wider: ModuleType) -> None:
    score = wider.Score("x")
    picture = wider.Picture(Path("a.jpg"), [], [OTHER])
    score.take(picture, [(OTHER, 0.9), (BBox(0, 0, 19, 19), 0.8), (BBox(0, 0, 20, 20), 0.7)], 0.0)
    assert score.found == []
    assert score.hits == [(0.7, False)]


@pytest.mark.parametrize(
    ("hits", "faces", "area"),
    [
        ([(0.9, True), (0.8, True)], 2, 1.0),
        ([(0.9, True), (0.8, True)], 4, 0.5),
        ([(0.9, True), (0.8, False), (0.7, True)], 4, (1 + 2 / 3) / 4),
        ([(0.9, False), (0.8, True), (0.7, True)], 2, 2 / 3),  # made monotonic: 2/3 also where it was 1/2
        ([(0.7, True), (0.9, False)], 1, 0.5),  # not in order
        ([(0.9, False)], 3, 0.0),
        ([], 3, 0.0),
        ([(0.9, False)], 0, 0.0),
    ],
)
def test_average_precision(wider: ModuleType, hits: list[tuple[float, bool]], faces: int, area: float) -> None:
    score = wider.Score("x", found=[(50.0, False)] * faces, hits=hits)
    assert score.average_precision == pytest.approx(area)


def test_a_row_gives_recall_by_height(wider: ModuleType) -> None:
    found = [(20.0, True), (39.9, False), (40.0, True), (160.0, True), (900.0, False), (500.0, True)]
    score = wider.Score("new", found, [(0.9, True), (0.8, False), (0.7, False)], pictures=4, seconds=0.2)
    cells = score.row(wider.Score("old", pictures=4, seconds=0.4)).strip("| ").split(" | ")
    assert cells[:5] == ["new", "50.0 of 2", "100.0 of 1", "–", "66.7 of 3"]
    assert (cells[5], *cells[7:]) == ("0.50", "50.0", "0.50")


def test_reads_boxes_as_wider_writes_them(wider: ModuleType, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.txt"
    boxes.write_text(
        "a/1.jpg\n3\n10 20 30 40 0 0 0 0 0 0\n1 2 30 40 0 0 0 1 0 0\n5 5 15 19 0 0 0 0 0 0\n"
        "b/2.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n",
        encoding="utf-8",
    )
    first, second = wider.read_wider(tmp_path, boxes)
    assert (first.path, first.faces) == (tmp_path / "a/1.jpg", [BBox.from_xywh(10, 20, 30, 40)])
    assert [box.height for box in first.ignored] == [40, 19]  # an invalid one, and one that is too small
    assert (second.path, second.faces, second.ignored) == (tmp_path / "b/2.jpg", [], [])


def test_a_torn_file_of_boxes_is_named_with_its_line(wider: ModuleType, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.txt"
    boxes.write_text("a.jpg\n2\n10 20 30 40\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"boxes\.txt, line 2: not the boxes of a\.jpg"):
        list(wider.read_wider(tmp_path, boxes))


def test_photo_faces_are_matched_by_place_and_size(detectors: ModuleType) -> None:
    faces = {"clear": [[50, 50, 100], [325, 25, 50]], "hard": [[500, 500, 40]]}
    boxes = [LARGE, BBox(480, 480, 520, 520), NOWHERE, BBox(0, 0, 30, 30)]
    assert detectors.tally_photo(boxes, faces) == (1, 1, 2)


def test_edge_offsets_are_shares_of_the_box(detectors: ModuleType) -> None:
    offsets = detectors.edge_offsets(BBox(0, 0, 200, 100), BBox(20, 25, 190, 100))
    np.testing.assert_allclose(offsets, [0.1, 0.25, -0.05, 0])
