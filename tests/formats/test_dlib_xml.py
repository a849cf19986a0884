"""dlib's XML: dlib trains on it, and imglab's own files are read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from labelling_files import save

from facealign_cli.formats.base import get_format


def test_dlib_trains_on_it(labels, tmp_path: Path) -> None:
    """dlib's own reader takes the file: a predictor that has learnt the faces by heart finds the points again."""
    dlib = pytest.importorskip("dlib", reason="dlib is not installed")
    generator = np.random.default_rng(0)
    for result in labels:
        cv2.imwrite(str(tmp_path / result.source), generator.integers(0, 255, (480, 640, 3), np.uint8))
    path = save("dlib-xml", labels, tmp_path)
    options = dlib.shape_predictor_training_options()
    options.cascade_depth, options.tree_depth, options.oversampling_amount, options.nu = 8, 2, 5, 1.0
    options.num_trees_per_cascade_level, options.feature_pool_size = 20, 50
    options.random_seed = "1"
    dlib.train_shape_predictor(str(path), str(tmp_path / "sp.dat"), options)
    assert dlib.test_shape_predictor(str(path), str(tmp_path / "sp.dat")) < 3
    face = labels[0].faces[1]
    image = cv2.imread(str(tmp_path / labels[0].source))
    x1, y1, x2, y2 = (round(value) for value in face.bbox.xyxy)
    found = dlib.shape_predictor(str(tmp_path / "sp.dat"))(image, dlib.rectangle(x1, y1, x2 - 1, y2 - 1))
    points = np.array([[p.x, p.y] for p in found.parts()])
    assert np.abs(points - face.landmarks).mean() < 3


def test_dlib_reads_utf_8_under_another_header(labels, tmp_path: Path) -> None:
    """As imglab writes it."""
    path = save("dlib-xml", [replace(labels[0], source="ö.jpg")], tmp_path)
    path.write_bytes(path.read_bytes().replace(b"encoding='UTF-8'", b"encoding='ISO-8859-1'"))
    assert get_format("dlib-xml").read(path)[0].source == "ö.jpg"
    path.write_bytes(path.read_bytes().decode("utf-8").encode("latin-1"))
    assert get_format("dlib-xml").read(path)[0].source == "ö.jpg"
