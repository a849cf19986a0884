"""Predictions by any tool: which face they belong to, and what becomes of those that are missing or broken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from facealign_cli.boxes import BBox
from facealign_cli.errors import FormatError, InputError, OutputError
from facealign_cli.evaluation.base import Prediction
from facealign_cli.evaluation.foreign import PredictedFace, PredictedPicture, read_predictions
from facealign_cli.evaluation.predictions import Matched, match_predictions, prediction_files, write_predictions
from facealign_cli.formats.base import get_format
from facealign_cli.formats.pts import read_pts, write_pts
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.records import Face, FrameResult
from facealign_cli.schemes import to_68

SHAPE = np.round(init_shape_from_bbox((10, 20, 110, 120)), 3)
FAR = SHAPE + 200


def picture(source: str, *shapes: np.ndarray) -> PredictedPicture:
    return PredictedPicture(source, tuple(PredictedFace(shape) for shape in shapes))


def match(truths: list[str], *pictures: PredictedPicture) -> Matched:
    return match_predictions(dict.fromkeys(truths, SHAPE), pictures)


def statuses(matched: Matched) -> dict[str, str]:
    return {name: prediction.status for name, prediction in matched.predictions.items()}


def kinds(matched: Matched) -> list[tuple[str, str]]:
    return [(item.kind, item.name) for item in matched.irregularities]


def points_text(rows: list[str]) -> str:
    return "version: 1\nn_points: 68\n{\n" + "".join(f"{row}\n" for row in rows) + "}\n"


@pytest.mark.parametrize(
    ("truth", "source"),
    [
        ("ibug/a.jpg", "ibug/a.pts"),
        ("ibug/a.jpg", "a.png"),
        ("ibug/a.jpg", "/home/x/300w/ibug/a.jpg"),
        ("ibug/a.jpg", "../300w/ibug/a.jpg"),
        ("ibug/a.jpg", "./ibug\\a.jpg"),
        ("a.jpg", "out/a.pts"),
        ("helen/testset/1_1.jpg", "helen/testset/1_1.pts"),
        ("a.v2.jpg", "a.v2.pts"),
        ("a.jpg", "a#0.pts"),
        ("a#1.jpg", "a#1.pts"),
        ("a#1.jpg", "a#1#0.pts"),
        ("a.jpg", "out/a.jpg.pts"),
        ("pictures/a.jpg#0", "pictures/a.pts"),
    ],
)
def test_names_that_mean_the_picture(truth: str, source: str) -> None:
    matched = match([truth], picture(source, SHAPE))
    assert statuses(matched) == {truth: "ok"}
    assert not matched.irregularities
    np.testing.assert_array_equal(matched.predictions[truth].stages, [SHAPE])


@pytest.mark.parametrize("source", ["b.pts", "afw/a.pts", "ibug/a/b.jpg", "a_x.pts", "a_0.pts", "a#x.pts", ""])
def test_names_that_mean_no_picture(source: str) -> None:
    matched = match(["ibug/a.jpg"], picture(source, SHAPE))
    assert statuses(matched) == {"ibug/a.jpg": "no_prediction"}
    assert kinds(matched) == [("extra prediction", source)]


def test_a_name_that_could_mean_two_pictures() -> None:
    matched = match(["ibug/a.jpg", "afw/a.jpg"], picture("a.jpg", SHAPE), picture("afw/a.jpg", SHAPE))
    assert statuses(matched) == {"ibug/a.jpg": "no_prediction", "afw/a.jpg": "ok"}
    assert kinds(matched) == [("ambiguous prediction", "a.jpg")]
    assert matched.irregularities[0].detail == "could be afw/a.jpg or ibug/a.jpg"


def test_the_exact_name_comes_first() -> None:
    """HELEN has both NAME_1 and NAME_2; a flat set may have NAME and NAME_1."""
    matched = match(["a.jpg", "a_1.jpg"], picture("a_1.pts", FAR), picture("a.pts", SHAPE))
    np.testing.assert_array_equal(matched.predictions["a_1.jpg"].stages[0], FAR)
    np.testing.assert_array_equal(matched.predictions["a.jpg"].stages[0], SHAPE)


def test_of_several_faces_the_nearest_counts_and_is_said() -> None:
    matched = match(["a.jpg"], picture("a.jpg", FAR, SHAPE + 1, SHAPE - 50))
    np.testing.assert_array_equal(matched.predictions["a.jpg"].stages[0], SHAPE + 1)
    assert kinds(matched) == [("several faces", "a.jpg")]
    assert "3 predicted, 1 annotated" in matched.irregularities[0].detail


def test_several_annotated_faces_take_one_each() -> None:
    """The nearest pair first: face 1 is nearer to what face 0 would have taken."""
    truths = {"a.jpg#0": SHAPE, "a.jpg#1": SHAPE + 10, "a.jpg#2": FAR}
    matched = match_predictions(truths, [picture("a.jpg", SHAPE + 9, SHAPE - 8)])
    found = matched.predictions
    assert statuses(matched) == {"a.jpg#0": "ok", "a.jpg#1": "ok", "a.jpg#2": "missed"}
    np.testing.assert_array_equal(found["a.jpg#0"].stages[0], SHAPE - 8)
    np.testing.assert_array_equal(found["a.jpg#1"].stages[0], SHAPE + 9)
    assert found["a.jpg#2"].detail == "fewer predictions than faces"
    assert not matched.irregularities


def test_broken_points_have_a_name() -> None:
    nan = SHAPE.copy()
    nan[5, 1] = np.nan
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg"]
    pictures = [
        picture("a.jpg", SHAPE[:66]),
        picture("b.jpg", nan),
        picture("c.jpg"),
        PredictedPicture("d.jpg", (), "cannot be read"),
        picture("e.jpg", nan, SHAPE),
    ]
    matched = match(names, *pictures)
    expected = dict(zip(names, ("wrong_points", "nan", "missed", "error", "ok", "no_prediction"), strict=True))
    assert statuses(matched) == expected
    assert matched.predictions["a.jpg"].detail == "66 x 2 numbers; expected 68 x 2"
    assert matched.predictions["d.jpg"].detail == "cannot be read"
    assert kinds(matched) == [("several faces", "e.jpg")]


def test_pts_folders(tmp_path: Path) -> None:
    good = [f"{x + 1} {y + 1}" for x, y in SHAPE]
    files = {
        "ibug/good.pts": points_text(good),
        "short.pts": points_text(good[:-2]),
        "nan.pts": points_text([*good[:-1], "nan 4"]),
        "three.pts": points_text([f"{row} 0" for row in good]),
        "ragged.pts": points_text([*good, "1"]),
        "words.pts": points_text([*good[:-1], "one two"]),
        "empty.pts": "",
        "binary.pts": "\x00\x01{",
        "none.pts": points_text([]),
    }
    (tmp_path / "ibug").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    matched = match([name.replace(".pts", ".jpg") for name in files], *read_predictions(tmp_path))
    expected = ("ok", "wrong_points", "nan", "error", "error", "error", "error", "error", "wrong_points")
    assert list(statuses(matched).values()) == list(expected)
    np.testing.assert_array_equal(matched.predictions["ibug/good.jpg"].stages[0], SHAPE)  # counted from 0 again


def results() -> list[FrameResult]:
    face = Face(0, BBox(10, 20, 110, 120), SHAPE, 0.5)
    return [
        FrameResult.of_faces("=a.jpg", [face]),
        FrameResult.of_faces("x/b.jpg", [Face(0, face.bbox, FAR, 0.25), Face(1, face.bbox, SHAPE, 0.5)]),
        FrameResult.of_faces("none.jpg", []),
        FrameResult.of_error("bad.jpg", "bad.jpg: the file is empty"),
    ]


@pytest.mark.parametrize("name", ["json", "csv"])
def test_what_facealign_writes_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"p.{name}"
    get_format(name).write(path, results())
    matched = match(["=a.jpg", "x/b.jpg", "none.jpg", "bad.jpg"], *read_predictions(path))
    assert statuses(matched) == {"=a.jpg": "ok", "x/b.jpg": "ok", "none.jpg": "missed", "bad.jpg": "error"}
    for key in ("=a.jpg", "x/b.jpg"):
        np.testing.assert_array_equal(matched.predictions[key].stages[0], SHAPE)
        assert matched.predictions[key].confidence == 0.5
    assert kinds(matched) == [("several faces", "x/b.jpg")]


@pytest.mark.parametrize("name", ["jsonl", "csv"])
def test_a_file_that_was_cut_is_refused(tmp_path: Path, name: str) -> None:
    """Its lost faces would count as missed ones."""
    path = tmp_path / f"p.{name}"
    get_format(name).write(path, results()[:2])
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(FormatError, match=rf"p\.{name}: line"):
        read_predictions(path)


def test_one_broken_face_does_not_spoil_a_json(tmp_path: Path) -> None:
    get_format("json").write(tmp_path / "p.json", results())
    document = json.loads((tmp_path / "p.json").read_text())
    document["results"][0]["faces"][0]["landmarks"][3][0] = float("nan")
    document["results"][2]["faces"] = [{"landmarks": [[1, 2]] * 67 + [[1]]}]
    (tmp_path / "p.json").write_text(json.dumps(document))
    matched = match(["=a.jpg", "x/b.jpg", "none.jpg"], *read_predictions(tmp_path / "p.json"))
    assert statuses(matched) == {"=a.jpg": "nan", "x/b.jpg": "ok", "none.jpg": "wrong_points"}


def test_a_table_of_another_tool(tmp_path: Path) -> None:
    """Fewer columns than ours, in another order, and a point too few in every row but in the first not a number."""
    columns = [f"{axis}_{i}" for i in range(68) for axis in "xy"]
    rows = [["a.jpg", *SHAPE.ravel()], ["b.jpg", "?", *SHAPE.ravel()[1:]], ["c.jpg", *[""] * 136]]
    lines = [",".join(map(str, row)) for row in (["source", *columns], *rows)]
    (tmp_path / "p.csv").write_text("\n".join(lines) + "\n")
    matched = match(["a.jpg", "b.jpg", "c.jpg"], *read_predictions(tmp_path / "p.csv"))
    assert statuses(matched) == {"a.jpg": "ok", "b.jpg": "nan", "c.jpg": "missed"}
    np.testing.assert_array_equal(matched.predictions["a.jpg"].stages[0], SHAPE)


def test_a_table_of_another_scheme(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("source,x_0,x_1,y_0,y_1\na.jpg,1,2,3,4\n")
    assert statuses(match(["a.jpg"], *read_predictions(tmp_path / "p.csv"))) == {"a.jpg": "wrong_points"}


@pytest.mark.parametrize(("blank", "count", "status"), [(30, 69, "wrong_points"), (68, 68, "ok")])
def test_an_empty_cell_moves_no_other_point(tmp_path: Path, blank: int, count: int, status: str) -> None:
    """A table of 69 points: without one between they are not 68 points, without the last one they are."""
    points = [*map(tuple, SHAPE.tolist()), (1, 1)]
    points[blank] = ("", "")
    columns = ",".join(f"x_{i},y_{i}" for i in range(69))
    (tmp_path / "p.csv").write_text(f"source,{columns}\na.jpg,{','.join(f'{x},{y}' for x, y in points)}\n")
    (face,) = read_predictions(tmp_path / "p.csv")[0].faces
    assert (len(face.landmarks), face.status) == (count, status)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.json", "{", "not JSON"),
        ("p.json", "[]", "not facealign's JSON"),
        ("p.json", '{"results": [{"source": "a.jpg"}]}', "not facealign's JSON"),
        ("p.json", '{"results": 3}', "not facealign's JSON"),
        ("p.csv", "source,x_0\n", "no column y_0"),
        ("p.csv", "a,b\n", "no column source"),
        ("p.csv", "source;x_0;y_0\na.jpg;1,5;2,5\n", "separated by semicolons"),
        ("p.csv", "source,x_0,y_0\na.jpg,1,5,2,5\n", "line 2: expected 3 cells, got 5; are there decimal commas"),
        ("p.csv", "x_0,y_0,source\n1,2\n", "line 2: expected 3 cells, got 2"),
        ("p.csv", "source,x_0,y_0,x_0\n", "the column 'x_0' is there twice"),
    ],
)
def test_files_without_structure(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(FormatError, match=message):
        read_predictions(tmp_path / name)


@pytest.mark.parametrize(("name", "text"), [("p.json", '{"results": []}'), ("p.txt", ""), ("p.json/x", "")])
def test_no_predictions(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    with pytest.raises(InputError, match="predictions"):
        read_predictions(path if path.parent == tmp_path else path.parent)


def test_written_predictions_are_found_again(tmp_path: Path) -> None:
    truths = {"ibug/a.jpg": SHAPE, "b.jpg#0": SHAPE + 1, "b.jpg#1": FAR}
    write_predictions(tmp_path, truths)
    assert sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.pts")) == [
        "b#0.pts",
        "b#1.pts",
        "ibug/a.pts",
    ]
    np.testing.assert_array_equal(read_pts(tmp_path / "ibug/a.pts"), SHAPE)
    matched = match_predictions(truths, read_predictions(tmp_path))
    assert not matched.irregularities
    for name, shape in truths.items():
        np.testing.assert_allclose(matched.predictions[name].stages[0], shape, atol=1e-9)


def test_names_that_are_nearly_one_are_found_again(tmp_path: Path) -> None:
    """Several faces beside pictures that are called as their files would be, and pictures that differ in the suffix."""
    names = ["x.jpg#0", "x.jpg#1", "x_1.jpg", "x#1.jpg", "x#1#0.jpg", "y.jpg", "y.png", "z/y.jpg", "Y.jpg#0", "Y.jpg#1"]
    truths = {name: SHAPE + 10 * i for i, name in enumerate(names)}
    files = prediction_files(names)
    assert len({file.casefold() for file in files.values()}) == len(names)
    assert files["x.jpg#1"] == "x#1.pts" and files["x#1.jpg"] == "x#1#0.pts" and files["y.png"] == "y.png.pts"
    write_predictions(tmp_path, truths)
    matched = match_predictions(truths, read_predictions(tmp_path))
    assert not matched.irregularities
    for name, shape in truths.items():
        np.testing.assert_allclose(matched.predictions[name].stages[0], shape, atol=1e-9)


def test_foreign_names_with_a_number_sign_are_taken_as_they_stand() -> None:
    """x.pts beside x#1.pts: not facealign's way, in which a picture has either."""
    matched = match(["x.jpg", "x#1.jpg"], picture("x.pts", SHAPE), picture("x#1.pts", FAR))
    np.testing.assert_array_equal(matched.predictions["x#1.jpg"].stages[0], FAR)
    np.testing.assert_array_equal(matched.predictions["x.jpg"].stages[0], SHAPE)


