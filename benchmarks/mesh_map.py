"""Which vertex of MediaPipe's mesh is each of the 68 points, and how far off do they stay? Measured on 300-W faces.

    python -m venv mp && mp/bin/pip install mediapipe==0.10.21
    PYTHONPATH=. mp/bin/python benchmarks/mesh_map.py ../shared/data/300w

The mesh of every training face is taken to the mean shape by the similarity of the face's true landmarks. For each
point the vertex whose mean distance over the training faces is least is its vertex. What stays on the held-out faces is
measured in shares of the distance of the outer eye corners, beside the map in common use (`peer_worker.py`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import mediapipe
import numpy as np

from benchmarks.peer_worker import MESH_TO_68
from facealign_cli.datasets import Sample, read_samples
from facealign_cli.datasets.splits import is_held_out
from facealign_cli.geometry import SimilarityTransform
from facealign_cli.landmarks import GROUPS, MEAN_SHAPE


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--faces", type=int, default=1200, help="At most so many, evenly over the data set.")
    options = parser.parse_args()
    samples = [s for s in read_samples(options.root) if isinstance(s, Sample) and not s.rough]
    samples = samples[:: max(1, len(samples) // options.faces)]
    mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1, refine_landmarks=False)
    shapes, truths, held = [], [], []
    for sample in samples:
        image = cv2.imread(str(sample.image_path))
        found = mesh.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).multi_face_landmarks
        if not found:
            continue
        points = np.array([(p.x, p.y) for p in found[0].landmark]) * image.shape[1::-1] - 0.5
        if np.linalg.norm(points[list(MESH_TO_68)] - sample.landmarks, axis=1).mean() > 0.3 * np.ptp(sample.landmarks):
            continue  # another face
        transform = SimilarityTransform.estimate(sample.landmarks, MEAN_SHAPE)
        shapes.append(transform.apply(points))
        truths.append(transform.apply(sample.landmarks))
        held.append(is_held_out(sample.photo))
    report(np.array(shapes), np.array(truths), np.array(held))


def report(shapes: np.ndarray, truths: np.ndarray, held: np.ndarray) -> None:
    """shapes: (N, 468, 2), truths: (N, 68, 2), in the mean shape's frame; held: (N,) bool."""
    distances = np.zeros((68, shapes.shape[1]))
    for i in range(68):
        distances[i] = np.linalg.norm(shapes[~held] - truths[~held, i, None], axis=2).mean(axis=0)
    chosen = distances.argmin(axis=1)
    eyes = np.linalg.norm(truths[:, 36] - truths[:, 45], axis=1)[held]
    print(f"{len(shapes)} faces, {held.sum()} of them held out, {len(set(chosen.tolist()))} different vertices")
    for name, table in (("nearest vertices", chosen), ("map in common use", np.array(MESH_TO_68))):
        errors = np.linalg.norm(shapes[held][:, table] - truths[held], axis=2) / eyes[:, None]
        parts = ", ".join(f"{part} {errors[:, list(points)].mean():.2%}" for part, points in GROUPS.items())
        print(f"{name}: {errors.mean():.2%} of the outer eye distance on the held-out faces ({parts})")
    print(tuple(chosen.tolist()))


if __name__ == "__main__":
    main()
