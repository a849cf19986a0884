"""From samples and predictions to figures: worked by hand, by the protocol's sets, with faces that were missed."""

from __future__ import annotations

import copy
import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facealign_cli.datasets.protocol import FOLDER_SIZES, protocol_folder
from facealign_cli.errors import FormatError, OutputError
from facealign_cli.evaluation.base import Prediction
from facealign_cli.evaluation.figures import Evaluation, FaceRow, SubsetSummary, evaluate
from facealign_cli.evaluation.files import from_dict, read_json, to_dict, write_csv, write_json
from facealign_cli.metrics import NORMALISERS, POINT_SETS, nme
from tests.evaluation.faces import DIRECTION, OCULAR, TRUTH, folder, moved, run, sample


def sets_of(evaluation: Evaluation) -> dict[str, SubsetSummary]:
    return {summary.title: summary for summary in evaluation.summaries}


def test_one_pixel_off_gives_the_exact_error() -> None:
    evaluation = run({"a.jpg": moved(1), "b.jpg": moved(3)})
    (summary,) = evaluation.summaries
    assert (summary.name, summary.title, summary.n, summary.complete) == ("all", "all", 2, True)
    assert summary.nme["68"]["inter-ocular"] == pytest.approx(2 / OCULAR, abs=1e-7)
    assert [row.nme() for row in evaluation.rows] == pytest.approx([1 / OCULAR, 3 / OCULAR], abs=1e-7)
    assert summary.auc == pytest.approx(1 - 2 / OCULAR / 0.08, abs=1e-6)
    for normaliser in NORMALISERS:
        expected = nme((TRUTH + DIRECTION)[None], TRUTH[None], normaliser)[0]
        assert evaluation.rows[0].nme(normaliser) == pytest.approx(expected, abs=1e-15)


def test_the_truth_against_itself() -> None:
    (summary,) = run({"a.jpg": moved(0), "b.jpg": moved(0)}).summaries
    assert (summary.auc, summary.failure_rate) == (1, 0)
    assert {value for values in summary.nme.values() for value in values.values()} == {0}
    assert {vars(d)[key] for d in summary.distributions.values() for key in vars(d)} == {0}


def test_regions_and_stages() -> None:
    points = TRUTH.copy()
    points[:17] += [0, 2]
    evaluation = run({"a.jpg": Prediction("ok", (TRUTH + 5 * DIRECTION, points))})
    means = {points: values["inter-ocular"] * OCULAR for points, values in evaluation.summaries[0].nme.items()}
    expected = {"68": 2 * 17 / 68, "51": 0, "jaw": 2, "brows": 0, "nose": 0, "eyes": 0, "mouth": 0}
    assert means == pytest.approx({**expected, "stage1": 5, "stage2": 2 * 17 / 68}, abs=1e-6)
    assert evaluation.points == (*POINT_SETS, "stage1", "stage2")
    assert "stage1" not in run({"a.jpg": moved(1)}).points


def test_the_landmarks_of_a_face_are_those_of_the_last_stage() -> None:
    evaluation = run({"a.jpg": moved(1, 5), "b.jpg": Prediction("missed")})
    assert list(evaluation.predicted) == ["a.jpg"]
    np.testing.assert_array_equal(evaluation.predicted["a.jpg"], TRUTH + DIRECTION)


def test_percentiles_are_of_all_faces() -> None:
    (summary,) = run({f"{i:03}.jpg": moved(i) for i in range(101)}).summaries
    spread = summary.distributions["inter-ocular"]
    found = [spread.median, spread.p90, spread.p95, spread.p99]
    assert [value * OCULAR for value in found] == pytest.approx([50, 90, 95, 99], abs=1e-4)


def test_stages_come_in_their_order() -> None:
    points = run({"a.jpg": moved(1, 5, 4, 3, 2)}).points
    assert [name for name in points if name.startswith("stage")] == ["stage1", "stage2", "stage3", "stage4", "stage5"]


