"""`facealign evaluate dataset` on a few real faces: its figures are those of the points that it writes."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from facealign_cli.aligner import Aligner
from facealign_cli.cli.main import main
from facealign_cli.datasets import LeftOut, read_samples
from facealign_cli.errors import FacealignError
from facealign_cli.evaluation.figures import Evaluation
from facealign_cli.evaluation.files import read_json
from facealign_cli.evaluation.predict import predict_samples
from facealign_cli.files.pictures import read_image
from facealign_cli.formats.pts import read_pts
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.metrics import nme
from facealign_cli.models.registry import read_registry


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, args)])


def evaluated(result: Result, path: Path, code: int = 0) -> Evaluation:
    assert result.exit_code == code, result.output
    return read_json(path)


@pytest.fixture
def photos(tmp_path: Path, shared_data: Path) -> Path:
    """Five real faces under the test set's name, one of them unreadable, one without a box."""
    source, folder = shared_data / "300w" / "lfpw" / "trainset", tmp_path / "300w" / "lfpw" / "testset"
    folder.mkdir(parents=True)
    names = [f"image_{i:04}" for i in (1, 2, 3, 4, 6)]
    for name in names:
        for suffix in (".jpg", ".pts"):
            shutil.copyfile(source / f"{name}{suffix}", folder / f"{name}{suffix}")
    boxes = json.loads((source / "boxes.json").read_text())
    kept = {f"{name}.jpg": boxes[f"{name}.jpg"] for name in names if name != names[1]}
    (folder / "boxes.json").write_text(json.dumps(kept))
    (folder / f"{names[4]}.jpg").write_bytes(b"no picture")
    return tmp_path / "300w"


def test_a_data_set(photos: Path, tmp_path: Path) -> None:
    """Errors are those of the points that are written, and the same from the points alone."""
    outputs = ("--json", tmp_path / "e.json", "--predictions", tmp_path / "p")
    evaluation = evaluated(run("dataset", photos, *outputs), tmp_path / "e.json", code=3)
    assert [row.status for row in evaluation.rows] == ["ok", "no_box", "ok", "ok", "error"]
    assert "common (incomplete: 5 of 554)" in [summary.title for summary in evaluation.summaries]
    assert evaluation.about["init"] == "dataset-boxes"
    assert evaluation.about["detector"] == ""
    registry = read_registry()
    assert evaluation.about["model_sha256"] == registry.get(registry.default).sha256
    row = evaluation.rows[0]
    written = read_pts(tmp_path / "p/lfpw/testset/image_0001.pts")
    expected = nme(written[None], read_pts(photos / "lfpw/testset/image_0001.pts")[None], "inter-pupil")[0]
    assert row.nme("inter-pupil") == pytest.approx(expected, abs=1e-5)
    assert 0.005 < expected < 0.1
    assert row.nme("inter-pupil", "stage2") == row.nme("inter-pupil") != row.nme("inter-pupil", "stage1")
    assert 0 < (row.confidence or 0) <= 1
    box = json.loads((photos / "lfpw/testset/boxes.json").read_text())["image_0001.jpg"]
    aligned = Aligner().align_shapes(read_image(photos / row.name), [init_shape_from_bbox(box)])
    np.testing.assert_allclose(written, aligned.landmarks[0], atol=1e-3)
    assert row.nme("inter-pupil", "stage1") == pytest.approx(
        nme(aligned.stage1_landmarks, row.truth[None], "inter-pupil")[0], abs=1e-5
    )
    run("predictions", tmp_path / "p", photos, "--json", tmp_path / "again.json")
    again = read_json(tmp_path / "again.json")
    assert [row.nme() for row in again.rows] == pytest.approx([row.nme() for row in evaluation.rows], abs=1e-5)
    assert [row.status for row in again.rows] == ["ok", "no_prediction", "ok", "ok", "no_prediction"]


def test_the_inits_differ_and_are_named(photos: Path, tmp_path: Path) -> None:
    first = {}
    for init in ("dataset-boxes", "ground-truth", "detector"):
        path = tmp_path / f"{init}.json"
        evaluation = evaluated(run("dataset", photos, "--init", init, "--json", path), path, code=3)
        first[init] = evaluation.rows[0].nme()
        assert evaluation.about["init"] == init
        assert evaluation.about["detector"] == ("yunet" if init == "detector" else "")
        assert evaluation.rows[1].status == ("no_box" if init == "dataset-boxes" else "ok")
    assert len(set(first.values())) == 3
    assert max(first.values()) < 0.08


def test_boxes_from_a_file(photos: Path, tmp_path: Path) -> None:
    boxes = json.loads((photos / "lfpw/testset/boxes.json").read_text())
    (tmp_path / "boxes.json").write_text(json.dumps(dict(list(boxes.items())[:1])))
    (photos / "lfpw/testset/boxes.json").unlink()
    result = run("dataset", photos, "--boxes", tmp_path / "boxes.json", "--json", tmp_path / "e.json")
    evaluation = evaluated(result, tmp_path / "e.json", code=3)
    assert [row.status for row in evaluation.rows] == ["ok", "no_box", "no_box", "no_box", "error"]
    assert (evaluation.about["init"], evaluation.about["detector"]) == ("given-boxes", "boxes")


