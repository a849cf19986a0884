"""How alike a face looks from frame to frame, beside how alike two persons look: where `video.cuts` draws its lines.

    python benchmarks/looks.py PHOTOS CLIP...

PHOTOS: a folder of photos of different persons. CLIP: clips without a cut to another person. Prints percentiles of the
correlation of two looks.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np

from facealign_cli import Aligner, open_source, read_image
from facealign_cli.video.cuts import look_of
from facealign_cli.video.tracking import Tracker

PERCENTILES = (0, 1, 5, 50, 95, 99, 100)


def between_persons(aligner: Aligner, folder: Path) -> list[float]:
    """The correlation of each pair of faces in the photos of a folder."""
    looks = []
    for path in sorted(folder.glob("*.jpg")):
        image = read_image(path)
        looks += [look_of(image, face.landmarks) for face in aligner.align(image) if not face.doubtful]
    known = [look for look in looks if look is not None]
    return [float(a @ b) for a, b in combinations(known, 2)]


def from_frame_to_frame(aligner: Aligner, clip: str) -> list[float]:
    """The correlation of each face with itself one frame before."""
    tracker, last, found = Tracker(aligner), {}, []
    source = open_source(clip)
    for frame in source:
        now = {
            f.track_id: look_of(frame.image_bgr, f.landmarks)
            for f in tracker.update(frame.image_bgr, frame.timestamp_s)
        }
        found += [
            float(now[i] @ last[i]) for i in now.keys() & last.keys() if now[i] is not None and last[i] is not None
        ]
        last = now
    source.close()
    return found


def main() -> None:
    """Print how alike faces look, from frame to frame and from person to person."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("clips", nargs="*")
    arguments = parser.parse_args()
    aligner = Aligner()
    print(f"{'what':40} {'pairs':>7} " + " ".join(f"{f'p{p}':>6}" for p in PERCENTILES))
    rows = [("two persons", between_persons(aligner, arguments.photos))]
    rows += [
        (f"one frame to the next, {Path(clip).name}", from_frame_to_frame(aligner, clip)) for clip in arguments.clips
    ]
    for name, values in rows:
        cells = " ".join(f"{value:6.2f}" for value in np.percentile(values, PERCENTILES))
        print(f"{name[:40]:40} {len(values):7} {cells}")


if __name__ == "__main__":
    main()