def test_a_missed_face_is_a_failure_and_never_makes_the_mean_better() -> None:
    evaluation = run({"a.jpg": moved(1), "b.jpg": moved(3), "c.jpg": Prediction("missed", detail="none found")})
    (summary,) = evaluation.summaries
    spread = summary.distributions["inter-ocular"]
    assert (summary.n, summary.found, summary.missed, dict(summary.statuses)) == (3, 2, 1, {"ok": 2, "missed": 1})
    assert spread.mean == pytest.approx(2 / OCULAR, abs=1e-7)  # of the two, and `missed` says so
    assert spread.median == pytest.approx(3 / OCULAR, abs=1e-7)  # of the three
    assert spread.p90 == np.inf
    assert summary.failure_rate == pytest.approx(1 / 3)
    assert summary.auc == pytest.approx((2 - 4 / OCULAR / 0.08) / 3, abs=1e-6)
    assert evaluation.rows[2].nme() == np.inf
    assert not evaluation.failed  # a detector that finds nothing is a result, not a broken input


@pytest.mark.parametrize("status", ["no_prediction", "wrong_points", "nan", "no_box", "error"])
def test_every_other_status_counts_like_a_missed_face(status: str) -> None:
    evaluation = run({"a.jpg": moved(0), "b.jpg": Prediction(status, detail="why")})  # type: ignore[arg-type]
    (summary,) = evaluation.summaries
    assert (summary.missed, summary.failure_rate, summary.auc) == (1, 0.5, 0.5)
    assert (evaluation.rows[1].status, evaluation.rows[1].detail) == (status, "why")
    assert evaluation.failed


def test_all_missed() -> None:
    (summary,) = run({"a.jpg": Prediction("missed")}).summaries
    assert (summary.auc, summary.failure_rate, summary.found, summary.missed) == (0, 1, 0, 1)
    assert np.isnan(summary.distributions["inter-pupil"].mean)
    assert summary.distributions["inter-pupil"].median == np.inf


def test_a_sample_that_was_not_predicted_is_no_prediction() -> None:
    evaluation = evaluate([sample("a.jpg")], {}, about={})
    assert evaluation.rows[0].status == "no_prediction"


def test_nothing_to_evaluate() -> None:
    with pytest.raises(ValueError, match="no faces"):
        evaluate([], {}, about={})


def test_unknown_normaliser_and_threshold() -> None:
    with pytest.raises(ValueError, match="unknown normaliser 'nose'"):
        run({"a.jpg": moved(0)}, normaliser="nose")
    with pytest.raises(ValueError, match="threshold above 0"):
        run({"a.jpg": moved(0)}, threshold=0)


def test_threshold_and_normaliser_are_those_asked_for() -> None:
    (summary,) = run({"a.jpg": moved(3)}, threshold=0.05, normaliser="inter-pupil").summaries
    pupils = NORMALISERS["inter-pupil"](TRUTH[None])[0]
    assert summary.auc == pytest.approx(1 - 3 / pupils / 0.05, abs=1e-9)
    assert run({"a.jpg": moved(3)}, threshold=0.05).summaries[0].auc != summary.auc


def test_the_whole_protocol() -> None:
    everything = {key: value for name, count in FOLDER_SIZES.items() for key, value in folder(name, count).items()}
    evaluation = run(everything)
    sizes = {title: summary.n for title, summary in sets_of(evaluation).items()}
    tests = {"full": 689, "common": 554, "challenging": 135, "private": 600}
    folders = {name: count for name, count in FOLDER_SIZES.items() if name != "ibug"}  # that one is "challenging"
    assert sizes == {**tests, **folders}
    assert all(summary.complete for summary in evaluation.summaries)


