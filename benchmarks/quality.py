"""What a face's size makes of its sharpness, and what the quality costs.

    python benchmarks/quality.py PHOTOS...

PHOTOS: pictures with large faces, e.g. of ../shared/data/300w. Each face whose landmarks reach over 160 pixels or more
is made smaller; printed is its sharpness over that at full size (5th, 50th, 95th percentile), and at the end the least
milliseconds a face of the quality and of the head pose, measured in turns.
"""

from __future__ import annotations

import argparse
import time

import cv2
import numpy as np

from facealign_cli import Aligner, read_image
from facealign_cli.pose import camera_matrix, estimate_pose
from facealign_cli.quality import face_quality

LEAST, EXTENTS, ROUNDS = 160, (128, 96, 64, 48, 32), 200


def main() -> None:
    """Print what size makes of the sharpness, and what the quality costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+")
    aligner, shares, last = Aligner(), {extent: list[float]() for extent in EXTENTS}, None
    for path in parser.parse_args().photos:
        image = read_image(path)
        for face in aligner.align(image):
            extent = float(np.ptp(face.landmarks, axis=0).max())
            if extent < LEAST or face.confidence < 0.9:
                continue
            whole, last = face_quality(image, face.landmarks), (image, face.landmarks)
            for target in EXTENTS:
                small = cv2.resize(image, None, fx=target / extent, fy=target / extent, interpolation=cv2.INTER_AREA)
                scale = np.array(small.shape[1::-1]) / image.shape[1::-1]
                made = face_quality(small, (face.landmarks + 0.5) * scale - 0.5)
                shares[target].append(made.sharpness / whole.sharpness)
    for target, values in shares.items():
        low, median, high = np.percentile(values, (5, 50, 95))
        print(f"{target:4} pixels, {len(values)} faces: {low:.2f} {median:.2f} {high:.2f}")
    image, landmarks = last
    camera, times = camera_matrix(image.shape[1], image.shape[0]), ([], [])
    jobs = (lambda: face_quality(image, landmarks), lambda: estimate_pose(landmarks, camera))
    for _ in range(ROUNDS):
        for kept, job in zip(times, jobs, strict=True):
            begin = time.perf_counter()
            job()
            kept.append(1000 * (time.perf_counter() - begin))
    print(f"quality {min(times[0]):.2f} ms a face, head pose {min(times[1]):.2f} ms a face")


if __name__ == "__main__":
    main()
