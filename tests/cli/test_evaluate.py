"""`facealign evaluate`: run the commands on small data sets made on the fly, reopen what they write, compare."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from facealign_cli.cli.main import main
from facealign_cli.datasets import LeftOut, read_samples
from facealign_cli.datasets.splits import is_held_out
from facealign_cli.evaluation.figures import Evaluation
from facealign_cli.evaluation.files import read_json
from facealign_cli.formats.pts import read_pts, write_pts
from facealign_cli.landmarks import MEAN_SHAPE

TRUTH = MEAN_SHAPE + 100
OCULAR = 91.60119


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, args)])


def make_tree(root: Path, **counts: int) -> Path:
    """Folders (`lfpw__testset`: lfpw/testset) with so many annotated pictures; `predictions` never opens a picture."""
    for name, count in counts.items():
        folder = root / name.replace("__", "/")
        folder.mkdir(parents=True)
        for i in range(count):
            write_pts(folder / f"{i:04}.pts", TRUTH)
            (folder / f"{i:04}.jpg").touch()
    return root


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "truth", lfpw__testset=3, ibug=2)


def copy_moved(truth: Path, to: Path, pixels: float) -> Path:
    for file in truth.rglob("*.pts"):
        target = to / file.relative_to(truth)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_pts(target, read_pts(file) + np.array([0, pixels]))
    return to


def evaluated(result: Result, path: Path, code: int = 0) -> Evaluation:
    assert result.exit_code == code, result.output
    return read_json(path)


def test_the_truth_against_itself(truth: Path, tmp_path: Path) -> None:
    evaluation = evaluated(run("predictions", truth, truth, "--json", tmp_path / "e.json"), tmp_path / "e.json")
    titles = [summary.title for summary in evaluation.summaries]
    assert titles == [
        "full (incomplete: 5 of 689)",
        "common (incomplete: 3 of 554)",
        "challenging (incomplete: 2 of 135)",
        "lfpw/testset (incomplete: 3 of 224)",
    ]
    for summary in evaluation.summaries:
        assert (summary.auc, summary.failure_rate, summary.missed) == (1, 0, 0)
        assert {value for values in summary.nme.values() for value in values.values()} == {0}


def test_one_pixel_off(truth: Path, tmp_path: Path) -> None:
    moved = copy_moved(truth, tmp_path / "moved", 1)
    result = run("predictions", moved, truth, "--json", tmp_path / "e.json", "--csv", tmp_path / "e.csv")
    summary = evaluated(result, tmp_path / "e.json").summaries[0]
    assert summary.nme["68"]["inter-ocular"] == pytest.approx(1 / OCULAR, abs=1e-6)
    assert summary.auc == pytest.approx(1 - 1 / OCULAR / 0.08, abs=1e-5)
    with open(tmp_path / "e.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == [
        "ibug/0000.jpg",
        "ibug/0001.jpg",
        *(f"lfpw/testset/000{i}.jpg" for i in range(3)),
    ]
    assert float(rows[0]["NME 68 inter-ocular"]) == pytest.approx(1 / OCULAR, abs=1e-6)
    assert f"{100 / OCULAR:.2f}" in result.stdout


def test_the_tables_fit_80_columns_and_name_their_normaliser(truth: Path) -> None:
    result = run("predictions", truth, truth, "--normaliser", "bbox-diagonal", "--threshold", "0.07")
    lines = result.stdout.splitlines()[1:]  # the first one holds paths
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if "%" in line] == [
        "68 points: mean error of the faces with a prediction, % of the distance",
        "68 points: % of the bbox-diagonal distance; AUC and failures in % at 0.07",
        "mean error by points: % of the bbox-diagonal distance",
    ]
    assert any(line.split() == ["set", "faces", "missed", "pupil", "ocular", "diagonal"] for line in lines)
    assert any(line.startswith("full (incomplete)") and "5 of 689" in line for line in lines)


def test_the_tables_hold_the_figures(truth: Path, tmp_path: Path) -> None:
    """Every row of every table beside the document, with errors that differ from face to face and point to point."""
    generator = np.random.default_rng(0)
    moved = copy_moved(truth, tmp_path / "p", 0)
    for file in moved.rglob("*.pts"):
        write_pts(file, TRUTH + generator.normal(0, generator.uniform(1, 8), (68, 2)), overwrite=True)
    result = run("predictions", moved, truth, "--json", tmp_path / "e.json", "--normaliser", "bbox-diagonal")
    for summary in evaluated(result, tmp_path / "e.json").summaries:
        spread, means = summary.distributions["bbox-diagonal"], summary.nme
        figures = (
            list(means["68"].values()),
            [spread.median, spread.p90, spread.p95, spread.p99, summary.auc, summary.failure_rate],
            [means[points]["bbox-diagonal"] for points in ("51", "jaw", "brows", "nose", "eyes", "mouth")],
        )
        rows = [line.split() for line in result.stdout.splitlines() if line.startswith(summary.short_title)]
        for row, values in zip(rows, figures, strict=True):
            assert row[-len(values) :] == [f"{100 * value:.2f}" for value in values]


def test_what_is_missing_or_broken_is_counted_and_named(truth: Path, tmp_path: Path) -> None:
    predictions = copy_moved(truth, tmp_path / "p", 0)
    text = (predictions / "ibug/0000.pts").read_text()
    (predictions / "ibug/0000.pts").write_text(text.replace(text.splitlines()[5], "nan nan"))
    (predictions / "ibug/0001.pts").write_text(text.replace(text.splitlines()[5] + "\n", ""))
    (predictions / "lfpw/testset/0000.pts").unlink()
    write_pts(predictions / "stranger.pts", TRUTH)
    result = run("predictions", predictions, truth, "--json", tmp_path / "e.json")
    evaluation = evaluated(result, tmp_path / "e.json", code=3)
    assert {row.name: row.status for row in evaluation.rows} == {
        "ibug/0000.jpg": "nan",
        "ibug/0001.jpg": "wrong_points",
        "lfpw/testset/0000.jpg": "no_prediction",
        "lfpw/testset/0001.jpg": "ok",
        "lfpw/testset/0002.jpg": "ok",
    }
    assert [(item.kind, item.name) for item in evaluation.irregularities] == [("extra prediction", "stranger.pts")]
    assert (evaluation.summaries[0].missed, evaluation.summaries[0].failure_rate) == (3, 0.6)
    assert "no prediction: 1 (no prediction of that name): lfpw/testset/0000.jpg" in result.stderr
    assert "extra prediction: 1" in result.stderr
    assert "missed: faces without a prediction" in result.stdout


def test_an_extra_prediction_alone(truth: Path, tmp_path: Path) -> None:
    predictions = copy_moved(truth, tmp_path / "p", 0)
    write_pts(predictions / "stranger.pts", TRUTH)
    assert run("predictions", predictions, truth).exit_code == 3


def test_a_tool_that_found_no_face(truth: Path, tmp_path: Path) -> None:
    names = [sample.name for sample in read_samples(truth) if not isinstance(sample, LeftOut)]
    face = {"landmarks": TRUTH.tolist()}
    results = [{"source": name, "faces": [face] if i else []} for i, name in enumerate(names)]
    (tmp_path / "p.json").write_text(json.dumps({"results": results}))
    evaluation = evaluated(
        run("predictions", tmp_path / "p.json", truth, "--json", tmp_path / "e.json"), tmp_path / "e.json"
    )
    assert [row.status for row in evaluation.rows] == ["missed", "ok", "ok", "ok", "ok"]
    assert (evaluation.summaries[0].failure_rate, evaluation.summaries[0].auc) == pytest.approx((0.2, 0.8), abs=1e-4)


def test_annotations_that_cannot_be_used(truth: Path, tmp_path: Path) -> None:
    """A broken one is left out and the set incomplete; a mirrored copy is not counted; rough labels are no truth."""
    predictions = copy_moved(truth, tmp_path / "p", 0)
    (truth / "ibug/0001.pts").write_text("version: 1\n")
    for name in ("ibug/0000_mirror", "helen/trainset_lowres/1"):
        (truth / name).parent.mkdir(parents=True, exist_ok=True)
        write_pts(truth / f"{name}.pts", TRUTH)
        (truth / f"{name}.jpg").touch()
    write_pts(truth / "ibug/flat.pts", np.full((68, 2), 5.0))
    (truth / "ibug/flat.jpg").touch()
    result = run("predictions", predictions, truth, "--json", tmp_path / "e.json")
    evaluation = evaluated(result, tmp_path / "e.json", code=3)
    assert {(item.kind, item.name) for item in evaluation.irregularities} == {
        ("left out", "ibug/0001.pts"),
        ("left out", "ibug/flat.pts"),
        ("mirrored copy", "ibug/0000_mirror.jpg"),
        ("rough labels", "helen/trainset_lowres/1.jpg"),
        ("extra prediction", "ibug/0001.pts"),
    }
    assert [summary.n for summary in evaluation.summaries] == [4, 3, 1, 3]


def test_the_whole_test_set(tmp_path: Path) -> None:
    truth = make_tree(tmp_path / "truth", lfpw__testset=224, helen__testset=330, ibug=135)
    result = run("predictions", truth, truth)
    assert result.exit_code == 0, result.output
    assert "incomplete" not in result.output
    rows = [line.split()[:3] for line in result.stdout.split("68 points")[1].splitlines()]
    assert rows[4:7] == [["full", "689", "0"], ["common", "554", "0"], ["challenging", "135", "0"]]


def test_the_held_out_split(tmp_path: Path) -> None:
    truth = make_tree(tmp_path / "truth", lfpw__trainset=40, ibug=2)
    (truth / "ibug").rename(tmp_path / "ibug")
    result = run("predictions", truth, truth, "--json", tmp_path / "all.json")
    assert "--split held-out" in result.stderr
    assert len(evaluated(result, tmp_path / "all.json").rows) == 40
    result = run("predictions", truth, truth, "--split", "held-out", "--json", tmp_path / "part.json")
    part = evaluated(result, tmp_path / "part.json")
    assert {row.name for row in part.rows} == {
        f"lfpw/trainset/{i:04}.jpg" for i in range(40) if is_held_out(f"lfpw/{i:04}")
    }
    assert [summary.title for summary in part.summaries] == ["lfpw/trainset (held-out)"]
    assert "--split" not in result.stderr
    (tmp_path / "ibug").rename(truth / "ibug")
    part = evaluated(
        run("predictions", truth, truth, "--split", "held-out", "--json", tmp_path / "2.json"), tmp_path / "2.json"
    )
    assert sum(row.folder == "ibug" for row in part.rows) == 2  # a test set is unseen as it is


def test_a_dash_is_standard_output(truth: Path, tmp_path: Path) -> None:
    result = run("predictions", truth, truth, "--json", "-", "--csv", tmp_path / "e.csv")
    assert json.loads(result.stdout)["schema"] == "facealign-evaluation/1"
    table = run("predictions", truth, truth, "--csv", "-")
    assert table.stdout == (tmp_path / "e.csv").read_text()
    assert "inter-ocular" in run("predictions", truth, truth).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("predictions",),
        ("predictions", "TRUTH", "missing"),
        ("predictions", "TRUTH", "TRUTH", "--threshold", "0"),
        ("predictions", "TRUTH", "TRUTH", "--normaliser", "nose"),
        ("dataset", "TRUTH", "--init", "guess"),
        ("dataset", "TRUTH", "--detector", "mtcnn"),
        ("dataset", "TRUTH", "--min-face", "100"),
        ("dataset", "TRUTH", "--init", "ground-truth", "--any-roll"),
        ("dataset", "TRUTH", "--workers", "-1"),
        ("dataset", "TRUTH", "--boxes", __file__, "--init", "detector"),
        ("predictions", "TRUTH", "TRUTH", "--threshold", "nan"),
        ("predictions", "TRUTH", "TRUTH", "--threshold", "inf"),
        ("predictions", "TRUTH", "TRUTH", "--json", "-", "--csv", "-"),
        ("predictions", "TRUTH", "TRUTH", "--report", "-"),
        ("dataset", "TRUTH", "--model", "nobody"),
        ("compare", "missing.json", "missing.json"),
    ],
)
def test_wrong_usage(truth: Path, arguments: tuple[str, ...]) -> None:
    result = run(*(truth if argument == "TRUTH" else argument for argument in arguments))
    assert result.exit_code == 2, result.output
    assert "Error" in result.stderr


def test_what_fails(truth: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "e.json").write_text("{}")
    for arguments, message in (
        (("predictions", truth, tmp_path / "empty"), "no .pts file"),
        (("predictions", tmp_path / "empty", truth), "no predictions"),
        (("predictions", truth, truth, "--json", tmp_path / "e.json"), "exists already"),
        (("dataset", truth), "no face boxes"),
        (("dataset", truth, "--report", tmp_path / "no" / "r.html"), "does not exist"),
        (("compare", tmp_path / "e.json", tmp_path / "e.json"), "not an evaluation"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1, result.output
        assert message in result.stderr
        assert result.stdout == ""
    assert (tmp_path / "e.json").read_text() == "{}"


def test_compare(truth: Path, tmp_path: Path) -> None:
    for name, pixels in (("a", 1), ("b", 3)):
        moved = copy_moved(truth, tmp_path / name, pixels)
        if name == "b":
            write_pts(moved / "ibug/0000.pts", TRUTH + np.array([0, 9]), overwrite=True)
            write_pts(moved / "ibug/0001.pts", TRUTH, overwrite=True)
        assert run("predictions", moved, truth, "--json", tmp_path / f"{name}.json").exit_code == 0
    result = run("compare", tmp_path / "a.json", tmp_path / "b.json", "--worst", "2")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    difference = 100 * (3 * 3 + 9 + 0 - 5) / 5 / OCULAR
    assert next(line for line in lines if line[:1] == ["full"])[2:6] == [
        "5",
        f"{100 / OCULAR:.2f}",
        f"{100 * 18 / 5 / OCULAR:.2f}",
        f"{difference:+.2f}",
    ]
    assert ["full", "(incomplete)", "5", "1", "4", "0"] in lines  # wins, losses, ties
    faces = [line for line in lines if line[:1] and line[0].endswith(".jpg")]
    assert [face[0] for face in faces] == ["ibug/0000.jpg", "lfpw/testset/0000.jpg"]
    assert faces[0][1:] == [f"{100 / OCULAR:.2f}", f"{900 / OCULAR:.2f}", f"{800 / OCULAR:+.2f}"]
    assert max(map(len, result.stdout.splitlines()[2:])) <= 80


def test_the_truth_needs_no_pictures(tmp_path: Path) -> None:
    for name in ("truth", "mine"):
        (tmp_path / name).mkdir()
        write_pts(tmp_path / name / "a.pts", TRUTH)
    result = run("predictions", tmp_path / "mine", tmp_path / "truth", "--json", tmp_path / "out.json")
    assert result.exit_code == 0
    assert read_json(tmp_path / "out.json").summaries[0].distributions["inter-pupil"].mean == 0
