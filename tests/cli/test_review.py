"""`facealign review`: the command; the page itself is tested in tests/review."""

from __future__ import annotations

import http.client
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from facealign_cli.boxes import BBox
from facealign_cli.cli.main import main
from facealign_cli.errors import pip
from facealign_cli.formats.base import get_format
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.records import Face, FrameResult
from facealign_cli.review.session import Session, default_side_file

BOX = (100.0, 60.0, 220.0, 180.0)


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """rows.json of three pictures; the first is accepted, the second skipped. The working folder is theirs."""
    monkeypatch.chdir(tmp_path)
    face = Face(0, BBox(*BOX), init_shape_from_bbox(BOX), 0.5)
    results = [FrameResult.of_faces(f"photos/{name}.jpg", [face], width=320, height=240) for name in "abc"]
    Path("photos").mkdir()
    get_format("json").write("rows.json", results)
    session = Session(results, Path("photos"), default_side_file(Path("rows.json")))
    session.open()
    session.step(0, 0, "accepted", [replace(face, landmarks=face.landmarks + 5)])
    session.step(1, 0, "skipped", [])
    session.close()
    return tmp_path


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(main, ["review", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_export(rows: Path) -> None:
    result = run("rows.json", "--images", "photos", "--export", "out.json", "--to", "coco")
    assert "1 face in 1 picture: out.json" in result.stderr
    (done,) = get_format("coco").read("out.json")
    assert done.source == "a.jpg"
    assert done.faces[0].landmarks[0, 0] == pytest.approx(init_shape_from_bbox(BOX)[0, 0] + 5, abs=1e-3)
    run("rows.json", "--images", "photos", "--export", "all.csv", "--all")
    assert [r.source for r in get_format("csv").read("all.csv")] == ["photos/a.jpg", "photos/c.jpg"]
    assert "exists already" in run("rows.json", "--images", "photos", "--export", "all.csv", code=1).stderr


def test_an_export_before_anything_is_accepted_says_so(rows: Path) -> None:
    fresh = ("rows.json", "--images", "photos", "--work", "fresh.jsonl", "--export", "out.csv")
    assert "none of 3 pictures is accepted yet; --all exports" in run(*fresh, code=1).stderr
    run(*fresh, "--all")


def test_an_export_of_nothing_says_so_and_writes_nothing(rows: Path) -> None:
    get_format("json").write("none.json", [FrameResult("photos/a.jpg", "no_face", 320, 240)])
    export = ("none.json", "--images", "photos", "--all", "--export", "out", "--to")
    assert (
        "cannot write out: nothing that pts could hold: there is no face in 1 picture"
        in run(*export, "pts", code=1).stderr
    )
    get_format("json").write("none.json", [FrameResult.of_error("photos/a.jpg", "damaged")], overwrite=True)
    assert (
        "none.json: nothing to export: 1 picture, and each was skipped or failed" in run(*export, "csv", code=1).stderr
    )
    assert not Path("out").exists()


def test_wrong_usage(rows: Path) -> None:
    assert "--to, --all and --left-out go with --export" in run("rows.json", "--to", "coco", code=2).stderr
    assert "no such" in run("none.json", code=2).stderr.lower() or "does not exist" in run("none.json", code=2).stderr
    Path("empty").mkdir()
    assert "nothing to review: no picture was found" in run("empty", "--export", "o.csv", code=1).stderr
    clip = [FrameResult("c.mp4", "no_face", frame=i) for i in range(2)]
    get_format("json").write("clip.json", clip)
    assert "the rows are of frames of clips" in run("clip.json", "--export", "o.csv", code=1).stderr
    Path("other.jsonl").write_text("{}\n")
    assert "not the side file" in run("rows.json", "--work", "other.jsonl", "--export", "o.csv", code=1).stderr


def test_it_says_what_is_missing(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    monkeypatch.delitem(sys.modules, "facealign_cli.review.app", raising=False)
    refused = run("rows.json", "--images", "photos", code=1)
    assert f"review needs the package starlette: {pip('install', 'facealign[review]')}" in refused.stderr


def test_it_serves_until_it_is_stopped(rows: Path) -> None:
    pytest.importorskip("uvicorn", reason="uvicorn is not installed (extra review)")
    command = [sys.executable, "-m", "facealign_cli", "review", "rows.json", "--images", "photos"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = [process.stderr.readline(), process.stderr.readline()]
            assert said[0] == "3 pictures. Every step is kept in rows.json.review.jsonl.\n"
            match = re.search(r"http://127\.0\.0\.1:(\d+)(/\S+/) ", said[1])
            connection = http.client.HTTPConnection("127.0.0.1", int(match[1]), timeout=20)
            connection.request("GET", match[2])
            assert connection.getresponse().status == 200
            connection.close()
            second = run("rows.json", "--images", "photos", code=1)
            assert "another review of these rows is running" in second.stderr
            process.send_signal(signal.SIGINT)
            assert process.wait(20) in (0, 130)
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_a_folder_with_which_the_work_was_not_made_is_an_error(rows: Path, tmp_path: Path) -> None:
    """The points would be exported as they were before the work."""
    (rows / "others").mkdir()
    arguments = ["review", "rows.json", "--images", "others", "--export", "made.json", "--all"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "it holds 2 steps, and none is of a picture in" in result.output.replace("\n", " ")
    assert not (rows / "made.json").exists()
