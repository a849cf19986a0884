"""A folder of faces, sound and broken, goes into a pack and comes back."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from facealign_cli.convert import convert
from facealign_cli.datasets import beside
from facealign_cli.datasets.beside import NAMES_BESIDE
from facealign_cli.datasets.splits import is_held_out, photo_number
from facealign_cli.errors import FormatError, InputError, OutputError
from facealign_cli.formats.base import get_format
from facealign_cli.formats.pts import write_pts
from facealign_cli.geometry import bbox_of_shape
from facealign_cli.landmarks import MIRROR_ORDER
from facealign_cli.training.pack import Pack, read_pack, read_packs
from facealign_cli.training.packing import PackReport, write_pack
from tests.training.packs import ALSO_TRAIN, HELD_OUT, NOSE, TRAIN, add_face, draw, face


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    helen, rough = root / "helen" / "trainset", root / "helen" / "trainset_lowres"
    add_face(helen, f"{TRAIN}_1", face(1))
    add_face(helen, f"{TRAIN}_2", face(2), ".jpg")
    add_face(helen, f"{HELD_OUT}_1", face(3))
    add_face(helen, f"{TRAIN}_3", face(1))  # the first one again
    add_face(helen, "broken_pts", face(4))
    (helen / "broken_pts.pts").write_text("version: 1\nn_points: 68\n{\n1 2\n}\n")
    add_face(helen, "no_picture", face(5)).unlink()
    truncated = add_face(helen, "truncated", face(6))
    truncated.write_bytes(truncated.read_bytes()[:60])
    add_face(helen, "tiny", face(7, extent=12))
    add_face(helen, "outside", face(8) + np.array([400, 0]))
    one_eyed = face(11)
    one_eyed[36:48] = one_eyed[36]
    add_face(helen, "one_eyed", one_eyed)
    (helen / "boxes.json").write_text(json.dumps({f"{TRAIN}_1.png": bbox_of_shape(face(1)).tolist()}))
    add_face(rough, f"{HELD_OUT}_2", face(9))
    add_face(rough, f"{ALSO_TRAIN}_1", face(10))
    return root


@pytest.fixture(scope="module")
def packed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[PackReport, Pack]:
    path = tmp_path_factory.mktemp("packed") / "faces.h5"
    report = write_pack([root], path, size=128, context=3.0)
    return report, read_pack(path)


def truth_of(name: str) -> np.ndarray:
    return {f"{TRAIN}_1": face(1), f"{TRAIN}_2": face(2), f"{HELD_OUT}_1": face(3), f"{ALSO_TRAIN}_1": face(10)}[
        Path(name).stem
    ]


def test_counts(packed: tuple[PackReport, Pack]) -> None:
    report, pack = packed
    assert report.counts == {"helen": {"train": 2, "train (rough)": 1, "held out": 1, "not labelled": 0}}
    assert len(pack) == 4
    assert len(set(pack.names)) == 4


def test_every_face_left_out_has_its_reason(packed: tuple[PackReport, Pack]) -> None:
    reasons = {Path(item.name.removeprefix("helen:")).stem: item.reason for item in packed[0].left_out}
    expected = {
        f"{TRAIN}_3": "the same face as another of this photo",
        "broken_pts": "expected 68 points, got 1",
        "no_picture": "no picture beside it",
        "truncated": "truncated.png",
        "tiny": "pixels large; at least 16",
        "outside": "outside the picture",
        "one_eyed": "two eyes are in one place",
        f"{HELD_OUT}_2": "roughly labelled, and its photo is held out",
    }
    assert set(reasons) == set(expected)
    for stem, part in expected.items():
        assert part in reasons[stem]


def test_width_and_height_each_have_their_own_end(tmp_path: Path) -> None:
    """In a picture of 240 × 200, 220 lies inside across and outside downwards."""
    small = face(1, extent=36) - face(1, extent=36).mean(axis=0)
    add_face(tmp_path / "some", "right", small + np.array([220, 100]))
    add_face(tmp_path / "some", "below", small + np.array([100, 220]))
    report = write_pack([tmp_path / "some"], tmp_path / "faces.h5", size=64)
    (left_out,) = report.left_out
    assert "below" in left_out.name and "outside the picture" in left_out.reason


def test_split_and_labels(packed: tuple[PackReport, Pack]) -> None:
    pack = packed[1]
    stems = [Path(name.partition(":")[2]).stem for name in pack.names]
    assert dict(zip(stems, pack.held_out.tolist(), strict=True)) == {
        f"{TRAIN}_1": False,
        f"{TRAIN}_2": False,
        f"{HELD_OUT}_1": True,
        f"{ALSO_TRAIN}_1": False,
    }
    assert pack.held_out.tolist() == [is_held_out(f"helen/{stem[:-2]}") for stem in stems]
    assert [stem for stem, rough in zip(stems, pack.rough, strict=True) if rough] == [f"{ALSO_TRAIN}_1"]


def test_picture_and_landmarks_belong_together(packed: tuple[PackReport, Pack]) -> None:
    pack = packed[1]
    assert pack.images.shape == (4, 128, 128)
    assert pack.images.dtype == np.uint8
    assert pack.landmarks.dtype == np.float32
    y, x = np.mgrid[:128, :128]
    for image, landmarks in zip(pack.images, pack.landmarks, strict=True):
        weight = np.clip(image.astype(float) - 80, 0, None)
        centroid = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
        np.testing.assert_allclose(centroid, landmarks[NOSE], atol=0.15)


def test_face_stands_upright_in_the_middle(packed: tuple[PackReport, Pack]) -> None:
    """size / context is the larger extent; scale and shift alone lead back to the labels."""
    pack = packed[1]
    for name, landmarks in zip(pack.names, pack.landmarks, strict=True):
        truth, box = truth_of(name), bbox_of_shape(landmarks)
        assert (box[2:] - box[:2]).max() == pytest.approx(128 / 3, rel=1e-5)
        np.testing.assert_allclose((box[:2] + box[2:]) / 2, 63.5, atol=1e-3)
        scale = np.ptp(landmarks, axis=0) / np.ptp(truth, axis=0)
        back = (landmarks - landmarks.mean(axis=0)) / scale + truth.mean(axis=0)
        np.testing.assert_allclose(back, truth, atol=1e-3)


def test_boxes_lie_in_the_square(packed: tuple[PackReport, Pack]) -> None:
    pack = packed[1]
    for name, landmarks, bbox in zip(pack.names, pack.landmarks, pack.bbox, strict=True):
        if f"{TRAIN}_1.png" in name:
            np.testing.assert_allclose(bbox, bbox_of_shape(landmarks), atol=1e-3)
        else:
            assert np.isnan(bbox).all()


def test_select(packed: tuple[PackReport, Pack]) -> None:
    pack = packed[1]
    part = pack.select(pack.held_out)
    assert len(part) == 1
    assert f"{HELD_OUT}_1" in part.names[0]
    np.testing.assert_array_equal(part.landmarks[0], pack.landmarks[pack.held_out][0])


def test_a_part_of_the_data_set_gives_the_same_split(root: Path, tmp_path: Path) -> None:
    """The photo is known by its data set, however deep in it the packing begins."""
    write_pack([root / "helen" / "trainset"], tmp_path / "part.h5", size=64)
    part = read_pack(tmp_path / "part.h5")
    assert [name for name, held_out in zip(part.names, part.held_out, strict=True) if held_out] == [
        f"helen:{HELD_OUT}_1.png"
    ]


class TestWeightsAndYaw:
    @pytest.fixture
    def pack_path(self, tmp_path: Path) -> Path:
        folder = tmp_path / "aflw2000"
        for stem in ("a", "b"):
            add_face(folder, stem, face(ord(stem)))
        weights = [0.0] * 17 + [0.7] * 51
        (folder / "weights.json").write_text(json.dumps({"a": weights}))
        (folder / "info.json").write_text(json.dumps({"a": {"yaw": -71.5, "box": [1, 2, 3, 4]}, "b": {}}))
        write_pack([folder], tmp_path / "faces.h5", size=64)
        return tmp_path / "faces.h5"

    def test_are_packed(self, pack_path: Path) -> None:
        pack = read_pack(pack_path)
        assert pack.sets.tolist() == ["aflw2000", "aflw2000"]
        np.testing.assert_allclose(pack.weights[0], [0.0] * 17 + [0.7] * 51, rtol=1e-6)
        np.testing.assert_array_equal(pack.weights[1], np.ones(68))
        np.testing.assert_array_equal(pack.yaw, np.array([-71.5, np.nan], np.float32))
        part = pack.select(np.array([False, True]))
        np.testing.assert_array_equal(part.weights, pack.weights[1:])

    def test_a_pack_of_the_old_format(self, pack_path: Path) -> None:
        with h5py.File(pack_path, "r+") as file:
            file.attrs["format"] = "facealign-pack/1"
            del file["weights"], file["yaw"], file["points"]
        pack = read_pack(pack_path)
        np.testing.assert_array_equal(pack.weights, np.ones((2, 68)))
        assert np.isnan(pack.yaw).all()

    def test_the_new_format_needs_its_columns(self, pack_path: Path) -> None:
        with h5py.File(pack_path, "r+") as file:
            del file["weights"]
        with pytest.raises(FormatError, match=r"faces\.h5"):
            read_pack(pack_path)


class TestSeveralPacks:
    def packed(self, folder: Path, stem: str, size: int = 64) -> Path:
        add_face(folder / "some", stem, face(ord(stem)))
        write_pack([folder / "some"], folder / f"{stem}.h5", size=size)
        return folder / f"{stem}.h5"

    def test_are_one(self, tmp_path: Path) -> None:
        paths = [self.packed(tmp_path / name, name) for name in ("a", "b")]
        pack, last = read_packs(paths), read_pack(paths[1])
        assert pack.names == ["some:a.png", "some:b.png"]
        np.testing.assert_array_equal(pack.images[1], last.images[0])
        np.testing.assert_array_equal(pack.landmarks[1], last.landmarks[0])

    def test_a_face_in_two(self, tmp_path: Path) -> None:
        path = self.packed(tmp_path, "a")
        with pytest.raises(InputError, match=r"some:a\.png is in more than one of the packs"):
            read_packs([path, path])

    @pytest.mark.parametrize("off_px", [0.02, 2.0])
    def test_a_held_out_face_that_is_trained_on_under_another_name(self, tmp_path: Path, off_px: float) -> None:
        """Another folder's name puts the same photo on the other side of the split. Its pictures may differ in size."""
        names = [f"n{i}" for i in range(40)]
        held_out = next(name for name in names if is_held_out(f"one/{name}") and not is_held_out(f"two/{name}"))
        add_face(tmp_path / "one", held_out, face(1))
        add_face(tmp_path / "two", held_out, face(1) + off_px * (np.arange(68) == 8)[:, None])
        write_pack([tmp_path / "one"], tmp_path / "1.h5", size=64)
        write_pack([tmp_path / "two"], tmp_path / "2.h5", size=64, context=4)
        paths = [tmp_path / "1.h5", tmp_path / "2.h5"]
        if off_px == 2.0:  # another face
            assert len(read_packs(paths)) == 2
            return
        with pytest.raises(InputError, match=f"1 are trained on .*'one:{held_out}.png' is 'two:{held_out}.png'"):
            read_packs(paths)

    def test_two_sizes(self, tmp_path: Path) -> None:
        paths = [self.packed(tmp_path / "one", "a"), self.packed(tmp_path / "two", "b", size=96)]
        with pytest.raises(InputError, match="pack them with one --size"):
            read_packs(paths)