def test_nothing_is_overwritten_or_written_outside(tmp_path: Path) -> None:
    assert prediction_files(["../../etc/a.jpg"]) == {"../../etc/a.jpg": "etc/a.pts"}
    assert prediction_files(["/etc/a.jpg"]) == {"/etc/a.jpg": "etc/a.pts"}
    write_pts(tmp_path / "b.pts", FAR)
    with pytest.raises(OutputError, match=r"b\.pts exists"):
        write_predictions(tmp_path, {"a.jpg": SHAPE, "b.jpg": SHAPE})
    assert not (tmp_path / "a.pts").exists()
    write_predictions(tmp_path, {"b.jpg": SHAPE}, overwrite=True)
    np.testing.assert_array_equal(read_pts(tmp_path / "b.pts"), SHAPE)


def test_a_prediction_checks_itself() -> None:
    for arguments in (("ok", ()), ("missed", (SHAPE,)), ("ok", (SHAPE[:5],)), ("ok", (SHAPE * np.nan,))):
        with pytest.raises(ValueError, match="stages"):
            Prediction(*arguments)


@pytest.mark.parametrize("count", [98, 478])
def test_points_of_another_scheme_are_taken_to_68(tmp_path: Path, count: int) -> None:
    points = np.random.default_rng(0).normal(100, 40, (count, 2))
    rows = "".join(f"{x} {y}\n" for x, y in points + 1)
    (tmp_path / "a.pts").write_text(f"version: 1\nn_points: {count}\n{{\n{rows}}}\n")
    ((face,),) = (picture.faces for picture in read_predictions(tmp_path))
    assert face.n_given == count and face.status == "ok"
    np.testing.assert_allclose(face.landmarks, to_68(points), atol=1e-6)
