"""The folder that a job writes to: full, linked, moved away, another run's, or one that cannot be."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import fake, listed, run
from batch_works import rows_of, same_rows

from facealign_cli.batch.lock import lock_folder
from facealign_cli.batch.progress import Progress
from facealign_cli.batch.sources import Sources
from facealign_cli.batch.work import WorkOptions
from facealign_cli.errors import InputError, OutputError
from facealign_cli.files import output
from facealign_cli.files.names import text_to_name
from facealign_cli.files.output import safe_tree
from facealign_cli.files.storage import LocalStorage


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


def test_a_full_disk(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room, write = [12], output._flush

    def full(path: Path) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path)

    monkeypatch.setattr("facealign_cli.batch.job.FLUSH_S", 0.0)
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
    monkeypatch.setattr("facealign_cli.batch.job.FLUSH_S", 0.0)
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
    assert {text_to_name(r["source"]) for r in rows_of(tmp_path / "out")} >= set(names)


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
    monkeypatch.setattr("facealign_cli.batch.job.FLUSH_S", 0.0)
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
        patch.setattr("facealign_cli.batch.job.FLUSH_S", 0.0)
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
