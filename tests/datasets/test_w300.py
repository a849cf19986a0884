"""Folders of the 300-W kind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from facealign_cli.boxes import BBox
from facealign_cli.datasets import LeftOut, Sample, read_samples, unused_files
from facealign_cli.datasets.beside import Beside
from facealign_cli.errors import FormatError, InputError
from facealign_cli.formats.pts import write_pts
from facealign_cli.landmarks import MEAN_SHAPE

LANDMARKS = np.round(MEAN_SHAPE + 100, 3)


def add(folder: Path, stem: str, suffix: str = ".jpg") -> Path:
    """A face; the reader does not open the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    write_pts(folder / f"{stem}.pts", LANDMARKS, overwrite=True)
    (folder / f"{stem}{suffix}").touch()
    return folder / f"{stem}{suffix}"


def read_only(root: Path) -> Sample:
    (item,) = read_samples(root)
    assert isinstance(item, Sample)
    return item


def left_out(root: Path) -> LeftOut:
    (item,) = read_samples(root)
    assert isinstance(item, LeftOut)
    return item


class TestSamples:
    def test_fields(self, tmp_path: Path) -> None:
        image = add(tmp_path / "helen" / "trainset", "12_1")
        (image.parent / "boxes.json").write_text('{"12_1.jpg": [10, 20, 110.5, 130]}')
        sample = read_only(tmp_path)
        assert (sample.name, sample.dataset, sample.photo) == ("helen/trainset/12_1.jpg", "helen", "helen/12")
        assert sample.image_path == image
        assert sample.bbox == BBox(10, 20, 110.5, 130)
        assert not sample.rough
        np.testing.assert_allclose(sample.landmarks, LANDMARKS, atol=1e-9)

    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".jpeg", ".JPG", ".PNG", ".bmp"])
    def test_picture_kinds(self, tmp_path: Path, suffix: str) -> None:
        assert read_only(add(tmp_path / "lfpw", "image_0001", suffix).parent).image_path.suffix == suffix

    def test_order_and_depth(self, tmp_path: Path) -> None:
        for folder, stem in (("b", "2"), ("a/deep/down", "1"), ("b", "10"), (".", "z")):
            add(tmp_path / folder, stem)
        names = [item.name for item in read_samples(tmp_path)]
        assert names == ["a/deep/down/1.jpg", "b/10.jpg", "b/2.jpg", "z.jpg"]

    def test_name_with_dots_and_spaces(self, tmp_path: Path) -> None:
        assert read_only(add(tmp_path / "sét", "a.b c").parent).name == "a.b c.jpg"

    @pytest.mark.parametrize("other", ["a.jpg.pts", "a.PTS"])
    def test_two_files_for_one_face(self, tmp_path: Path, other: str) -> None:
        """Both are called by the picture's name; a later one would take the first one's prediction."""
        add(tmp_path, "a")
        write_pts(tmp_path / other, LANDMARKS + 1)
        one, two = read_samples(tmp_path)
        assert isinstance(one, Sample) and isinstance(two, LeftOut)
        assert (one.name, two.name) == ("a.jpg", "a.jpg")
        assert "only the first one is taken" in two.reason

    def test_several_faces_of_a_picture(self, tmp_path: Path) -> None:
        """As `formats.pts` writes them; each has its own box, and all are of one photo."""
        photo = add(tmp_path, "a")
        for number, shift in enumerate((0, 500)):
            write_pts(tmp_path / f"a#{number}.pts", LANDMARKS + shift)
        photo.with_suffix(".pts").unlink()
        (tmp_path / "boxes.json").write_text('{"a.jpg": [[520, 520, 690, 690], [20, 20, 190, 190]]}')
        first, second = read_samples(tmp_path)
        assert (first.name, second.name) == ("a.jpg#0", "a.jpg#1")
        assert first.image_path == second.image_path == photo
        assert first.photo == second.photo
        assert (first.bbox, second.bbox) == (BBox(20, 20, 190, 190), BBox(520, 520, 690, 690))
        (tmp_path / "boxes.json").write_text('{"a.jpg": [520, 520, 690, 690]}')  # of the second face alone
        assert [item.bbox for item in read_samples(tmp_path)] == [None, BBox(520, 520, 690, 690)]
        photo.unlink()
        assert [item.name for item in read_samples(tmp_path, need_pictures=False)] == ["a.jpg#0", "a.jpg#1"]
        assert [item.reason for item in read_samples(tmp_path)] == ["no picture beside it"] * 2

    @pytest.mark.parametrize("scale", [(0, 0), (0, 1), (1, 0)])
    def test_points_that_span_no_box_are_left_out(self, tmp_path: Path, scale: tuple[int, int]) -> None:
        add(tmp_path, "a").with_suffix(".pts").rename(tmp_path / "a#0.pts")
        write_pts(tmp_path / "a#1.pts", LANDMARKS * scale)
        (tmp_path / "boxes.json").write_text('{"a.jpg": [[20, 20, 190, 190], [520, 520, 690, 690]]}')
        first, second = read_samples(tmp_path)
        assert isinstance(first, Sample) and isinstance(second, LeftOut)
        assert second.name == "a#1.pts" and "all of them have the same x or the same y" in str(second)

    def test_a_picture_that_has_a_number_itself(self, tmp_path: Path) -> None:
        add(tmp_path, "a")
        add(tmp_path, "a#1")
        assert [item.name for item in read_samples(tmp_path)] == ["a#1.jpg", "a.jpg"]
        (tmp_path / "a#1.pts").rename(tmp_path / "a#1#0.pts")
        assert [item.name for item in read_samples(tmp_path)] == ["a#1.jpg#0", "a.jpg"]

    def test_pictures_that_differ_in_the_suffix(self, tmp_path: Path) -> None:
        for suffix in (".jpg", ".png"):
            add(tmp_path, "a", suffix)
            write_pts(tmp_path / f"a{suffix}.pts", LANDMARKS)
        (tmp_path / "a.pts").unlink()
        assert [item.name for item in read_samples(tmp_path)] == ["a.jpg", "a.png"]

    def test_of_two_pictures_of_one_name_the_one_that_does_not_count_is_told(self, tmp_path: Path) -> None:
        for folder in ("b", "a", "c"):
            add(tmp_path / folder, "1")
        (tmp_path / "a" / "1.png").touch()
        (tmp_path / "b" / "1.png").touch()
        samples = [item for item in read_samples(tmp_path) if isinstance(item, Sample)]
        assert [item.image_path.suffix for item in samples] == [".jpg"] * 3
        assert [item.name for item in unused_files(tmp_path, samples)] == ["a", "b"]

    def test_no_box(self, tmp_path: Path) -> None:
        image = add(tmp_path / "afw", "1_1")
        (image.parent / "boxes.json").write_text('{"other.jpg": [1, 2, 3, 4]}')
        assert read_only(tmp_path).bbox is None

    @pytest.mark.parametrize(
        ("folder", "rough"), [("helen/trainset_lowres", True), ("ytf", True), ("helen/trainset", False)]
    )
    def test_rough_labels(self, tmp_path: Path, folder: str, rough: bool) -> None:
        add(tmp_path / folder, "1_1")
        assert read_only(tmp_path).rough == rough
        assert read_only(tmp_path / folder).rough == rough


