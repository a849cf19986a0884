"""How far the labels of each data set stand to the right of where mirror symmetry would have them.

    python benchmarks/label_offset.py ../shared/data/300w [--all] [--model FILE]

A face and its mirror image go through the model; the mean of the one result and the other, mirrored back, has no side
that it prefers. The labels' mean offset from it, along x, is theirs. Held-out faces only, unless --all: the model
has learnt the offsets of its training faces. `training/augment.py` needs the figure to mirror faces with their labels.
The last two columns say how far the labels stand to the right of the model's landmarks and below them, pixels: two
data sets with precise labels that differ there have two conventions. Points that are not to be trusted do not count.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from facealign_cli.aligner import Aligner
from facealign_cli.datasets import Sample, held_out_samples, read_samples
from facealign_cli.files.pictures import read_image
from facealign_cli.geometry import bbox_of_shape, init_shape_from_bbox
from facealign_cli.landmarks import MIRROR_ORDER


def offset(aligner: Aligner, sample: Sample) -> tuple[float, float, float, float]:
    """Mean offset of one face's labels along x, in pixels and in shares of the landmarks' extent; from the model's."""
    image = read_image(sample.image_path)
    box = bbox_of_shape(sample.landmarks)
    shape = init_shape_from_bbox(box)
    last = image.shape[1] - 1
    trusted = np.ones(68, bool) if sample.weights is None else sample.weights > 0
    plain = aligner.align_shapes(image, [shape]).landmarks[0]
    mirrored_shape = init_shape_from_bbox([last - box[2], box[1], last - box[0], box[3]])
    mirrored = aligner.align_shapes(np.ascontiguousarray(image[:, ::-1]), [mirrored_shape]).landmarks[0]
    back = mirrored[list(MIRROR_ORDER)] * [-1, 1] + [last, 0]
    pixels = float((sample.landmarks - (plain + back) / 2)[trusted, 0].mean())
    right, down = (sample.landmarks - plain)[trusted].mean(axis=0)
    return pixels, pixels / float((box[2:] - box[:2]).max()), float(right), float(down)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--all", action="store_true", help="all faces, not the held-out ones only")
    parser.add_argument("--model", help="name or file; by default the shipped one")
    args = parser.parse_args()
    samples = [s for s in read_samples(args.root) if isinstance(s, Sample)] if args.all else held_out_samples(args.root)
    aligner, offsets = Aligner(args.model), defaultdict(list)
    for sample in samples:
        offsets[f"{sample.dataset}{' (rough)' if sample.rough else ''}"].append(offset(aligner, sample))
    offsets["all"] = [value for values in offsets.values() for value in values]
    head = ("data set", "faces", "pixels, ± standard error", "% of the landmarks' extent", "right", "down")
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|")
    for name, values in offsets.items():
        pixels, shares, right, down = np.array(values).T
        error = pixels.std() / np.sqrt(len(pixels))
        print(
            f"| {name} | {len(pixels)} | {pixels.mean():+.2f} ± {error:.2f} | {100 * shares.mean():+.2f} "
            f"| {right.mean():+.2f} | {down.mean():+.2f} |"
        )


if __name__ == "__main__":
    main()
