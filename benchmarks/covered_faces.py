"""The command of `hard_faces.py` that covers faces as training does: what a cover hides, and what it leaves to see."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from face_groups import BELIEVED

from facealign_cli.aligner import Aligner
from facealign_cli.datasets import Sample, held_out_samples
from facealign_cli.files.pictures import read_image
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.metrics import scale_of
from facealign_cli.training.cover import SHARES, cover_mask


@click.command()
@click.argument("root", type=click.Path(exists=True, path_type=Path))
@click.option("--model", help="Name or file; by default the shipped one.")
def covers(root: Path, model: str | None) -> None:
    """Error of the points that something hides and of those still seen, each beside the error with nothing there."""
    aligner, samples = Aligner(model), held_out_samples(root)
    plain = np.array([errors(aligner, sample, read_image(sample.image_path))[0] for sample in samples])
    columns = ["in front of the face", "hidden points", "error, %", "with nothing there", "the others"]
    columns += ["the others with nothing there", "believed"]
    print(f"| {' | '.join(columns)} |\n{'| --- ' * len(columns)}|")
    for kind in SHARES:
        rng = np.random.default_rng(0)
        hidden, covered, confidence = zip(*(under(aligner, sample, kind, rng) for sample in samples), strict=True)
        hides, error = np.array(hidden), np.array(covered)
        cells = [f"{100 * values[of].mean():.2f}" for of in (hides, ~hides) for values in (error, plain)]
        believed = 100 * (np.array(confidence) >= BELIEVED).mean()
        print(f"| {kind} | {100 * hides.mean():.1f} % | {' | '.join(cells)} | {believed:.1f} % |", flush=True)


def under(
    aligner: Aligner, sample: Sample, kind: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """Which points are hidden, (68,) bool, their errors and the confidence."""
    image = read_image(sample.image_path)
    height, width = image.shape[:2]
    mask = cover_mask(kind, (height, width), sample.landmarks, rng) > 127
    image[mask] = rng.integers(0, 256)
    x, y = sample.landmarks.round().astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    hidden = inside & mask[y.clip(0, height - 1), x.clip(0, width - 1)]
    return hidden, *errors(aligner, sample, image)


def errors(aligner: Aligner, sample: Sample, image: np.ndarray) -> tuple[np.ndarray, float]:
    """(68,) distances from the truth in shares of the inter-pupil distance, from the organisers' box; confidence."""
    if sample.bbox is None:
        raise click.ClickException(f"{sample.name}: no box for it")
    aligned = aligner.align_shapes(image, [init_shape_from_bbox(sample.bbox.xyxy)])
    distance = np.linalg.norm(aligned.landmarks[0] - sample.landmarks, axis=1)
    return distance / scale_of(sample.landmarks[None], "inter-pupil")[0], float(aligned.confidence[0])