def test_an_incomplete_set_is_never_called_by_its_name() -> None:
    evaluation = run(folder("lfpw/testset", 224) | folder("ibug", 134))
    assert list(sets_of(evaluation)) == [
        "full (incomplete: 358 of 689)",
        "common (incomplete: 224 of 554)",
        "challenging (incomplete: 134 of 135)",
        "lfpw/testset",
    ]
    common = evaluation.summaries[1]
    assert (common.short_title, common.count, common.complete) == ("common (incomplete)", "224 of 554", False)


def test_more_faces_than_the_protocol_has_are_not_the_set_either() -> None:
    titles = list(sets_of(run(folder("ibug", 136))))
    assert titles == ["full (incomplete: 136 of 689)", "challenging (too many: 136 of 135)"]


def test_training_folders_go_by_their_own_names() -> None:
    evaluation = run(folder("afw", 337, moved(1)) | folder("lfpw/trainset", 2, moved(3)))
    assert list(sets_of(evaluation)) == ["all", "lfpw/trainset (incomplete: 2 of 811)", "afw"]
    assert sets_of(evaluation)["afw"].nme["68"]["inter-ocular"] == pytest.approx(1 / OCULAR, abs=1e-7)
    assert [len(evaluation.rows_of(summary)) for summary in evaluation.summaries] == [339, 2, 337]
    assert [(summary.expected, summary.complete) for summary in evaluation.summaries] == [
        (None, True),
        (811, False),
        (337, True),
    ]


def test_the_held_out_part_says_so() -> None:
    evaluation = run(folder("afw", 30) | folder("ibug", 135), split="held-out")
    assert list(sets_of(evaluation)) == ["full (incomplete: 135 of 689)", "challenging", "afw (held-out)"]
    own = run(folder("own", 3) | folder("mine", 2), split="held-out")
    assert list(sets_of(own)) == ["all (held-out)", "mine (held-out)", "own (held-out)"]
    expected = [689, 135, None]  # nobody says how many are held out
    assert [summary.expected for summary in evaluation.summaries] == expected
    assert [summary.complete for summary in evaluation.summaries] == [False, True, True]


def test_other_folders() -> None:
    assert list(sets_of(run(folder("mine/a", 1) | {"b.jpg": moved(1)}))) == ["all", "(root)", "mine/a"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/x/300w/ibug", "ibug"),
        ("/x/LFPW/TestSet", "lfpw/testset"),
        ("/x/300W/01_Indoor", "300W/01_Indoor"),
        ("/x/helen/trainset_lowres", None),
        ("/x/testset", None),
        ("/x/ibug/other", None),
    ],
)
def test_folders_are_known_by_the_end_of_their_path(path: str, name: str | None) -> None:
    assert protocol_folder(Path(path)) == name


def test_json_round_trip(evaluation: Evaluation, tmp_path: Path) -> None:
    write_json(tmp_path / "e.json", evaluation)
    again = read_json(tmp_path / "e.json")
    assert repr(again.summaries) == repr(evaluation.summaries)  # as text, for NaN is unlike itself
    for key in ("about", "normaliser", "threshold", "irregularities", "split"):
        assert getattr(again, key) == getattr(evaluation, key), key
    for row, other in zip(again.rows, evaluation.rows, strict=True):
        arrays = {"truth": None, "landmarks": None}
        assert {**vars(row), **arrays} == {**vars(other), **arrays}
        np.testing.assert_allclose(row.truth, other.truth, atol=5e-4)
    np.testing.assert_allclose(again.rows[0].landmarks, evaluation.rows[0].landmarks, atol=5e-4)  # type: ignore[arg-type]
    assert again.rows[2].landmarks is None


