"""Faces from one format to another: names of pictures, sizes, what is left out, the command."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from facealign_cli.boxes import BBox
from facealign_cli.cli.main import main
from facealign_cli.convert import convert
from facealign_cli.datasets import Sample, read_samples
from facealign_cli.errors import InputError
from facealign_cli.formats.base import get_format
from facealign_cli.formats.pts import write_pts
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.records import Face, FrameResult

FILES = {"coco": "o.json", "cvat": "o.xml", "label-studio": "o.json", "yolo-pose": "o", "dlib-xml": "o.xml", "pts": "o"}


def make_face(number: int) -> Face:
    box = np.array([10.5, 20.25, 110.5, 140.75]) + 100 * number
    return Face(number, BBox(*box.tolist()), np.round(init_shape_from_bbox(box), 3), 0.5)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with photos/a.jpg (two faces) and photos/sub/b.jpg (one), and their rows in rows.json."""
    monkeypatch.chdir(tmp_path)
    results = []
    for name, count in (("photos/a.jpg", 2), ("photos/sub/b.jpg", 1)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        cv2.imwrite(str(path), np.zeros((480, 640, 3), np.uint8))
        results.append(FrameResult.of_faces(name, [make_face(i) for i in range(count)], width=640, height=480))
    get_format("json").write("rows.json", results)
    return tmp_path


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(main, [str(a) for a in ("convert", *arguments)])
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize("name", FILES)
def test_there_and_back_by_the_command(folder: Path, name: str) -> None:
    out = FILES[name]
    result = run("rows.json", out, "--to", name, "--images", "photos")
    assert f"3 faces in 2 pictures: {out}" in result.stderr
    assert f"{name} does not hold: " in result.stderr
    run(out, "back.json", "--images", "photos")
    before, after = get_format("json").read("rows.json"), get_format("json").read("back.json")
    assert sorted(r.source for r in after) == ["photos/a.jpg", "photos/sub/b.jpg"]
    for one, other in zip(before, sorted(after, key=lambda r: r.source), strict=True):
        for a, b in zip(one.faces, other.faces, strict=True):
            assert np.abs(a.landmarks - b.landmarks).max() <= (0.5 if name == "dlib-xml" else 0.0011)


def test_labelling_tools_name_pictures_from_their_folder(folder: Path) -> None:
    run("rows.json", "o.json", "--to", "coco", "--images", folder / "photos")
    assert [image["file_name"] for image in json.loads(Path("o.json").read_text())["images"]] == ["a.jpg", "sub/b.jpg"]


def test_without_the_folder_names_stay(folder: Path) -> None:
    run("rows.json", "o.json", "--to", "coco")
    assert [r.source for r in get_format("coco").read("o.json")] == ["photos/a.jpg", "photos/sub/b.jpg"]


@pytest.mark.parametrize("name", ["coco", "yolo-pose"])
def test_points_without_sizes_get_them_from_the_pictures(folder: Path, name: str) -> None:
    run("rows.json", "pts", "--to", "pts", "--images", "photos")
    made = sorted(p.relative_to("pts").as_posix() for p in Path("pts").rglob("*.pts"))
    assert made == ["a#0.pts", "a#1.pts", "sub/b.pts"]
    run("pts", FILES[name], "--to", name, "--images", "photos")
    got = get_format(name).read(FILES[name])
    assert {(r.source, r.width, len(r.faces)) for r in got} == {("a.jpg", 640, 2), ("sub/b.jpg", 640, 1)}


def test_a_picture_without_a_size_that_cannot_be_read_costs_no_other(folder: Path) -> None:
    run("rows.json", "pts", "--to", "pts", "--images", "photos")
    Path("photos/a.jpg").write_bytes(b"no picture")
    told = run("pts", "o.json", "--to", "coco", "--images", "photos", code=3).stderr
    assert "Left out: photos/a.jpg: " in told
    assert [r.source for r in get_format("coco").read("o.json")] == ["sub/b.jpg"]


@pytest.mark.parametrize("gone", [True, False])
def test_yolo_leaves_out_pictures_that_are_gone_or_of_another_size(folder: Path, gone: bool) -> None:
    Path("photos/a.jpg").unlink()
    if not gone:
        cv2.imwrite("photos/a.jpg", np.zeros((240, 240, 3), np.uint8))
    told = run("rows.json", "o", "--to", "yolo-pose", "--images", "photos", code=3).stderr
    assert ("a.jpg: no such picture" if gone else "240 x 240 pixels, but its faces were labelled in 640 x 480") in told
    assert [r.source for r in get_format("yolo-pose").read("o")] == ["sub/b.jpg"]


def test_several_inputs_become_one(folder: Path) -> None:
    first, second = get_format("json").read("rows.json")
    get_format("csv").write("1.csv", [first])
    get_format("jsonl").write("2.jsonl", [second])
    run("1.csv", "2.jsonl", "o.json", "--to", "coco", "--images", "photos")
    assert [r.source for r in get_format("coco").read("o.json")] == ["a.jpg", "sub/b.jpg"]


def test_what_is_left_out_is_named(folder: Path) -> None:
    good = get_format("json").read("rows.json")
    odd = [FrameResult.of_error(f"x{i}.jpg", "damaged") for i in range(12)]
    get_format("json").write("rows.json", [*good, *odd], overwrite=True)
    result = run("rows.json", "o.xml", "--to", "cvat", code=3)
    assert "Left out: x0.jpg: the picture failed: damaged" in result.stderr
    assert "… and 2 more left out; --left-out FILE.csv lists all." in result.stderr
    assert "3 faces in 2 pictures" in result.stderr
    get_format("json").write("bad.json", odd)
    assert (
        "nothing that cvat could hold: x0.jpg: the picture failed"
        in run("bad.json", "p.xml", "--to", "cvat", code=1).stderr
    )


@pytest.mark.parametrize("name", FILES)
def test_every_target_names_what_failed_once_and_can_list_all(folder: Path, name: str) -> None:
    """As `batch` and `video track` write it: the errors name their pictures, too."""
    good = get_format("json").read("rows.json")
    failed = [FrameResult.of_error(f"x{i}.jpg", f"x{i}.jpg: the file is empty") for i in range(12)]
    get_format("json").write("all.json", [*good, *failed])
    result = run("all.json", FILES[name], "--to", name, "--left-out", "lost.csv", code=3)
    assert "\nLeft out: x1.jpg: the picture failed: the file is empty\n" in result.stderr
    assert "… and 2 more left out.\nList of what was left out (12): lost.csv\n" in result.stderr
    assert "3 faces in 2 pictures" in result.stderr
    assert Path("lost.csv").read_text().splitlines()[12] == "x11.jpg,the picture failed: the file is empty"
    assert "lost.csv exists already" in run("all.json", "q", "--to", name, "--left-out", "lost.csv", code=1).stderr
    Path("torn.json").write_text("{")  # the list's place is looked at before anything is read
    assert "lost.csv exists already" in run("torn.json", "q", "--to", name, "--left-out", "lost.csv", code=1).stderr
    get_format("json").write("failed.json", failed)
    message = run("failed.json", "q", "--to", name, "--left-out", "none.csv", code=1).stderr
    assert "x0.jpg: the picture failed: the file is empty (and 11 more left out)" in message
    assert len(Path("none.csv").read_text().splitlines()) == 13 and not Path("q").exists()


def test_frames_are_named_together(folder: Path) -> None:
    good = get_format("json").read("rows.json")
    clip = [replace(good[0], source="c.mp4", frame=i) for i in range(30)]
    lost = FrameResult.of_error("c.mp4", "no picture", frame=30)
    get_format("json").write("rows.json", [*good, *clip, lost], overwrite=True)
    told = run("rows.json", "o.xml", "--to", "cvat", code=3).stderr.splitlines()
    assert [line.rpartition(": ")[0] for line in told if line.startswith("Left out")] == [
        "Left out: c.mp4: it is a frame of a clip, and the format names picture files",
        "Left out: c.mp4: frame 30 failed",
    ]
    assert "(30 times)" in told[0]
    get_format("json").write("clip.json", clip)
    assert "60 faces in 30 frames: clip.csv" in run("clip.json", "clip.csv").stderr
    assert "Left out: c.mp4: frame 30 failed: no picture" in run("rows.json", "p", "--to", "pts", code=3).stderr


def test_a_file_that_cannot_be_read_is_named_once(folder: Path) -> None:
    run("rows.json", "pts", "--to", "pts", "--images", "photos")
    Path("pts", "bad.pts").write_text("none")
    result = run("pts", "o.json", "--to", "coco", "--images", "photos", code=3)
    assert "Left out: bad.pts: no line with an opening brace '{'" in result.stderr


def test_pictures_without_a_face_alone_make_no_empty_folder(folder: Path) -> None:
    get_format("json").write("none.json", [FrameResult(f"{name}.jpg", "no_face", 640, 480) for name in "ab"])
    result = run("none.json", "p", "--to", "pts", code=1)
    assert "cannot write p: nothing that pts could hold: there is no face in 2 pictures" in result.stderr
    assert not Path("p").exists()
    run("none.json", "rows.json", "p", "--to", "pts")
    run("none.json", "o.json", "--to", "coco", "--images", ".")


def test_a_picture_whose_size_is_nowhere_is_said_with_what_gives_it(folder: Path) -> None:
    get_format("json").write("unsized.json", [FrameResult.of_faces("a.jpg", [make_face(0)])])
    result = run("unsized.json", "o.json", "--to", "coco", code=1)
    assert "picture is not known: name the folder of the pictures (--images)" in result.stderr


def test_pictures_that_are_given_twice_are_told(folder: Path) -> None:
    """Parts of one picture's faces in several files are no repetition."""
    told = "2 pictures had come before, with the same faces"
    assert told in run("rows.json", "rows.json", "twice.csv").stderr
    parts = [FrameResult.of_faces("a.jpg", [make_face(number)]) for number in range(2)]
    for number, part in enumerate(parts):
        get_format("json").write(f"part{number}.json", [part])
    assert "had come before" not in run("part0.json", "part1.json", "whole.csv").stderr


def test_what_looks_like_nothing(folder: Path) -> None:
    Path("x.json").write_text("{}")
    assert "looks like none of the known formats (coco, csv, cvat," in run("x.json", "o.json", code=1).stderr
    assert "unknown format 'yaml'" in run("rows.json", "o.json", "--to", "yaml", code=2).stderr
    assert "no format goes with the name" in run("rows.json", "o.xml", code=2).stderr
    run("rows.json", "o.json", "--from", "json", "--to", "json")


def test_faces_that_cannot_be_read_are_named(folder: Path) -> None:
    run("rows.json", "o.json", "--to", "coco", "--images", "photos")
    document = json.loads(Path("o.json").read_text())
    document["annotations"][1]["keypoints"][2] = 0
    Path("o.json").write_text(json.dumps(document))
    result = run("o.json", "back.json", "--images", "photos", code=3)
    assert "Left out: a.jpg#1: annotation 2: 1 of its 68 points are not labelled: jaw_1" in result.stderr


def test_the_library_says_what_was_done(folder: Path) -> None:
    done = convert([Path("rows.json")], Path("o.json"), get_format("coco"), images=Path("photos"))
    assert (done.n_faces, len(done.results), done.left_out) == (3, 2, ())
    with pytest.raises(InputError, match="looks like none"):
        convert([Path("photos/a.jpg")], Path("p.json"), get_format("coco"))


def test_an_export_can_be_trained_on_and_evaluated(folder: Path) -> None:
    """Several faces of a picture, from a labelling tool's file beside the pictures."""
    run("rows.json", "photos/o.xml", "--to", "cvat", "--images", "photos")
    samples = list(read_samples(Path("photos/o.xml")))
    assert [s.name for s in samples] == ["a.jpg#0", "a.jpg#1", "sub/b.jpg#0"]
    assert all(isinstance(s, Sample) and s.image_path.exists() for s in samples)


@pytest.mark.parametrize("suffix", [".JPG", ".png"])
def test_pictures_of_pts_files_are_found_in_the_folder_of_the_pictures(folder: Path, suffix: str) -> None:
    """Their names in .pts files have no suffix; .jpg was taken for it, whatever they were called."""
    run("rows.json", "pts", "--to", "pts", "--images", "photos")
    Path("photos/a.jpg").rename(f"photos/a{suffix}")
    run("pts", "back.json", "--images", "photos")
    assert [r.source for r in get_format("json").read("back.json")] == [f"photos/a{suffix}", "photos/sub/b.jpg"]


def test_a_pts_file_that_states_its_pictures_suffix_is_of_no_other_picture(folder: Path) -> None:
    results = [
        replace(r, source=f"photos/a{s}")
        for r, s in zip(get_format("json").read("rows.json"), (".jpg", ".png"), strict=True)
    ]
    get_format("json").write("two.json", results)
    run("two.json", "pts", "--to", "pts", "--images", "photos")
    Path("photos/a.jpg").rename("photos/a.bmp")
    run("pts", "back.json", "--images", "photos")
    assert [r.source for r in get_format("json").read("back.json")] == ["photos/a.jpg", "photos/a.png"]


@pytest.mark.parametrize("name", ["yolo-pose", "pts"])
def test_a_name_that_leads_out_of_the_folder_is_no_harm(folder: Path, name: str) -> None:
    """These formats make files that are named by their input."""
    rows = get_format("json").read("rows.json")
    cv2.imwrite(str(folder / "up.jpg"), np.zeros((480, 640, 3), np.uint8))
    get_format("json").write("up.json", [replace(rows[0], source="photos/sub/../../up.jpg")])
    run("up.json", "photos/out", "--to", name, "--images", "photos/sub", code=1 if name == "yolo-pose" else 0)
    run("up.json", "photos/out2", "--to", name)
    made = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    outside = [path for path in made if not path.startswith("photos/out")]
    assert sorted(outside) == ["photos/a.jpg", "photos/sub/b.jpg", "rows.json", "up.jpg", "up.json"]
    assert len(made) > len(outside)


def test_a_pts_file_of_points_that_are_no_face_is_left_out(folder: Path) -> None:
    """The others are written; `review --export --all` does the same."""
    run("rows.json", "photos", "--to", "pts", "--images", "photos")
    write_pts("photos/B.pts", np.zeros((68, 2)))
    told = run("photos", "o.csv", "--from", "pts", "--images", "photos", code=3).stderr
    assert "3 faces in 2 pictures" in told and "Left out: B.pts: its points are no face" in told
    reviewed = CliRunner().invoke(main, ["review", "photos", "--export", "r.csv", "--all"])
    assert reviewed.exit_code == 3 and reviewed.stderr.count("Left out: B.pts: its points are no face") == 1
    accepted = CliRunner().invoke(main, ["review", "photos", "--export", "r2.csv"])
    assert "none of 2 pictures is accepted yet" in accepted.stderr and "Left out: B.pts: " in accepted.stderr
    assert len(get_format("csv").read("r.csv")) == 2


def test_a_picture_that_stands_there_twice_with_points_that_are_no_face(folder: Path) -> None:
    flat = replace(make_face(0), landmarks=np.zeros((68, 2)))
    result = FrameResult.of_faces("photos/a.jpg", [flat], width=640, height=480)
    get_format("json").write("flat.json", [result, result])
    assert "a.jpg#0: the same face stands there already" in run("flat.json", "o.json", "--to", "coco", code=3).stderr


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no UTF-8")
def test_names_of_a_table_in_another_encoding_are_told(folder: Path) -> None:
    """Such a name is told once, and not where its file is there, as it is for a name that is bytes on the disk."""
    a, b = get_format("json").read("rows.json")
    get_format("csv").write("t.csv", [replace(a, source="\xe9.jpg"), replace(b, source="\xe9.jpg", frame=1), b])
    Path("t.csv").write_text(Path("t.csv").read_text("utf-8"), "latin-1")
    said = "1 name is not in UTF-8, such as \\udce9.jpg, and no such file is there. If the table was saved in another"
    assert run("t.csv", "o.json").stderr.count(said) == 1
    assert said in CliRunner().invoke(main, ["measure", "t.csv"]).stderr
    (folder / "\udce9.jpg").touch()
    assert "UTF-8" not in run("t.csv", "o2.json").stderr


@pytest.mark.parametrize("name", FILES)
def test_a_picture_of_two_inputs_is_one_and_no_face_stands_there_twice(folder: Path, name: str) -> None:
    (a, _), moved = get_format("json").read("rows.json"), make_face(0).landmarks + 2.0
    again, third = replace(make_face(0), landmarks=moved), make_face(3)
    get_format("csv").write("more.csv", [replace(a, source="./photos/a.jpg", faces=(again, third))])
    told = run("rows.json", "more.csv", FILES[name], "--to", name, "--images", "photos", code=3).stderr
    assert "4 faces in 2 pictures" in told and "a.jpg#0: the same face stands there already" in told
    run(FILES[name], "back.json", "--images", "photos")
    back = {r.source: r.faces for r in get_format("json").read("back.json")}
    assert {source: len(faces) for source, faces in back.items()} == {"photos/a.jpg": 3, "photos/sub/b.jpg": 1}
    np.testing.assert_allclose(back["photos/a.jpg"][0].landmarks, make_face(0).landmarks, atol=0.51)
    np.testing.assert_allclose(back["photos/a.jpg"][2].landmarks, third.landmarks, atol=0.51)


def test_a_picture_of_two_sizes_counts_once(folder: Path) -> None:
    first, _ = get_format("json").read("rows.json")
    get_format("csv").write("more.csv", [replace(first, width=320, height=240)])
    told = run("rows.json", "more.csv", "o.json", "--to", "coco", code=3).stderr
    assert "photos/a.jpg: it stands there twice, with 640x480 and with 320x240 pixels" in told


@pytest.mark.parametrize("size", [(320, 240), (1280, 960)])
def test_faces_labelled_in_another_size_make_no_pts_files(folder: Path, size: tuple[int, int]) -> None:
    """A .pts file says no size, so that nobody could notice later that its points are those of another picture."""
    first, second = get_format("json").read("rows.json")
    scaled = replace(first.faces[0], landmarks=first.faces[0].landmarks * size[0] / 640)
    results = [replace(first, source="a.jpg", faces=(scaled,), width=size[0], height=size[1])]
    get_format("coco").write("o.json", [*results, replace(second, source="sub/b.jpg")])
    told = run("o.json", "o", "--to", "pts", "--images", "photos", code=3).stderr
    assert (
        f"Left out: photos/a.jpg: it has 640 x 480 pixels, but its faces were labelled in {size[0]} x {size[1]}" in told
    )
    assert [path.name for path in Path("o").rglob("*.pts")] == ["b.pts"]
    run("o.json", "same.json", "--images", "photos")  # here the size stays with the points
    Path("photos/a.jpg").write_bytes(b"damaged")
    run("o.json", "all", "--to", "pts", "--images", "photos")


def test_our_own_formats_keep_what_two_inputs_say_of_a_picture(folder: Path) -> None:
    run("rows.json", "rows.json", "both.jsonl")
    assert [r.source for r in get_format("jsonl").read("both.jsonl")].count("photos/a.jpg") == 2
