"""The shipped model on the held-out split: inter-pupil NME per stage, from the organisers' boxes and from a detector's.

    python benchmarks/held_out.py ../shared/data/300w [--model NAME|FILE] [--detector NAME] [-o FILE.md]

The held-out split is the one of `facealign_cli.datasets.splits`: a tenth of the photos of AFW, HELEN and LFPW, fixed by
their names; roughly labelled faces are left out. A face counts as found when a detector's box, calibrated to the
landmarks' box, overlaps the truth's tight box by IoU 0.4; errors from the detector are means over the found faces.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facealign_cli.aligner import Aligner
from facealign_cli.datasets import Sample, held_out_samples
from facealign_cli.geometry import bbox_of_shape, init_shape_from_bbox
from facealign_cli.media import read_image
from facealign_cli.metrics import nme
from facealign_cli.records import BBox

FOUND_AT = 0.4


@dataclass(frozen=True)
class Errors:
    """Inter-pupil NME of each face after stage 1 and after the last stage; confidence; the data set of each face."""

    stage1: np.ndarray
    last: np.ndarray
    confidence: np.ndarray
    datasets: np.ndarray


def box_by_detector(aligner: Aligner, image: np.ndarray, truth: BBox) -> BBox | None:
    """The calibrated box that overlaps the truth best, if by enough."""
    boxes = [aligner.detector.calibration.landmarks_bbox(d.bbox) for d in aligner.detector.detect(image)]
    best = max(boxes, key=truth.iou, default=None)
    return best if best is not None and best.iou(truth) >= FOUND_AT else None


def measure(aligner: Aligner, samples: list[Sample], by_detector: bool) -> Errors:
    """Errors of all samples that have a box."""
    rows = []
    for sample in samples:
        image = read_image(sample.image_path)
        truth = BBox(*bbox_of_shape(sample.landmarks))
        box = box_by_detector(aligner, image, truth) if by_detector else sample.bbox
        if box is None:
            continue
        aligned = aligner.align_shapes(image, [init_shape_from_bbox(box.xyxy)])
        errors = [
            nme(shape, sample.landmarks[None], "inter-pupil")[0]
            for shape in (aligned.stage1_landmarks, aligned.landmarks)
        ]
        rows.append((*errors, aligned.confidence[0], sample.dataset))
    stage1, last, confidence, datasets = (np.array(column) for column in zip(*rows, strict=True))
    return Errors(stage1, last, confidence, datasets)


def table(name: str, total: int, results: dict[str, Errors]) -> str:
    """Markdown."""
    lines = [
        f"`{name}`, held-out split, {total} faces; NME in % of the inter-pupil distance, mean over faces.",
        "",
        "| init | faces | stage 1 | last stage | median | P90 | AFW | HELEN | LFPW |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for init, errors in results.items():
        parts = [100 * errors.last[errors.datasets == d].mean() for d in ("afw", "helen", "lfpw")]
        figures = [
            errors.stage1.mean() * 100,
            errors.last.mean() * 100,
            *np.percentile(errors.last * 100, (50, 90)),
            *parts,
        ]
        share = f"{len(errors.last)} ({100 * len(errors.last) / total:.1f} %)"
        lines.append(f"| {init} | {share} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--detector", default="mtcnn")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    samples = held_out_samples(args.root)
    aligner = Aligner(args.model, args.detector)
    results = {
        "organisers' boxes": measure(aligner, samples, by_detector=False),
        f"{args.detector}, found at IoU {FOUND_AT}": measure(aligner, samples, by_detector=True),
    }
    text = table(aligner.model.name, len(samples), results)
    print(text, end="")
    if args.output:
        args.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