def test_dlib_xml(tmp_path: Path) -> None:
    draw(tmp_path / "helen" / "a.png", face(1))
    parts = "".join(f"<part name='{i:02d}' x='{x}' y='{y}'/>" for i, (x, y) in enumerate(face(1)))
    (tmp_path / "faces.xml").write_text(
        f"<dataset><images><image file='helen/a.png'><box top='70' left='60' width='80' height='75'>{parts}</box>"
        f"</image><image file='helen/b.png'><box top='70' left='60' width='80' height='75'>{parts}</box></image>"
        "</images></dataset>"
    )
    report = write_pack([tmp_path / "faces.xml"], tmp_path / "faces.h5", size=240)
    pack = read_pack(tmp_path / "faces.h5")
    assert report.counts["helen"]["train"] + report.counts["helen"]["held out"] == 1
    (item,) = report.left_out
    assert str(item).startswith(f"helen/b.png#0: its picture is missing: no file helen/b.png in {tmp_path}, ")
    scale = 80 / float(np.ptp(face(1), axis=0).max())  # 240 / context 3 over the extent
    np.testing.assert_allclose(pack.bbox[0, 2:] - pack.bbox[0, :2], np.array([80, 75]) * scale, rtol=1e-5)


class TestRefusals:
    def test_no_usable_face(self, tmp_path: Path) -> None:
        add_face(tmp_path / "some", "tiny", face(7, extent=12))
        with pytest.raises(InputError, match=r"no usable face in .*tiny\.png: the face is"):
            write_pack([tmp_path / "some"], tmp_path / "faces.h5")
        assert not (tmp_path / "faces.h5").exists()

    def test_nothing_annotated(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"no \.pts file"):
            write_pack([tmp_path], tmp_path / "faces.h5")

    def test_a_file_that_exists(self, tmp_path: Path) -> None:
        """Before the faces are read: here there are none."""
        (tmp_path / "faces.h5").write_text("mine")
        with pytest.raises(OutputError, match="exists already"):
            write_pack([tmp_path / "nothing"], tmp_path / "faces.h5")
        assert (tmp_path / "faces.h5").read_text() == "mine"

    def test_overwrite(self, tmp_path: Path) -> None:
        add_face(tmp_path / "some", "a", face(1))
        (tmp_path / "faces.h5").write_text("mine")
        write_pack([tmp_path / "some"], tmp_path / "faces.h5", size=64, overwrite=True)
        assert len(read_pack(tmp_path / "faces.h5")) == 1


