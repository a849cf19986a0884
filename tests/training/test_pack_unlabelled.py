"""Pictures without labels go into a pack on demand, and labels count however they are kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from facealign_cli.convert import convert
from facealign_cli.datasets.splits import is_held_out
from facealign_cli.datasets.unlabelled import points_of_shape
from facealign_cli.formats.base import get_format
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.training.pack import read_pack
from facealign_cli.training.packing import write_pack
from tests.training.packs import NOSE, TRAIN, add_face, draw, face


def given_shape(points: np.ndarray) -> np.ndarray:
    """The mean shape laid onto four points by the distance of the eyes or the way to the mouth, the longer one."""
    own = points_of_shape(MEAN_SHAPE, 4)
    eyes, down = ([np.linalg.norm(p[1] - p[0]), np.linalg.norm(p[3] - p[:2].mean(axis=0))] for p in (points, own))
    return MEAN_SHAPE * max(a / b for a, b in zip(eyes, down, strict=True))


class TestUnlabelled:
    def test_are_packed_on_demand(self, tmp_path: Path) -> None:
        """Beside a labelled face one with hand points; its picture lies around them, and its weights are 0."""
        add_face(tmp_path / "caltech", "a_0", face(1))
        draw(tmp_path / "caltech" / f"{TRAIN}_1.png", face(2))
        points = points_of_shape(face(2), 4)
        (tmp_path / "caltech" / "points.json").write_text(json.dumps({f"{TRAIN}_1": points.tolist()}))
        report = write_pack([tmp_path / "caltech"], tmp_path / "faces.h5", size=128, unlabelled=True)
        pack = read_pack(tmp_path / "faces.h5")
        assert sum(report.counts["caltech"].values()) == 2
        assert report.counts["caltech"]["not labelled"] == 1
        (row,) = np.flatnonzero(~pack.labelled)
        assert np.isfinite(pack.points[row, :4]).all()
        assert np.isnan(pack.points[row, 4]).all()
        y, x = np.mgrid[:128, :128]
        weight = np.clip(pack.images[row].astype(float) - 80, 0, None)
        centroid = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
        scale = (128 / 3) / float(np.ptp(given_shape(points), axis=0).max())
        nose = pack.points[row, 2] + (face(2)[NOSE] - points[2]) * scale  # the third hand point is the nose's base
        np.testing.assert_allclose(centroid, nose, atol=0.3)

    @pytest.mark.parametrize("kind", ["upper-case", "several faces", "yolo-pose"])
    def test_labels_count_however_they_are_kept(self, tmp_path: Path, kind: str) -> None:
        """They were lost with --unlabelled, and each such picture was packed as one without labels."""
        root = tmp_path / "some"
        image = add_face(root, TRAIN, face(1))
        if kind == "yolo-pose":
            convert([root], tmp_path / "yolo", get_format("yolo-pose"), images=root)
            root = tmp_path / "yolo"
            image.rename(root / "images" / image.name)
        else:
            new = f"{TRAIN}.PTS" if kind == "upper-case" else f"{TRAIN}#0.pts"
            image.with_suffix(".pts").rename(image.with_name(new))
        report = write_pack([root], tmp_path / "faces.h5", size=64, unlabelled=True)
        assert (sum(report.counts[root.name].values()), report.counts[root.name]["train"]) == (1, 1)

    def test_held_out_photos_are_left_out(self, tmp_path: Path) -> None:
        stem = next(str(i) for i in range(1000) if is_held_out(f"utkface/{i}"))
        draw(tmp_path / "utkface" / f"{stem}.png", face(2))
        draw(tmp_path / "utkface" / "x.png", face(3))
        points = {name: points_of_shape(face(i), 5).tolist() for name, i in ((stem, 2), ("x", 3))}
        (tmp_path / "utkface" / "points.json").write_text(json.dumps(points))
        report = write_pack([tmp_path / "utkface"], tmp_path / "faces.h5", size=64, unlabelled=True)
        reasons = {item.name: item.reason for item in report.left_out}
        assert reasons[f"utkface:{stem}.png"] == "not labelled, and its photo is held out"
