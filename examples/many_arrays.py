"""Faces of many arrays, which share network batches: python examples/many_arrays.py PICTURE..."""

import sys

from facealign_cli import Aligner, read_image

images = (read_image(path) for path in sys.argv[1:])  # (H, W, 3) uint8, BGR; one is read when it is needed

for path, faces in zip(sys.argv[1:], Aligner().align_many(images), strict=True):
    print(path, len(faces), "faces")
    for face in faces:
        x, y = face.landmarks.mean(axis=0)
        print(f"   centre ({x:.1f}, {y:.1f}), confidence {face.confidence:.2f}")