def test_a_small_set_holds_one_photo_out(tmp_path: Path) -> None:
    """Ten corrected photos, of which no name says that it is held out: training needs one that it does not see."""
    names = [f"n{i}" for i in range(40) if not is_held_out(f"set/n{i}")][:10]
    for seed, name in enumerate(names):
        draw(tmp_path / "set" / f"{name}.png", face(seed))
        write_pts(tmp_path / "set" / f"{name}.pts", face(seed))
    report = write_pack([tmp_path / "set"], tmp_path / "p.h5", size=64)
    pack = read_pack(tmp_path / "p.h5")
    assert pack.held_out.sum() == 1
    assert report.held_out_photo == min((f"set/{name}" for name in names), key=photo_number)
    assert report.counts["set"] == {"train": 9, "train (rough)": 0, "held out": 1, "not labelled": 0}


def test_names_beside_the_faces_that_nothing_has_are_told(tmp_path: Path) -> None:
    for stem in ("a", "b"):
        add_face(tmp_path / "some", stem, face(ord(stem)))
    (tmp_path / "some" / "weights.json").write_text(json.dumps({"a.png": [0.5] * 68}))
    (told,) = write_pack([tmp_path / "some"], tmp_path / "faces.h5", size=64).left_out
    assert told.name == "some/weights.json"
    assert "such as 'a.png'" in told.reason


