"""Packs that are damaged, cut short or something else end in an error that says so."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from facealign_cli.errors import FormatError, InputError
from facealign_cli.training.pack import read_pack
from facealign_cli.training.packing import write_pack
from tests.training.packs import add_face, face


class TestDamagedPacks:
    @pytest.fixture
    def pack_path(self, tmp_path: Path) -> Path:
        add_face(tmp_path / "some", "a_1", face(1))
        add_face(tmp_path / "some", "b_1", face(2))
        write_pack([tmp_path / "some"], tmp_path / "faces.h5", size=64)
        return tmp_path / "faces.h5"

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such file"):
            read_pack(tmp_path / "none.h5")

    def test_no_hdf5(self, tmp_path: Path) -> None:
        (tmp_path / "text.h5").write_text("not at all")
        with pytest.raises(FormatError, match=r"text\.h5"):
            read_pack(tmp_path / "text.h5")

    def test_cut_short(self, pack_path: Path) -> None:
        pack_path.write_bytes(pack_path.read_bytes()[:-500])
        with pytest.raises(FormatError, match=r"faces\.h5"):
            read_pack(pack_path)

    def test_another_hdf5(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file["landmarks"] = np.zeros((2, 68, 2))
        with pytest.raises(FormatError, match="not a facealign-pack/2 file"):
            read_pack(tmp_path / "other.h5")

    @pytest.mark.parametrize("key", ["jpeg", "landmarks", "bbox", "rough", "held_out", "name"])
    def test_column_missing(self, pack_path: Path, key: str) -> None:
        with h5py.File(pack_path, "r+") as file:
            del file[key]
        with pytest.raises(FormatError, match=r"faces\.h5"):
            read_pack(pack_path)

    @pytest.mark.parametrize("content", [b"", b"no picture"])
    @pytest.mark.parametrize("rows", [(0,), (0, 1)])
    def test_picture_damaged(self, pack_path: Path, content: bytes, rows: tuple[int, ...]) -> None:
        with h5py.File(pack_path, "r+") as file:
            for row in rows:
                file["jpeg"][row] = np.frombuffer(content, np.uint8)
        with pytest.raises(FormatError, match=r"faces\.h5"):
            read_pack(pack_path)

    def test_columns_of_unlike_length(self, pack_path: Path) -> None:
        with h5py.File(pack_path, "r+") as file:
            del file["rough"]
            file["rough"] = np.zeros(5, bool)
        with pytest.raises(FormatError, match="one length"):
            read_pack(pack_path)

    def test_column_of_another_kind(self, pack_path: Path) -> None:
        with h5py.File(pack_path, "r+") as file:
            del file["name"]
            file["name"] = np.zeros(2)
        with pytest.raises(FormatError, match=r"faces\.h5"):
            read_pack(pack_path)

    @pytest.mark.parametrize(
        ("column", "value", "match"),
        [
            ("name", ["a:1", "a:1"], "'a:1' is the name of two faces"),
            ("yaw", np.array([0, np.inf], np.float32), "yaw that is beyond"),
            ("yaw", np.array([0, 400], np.float32), "yaw that is beyond"),
            ("points", np.full((2, 5, 2), 1e30, np.float32), "points that are beyond any picture"),
            ("points", np.tile(np.float32([[[1, 1]] * 2 + [[np.nan] * 2] * 3]), (2, 1, 1)), "hand points whose number"),
            ("landmarks", np.zeros((), np.float32), "damaged"),
            ("landmarks", np.full((2, 68, 2), 1e300), "not finite pixels"),
            ("jpeg", np.zeros((0,), np.uint8), "no faces in it"),
        ],
    )
    def test_values_of_no_face(self, pack_path: Path, column: str, value: object, match: str) -> None:
        with h5py.File(pack_path, "r+") as file:
            del file[column]
            file[column] = value
        with pytest.raises(FormatError, match=rf"faces\.h5.*{match}"):
            read_pack(pack_path)

    def test_landmarks_on_a_line(self, pack_path: Path) -> None:
        with h5py.File(pack_path, "r+") as file:
            file["landmarks"][0, :, 0] = np.linspace(0, 1e-30, 68)
        with pytest.raises(FormatError, match="without an extent"):
            read_pack(pack_path)

    def test_eyes_in_one_place(self, pack_path: Path) -> None:
        """Errors are divided by the distance between the pupils. Faces without labels have none."""
        with h5py.File(pack_path, "r+") as file:
            file["landmarks"][0, 36:48] = 30
        with pytest.raises(FormatError, match="two eyes are in one place"):
            read_pack(pack_path)
        with h5py.File(pack_path, "r+") as file:
            file["weights"][0] = 0
        assert read_pack(pack_path).labelled.tolist() == [False, True]

    def test_numbers_of_another_length_become_float32(self, pack_path: Path) -> None:
        with h5py.File(pack_path, "r+") as file:
            landmarks = file["landmarks"][:].astype(np.float64)
            del file["landmarks"]
            file["landmarks"] = landmarks
        pack = read_pack(pack_path)
        assert pack.landmarks.dtype == np.float32
        np.testing.assert_array_equal(pack.landmarks, landmarks.astype(np.float32))
