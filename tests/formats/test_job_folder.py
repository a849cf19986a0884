"""The folder of a job as one table: which files hold its rows, what they lack, and who reads it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from facealign_cli.batch.manifest import Manifest
from facealign_cli.boxes import BBox
from facealign_cli.cli.main import main
from facealign_cli.convert import read_faces
from facealign_cli.datasets import read_samples
from facealign_cli.detectors.boxes import read_boxes
from facealign_cli.errors import InputError
from facealign_cli.evaluation.foreign import read_predictions
from facealign_cli.files.documents import read_json
from facealign_cli.files.storage import storage_for
from facealign_cli.formats.base import format_names, get_format, read_results
from facealign_cli.formats.job_folder import read_job_folder
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.measures.tables import write_blinks, write_measures
from facealign_cli.records import Face, FrameResult, LeftOut

POINTS = init_shape_from_bbox((100.0, 60.0, 220.0, 180.0))


def result(source: str, frame: int | None = None) -> FrameResult:
    face = Face(0, BBox.around(POINTS), POINTS, 0.9)
    time = None if frame is None else frame / 25
    return FrameResult.of_faces(source, [face], width=320, height=240, frame=frame, timestamp_s=time)


def write_manifest(folder: Path, state: str = "complete", failed: int = 0, **config: Any) -> None:
    Manifest(config, {"failed": failed}, state=state).write(storage_for(str(folder)), str(folder))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The folder of a job of three pictures, of which one failed."""
    rows = tmp_path / "rows"
    rows.mkdir()
    get_format("jsonl").write(rows / "part-000000.jsonl", [result("a.jpg"), FrameResult.of_error("b.jpg", "no")])
    get_format("jsonl").write(rows / "part-000001.jsonl", [result("c.jpg")])
    write_manifest(rows, format="jsonl")
    return rows