def test_files_beside_the_pictures_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stem in ("a", "b"):
        add_face(tmp_path / "some", stem, face(ord(stem)))
    for name in NAMES_BESIDE:
        (tmp_path / "some" / name).write_text("{}")
    read: list[str] = []

    def read_json(path: Path) -> dict[str, object]:
        read.append(path.name)
        return {}

    monkeypatch.setattr(beside, "read_json", read_json)
    monkeypatch.chdir(tmp_path)
    write_pack([Path("some")], tmp_path / "faces.h5", size=64, unlabelled=True)
    assert sorted(read) == sorted(NAMES_BESIDE)


def test_files_beside_pictures_whose_labels_are_no_pts_files_are_told(tmp_path: Path) -> None:
    for stem in ("a", "b"):
        add_face(tmp_path / "some", stem, face(ord(stem)))
    convert([tmp_path / "some"], tmp_path / "labels.json", get_format("coco"))
    (tmp_path / "some" / "weights.json").write_text(json.dumps({"a": [0] * 68}))
    (told,) = write_pack([tmp_path / "labels.json"], tmp_path / "faces.h5", size=64).left_out
    assert told.name == "some/weights.json"
    assert told.reason.startswith("not used") and told.reason.endswith("in the format coco")


def test_what_is_wrong_with_a_picture_that_is_packed_is_told_once(tmp_path: Path) -> None:
    picture = add_face(tmp_path / "lfpw", TRAIN, face(1))
    add_face(tmp_path / "lfpw", ALSO_TRAIN, face(2))
    write_pts(picture.with_name(f"{TRAIN}#1.pts"), face(3))
    picture.with_suffix(".pts").rename(picture.with_name(f"{TRAIN}#0.pts"))
    cv2.imwrite(str(picture), cv2.imread(str(picture)).astype(np.uint16) * 16)  # 12 bits of 16
    report = write_pack([tmp_path], tmp_path / "faces.h5", size=64)
    assert len(read_pack(tmp_path / "faces.h5")) == 3
    (warning,) = report.warnings
    assert warning.startswith(f"{picture}: ") and "taken as 12-bit values" in warning


