"""A whole evaluation as a library call; the figures themselves are tested in test_figures and by the command."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign_cli import Aligner, InputError, create_detector, evaluate, evaluate_predictions
from facealign_cli.datasets.base import Sample
from facealign_cli.evaluation.base import Prediction
from facealign_cli.evaluation.predictions import write_predictions
from facealign_cli.formats.pts import read_pts, write_pts
from facealign_cli.geometry import bbox_of_shape


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    return Aligner(device="cpu")


@pytest.fixture
def root(tmp_path: Path, aligner: Aligner, astronaut: np.ndarray) -> Path:
    """Two faces; what stands beside the second is off by a tenth of the outer eyes' distance."""
    (tmp_path / "root").mkdir()
    portrait = astronaut[40:220, 130:310]
    (face,) = aligner.align(portrait)
    for name, shift in (("a", 0.0), ("b", 0.1 * np.linalg.norm(face.landmarks[36] - face.landmarks[45]))):
        cv2.imwrite(str(tmp_path / "root" / f"{name}.png"), portrait)
        write_pts(tmp_path / "root" / f"{name}.pts", face.landmarks + np.array([shift, 0]))
    return tmp_path / "root"


def test_an_aligner_on_a_folder(root: Path, aligner: Aligner, tmp_path: Path) -> None:
    watched: list[str] = []

    def watch(predictions: Iterable[Prediction], samples: Sequence[Sample]) -> Iterable[Prediction]:
        watched.extend(sample.name for sample in samples)
        return predictions

    evaluation = evaluate(root, aligner, init="detector", threshold=0.05, watch=watch)
    write_predictions(tmp_path / "out", evaluation.predicted)
    (summary,) = evaluation.summaries
    assert watched == ["a.png", "b.png"]
    assert (summary.n, summary.missed, summary.failure_rate) == (2, 0, 0.5)
    assert summary.distributions["inter-ocular"].mean == pytest.approx(0.05, abs=1e-3)
    np.testing.assert_allclose(read_pts(tmp_path / "out" / "b.pts"), read_pts(root / "a.pts"), atol=0.01)
    again = evaluate_predictions(tmp_path / "out", root, threshold=0.05)
    assert [row.nme() for row in again.rows] == pytest.approx([row.nme() for row in evaluation.rows], abs=1e-4)


def test_what_is_wrong_with_a_picture_that_was_used_is_told(root: Path, aligner: Aligner) -> None:
    cv2.imwrite(str(root / "b.png"), cv2.imread(str(root / "b.png")).astype(np.uint16) * 16)  # 12 bits of 16
    evaluation = evaluate(root, aligner, init="ground-truth")
    ((kind, name, detail),) = [(odd.kind, odd.name, odd.detail) for odd in evaluation.irregularities]
    assert (kind, name) == ("picture with a warning", "b.png")
    assert "taken as 12-bit values" in detail
    assert evaluation.summaries[0].missed == 0


def test_boxes_that_are_given_are_the_init(root: Path, tmp_path: Path) -> None:
    x1, y1, x2, y2 = bbox_of_shape(read_pts(root / "a.pts"))
    (tmp_path / "boxes.csv").write_text(f"image,x1,y1,x2,y2\na.png,{x1},{y1},{x2},{y2}\n")
    boxes = create_detector("boxes", boxes_file=tmp_path / "boxes.csv")
    evaluation = evaluate(root, Aligner(detector=boxes, device="cpu"))
    assert evaluation.about["init"] == "given-boxes"
    assert [row.status for row in evaluation.rows] == ["ok", "no_box"]


def test_an_unknown_init_is_no_detector(root: Path, aligner: Aligner) -> None:
    with pytest.raises(InputError, match=r"init: expected one of dataset-boxes, .*, got 'ground_truth'"):
        evaluate(root, aligner, init="ground_truth")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"normaliser": "nose"}, "normaliser: expected one of inter-pupil, .*, got 'nose'"),
        ({"normaliser": ["inter-pupil"]}, "normaliser: expected one of inter-pupil, .*, got list"),
        ({"threshold": 0.0}, "0.08"),
        ({"threshold": True}, "0.08"),
        ({"threshold": 8.0}, "0.08 for 8 %"),
        ({"threshold": float("nan")}, "0.08"),
        ({"split": "heldout"}, "unknown split 'heldout': known are all, held-out"),
        ({}, "the data set has no face boxes"),
    ],
)
def test_wrong_wishes_come_before_the_work(root: Path, aligner: Aligner, changes: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        evaluate(root, aligner, **changes)
    if changes:
        with pytest.raises(InputError, match=words):
            evaluate_predictions(root, root, **changes)