def test_json_is_what_other_tools_read(evaluation: Evaluation) -> None:
    document = json.loads(json.dumps(to_dict(evaluation), allow_nan=False))
    assert document["schema"] == "facealign-evaluation/1"
    assert [values["title"] for values in document["sets"]][:2] == [
        "full (incomplete: 3 of 689)",
        "common (incomplete: 2 of 554)",
    ]
    assert document["sets"][0]["distributions"]["inter-pupil"]["p99"] is None  # infinite
    assert document["faces"][0]["nme"]["inter-ocular"] == pytest.approx(1 / OCULAR, abs=1e-7)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("schema"),
        lambda d: d.update(schema="facealign/1"),
        lambda d: d.pop("faces"),
        lambda d: d.update(faces=[]),
        lambda d: d.update(threshold="x"),
        lambda d: d.update(normaliser="nose"),
        lambda d: d["faces"][0].update(status="fine"),
        lambda d: d["faces"][0].update(truth=[[1, 2]]),
        lambda d: d["faces"][0].update(landmarks=None),
        lambda d: d["faces"][0].update(scales_px={"inter-ocular": 0}),
        lambda d: d["faces"][0].update(errors_px={"68": None}),
        lambda d: d["faces"][0].pop("name"),
        lambda d: d.update(faces=[1]),
    ],
)
def test_broken_documents_are_refused(evaluation: Evaluation, change: Callable[[dict], object]) -> None:
    document = copy.deepcopy(to_dict(evaluation))
    change(document)
    with pytest.raises(FormatError, match="evaluation"):
        from_dict(document)


@pytest.mark.parametrize("text", ["", "[1]", "{", "NaN"])
def test_files_that_are_no_evaluation(tmp_path: Path, text: str) -> None:
    (tmp_path / "e.json").write_text(text)
    with pytest.raises(FormatError, match=r"e\.json"):
        read_json(tmp_path / "e.json")


def test_csv(evaluation: Evaluation, tmp_path: Path) -> None:
    write_csv(tmp_path / "e.csv", evaluation)
    with open(tmp_path / "e.csv", newline="") as stream:
        first, *_, last = csv.DictReader(stream)
    assert float(first["NME 68 inter-ocular"]) == pytest.approx(1 / OCULAR, abs=1e-7)
    assert float(first["NME stage1 inter-ocular"]) == pytest.approx(4 / OCULAR, abs=1e-7)
    assert float(first["inter-ocular px"]) == pytest.approx(OCULAR, abs=1e-4)
    assert (first["confidence"], first["folder"]) == ("0.75", "lfpw/testset")
    assert (last["name"], last["status"], last["NME 68 inter-ocular"]) == ("ibug/x.jpg", "missed", "")
    with pytest.raises(OutputError, match="exists"):
        write_csv(tmp_path / "e.csv", evaluation)


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    write_csv(tmp_path / "e.csv", run({"=1+1.jpg": moved(1)}))
    assert "\n'=1+1.jpg," in (tmp_path / "e.csv").read_text()


def test_a_row_checks_itself(evaluation: Evaluation) -> None:
    found, missed = evaluation.rows[0], evaluation.rows[2]
    errors, scales = dict(found.errors_px), dict(found.scales_px)
    assert replace(found, scales_px=dict.fromkeys(NORMALISERS, 0.5)).nme() == 2 * found.errors_px["68"]  # a small face
    changes: list[tuple[FaceRow, dict[str, object], str]] = [
        (found, {"status": "missed"}, "does not go with"),
        (found, {"landmarks": None}, "does not go with"),
        (found, {"errors_px": {}}, "does not go with"),
        (found, {"scales_px": {}}, "scales_px above 0"),
        (found, {"scales_px": scales | {"inter-pupil": 0.0}}, "scales_px above 0"),
        (found, {"scales_px": scales | {"inter-pupil": np.inf}}, "scales_px above 0"),
        (missed, {"status": "lost"}, "expected status ok, .*, got 'lost'"),
        (found, {"errors_px": {"68": 1.0}}, "expected errors_px of 68, 51, .*"),
        (found, {"errors_px": errors | {"nose": -0.5}}, "finite errors_px of 0 or more"),
        (found, {"errors_px": errors | {"nose": np.inf}}, "finite errors_px of 0 or more"),
    ]
    for row, change, message in changes:
        with pytest.raises(ValueError, match=f"{row.name}: .*{message}"):
            replace(row, **change)  # type: ignore[arg-type]
