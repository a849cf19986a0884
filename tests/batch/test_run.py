"""Whole jobs in this process or in workers: every picture ends as exactly one set of rows."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from batch_works import FakeWork, rows_of, same_rows

from facealign_cli.batch.lock import lock_folder
from facealign_cli.batch.progress import Progress
from facealign_cli.batch.run import BatchOptions, job_config, run_batch
from facealign_cli.batch.sources import Sources
from facealign_cli.batch.work import PictureWork, WorkOptions
from facealign_cli.errors import InputError, OutputError
from facealign_cli.files import output
from facealign_cli.files.output import safe_tree
from facealign_cli.files.pictures import read_image
from facealign_cli.files.storage import LocalStorage
from facealign_cli.formats.base import get_format
from facealign_cli.formats.pts import read_pts
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.metrics import nme


def run(source: object, out: object, *, work: WorkOptions | None = None, **options: Any) -> Progress:
    extra = {name: options.pop(name) for name in ("make_work", "stop", "report") if name in options}
    sources = source if isinstance(source, Sources) else Sources((str(source),), recursive=True)
    batch = BatchOptions(str(out), **({"workers": 0} | options))
    return run_batch(sources, batch, work or WorkOptions(device="cpu"), **extra)


def fake(source: object, out: object, **options: Any) -> Progress:
    return run(source, out, make_work=FakeWork, **options)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A list of 60 pictures for FakeWork."""
    (tmp_path / "list").write_text("\n".join(f"{i}-{k}" for i in range(15) for k in ("one", "two", "bad", "none")))
    return tmp_path / "list"


def listed(path: Path) -> Sources:
    return Sources(lists=(str(path),))


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


def test_workers_and_batches_may_differ(many: Path, tmp_path: Path) -> None:
    fake(listed(many), tmp_path / "out")
    assert fake(listed(many), tmp_path / "out", workers=1, batch_size=3, timeout_s=None).before == 60


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


def test_what_it_writes_is_no_source(pictures: Path) -> None:
    work = WorkOptions(device="cpu", crops_folder=f"{pictures}/crops", overlay_folder=f"{pictures}/drawn")
    run(pictures, pictures / "out", work=work)
    assert run(pictures, pictures / "out", work=work).done == 0


def test_a_folder_that_another_run_writes_to(many: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with (
        lock_folder(LocalStorage(), str(tmp_path / "out")),
        pytest.raises(OutputError, match=rf"another run is writing there \(process {os.getpid()} on "),
    ):
        fake(listed(many), tmp_path / "out")
    fake(listed(many), tmp_path / "out")


@pytest.fixture
def memory() -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]


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


def test_a_full_disk(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room, write = [12], output._flush

    def full(path: Path) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path)

    monkeypatch.setattr("facealign_cli.batch.run.FLUSH_S", 0.0)
    monkeypatch.setattr(output, "_flush", full)
    with pytest.raises(OutputError, match="the disk is full"):
        fake(listed(many), tmp_path / "out", shard_rows=13, batch_size=4)
    room[0] = 10**9
    resumed = fake(listed(many), tmp_path / "out", shard_rows=13)
    assert 0 < resumed.before < 60
    fake(listed(many), tmp_path / "whole", shard_rows=13)
    assert same_rows(rows_of(tmp_path / "out"), rows_of(tmp_path / "whole"))