def test_a_face_that_no_pack_can_hold_is_left_out(tmp_path: Path) -> None:
    for stem in ("a", "b"):
        add_face(tmp_path / "some", stem, face(ord(stem)))
    (tmp_path / "some" / "boxes.json").write_text(json.dumps({"a.png": [0, 0, 1e9, 1e9]}))
    (told,) = write_pack([tmp_path / "some"], tmp_path / "faces.h5", size=64).left_out
    assert (told.name, told.reason) == ("some:a.png", "it has boxes that are empty or beyond any picture")
    assert read_pack(tmp_path / "faces.h5").names == ["some:b.png"]


def test_a_mirrored_face_is_left_out(tmp_path: Path) -> None:
    add_face(tmp_path / "some", "a", face(1))
    add_face(tmp_path / "some", "b", face(2)[list(MIRROR_ORDER)])
    (left_out,) = write_pack([tmp_path / "some"], tmp_path / "faces.h5", size=64).left_out
    assert left_out.name == "some:b.png" and "mirror image" in left_out.reason


def test_two_folders_of_one_name(tmp_path: Path) -> None:
    """Their faces would have one name in the pack, which could not be read."""
    roots = [tmp_path / top / "some" for top in "xy"]
    for number, root in enumerate(roots):
        add_face(root, "a", face(number))
    with pytest.raises(InputError, match=r"x/some/a\.png and .*y/some/a\.png would both be called some:a\.png"):
        write_pack(roots, tmp_path / "faces.h5", size=64)
    write_pack([tmp_path], tmp_path / "faces.h5", size=64)
    assert len(read_pack(tmp_path / "faces.h5")) == 2
