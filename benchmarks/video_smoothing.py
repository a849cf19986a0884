"""How calm a still face is in video, and how far smoothing lags behind a moving one.

    python benchmarks/video_smoothing.py [PICTURE] [--model NAME|FILE] [--frames N] [--smooth F]

A picture of one face (docs/astronaut.jpg) stands for a person before a camera: still, panned and nodding, with noise of
2, 4 and 8 grey levels. `movement` is the mean way of a point from frame to frame, tracked and smoothed; `raw` the same
with the detector in every frame and no smoothing. `lag` is by how much the error grows through smoothing. Then points
alone, without network and noise: all the error is the filter's. All in percent of the outer-eye distance.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from facealign_cli.aligner import Aligner
from facealign_cli.files.pictures import read_image
from facealign_cli.landmarks import OUTER_EYE_CORNERS
from facealign_cli.video.smoothing import RIGID, FaceSmoother, OneEuroFilter, Smoothing
from facealign_cli.video.tracking import Tracker, TrackingOptions

RATE = 30
SIGMAS = (2.0, 4.0, 8.0)
SETTLED = 5
"""Frames from which on movement counts."""

Motion = Callable[[float], tuple[float, float]]
PATHS: dict[str, Motion] = {
    "pan": lambda t: (-50 + 100 * abs(2 * t % 2 - 1), 0.0),
    "nod": lambda t: (0.0, 25 * math.sin(2 * math.pi * 1.5 * t)),
}
"""Seconds to pixels, at an outer-eye distance of 60."""


def outer_eyes(landmarks: np.ndarray) -> float:
    """Distance of the outer corners of the eyes, pixels."""
    left, right = OUTER_EYE_CORNERS
    return float(np.linalg.norm(landmarks[left] - landmarks[right]))


def movement(shapes: np.ndarray) -> float:
    """Mean way of a point from frame to frame: shapes (N, 68, 2), percent."""
    settled = shapes[SETTLED:]
    return 100 * float(np.linalg.norm(np.diff(settled, axis=0), axis=2).mean()) / outer_eyes(settled[0])


def error(shapes: np.ndarray, truth: np.ndarray, points: list[int] | slice = slice(None)) -> float:
    """Mean distance of the points (N, 68, 2), percent."""
    distances = np.linalg.norm(shapes - truth, axis=2)[:, points]
    return 100 * float(distances.mean()) / outer_eyes(truth[0])


def film(picture: np.ndarray, path: Motion, count: int, sigma: float) -> Iterator[np.ndarray]:
    """The picture moved along a path, with a camera's noise of `sigma` grey levels."""
    rng, size = np.random.default_rng(0), picture.shape[1::-1]
    for i in range(count):
        x, y = path(i / RATE)
        moved = cv2.warpAffine(picture, np.array([[1, 0, x], [0, 1, y]], float), size, borderMode=cv2.BORDER_REFLECT)
        yield np.clip(moved + rng.normal(0, sigma, moved.shape), 0, 255).astype(np.uint8)


