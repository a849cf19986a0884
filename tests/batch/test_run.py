"""Whole jobs in this process or in workers: every picture ends as exactly one set of rows."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from batch_jobs import fake, listed, run
from batch_works import FakeWork, rows_of, same_rows

from facealign_cli.batch.job import BatchOptions
from facealign_cli.batch.progress import Progress
from facealign_cli.batch.run import job_config, run_batch
from facealign_cli.batch.work import PictureWork, WorkOptions
from facealign_cli.errors import InputError, OutputError
from facealign_cli.files.pictures import read_image
from facealign_cli.formats.base import get_format
from facealign_cli.formats.pts import read_pts
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.metrics import nme
from facealign_cli.pose import PoseEstimator


def test_pictures_damage_and_all(pictures: Path, tmp_path: Path) -> None:
    progress = run(pictures, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert {os.path.relpath(r["source"], pictures): r["error"] for r in rows if r["status"] == "error"}.keys() == {
        "cut.jpg",
        "empty.jpg",
        "head.png",
        "noise.jpg",
        "text.jpg",
    }
    assert [r["status"] for r in rows if r["source"].endswith("grey.png")] == ["no_face"]
    assert sum(r["source"].endswith("pair.png") for r in rows) == 2
    assert (progress.done, progress.failed, progress.faces) == (13, 5, 8)
    good = next(r for r in rows if r["source"].endswith("face0.jpg"))
    data = (pictures / "face0.jpg").read_bytes()
    assert (good["bytes"], good["width"], good["height"]) == (len(data), 220, 220)
    assert len(good["sha256"]) == 64
    assert good["model"].startswith("dan-light ")
    assert len(good["landmarks"]) == 136
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["state"] == "complete"
    assert manifest["counts"] == {"pictures": 13, "rows": 14, "faces": 8, "no_face": 1, "failed": 5}
    assert progress.cpu_s()["detect"] > 0
    assert len(progress.slowest) == len(progress.failures) == 5


@pytest.mark.long
def test_the_rows_do_not_depend_on_how_the_work_was_cut(pictures: Path, tmp_path: Path) -> None:
    for name, options in {"1": {"batch_size": 1}, "16": {}, "pool": {"workers": 2, "batch_size": 3}}.items():
        run(pictures, tmp_path / name, **options)
    expected = rows_of(tmp_path / "1")
    assert same_rows(rows_of(tmp_path / "16"), expected)
    assert same_rows(rows_of(tmp_path / "pool"), expected)


def test_rows_are_those_of_detect_image(picture_folder: Path) -> None:
    path = str(picture_folder / "face0.jpg")
    work = PictureWork(WorkOptions(device="cpu"))
    (outcome,) = work.process([path])
    (face,) = work.aligner.align(read_image(path))
    assert np.abs(outcome.record.faces[0].landmarks - face.landmarks).max() < 0.01
    assert outcome.record.faces[0].bbox == face.bbox


def test_crops_overlays_and_pts(pictures: Path, tmp_path: Path) -> None:
    work = WorkOptions(device="cpu", crops_folder=f"{tmp_path}/crops", crop_size=96, overlay_folder=f"{tmp_path}/drawn")
    run(pictures, tmp_path / "out", work=work, fmt="pts")
    crops = sorted((tmp_path / "crops").rglob("*.jpg"))
    assert len(crops) == 8
    image = read_image(crops[0])
    assert image.shape == (96, 96, 3)
    (face,) = PictureWork(WorkOptions(device="cpu")).process([str(crops[0])])[0].record.faces
    eyes = face.landmarks[36:48].reshape(2, 6, 2).mean(axis=1)
    assert abs(eyes[0, 1] - eyes[1, 1]) < 3  # upright
    upright = (MEAN_SHAPE - MEAN_SHAPE.mean(axis=0)) * 0.6 * 96 / np.ptp(MEAN_SHAPE, axis=0).max()
    centred = face.landmarks - face.landmarks.mean(axis=0)
    assert nme(centred[None], upright[None], "inter-ocular")[0] < 0.15
    assert len(list((tmp_path / "drawn").rglob("*.jpg"))) == 8
    points = sorted((tmp_path / "out" / "pts").rglob("*.pts"))
    assert len(points) == 8
    results = {r.source: r for r in get_format("jsonl").read(tmp_path / "out" / "part-000000.jsonl")}
    source = next(s for s in results if s.endswith("more/face1.jpg"))
    (file,) = (p for p in points if p.name == "face1.jpg_0.pts")
    np.testing.assert_allclose(read_pts(file), results[source].faces[0].landmarks, atol=2e-3)


@pytest.mark.parametrize("fmt", ["parquet", "jsonl", "csv", "pts"])
def test_stopped_and_resumed(many: Path, tmp_path: Path, fmt: str) -> None:
    fake(listed(many), tmp_path / "whole", fmt=fmt, shard_rows=13)
    stop = threading.Event()

    def stop_soon(progress: Progress) -> None:
        if progress.done >= 8:
            stop.set()

    first = fake(listed(many), tmp_path / "parts", fmt=fmt, shard_rows=13, batch_size=4, report=stop_soon, stop=stop)
    assert first.stopped == "interrupt"
    assert 8 <= first.counts.pictures < 60
    second = fake(listed(many), tmp_path / "parts", fmt=fmt, shard_rows=13)
    assert second.before + second.done == 60
    assert second.before == first.done
    assert same_rows(rows_of(tmp_path / "parts"), rows_of(tmp_path / "whole"))
    third = fake(listed(many), tmp_path / "parts", fmt=fmt, shard_rows=13)
    assert (third.done, third.before) == (0, 60)


def test_new_pictures_join_a_finished_job(many: Path, tmp_path: Path) -> None:
    fake(listed(many), tmp_path / "out")
    with open(many, "a") as stream:
        stream.write("\nnew\n0-one\n")
    assert fake(listed(many), tmp_path / "out").done == 1
    assert len(rows_of(tmp_path / "out")) == 76


def test_another_configuration_is_refused(many: Path, tmp_path: Path) -> None:
    fake(listed(many), tmp_path / "out")
    before = rows_of(tmp_path / "out")
    with pytest.raises(OutputError) as caught:
        fake(listed(many), tmp_path / "out", work=WorkOptions(model="dan-light-int8"), fmt="csv")
    told = str(caught.value)
    assert "  model: was dan-light, is dan-light-int8" in told
    assert "  format: was parquet, is csv" in told
    assert "model_sha256" in told
    assert same_rows(rows_of(tmp_path / "out"), before)
    fake(listed(many), tmp_path / "out", fmt="csv", restart=True)
    assert [p.suffix for p in (tmp_path / "out").glob("part-*")] == [".csv"]


def test_a_job_without_a_row_stands_in_nobodys_way(many: Path, tmp_path: Path) -> None:
    """Its detector could not be made; with another one the folder is as good as new."""
    with pytest.raises(InputError, match="detector boxes needs a file of boxes"):
        run_batch(listed(many), tmp_path / "out", WorkOptions(detector="boxes"))
    with pytest.raises(OutputError, match="another configuration"):
        fake(listed(many), tmp_path / "out", must_resume=True)
    assert fake(listed(many), tmp_path / "out").done == 60


def test_a_group_of_nothing_but_defaults_is_another_configuration(many: Path, tmp_path: Path) -> None:
    fake(listed(many), tmp_path / "out")
    with pytest.raises(OutputError, match=r"\n  pose: was none, is given\n"):
        fake(listed(many), tmp_path / "out", work=WorkOptions(pose=PoseEstimator()))


def test_workers_and_batches_may_differ(many: Path, tmp_path: Path) -> None:
    fake(listed(many), tmp_path / "out")
    assert fake(listed(many), tmp_path / "out", workers=1, batch_size=3, timeout_s=None).before == 60


def test_opencv_s_threads_stay_those_of_the_caller(many: Path, tmp_path: Path) -> None:
    def work() -> FakeWork:
        cv2.setNumThreads(1)  # as `PictureWork` does
        return FakeWork()

    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        run(listed(many), tmp_path / "out", make_work=work)
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_resume_needs_a_job(many: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no job to resume"):
        fake(listed(many), tmp_path / "out", must_resume=True)


def test_rows_without_a_manifest_are_not_touched(many: Path, tmp_path: Path) -> None:
    fake(listed(many), tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    with pytest.raises(OutputError, match="no manifest"):
        fake(listed(many), tmp_path / "out")
    assert len(rows_of(tmp_path / "out")) == 75


def test_a_damaged_manifest_is_told(many: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for content in ("{", '{"schema": "other/1"}', "[]"):
        (tmp_path / "out" / "manifest.json").write_text(content)
        with pytest.raises(OutputError, match="manifest"):
            fake(listed(many), tmp_path / "out")


def test_failed_ones_are_done_again(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "out")
    shutil.copy(pictures / "face0.jpg", pictures / "cut.jpg")
    assert run(pictures, tmp_path / "out").done == 0
    again = run(pictures, tmp_path / "out", retry_errors=True)
    assert (again.done, again.failed, again.before) == (5, 4, 8)
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 14
    assert [r["status"] for r in rows if r["source"].endswith("cut.jpg")] == ["ok"]


def test_fail_fast(many: Path, tmp_path: Path) -> None:
    progress = fake(listed(many), tmp_path / "out", fail_fast=True, batch_size=4)
    assert progress.stopped == "fail_fast"
    assert 4 <= progress.done < 60
    assert len(rows_of(tmp_path / "out")) == 0  # they wait in the journal
    assert fake(listed(many), tmp_path / "out").before == progress.done


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no pictures in .*empty"):
        fake(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="no such file or folder"):
        fake(tmp_path / "missing", tmp_path / "out")
    with pytest.raises(InputError, match="sources: expected one or more pictures, folders or lists of them, got none"):
        run_batch([], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_urls_give_the_same_rows(pictures: Path, tmp_path: Path, memory: Any) -> None:
    run(pictures, tmp_path / "local")
    memory.put(str(pictures), "/in", recursive=True)
    work = WorkOptions(device="cpu", crops_folder="memory://crops")
    run("memory://in", "memory://out", work=work, shard_rows=5)
    run("memory://in", "memory://out", work=work, shard_rows=5)
    assert len(memory.find("/crops")) == 2 * 8  # a picture, and what says where it was cut
    memory.get("/out", str(tmp_path / "fetched"), recursive=True)
    strip = lambda rows, root: [  # noqa: E731
        {**row, "source": row["source"].replace(root, ""), "error": str(row["error"]).replace(root, "")} for row in rows
    ]
    fetched = strip(rows_of(tmp_path / "fetched"), "memory://in")
    assert same_rows(fetched, strip(rows_of(tmp_path / "local"), str(pictures)))


def test_urls_in_workers(pictures: Path, tmp_path: Path) -> None:
    run(f"file://{pictures}", f"file://{tmp_path}/out", workers=1)
    assert len(rows_of(tmp_path / "out")) == 14
    assert not list((tmp_path / "out").glob(".facealign-*.parquet"))


def test_memory_and_workers_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--workers 0"):
        fake("memory://in*", tmp_path / "out", workers=1)


def test_config_names_what_decides_the_rows(tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.json"
    boxes.write_text("{}")
    from facealign_cli.detectors import DetectorOptions

    config = job_config(
        WorkOptions(detector="boxes", detector_options=DetectorOptions(boxes_file=boxes)), BatchOptions("o")
    )
    assert len(config["detector"]["boxes_file_sha256"]) == len(config["model_sha256"]) == 64
    assert set(config["versions"]) == {"facealign", "onnxruntime", "opencv"}
    json.dumps(config)


@pytest.mark.parametrize(
    "options", [{"model": 3}, {"detector": 3}, {"device": None}, {"threads": 0}, {"crops_folder": 3}, {"sigma": "no"}]
)
def test_work_options_check_themselves(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        WorkOptions(**options)


def test_a_path_object_names_a_model_and_folders(tmp_path: Path) -> None:
    options = WorkOptions(model=tmp_path / "m.onnx", crops_folder=tmp_path)  # type: ignore[arg-type]
    assert (options.model, options.crops_folder) == (str(tmp_path / "m.onnx"), str(tmp_path))


@pytest.mark.parametrize("options", [{"fmt": "xml"}, {"workers": -1}, {"batch_size": 0}, {"shard_rows": 0}])
def test_options_check_themselves(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        BatchOptions("out", **options)
