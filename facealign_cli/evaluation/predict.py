"""Annotated faces, one after another or in several processes: each gets its landmarks, from an init that is named."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from facealign_cli.aligner import Aligner
from facealign_cli.arrays import Floats, Image
from facealign_cli.boxes import BBox, Detection
from facealign_cli.datasets import LeftOut, Sample, read_samples, unused_files
from facealign_cli.datasets.protocol import TEST_FOLDERS, TRAINING_FOLDERS, folder_of
from facealign_cli.datasets.splits import is_held_out, photo_to_hold_out
from facealign_cli.detectors.base import detect_faces
from facealign_cli.errors import FacealignError, InputError
from facealign_cli.evaluation.base import Irregularity, Prediction
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.metrics import NORMALISERS
from facealign_cli.models.registry import sha256_of
from facealign_cli.placing import counts
from facealign_cli.processes import GUARD_HINT, begin_worker, check_main_guard, signals_held_back

Init = Literal["dataset-boxes", "ground-truth", "detector", "given-boxes"]
"""Where a face is taken to be: in the data set's own box, in the tight box of the truth, where the detector finds it,
or in the box that the aligner's detector `boxes` has read from a file."""

SPLITS = ("all", "held-out")

FOUND_AT = 0.4
"""A detector has found a face if its box, calibrated to the landmarks' box, overlaps the truth's by so much IoU."""


@dataclass(frozen=True)
class Selection:
    """The annotated faces of a data set. samples: those to evaluate. known: all that can be read, also the others."""

    samples: tuple[Sample, ...]
    known: tuple[Sample, ...]
    irregularities: tuple[Irregularity, ...]


def select_samples(root: Path, split: str = "all", *, need_pictures: bool = True) -> Selection:
    """Choose the faces of a data set that an evaluation may use; each one that is left out is named.

    split: "all", or "held-out": the protocol's test sets, and of other folders only the faces that `train pack` of the
    same root holds out. Two kinds of
    faces are never used: those with rough labels, which are no truth, and mirrored copies, which stand in the
    organisers' folders but do not count. Faces with points of weight 0 are used, and named, since the errors are over
    all 68 points. So are files beside the pictures that do not count. need_pictures: as for `read_samples`.
    Raises InputError for an unknown split and if nothing is left, and FormatError as `read_samples` does.
    """
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}: known are {', '.join(SPLITS)}")
    samples, known, odd = [], [], []
    for item in read_samples(root, need_pictures=need_pictures):
        if isinstance(item, LeftOut):
            odd.append(Irregularity("left out", item.name, item.reason))
            continue
        known.append(item)
        reason = _reason_to_leave_out(item)
        if reason is not None:
            odd.append(reason)
        else:
            samples.append(item)
    if split == "held-out":
        unseen = _unseen(samples)
        if samples and not unseen:
            raise InputError(f"{root}: no face of it is held out ({len(samples)} are for training)")
        samples = unseen
    for sample in samples:
        if count := 0 if sample.weights is None else int((sample.weights == 0).sum()):
            detail = f"{count} in weights.json, measured all the same"
            odd.append(Irregularity("points of weight 0", sample.name, detail))
    odd += [Irregularity("file not used", item.name, item.reason) for item in unused_files(root, known)]
    if not samples:
        why = f"; {odd[0].kind}: {odd[0].name}: {odd[0].detail}" if odd else ""
        raise InputError(f"{root}: no annotated face that can be evaluated ({len(odd)} left out{why})")
    return Selection(tuple(samples), tuple(known), tuple(odd))


def _reason_to_leave_out(sample: Sample) -> Irregularity | None:
    if sample.rough:
        return Irregularity("rough labels", sample.name, "labels are estimates: never evaluated")
    if sample.image_path.stem.endswith("_mirror"):
        return Irregularity("mirrored copy", sample.name, "not counted by the protocol")
    flat = [name for name, length in NORMALISERS.items() if not length(sample.landmarks[None])[0] > 0]
    return Irregularity("left out", sample.name, f"its {flat[0]} distance is 0") if flat else None


def _unseen(samples: list[Sample]) -> list[Sample]:
    """Those that no training sees: of the protocol's test sets all, of other folders what is held out.

    The photo that `train pack` chooses to hold out where no name says so is held out of folders of one's own alone: it
    may be among the faces that the shipped models were trained on.
    """
    folders = [folder_of(sample.name, sample.image_path) for sample in samples]
    packed = [sample for folder, sample in zip(folders, samples, strict=True) if folder not in TEST_FOLDERS]
    chosen = photo_to_hold_out(one.photo for one in packed if one.weights is None or one.weights.any())
    return [
        sample
        for folder, sample in zip(folders, samples, strict=True)
        if folder in TEST_FOLDERS
        or is_held_out(sample.photo)
        or (sample.photo == chosen and folder not in TRAINING_FOLDERS)
    ]