def followed(
    aligner: Aligner, frames: Iterator[np.ndarray], smoothing: Smoothing | None, every: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(N, 68, 2) landmarks of the one face, as they were found and smoothed; the same where `smoothing` is None."""
    tracker, found, smooth = Tracker(aligner, TrackingOptions(every)), [], []
    smoother = FaceSmoother(smoothing) if smoothing else None
    for i, frame in enumerate(frames):
        (face,) = tracker.update(frame, i / RATE)
        found.append(face.landmarks)
        smooth.append(smoother([face], i / RATE)[0].landmarks if smoother else face.landmarks)
    return np.array(found), np.array(smooth)


def smoothed(shapes: np.ndarray, smoothing: Smoothing, rate: float = RATE) -> np.ndarray:
    """(N, 68, 2) points through the filter by themselves."""
    one, size = OneEuroFilter(smoothing, RIGID), float(np.ptp(shapes[0], axis=0).mean())
    return np.array([one(shape, i / rate, size) for i, shape in enumerate(shapes)])


def motions(shape: np.ndarray, count: int = 90) -> dict[str, tuple[np.ndarray, list[int] | slice]]:
    """Known motions of (68, 2) points: (count, 68, 2), and the points that move."""
    times, size, center = np.arange(count) / RATE, float(np.ptp(shape, axis=0).mean()), shape.mean(axis=0)
    swing = np.sin(2 * math.pi * times)[:, None, None]
    still, arms, everything = np.repeat(shape[None], count, axis=0), shape - center, slice(None)
    turned = np.stack([-arms[:, 1], arms[:, 0]], axis=1)
    angle = 0.4 * swing
    found: dict[str, tuple[np.ndarray, list[int] | slice]] = {
        "pan": (still + size * np.array([1.8 * np.abs(times % 1 - 0.5), 0 * times]).T[:, None], everything),
        "nod": (still + size * 0.22 * np.sin(3 * math.pi * times)[:, None, None] * [0.0, 1.0], everything),
        "slow": (still + size * 0.1 * times[:, None, None] * [1.0, 0.0], everything),
        "roll": (center + np.cos(angle) * arms + np.sin(angle) * turned, everything),
        "zoom": (center + (1 + 0.2 * swing) * arms, everything),
    }
    depth = 0.45 * size * np.cos(math.pi * arms[:, 0] / np.ptp(arms[:, 0]))
    yaw = still.copy()
    yaw[..., 0] = center[0] + arms[:, 0] * np.cos(angle[..., 0]) + depth * np.sin(angle[..., 0])
    found["head turns"] = (yaw, everything)
    upper, lower, eyes = [37, 38, 43, 44], [41, 40, 47, 46], still.copy()
    shut = np.interp(times % 1, [0, 0.4, 0.5, 0.55, 0.7, 1], [0, 0, 1, 1, 0, 0])  # in a tenth of a second
    eyes[:, upper] += 0.9 * shut[:, None, None] * (shape[lower] - shape[upper])
    found["blink"] = (eyes, upper)
    lip, mouth = [55, 56, 57, 58, 59, 65, 66, 67], still.copy()
    opened = 0.12 * size * (0.5 - 0.5 * np.cos(2 * math.pi * 3 * times))
    mouth[:, lip, 1] += opened[:, None]
    mouth[:, 6:11, 1] += 0.7 * opened[:, None]
    found["speech"] = (mouth, lip)
    return found


def with_network(picture: np.ndarray, aligner: Aligner, smoothing: Smoothing, count: int) -> str:
    """Markdown table of movement and lag, a row a noise."""
    truth = aligner.align(picture)[0].landmarks
    lines = ["| noise | movement | raw | raw / movement | lag, pan | lag, nod |", "| ---: |" + " ---: |" * 5]
    for sigma in SIGMAS:
        _, calm = followed(aligner, film(picture, lambda _: (0.0, 0.0), count, sigma), smoothing)
        raw, _ = followed(aligner, film(picture, lambda _: (0.0, 0.0), count, sigma), None, 1)
        lags = []
        for path in PATHS.values():
            expected = np.array([truth + path(i / RATE) for i in range(count)])
            found, smooth = followed(aligner, film(picture, path, count, sigma), smoothing)
            lags.append(error(smooth, expected) - error(found, expected))
        a, b = movement(calm), movement(raw)
        lines.append(f"| {sigma:g} | {a:.3f} | {b:.2f} | {b / a:.1f} | " + " | ".join(f"{v:+.2f}" for v in lags) + " |")
    return "\n".join(lines) + "\n"


def with_points(shape: np.ndarray, smoothing: Smoothing) -> str:
    """Markdown table of the filter's own error on each motion."""
    rows = [
        f"| {name} | {error(smoothed(path, smoothing), path, points):.2f} |"
        for name, (path, points) in motions(shape).items()
    ]
    return "\n".join(["| points alone | error |", "| --- | ---: |", *rows]) + "\n"


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parents[1] / "docs" / "astronaut.jpg"
    parser.add_argument("picture", type=Path, nargs="?", default=default)
    parser.add_argument("--model")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--smooth", type=Smoothing.parse, default=Smoothing())
    args = parser.parse_args()
    cv2.setNumThreads(1)
    aligner, picture = Aligner(args.model), read_image(args.picture)
    face = aligner.align(picture)[0].landmarks
    scale = 60 / outer_eyes(face)
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    sys.stdout.write(with_network(picture, aligner, args.smooth, args.frames) + "\n")
    sys.stdout.write(with_points(scale * face, args.smooth))


if __name__ == "__main__":
    main()
