"""Two evaluations of the same faces, side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facealign_cli.errors import InputError
from facealign_cli.evaluation.base import Prediction
from facealign_cli.evaluation.compare import compare
from facealign_cli.evaluation.figures import Evaluation, evaluate
from tests.evaluation.faces import OCULAR, TRUTH, folder, moved, run, sample


def test_compare_by_hand() -> None:
    missed = Prediction("missed")
    before = {
        "a.jpg": moved(1),
        "b.jpg": moved(2),
        "c.jpg": moved(1),
        "d.jpg": missed,
        "e.jpg": moved(4),
        "f.jpg": missed,
    }
    after = {
        "a.jpg": moved(3),
        "b.jpg": moved(1),
        "c.jpg": missed,
        "d.jpg": moved(2),
        "e.jpg": moved(4),
        "f.jpg": missed,
    }
    comparison = compare(run(before), run(after), normaliser="inter-ocular", threshold=0.08)
    (result,) = comparison.sets
    assert (result.title, result.pairs, result.both) == ("all", 6, 3)
    assert (result.wins, result.losses, result.ties) == (2, 2, 2)  # d and b; c and a; e and f
    assert (result.mean_before * OCULAR, result.mean_after * OCULAR) == pytest.approx((7 / 3, 8 / 3), abs=1e-6)
    assert result.nme is not None
    assert result.nme.mean * OCULAR == pytest.approx(1 / 3, abs=1e-6)
    assert result.nme.low < result.nme.mean < result.nme.high
    assert result.auc.mean == pytest.approx(result.auc_after - result.auc_before, abs=1e-12)
    assert [pair.name for pair in comparison.regressions] == ["c.jpg", "a.jpg"]
    assert comparison.regressions[0].difference == np.inf


def test_an_evaluation_compared_with_itself(evaluation: Evaluation) -> None:
    comparison = compare(evaluation, evaluation, normaliser="inter-pupil", threshold=0.08)
    for result in comparison.sets:
        assert (result.wins, result.losses, result.ties) == (0, 0, result.pairs)
        assert result.auc.low == result.auc.high == 0
    assert comparison.regressions == ()
    assert [result.title for result in comparison.sets][:2] == ["full (incomplete)", "common (incomplete)"]


def test_errors_that_differ_by_the_rounding_of_files_are_ties() -> None:
    before = run({"a.jpg": moved(1), "b.jpg": moved(1), "c.jpg": Prediction("missed")})
    after = run({"a.jpg": moved(1.0007), "b.jpg": moved(1.003), "c.jpg": moved(1)})
    (result,) = compare(before, after, normaliser="inter-ocular", threshold=0.08).sets
    assert (result.wins, result.losses, result.ties) == (1, 1, 1)  # c, b, a


def test_faces_that_cannot_be_compared_are_named() -> None:
    before, after = (
        run({"a.jpg": moved(1), "b.jpg": moved(1), "c.jpg": moved(1)}),
        run({"b.jpg": moved(1), "d.jpg": moved(1)}),
    )
    other = evaluate([sample("a.jpg", TRUTH + 1), sample("b.jpg")], {}, about={})
    comparison = compare(before, after, normaliser="inter-ocular", threshold=0.08)
    assert (comparison.only_before, comparison.only_after) == (("a.jpg", "c.jpg"), ("d.jpg",))
    comparison = compare(before, other, normaliser="inter-ocular", threshold=0.08)
    assert (comparison.other_truth, comparison.sets[0].pairs) == (("a.jpg",), 1)


def test_nothing_in_common() -> None:
    with pytest.raises(InputError, match="in common"):
        compare(run({"a.jpg": moved(1)}), run({"b.jpg": moved(1)}), normaliser="inter-ocular", threshold=0.08)


def test_two_folders_of_one_protocol_name() -> None:
    """Both are shown as afw, and a picture of the one has the name of one of the other."""
    names = ("one/afw/a.jpg", "two/afw/a.jpg")
    (result,) = compare(*[run({n: moved(1) for n in names})] * 2, normaliser="inter-ocular", threshold=0.08).sets
    assert result.pairs == 2


def test_faces_pair_up_from_two_formats() -> None:
    """Label files number each face and have an order of their own."""
    pts = [sample("in/a.jpg"), sample("in/b.jpg#0"), sample("in/b.jpg#1", TRUTH + 50)]
    coco = [sample("a.jpg#0"), sample("b.jpg#0", TRUTH + 50), sample("b.jpg#1"), sample("c.jpg#0")]
    one = evaluate(pts, {s.name: Prediction("ok", (s.landmarks + 1,)) for s in pts}, about={})
    two = evaluate(coco, {s.name: Prediction("ok", (s.landmarks + 1,)) for s in coco}, about={})
    comparison = compare(one, two, normaliser="inter-ocular", threshold=0.08)
    assert [(r.pairs, r.ties) for r in comparison.sets] == [(3, 3)]
    assert (comparison.only_before, comparison.only_after, comparison.other_truth) == ((), ("c.jpg#0",), ())


def test_faces_pair_up_from_the_sets_own_folder_and_from_above() -> None:
    above = run(folder("ibug", 2))
    own = evaluate(
        [replace(sample(f"{i:04}.jpg"), image_path=Path(f"/data/ibug/{i:04}.jpg")) for i in range(2)], {}, about={}
    )
    assert compare(above, own, normaliser="inter-ocular", threshold=0.08).sets[0].pairs == 2
