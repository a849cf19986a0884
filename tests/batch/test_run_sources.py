"""The folders that a job reads from: they go while it runs, are empty when it is resumed, or lack what was done."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import fake, listed, run
from batch_works import FakeWork, fake_outcome, rows_of, same_rows

from facealign_cli.batch.base import Outcome
from facealign_cli.batch.progress import Progress
from facealign_cli.batch.sources import Sources
from facealign_cli.errors import InputError
from facealign_cli.records import FrameResult


class ReadingWork(FakeWork):
    """Fails with what is not there."""

    def process_chunks(
        self, chunks: Iterator[Sequence[str]], on_picture: Callable[[], None] = lambda: None
    ) -> Iterator[list[Outcome]]:
        for paths in chunks:
            yield [
                fake_outcome(path)
                if os.path.exists(path)
                else Outcome(FrameResult.of_error(path, f"{path}: no such file"))
                for path in paths
            ]


@pytest.fixture
def shoot(tmp_path: Path) -> Path:
    """A folder with 12 files, and one inside with 8."""
    for name in (*(f"{i}.jpg" for i in range(12)), *(f"disk/{i}.jpg" for i in range(8))):
        (tmp_path / "shoot" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "shoot" / name).touch()
    return tmp_path / "shoot"


def _state(out: Path) -> str:
    return str(json.loads((out / "manifest.json").read_text())["state"])


@pytest.mark.parametrize("gone", ["shoot", "shoot/disk"])
@pytest.mark.parametrize("pattern", ["", "/**/*.jpg"])
@pytest.mark.parametrize("emptied", [False, True])
def test_pictures_whose_folder_goes_are_not_recorded_as_failed(
    shoot: Path, tmp_path: Path, gone: str, pattern: str, emptied: bool
) -> None:
    place = tmp_path / gone
    options: dict[str, Any] = {"make_work": ReadingWork, "batch_size": 2}

    def go(progress: Progress) -> None:
        if progress.done >= 4 and not (tmp_path / "moved").exists():
            place.rename(tmp_path / "moved")
            if emptied:  # as the place of a disk is that was unmounted
                place.mkdir()

    with pytest.raises(InputError, match=r"was found in it, but nothing is there now: it was unmounted"):
        run(f"{shoot}{pattern}", tmp_path / "out", report=go, **options)
    assert _state(tmp_path / "out") != "complete"
    shutil.rmtree(place, ignore_errors=True)
    (tmp_path / "moved").rename(place)
    resumed = run(f"{shoot}{pattern}", tmp_path / "out", **options)
    assert resumed.before >= 4 and resumed.counts.failed == 0 and resumed.counts.pictures == 20
    run(f"{shoot}{pattern}", tmp_path / "whole", **options)
    assert same_rows(rows_of(tmp_path / "out"), rows_of(tmp_path / "whole"))


def test_a_picture_that_goes_alone_has_failed(shoot: Path, tmp_path: Path) -> None:
    def remove(progress: Progress) -> None:
        (shoot / "disk/7.jpg").unlink(missing_ok=True)

    assert run(shoot, tmp_path / "out", make_work=ReadingWork, batch_size=2, report=remove).failed == 1


def test_of_a_list_pictures_may_lie_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"{tmp_path}/none/a.jpg\n{tmp_path}/none/b.jpg")
    assert run(listed(tmp_path / "list"), tmp_path / "out", make_work=ReadingWork).failed == 2


def test_a_job_is_not_complete_where_nothing_was_found(shoot: Path, tmp_path: Path) -> None:
    fake(shoot / "disk", tmp_path / "out")
    manifest = (tmp_path / "out/manifest.json").read_bytes()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no pictures in .*empty.* The rows of the 8 pictures that were done before"):
        fake(tmp_path / "empty", tmp_path / "out")
    assert (tmp_path / "out/manifest.json").read_bytes() == manifest
    with pytest.raises(InputError, match=r"no pictures in .*empty; --glob says which names are meant$"):
        fake(tmp_path / "empty", tmp_path / "new")
    assert _state(tmp_path / "new") != "complete"


def test_what_was_done_and_is_not_found_is_noted(shoot: Path, tmp_path: Path) -> None:
    assert fake(shoot, tmp_path / "out").notes == []
    assert fake(shoot, tmp_path / "out").notes == []
    notes = fake(Sources((str(shoot / "disk"),)), tmp_path / "out").notes
    assert notes == ["12 of the 20 pictures that were done before were not found this time; their rows stay"]
