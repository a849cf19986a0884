"""A whole evaluation: of a model on annotated pictures, or of predictions that any tool has written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import get_args

from facealign_cli.aligner import Aligner, checked_aligner
from facealign_cli.arguments import check_choice, check_number
from facealign_cli.arrays import real_number
from facealign_cli.datasets.base import Sample
from facealign_cli.errors import InputError
from facealign_cli.evaluation.base import Irregularity, Prediction
from facealign_cli.evaluation.conventions import odd_annotations, odd_predictions
from facealign_cli.evaluation.figures import DEFAULT_NORMALISER, DEFAULT_THRESHOLD, Evaluation, evaluate
from facealign_cli.evaluation.foreign import read_predictions
from facealign_cli.evaluation.predict import Init, check_boxes, describe, predict_samples, select_samples
from facealign_cli.evaluation.predictions import match_predictions
from facealign_cli.files.base import check_path
from facealign_cli.landmarks import N_LANDMARKS, SCHEME
from facealign_cli.metrics import NORMALISERS

PathLike = str | os.PathLike[str]


Watch = Callable[[Iterable[Prediction], Sequence[Sample]], Iterable[Prediction]]
"""Is given the predictions as they come and the faces that they are of, and passes them on."""


def _check(normaliser: str, threshold: float) -> None:
    """Raise InputError before the work, rather than ValueError after it."""
    check_choice("normaliser", normaliser, NORMALISERS)
    if not 0 < real_number(threshold) <= 1:
        raise InputError(
            "threshold: expected a fraction of the normaliser, above 0 to 1, such as 0.08 for 8 %, "
            f"got {threshold!r:.40}"
        )


def evaluate_dataset(
    root: PathLike,
    aligner: Aligner | None = None,
    *,
    init: Init | None = None,
    split: str = "all",
    normaliser: str = DEFAULT_NORMALISER,
    threshold: float = DEFAULT_THRESHOLD,
    workers: int = 0,
    min_confidence: float = 0.0,
    watch: Watch = lambda predictions, samples: predictions,
) -> Evaluation:
    """Run a model on annotated pictures and measure it by the 300-W protocol.

    root: the 300-W folders, pictures with .pts files, or a dlib .xml file. aligner: None means the default one. init:
    where each face is taken to be: "dataset-boxes", "ground-truth", "detector" or "given-boxes". None means
    "given-boxes" if the aligner's detector is `boxes`, and otherwise "dataset-boxes". split: "all", or "held-out": the
    test sets, and of other folders only the faces that `train pack` of the same root holds out. normaliser:
    "inter-ocular", "inter-pupil" or "bbox-diagonal". threshold: of AUC and failure rate, as a fraction of the
    normaliser. workers: the number of worker processes; with 0 this process does the work. min_confidence: faces of
    less confidence, 0 to 1, count as missed, whatever the aligner leaves out. watch: is called once, before the first
    face is aligned.
    Raises InputError if the root has no face that can be evaluated, if boxes are missing or the normaliser is unknown,
    and FacealignError if a worker dies.
    """
    _check(normaliser, threshold)
    check_path("root", root)
    check_number("workers", workers, 0, whole=True)
    check_number("min_confidence", min_confidence, 0, 1)
    if init is not None:
        check_choice("init", init, get_args(Init))
    aligner = checked_aligner(aligner)
    selection = select_samples(Path(root), split)
    samples = selection.samples
    init = init or ("given-boxes" if aligner.detector.name == "boxes" else "dataset-boxes")
    check_boxes(samples, aligner, init)
    results = watch(predict_samples(samples, aligner, init, workers, min_confidence), samples)
    predictions = dict(zip((sample.name for sample in samples), results, strict=True))
    warned = [(name, found.warning) for name, found in predictions.items() if found.warning is not None]
    doubts = [Irregularity("picture with a warning", name, warning) for name, warning in warned]
    return evaluate(
        samples,
        predictions,
        about=describe(Path(root), aligner, init, min_confidence),
        normaliser=normaliser,
        threshold=threshold,
        irregularities=[*selection.irregularities, *odd_annotations(samples), *doubts],
        split=split,
    )


def evaluate_predictions(
    predictions: PathLike,
    ground_truth: PathLike,
    *,
    split: str = "all",
    normaliser: str = DEFAULT_NORMALISER,
    threshold: float = DEFAULT_THRESHOLD,
) -> Evaluation:
    """Measure landmarks that any tool has written, by the 300-W protocol. No model runs, and no picture is needed.

    predictions: .pts files in the layout of the ground truth, or a file of a format that facealign reads. A face
    without a usable prediction counts as a failure. ground_truth: as `root` of `evaluate_dataset`. split, normaliser,
    threshold: as there. Raises InputError, and FormatError for a damaged file.
    """
    _check(normaliser, threshold)
    check_path("predictions", predictions)
    check_path("ground_truth", ground_truth)
    predictions, ground_truth = Path(predictions), Path(ground_truth)
    selection = select_samples(ground_truth, split, need_pictures=False)
    truths = {sample.name: sample.landmarks for sample in selection.known}
    pictures = read_predictions(predictions)
    matched = match_predictions(truths, pictures)
    given = {face.n_given for picture in pictures for face in picture.faces} - {N_LANDMARKS}
    about = {"title": predictions.name, "root": str(ground_truth), "predictions": str(predictions)}
    if given:
        about["scheme"] = f"{' and '.join(map(str, sorted(given)))} points read as {SCHEME}"
    return evaluate(
        selection.samples,
        matched.predictions,
        about=about,
        normaliser=normaliser,
        threshold=threshold,
        irregularities=(
            *selection.irregularities,
            *odd_annotations(selection.samples),
            *matched.irregularities,
            *odd_predictions(selection.samples, matched.predictions),
        ),
        split=split,
    )