def test_a_face_that_the_detector_misses(photos: Path, tmp_path: Path) -> None:
    """Faces of a picture are at most 512 pixels, so none is 2000 high."""
    for file in photos.rglob("image_0006.*"):
        file.unlink()
    arguments = ("--init", "detector", "--min-face", "2000", "--json", tmp_path / "e.json")
    evaluation = evaluated(run("dataset", photos, *arguments), tmp_path / "e.json")
    assert {row.status for row in evaluation.rows} == {"missed"}
    assert (evaluation.summaries[0].auc, evaluation.summaries[0].failure_rate) == (0, 1)


def test_several_processes_give_the_same(photos: Path, tmp_path: Path) -> None:
    documents = []
    for workers in (0, 2):
        path = tmp_path / f"{workers}.json"
        evaluated(run("dataset", photos, "--workers", workers, "--json", path), path, code=3)
        documents.append(json.loads(path.read_text()))
    assert documents[0] == documents[1]


class Deadly:
    """An aligner that ends the process that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (1,)


def test_a_process_that_dies(photos: Path) -> None:
    samples = [sample for sample in read_samples(photos) if not isinstance(sample, LeftOut)]
    with pytest.raises(FacealignError, match="worker process died"):
        list(predict_samples(samples, Deadly(), "dataset-boxes", workers=2))  # type: ignore[arg-type]


def test_predictions_are_not_overwritten(photos: Path, tmp_path: Path) -> None:
    arguments = ("dataset", photos, "--predictions", tmp_path / "p")
    assert run(*arguments).exit_code == 3
    result = run(*arguments)
    assert result.exit_code == 1
    assert "exists already" in result.stderr
    assert run(*arguments, "--overwrite").exit_code == 3


def test_the_report(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("facealign_cli.report")
    assert run("dataset", photos, "--report", tmp_path / "r.html").exit_code == 3
    assert "common (incomplete: 5 of 554)" in (tmp_path / "r.html").read_text()


def test_every_way_to_say_where_the_faces_are(photos: Path, tmp_path: Path) -> None:
    """The organisers' .mat boxes give the figures of boxes.json, facealign's own rows those of the detector."""
    savemat = pytest.importorskip("scipy.io", reason="scipy, which reads .mat files, is not installed").savemat
    folder = photos / "lfpw" / "testset"
    for suffix in (".jpg", ".pts"):
        (folder / f"image_0006{suffix}").unlink()  # the one that cannot be read
    given = evaluated(run("dataset", photos, "--json", tmp_path / "given.json"), tmp_path / "given.json", code=3)
    boxes = json.loads((folder / "boxes.json").read_text())
    cell = np.empty((1, len(boxes)), object)
    for i, (name, box) in enumerate(boxes.items()):
        cell[0, i] = {"imgName": name, "bb_detector": np.array([box]) + 1, "bb_ground_truth": np.array([box])}
    (tmp_path / "Bounding Boxes").mkdir()
    savemat(tmp_path / "Bounding Boxes" / "bounding_boxes_lfpw_testset.mat", {"bounding_boxes": cell})
    (folder / "boxes.json").unlink()
    nothing = run("dataset", photos)
    assert nothing.exit_code == 1
    for way in ("--boxes PATH", "--init detector", "--init ground-truth"):
        assert way in nothing.stderr
    mat = ("--boxes", tmp_path / "Bounding Boxes", "--json", tmp_path / "mat.json")
    same = evaluated(run("dataset", photos, *mat), tmp_path / "mat.json", code=3)
    for one, other in zip(given.rows, same.rows, strict=True):
        assert one.status == other.status
        if one.landmarks is not None and other.landmarks is not None:
            np.testing.assert_allclose(one.landmarks, other.landmarks, atol=0.01)
    pictures = sorted(folder.glob("*.jpg"))
    detected = CliRunner().invoke(main, ["detect", "image", *map(str, pictures), "-o", str(tmp_path / "rows.json")])
    assert detected.exit_code == 0
    rows = ("--boxes", tmp_path / "rows.json", "--json", tmp_path / "rows_e.json")
    own = evaluated(run("dataset", photos, *rows), tmp_path / "rows_e.json")
    found = ("--init", "detector", "--json", tmp_path / "found.json")
    for one, other in zip(
        own.rows, evaluated(run("dataset", photos, *found), tmp_path / "found.json").rows, strict=True
    ):
        assert one.landmarks is not None
        size = np.ptp(one.landmarks, axis=0).max()  # the rows hold the box, but not the roll of YuNet's five points
        np.testing.assert_allclose(one.landmarks, other.landmarks, atol=0.01 * size)