class TestDataset:
    """The split hangs on it, so it must not depend on where reading begins."""

    @pytest.mark.parametrize("root", ["", "helen", "helen/trainset"])
    def test_from_any_folder(self, tmp_path: Path, root: str) -> None:
        add(tmp_path / "helen" / "trainset", "7_1")
        assert read_only(tmp_path / root).photo == "helen/7"

    def test_from_within(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        add(tmp_path / "helen" / "trainset", "7_1")
        monkeypatch.chdir(tmp_path / "helen" / "trainset")
        assert read_only(Path()).photo == "helen/7"
        assert read_only(Path("..")).photo == "helen/7"

    def test_the_nearest_folder_counts(self, tmp_path: Path) -> None:
        """The whole collection often lies in a folder that is called 300W, as its last part is."""
        add(tmp_path / "300W" / "afw", "7_1")
        assert read_only(tmp_path / "300W").photo == "afw/7"

    def test_unknown(self, tmp_path: Path) -> None:
        add(tmp_path / "mine" / "part", "7_1")
        assert read_only(tmp_path / "mine").photo == "mine/7_1"


class TestLeftOut:
    def test_no_picture(self, tmp_path: Path) -> None:
        add(tmp_path / "afw", "1_1").unlink()
        assert left_out(tmp_path) == LeftOut("afw/1_1.pts", "no picture beside it")

    @pytest.mark.parametrize("content", ["", "version: 1\nn_points: 68\n{\n1 1\n}\n", "\0\0", "version: 1"])
    def test_broken_pts(self, tmp_path: Path, content: str) -> None:
        add(tmp_path / "afw", "1_1").with_suffix(".pts").write_text(content)
        assert "1_1.pts: " in left_out(tmp_path).reason

    def test_pts_that_is_a_folder(self, tmp_path: Path) -> None:
        image = add(tmp_path / "afw", "1_1")
        image.with_suffix(".pts").unlink()
        image.with_suffix(".pts").mkdir()
        assert "1_1.pts" in left_out(tmp_path).reason

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a file that may not be read")
    def test_pts_that_may_not_be_read(self, tmp_path: Path) -> None:
        add(tmp_path / "afw", "1_1").with_suffix(".pts").chmod(0)
        assert "1_1.pts" in left_out(tmp_path).reason

    def test_the_others_go_on(self, tmp_path: Path) -> None:
        add(tmp_path / "afw", "1_1").unlink()
        add(tmp_path / "afw", "2_1")
        assert [type(item) for item in read_samples(tmp_path)] == [LeftOut, Sample]


class TestBoxes:
    def test_none(self, tmp_path: Path) -> None:
        assert Beside(tmp_path).boxes == {}

    @pytest.mark.parametrize(
        "content",
        [
            "[]",
            "null",
            '{"a.jpg": 5}',
            '{"a.jpg": [1, 2, 3]}',
            '{"a.jpg": [1, 2, 3, 4, 5]}',
            '{"a.jpg": [1, 2, "x", 4]}',
            '{"a.jpg": [1, 2, null, 4]}',
            '{"a.jpg": [3, 2, 1, 4]}',
            '{"a.jpg": {"x1": 1}}',
        ],
    )
    def test_malformed(self, tmp_path: Path, content: str) -> None:
        image = add(tmp_path / "afw", "a")
        (image.parent / "boxes.json").write_text(content)
        with pytest.raises(FormatError, match=r"boxes\.json: .*expected .*\[x1, y1, x2, y2\]"):
            list(read_samples(tmp_path))

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00\x80", b'{"a.jpg": [1, 2, NaN, 4]}', b"[" * 999])
    def test_no_json(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "boxes.json").write_bytes(content)
        with pytest.raises(FormatError, match=r"boxes\.json"):
            _ = Beside(tmp_path).boxes

    def test_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "boxes.json").mkdir()
        with pytest.raises(InputError, match=r"boxes\.json"):
            _ = Beside(tmp_path).boxes

    def test_of_its_own_folder(self, tmp_path: Path) -> None:
        for number, folder in enumerate(("afw", "lfpw")):
            image = add(tmp_path / folder, "same")
            (image.parent / "boxes.json").write_text(json.dumps({"same.jpg": [number, 0, 10, 10]}))
        boxes = [item.bbox for item in read_samples(tmp_path) if isinstance(item, Sample)]
        assert boxes == [BBox(0, 0, 10, 10), BBox(1, 0, 10, 10)]


class TestRoots:
    def test_nothing_annotated(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").touch()
        with pytest.raises(InputError, match=r"no \.pts file in it or below it"):
            list(read_samples(tmp_path))

    @pytest.mark.parametrize("name", ["missing", "picture.jpg"])
    def test_neither_folder_nor_xml(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "picture.jpg").touch()
        with pytest.raises(
            InputError,
            match=r"expected a folder of pictures with \.pts files, or faces in a format",
        ):
            list(read_samples(tmp_path / name))