@pytest.fixture(params=["csv", "json", "openface", "dlc"])
def clips(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The folder of a job of clips: two are finished, one has the beginning of a table."""
    out, fmt = tmp_path / "out", get_format(request.param)
    suffix = (*fmt.extensions, ".csv")[0]
    for name in ("a.mp4", "b.mp4", "begun.mp4"):
        table = out / "clips" / "inner" / name
        table.parent.mkdir(parents=True, exist_ok=True)
        fmt.write(f"{table}{suffix}", [result(f"inner/{name}", i) for i in range(4)])
        if name != "begun.mp4":
            write_measures(f"{table}.measures.csv", [])
            write_blinks(f"{table}.blinks.csv", [])
            Path(f"{table}.summary.json").write_text("{}")
    parts = [result("inner/a.mp4", 2), result("inner/b.mp4", 0), FrameResult.of_error("inner/begun.mp4", "no")]
    get_format("jsonl").write(out / "part-000000.jsonl", parts)
    write_manifest(out, clips={"format": request.param})
    return out


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_the_shards_of_pictures(pictures: Path) -> None:
    job = read_job_folder(pictures)
    assert job is not None and [file.name for file in job.files] == ["part-000000.jsonl", "part-000001.jsonl"]
    assert (job.of_clips, job.missing) == (False, None)
    done = run("convert", pictures, pictures.parent / "o.json", "--to", "coco")
    assert done.exit_code == 3 and "2 faces in 2 pictures" in done.stderr and "Left out: b.jpg: the" in done.stderr


def test_a_review_of_the_pictures(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are looked for from the working folder, as those of a file of rows are."""
    monkeypatch.chdir(pictures.parent)
    done = run("review", "rows", "--export", "o.csv", "--all")
    assert done.exit_code == 0, done.output
    assert [one.source for one in get_format("csv").read("o.csv")] == ["a.jpg", "c.jpg"]


def test_the_tables_of_clips(clips: Path) -> None:
    """Neither measures nor blinks, and no table that was not finished."""
    job = read_job_folder(clips)
    assert job is not None and [file.name.rpartition(".")[0] for file in job.files] == ["a.mp4", "b.mp4"]
    done = run("measure", clips, "--size", "320x240", "--summary", clips / "persons.csv")
    assert done.exit_code == 0 and done.stderr.startswith("8 faces of 2 persons measured; "), done.stderr
    assert len((clips / "persons.csv").read_text().splitlines()) == 3
    assert run("convert", clips, clips / "all.csv").exit_code == 0
    assert len(get_format("csv").read(clips / "all.csv")) == 8


def test_tables_that_an_earlier_job_left_are_not_taken(clips: Path) -> None:
    """A job that was begun anew, with another list of clips."""
    only = [one for one in get_format("jsonl").read(clips / "part-000000.jsonl") if one.source == "inner/b.mp4"]
    get_format("jsonl").write(clips / "part-000000.jsonl", only, overwrite=True)
    job = read_job_folder(clips)
    assert job is not None and [file.name[:5] for file in job.files] == ["b.mp4"]
    for name, state in (("a", "running"), ("b", "interrupted")):
        write_manifest(clips, state, **read_json(clips / "manifest.json")["config"])
        for summary in clips.rglob("*.summary.json"):
            os.utime(summary, (1e9, 1e9) if summary.name[0] != name else None)
        job = read_job_folder(clips)
        assert job is not None and [file.name[0] for file in job.files] == [name]
        assert job.missing is not None and "only the clips that are finished" in job.missing


def test_all_that_read_faces_read_the_folder(pictures: Path) -> None:
    """It is a format that is found, though none that can be named."""
    assert [one.source for one in read_results(pictures)] == ["a.jpg", "b.jpg", "c.jpg"]
    assert {name: len(found) for name, found in read_boxes(pictures).items()} == {"a.jpg": 1, "c.jpg": 1}
    assert [one.error for one in read_predictions(pictures)] == [None, "no", None]
    assert sorted(one.name for one in read_samples(pictures, need_pictures=False)) == ["a.jpg#0", "b.jpg", "c.jpg#0"]
    write_manifest(pictures, "interrupted", format="jsonl")
    for read in (read_results, read_boxes):
        with pytest.raises(InputError, match=rf"^{pictures}: the job has not ended"):
            read(pictures)


def test_nobody_writes_such_a_folder_by_name(pictures: Path) -> None:
    assert "batch" not in format_names()
    for option in ("--to", "--from"):
        assert "unknown format 'batch'" in run("convert", pictures, pictures / "x", option, "batch").stderr


def test_what_is_missing_is_told(pictures: Path) -> None:
    write_manifest(pictures, "interrupted", format="jsonl")
    *_, last = read_faces(pictures)
    assert isinstance(last, LeftOut) and "has not ended: only the files of rows" in last.reason
    done = run("measure", pictures)
    assert done.exit_code == 3 and f"{pictures}: the job has not ended" in done.stderr


@pytest.mark.parametrize(
    ("failed", "said"), [(1, "1 of its clips failed and has no"), (2, "2 of its clips failed and have no")]
)
def test_clips_that_failed_are_told(failed: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    get_format("csv").write(tmp_path / "clips" / "a.mp4.csv", [result("a.mp4", 0)])
    get_format("jsonl").write(tmp_path / "part-000000.jsonl", [result("a.mp4", 0)])
    write_manifest(tmp_path, failed=failed, clips={"format": "csv"})
    assert said in run("measure", tmp_path).stderr


def test_a_folder_without_finished_rows(tmp_path: Path) -> None:
    write_manifest(tmp_path, "interrupted", format="csv")
    with pytest.raises(InputError, match=r"in it is finished; the job has not ended: the"):
        read_job_folder(tmp_path)
    assert "no file of rows in it" in run("measure", tmp_path).stderr
    write_manifest(tmp_path, format="csv")
    with pytest.raises(InputError, match=r"is finished$"):
        read_job_folder(tmp_path)
    write_manifest(tmp_path, clips={"format": "csv"}, failed=1)
    with pytest.raises(InputError, match=r"is finished; 1 of its clips failed and has no rows; clips.csv says why"):
        read_job_folder(tmp_path)


@pytest.mark.parametrize("manifest", [None, "{}", "[]", "no json", '{"schema": "other/1"}'])
def test_another_folder_is_none(manifest: str | None, tmp_path: Path) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    assert read_job_folder(tmp_path) is None
    assert "or the folder that batch wrote" in run("measure", tmp_path).stderr


def test_who_gives_another_file_or_folder_of_it_is_told_which(clips: Path) -> None:
    for given, said in (
        ("clips", f"give files of rows, or the whole of {clips}"),
        ("clips/inner", f"give files of rows, or the whole of {clips}"),
        ("clips/inner/a.mp4.blinks.csv", "of batch videos NAME.csv beside it, or the whole folder of the run"),
        ("clips/inner/a.mp4.measures.csv", "of batch videos NAME.csv beside it, or the whole folder of the run"),
        ("part-000000.jsonl", "holds only one frame of each clip, that of the surest face: give the tables of clips"),
        ("manifest.json", "it is the manifest of a job; give its folder"),
    ):
        done = run("measure", clips / given)
        assert done.exit_code in (1, 2) and said in done.stderr and f"{clips / given}" in done.stderr
    for given, said in (("", "such as"), ("part-000000.jsonl", f"of clips in {clips / 'clips'}")):
        assert said in run("video", "plot", clips / given, "-o", clips / "page.html").stderr


def test_a_file_of_rows_of_pictures_is_taken_alone(pictures: Path) -> None:
    assert run("measure", pictures / "part-000000.jsonl").exit_code == 0