def predict_samples(
    samples: Sequence[Sample], aligner: Aligner, init: Init, workers: int = 0, min_confidence: float = 0.0
) -> Iterator[Prediction]:
    """Give the prediction for each sample, in their order. One that fails says why, and the others go on.

    init: see `Init`; "detector" means the box that overlaps the truth best, if the overlap is `FOUND_AT` or more.
    workers: the number of processes, each with a copy of the aligner; with 0 this process does the work.
    min_confidence: a face of less confidence, 0 to 1, is missed. Raises FacealignError if a process dies.
    """
    if workers == 0:
        yield from (predict_sample(sample, aligner, init, min_confidence) for sample in samples)
        return
    check_main_guard()
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(samples)), spawn, _start_worker, (aligner, init, min_confidence))
    try:
        with signals_held_back():  # the processes are started here
            predictions = pool.map(_predict_in_worker, samples, chunksize=8)
        yield from predictions
    except BrokenProcessPool as error:
        why = "perhaps for want of memory: try fewer --workers"
        raise FacealignError(f"a worker process died, {why}. {GUARD_HINT}") from error
    finally:
        pool.shutdown(cancel_futures=True)


_worker: list[tuple[Aligner, Init, float]] = []


def _start_worker(aligner: Aligner, init: Init, min_confidence: float) -> None:
    begin_worker(only_the_parent_ends_it=False)  # the executor ends its processes by SIGTERM
    _worker.append((aligner, init, min_confidence))


def _predict_in_worker(sample: Sample) -> Prediction:
    return predict_sample(sample, *_worker[-1])


def predict_sample(sample: Sample, aligner: Aligner, init: Init, min_confidence: float = 0.0) -> Prediction:
    """The prediction for one sample; arguments as `predict_samples`."""
    try:
        picture = sample.picture()
        predicted = _predict(sample, picture.image, aligner, init)
    except (InputError, MemoryError) as error:
        return Prediction("error", detail=str(error) or "out of memory")
    if predicted.confidence is not None and predicted.confidence < min_confidence:
        predicted = Prediction("missed", detail=f"its landmarks have a confidence below {min_confidence:g}")
    return replace(predicted, warning=picture.warning)


def _predict(sample: Sample, image: Image, aligner: Aligner, init: Init) -> Prediction:
    start = _start(sample, image, aligner, init)
    if isinstance(start, Prediction):
        return start
    place = aligner.align_detections if isinstance(start, Detection) else aligner.align_shapes
    aligned = place(image, [start])  # type: ignore[list-item]
    if isinstance(start, Detection) and not counts(start, aligned.confidence[0]):
        return Prediction("missed", detail="the detector is unsure of its box, and the landmarks are doubtful")
    stages = (aligned.stage1_landmarks[0], aligned.landmarks[0])[-aligner.model.metadata.stages :]
    if not np.isfinite(stages).all():
        return Prediction("nan", detail="the model gave points that are not finite")
    return Prediction("ok", stages, float(aligned.confidence[0]))


def _start(sample: Sample, image: Image, aligner: Aligner, init: Init) -> Floats | Detection | Prediction:
    """(68, 2) where the landmarks start, or the face that the detector found, or why there is neither."""
    truth = BBox.around(sample.landmarks)
    if init == "ground-truth":
        return init_shape_from_bbox(truth.xyxy)
    if init == "dataset-boxes":
        if sample.bbox is None:
            return Prediction("no_box", detail="the data set gives no box for it")
        return init_shape_from_bbox(sample.bbox.xyxy)
    try:
        detections = detect_faces(aligner.detector, image, str(sample.image_path))
    except InputError as error:
        return Prediction("no_box", detail=str(error))
    calibration = aligner.detector.calibration
    overlaps = [truth.iou(calibration.landmarks_bbox(detection.bbox)) for detection in detections]
    if not overlaps or max(overlaps) < (FOUND_AT if init == "detector" else 0):
        return Prediction("missed", detail=f"{len(detections)} boxes, none overlaps the face by IoU {FOUND_AT}")
    return detections[overlaps.index(max(overlaps))]


def describe(root: Path, aligner: Aligner, init: Init, min_confidence: float = 0.0) -> dict[str, str]:
    """What `predict_samples` runs on what, for an evaluation's `about`; a model's name alone may mean several files."""
    return {
        "title": aligner.model.name,
        "root": str(root),
        "init": init,
        "detector": aligner.detector.name if init in ("detector", "given-boxes") else "",
        "model": aligner.model.name,
        "model_sha256": sha256_of(aligner.model.path),
        "provider": aligner.model.provider,
        **({"min_confidence": f"{min_confidence:g}"} if min_confidence else {}),
    }


def check_boxes(samples: Sequence[Sample], aligner: Aligner, init: Init) -> None:
    """Raise InputError where the init is to come from boxes and the data set has none at all."""
    if init == "dataset-boxes" and all(sample.bbox is None for sample in samples):
        raise InputError(
            "the data set has no face boxes (no boxes.json beside the pictures). Say where the faces are: "
            "--boxes PATH (boxes.json, facealign's JSON or CSV, or the folder of the organisers' .mat files), "
            "--init detector (finds them; missed faces count as failures), or --init ground-truth (the tight box of "
            "the true landmarks, which makes the figures look better than they are)"
        )