def test_a_really_full_disk(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    monkeypatch.setattr("facealign_cli.batch.run.FLUSH_S", 0.0)
    try:
        with pytest.raises(OutputError, match="the disk is full"):
            fake(listed(many), small / "out", batch_size=4)
        subprocess.run(["mount", "-o", "remount,size=4m", str(small)], check=True)
        assert fake(listed(many), small / "out").before > 0
        fake(listed(many), tmp_path / "whole")
        assert same_rows(rows_of(small / "out"), rows_of(tmp_path / "whole"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_nothing_is_written_outside(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "a" / "b"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    face = (pictures / "face0.jpg").read_bytes()
    names = [
        "<script>.jpg",
        "-rf.jpg",
        "=1+1.jpg",
        "new\nline.jpg",
        "caf\udcff.jpg",
        "_root.jpg",
        "C:\\x\\..\\y.jpg",
        "x. ",
    ]
    for name in names:
        Path(name).write_bytes(face)
    Path("list").write_bytes(
        b"\0".join(map(os.fsencode, [*names, "../../pictures/face0.jpg", str(pictures / "face0.jpg")]))
    )
    (tmp_path / "out").mkdir()
    before = set(tmp_path.rglob("*"))
    work = WorkOptions(device="cpu", crops_folder=f"{tmp_path}/out/crops", overlay_folder=f"{tmp_path}/out/drawn")
    run(Sources(lists=("list",), null=True), tmp_path / "out", work=work, fmt="pts")
    new = set(tmp_path.rglob("*")) - before
    assert all(p.is_relative_to(tmp_path / "out") for p in new)
    for folder, count in (("crops", 2 * 10), ("drawn", 10), ("pts", 10)):  # beside a crop: where it was cut
        assert sum(p.is_file() for p in (tmp_path / "out" / folder).rglob("*")) == count
    assert {r["source"] for r in rows_of(tmp_path / "out")} >= set(names)


@pytest.mark.parametrize(
    "link", ["manifest.json", "_journal", "part-000000.parquet", "_journal/000000.jsonl", "_journal/part-000000.json"]
)
@pytest.mark.parametrize("url", ["", "file://"])
def test_links_in_the_folder_are_not_followed(many: Path, tmp_path: Path, link: str, url: str) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious")
    place = tmp_path / "out" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(precious if link == "_journal" else precious / "file")
    with pytest.raises(OutputError, match=r"is a link|cannot be used|holds rows of a job"):
        fake(listed(many), f"{url}{tmp_path}/out", shard_rows=13)
    assert (precious / "file").read_text() == "precious"
    assert os.listdir(precious) == ["file"]


@pytest.mark.parametrize("folder", ["crops", "out/pts"])
def test_links_among_the_crops_are_not_followed(pictures: Path, tmp_path: Path, folder: str) -> None:
    (tmp_path / "precious").mkdir()
    inner = tmp_path / folder / safe_tree(str(pictures)).partition("/")[0]
    inner.parent.mkdir(parents=True)
    inner.symlink_to(tmp_path / "precious")
    work = WorkOptions(device="cpu", crops_folder=f"{tmp_path}/crops")
    with pytest.raises(OutputError, match="_root is a link, and none is followed in"):
        run(pictures, tmp_path / "out", work=work, fmt="pts")
    assert os.listdir(tmp_path / "precious") == []


def test_the_folder_of_landmarks_is_a_link(many: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "pts").symlink_to(tmp_path / "precious")
    with pytest.raises(OutputError, match="pts is a link"):
        run(listed(many), tmp_path / "out", fmt="pts")


def test_a_folder_that_is_itself_a_link_is_meant(many: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    fake(listed(many), tmp_path / "out")
    assert len(rows_of(tmp_path / "real")) == 75


@pytest.mark.parametrize("which", ["out", "crops"])
@pytest.mark.parametrize("again", [False, True], ids=["gone", "another in its place"])
def test_a_folder_that_is_moved_away_is_noticed(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str, again: bool
) -> None:
    monkeypatch.setattr("facealign_cli.batch.run.FLUSH_S", 0.0)
    work = WorkOptions(device="cpu", crops_folder=f"{tmp_path}/crops")

    def move(progress: Progress) -> None:
        if progress.done >= 8 and not (tmp_path / "moved").exists():
            (tmp_path / which).rename(tmp_path / "moved")
            if again:
                (tmp_path / which).mkdir()

    options: dict[str, Any] = {"work": work, "shard_rows": 13, "batch_size": 4}
    with pytest.raises(OutputError, match=rf"{which}: was moved or removed while it was written to"):
        fake(listed(many), tmp_path / "out", report=move, **options)
    if again:
        assert os.listdir(tmp_path / which) == []
        (tmp_path / which).rmdir()
    assert not (tmp_path / which).exists()
    (tmp_path / "moved").rename(tmp_path / which)
    assert fake(listed(many), tmp_path / "out", **options).before >= 8
    fake(listed(many), tmp_path / "whole", **options)
    assert same_rows(rows_of(tmp_path / "out"), rows_of(tmp_path / "whole"))


def test_complete_is_said_when_every_shard_was_seen(many: Path, tmp_path: Path) -> None:
    def remove(progress: Progress) -> None:
        for shard in (tmp_path / "out").glob("part-000000.*"):
            shard.unlink()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facealign_cli.batch.run.FLUSH_S", 0.0)
        with pytest.raises(OutputError, match=r"part-000000\.parquet: is gone; put it back"):
            fake(listed(many), tmp_path / "out", shard_rows=13, batch_size=4, report=remove)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["state"] == "running"


def test_two_runs_on_one_store(many: Path, tmp_path: Path, memory: Any) -> None:
    others: list[str] = []

    def second(progress: Progress) -> None:
        if not others:
            try:
                fake(listed(many), "memory://out")
            except OutputError as error:
                others.append(str(error))

    fake(listed(many), "memory://out", report=second, shard_rows=13)
    assert "another run is writing there" in others[0]
    memory.get("/out", str(tmp_path / "fetched"), recursive=True)
    fake(listed(many), tmp_path / "whole", shard_rows=13)
    assert same_rows(rows_of(tmp_path / "fetched"), rows_of(tmp_path / "whole"))


def test_a_run_that_another_one_has_followed_writes_no_more(
    many: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facealign_cli.batch.lock.BEAT_S", 0.01)

    def follow(progress: Progress) -> None:
        memory.pipe_file("/out/.facealign-lock-2", b'{"run": "another"}')
        time.sleep(0.2)

    with pytest.raises(OutputError, match="another run has taken this folder over"):
        fake(listed(many), "memory://out", report=follow)
    assert not [name for name in memory.find("/out") if "part-" in name]


@pytest.mark.parametrize("output", ["file", "file/inner", "dangling", "x" * 300, ""])
def test_an_output_that_cannot_be(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("dangling").symlink_to("nowhere")
    with pytest.raises((OutputError, InputError)) as caught:
        fake(listed(many), output)
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir()) == ["dangling", "file", "list"]


@pytest.mark.parametrize("folder", ["crops_folder", "overlay_folder"])
def test_folders_without_a_name(many: Path, tmp_path: Path, folder: str) -> None:
    with pytest.raises(InputError, match="got an empty name"):
        fake(listed(many), tmp_path / "out", work=WorkOptions(device="cpu", **{folder: ""}))


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


@pytest.mark.parametrize("options", [{"fmt": "xml"}, {"workers": -1}, {"batch_size": 0}, {"shard_rows": 0}])
def test_options_check_themselves(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        BatchOptions("out", **options)
