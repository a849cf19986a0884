"""How much of their depth the blinks of real clips keep when they are smoothed.

    python benchmarks/video_blinks.py CLIP... [--model NAME|FILE] [--smooth F] [--views N]

Each clip is tracked once; the eye opening of its longest track is taken from the landmarks as they were found, as
`--smooth` makes them (the default: on), and as the mean over `--views` crops of each frame by itself (16; shifted by
3 %, scaled by 5 %, turned by 5°, standard deviations). The last knows nothing of the frames beside it, so that it is a
second way to take the noise out of one frame: how deep a blink is without noise and without smoothing over time.

A row a blink of the unsmoothed landmarks. `depth` is what blinks.csv calls so: by which share the eyes close at most,
from the median of the same person's opening within 2 s around. `left` is the smoothed depth over the unsmoothed one,
`late` by how many frames the smoothed opening crosses the middle of the closing later, `begins` and `ends` by how many
milliseconds the smoothed blink does so later. The last line tells how many blinks there are without and with smoothing.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from video_smoothing import crossings, nearest, smoothed

from facealign_cli.aligner import Aligner
from facealign_cli.measures.base import measure_results
from facealign_cli.measures.blinks import LEVEL_S, Blink, find_blinks
from facealign_cli.records import FrameResult
from facealign_cli.video import open_source
from facealign_cli.video.base import VideoFrame
from facealign_cli.video.lookahead import LookAhead, parse_smoothing
from facealign_cli.video.tracking import Tracker

AROUND_S = 0.1
"""A blink is looked for within so many seconds of where it was without smoothing."""


def tracked(path: Path, aligner: Aligner) -> list[FrameResult]:
    """The longest track of a clip, as it was found."""
    tracker, found = Tracker(aligner), []
    for frame in open_source(str(path)):
        if isinstance(frame, VideoFrame) and frame.image_bgr is not None:
            height, width = frame.image_bgr.shape[:2]
            place = {"frame": frame.index, "timestamp_s": frame.timestamp_s, "width": width, "height": height}
            faces = tracker.update(frame.image_bgr, frame.timestamp_s)
            found += [FrameResult.of_faces(str(path), [face], **place) for face in faces]
    ids = Counter(result.faces[0].track_id for result in found)
    return [result for result in found if result.faces[0].track_id == ids.most_common(1)[0][0]]


def seen_again(results: Sequence[FrameResult], blinks: Sequence[Blink], aligner: Aligner, views: int) -> np.ndarray:
    """(N,) the opening of the eyes as the mean over crops of each frame by itself; NaN far from any blink."""
    rng, values, places = np.random.default_rng(0), np.full(len(results), np.nan), {}
    for place, result in enumerate(results):
        if any(abs(blink.peak_s - result.timestamp_s) <= LEVEL_S for blink in blinks):
            places[result.frame] = place
    for frame in open_source(results[0].source):
        if isinstance(frame, VideoFrame) and frame.index in places:
            place = places[frame.index]
            (face,) = results[place].faces
            shapes = aligner.align_shapes(frame.image_bgr, varied(face.landmarks, views, rng)).landmarks
            mean = replace(results[place], faces=(replace(face, landmarks=np.mean(shapes, axis=0)),))
            values[place] = openings([mean])[0]
    return values


def varied(shape: np.ndarray, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Shapes (68, 2) to begin with, each shifted, scaled and turned at random."""
    centre, size = shape.mean(axis=0), float(np.ptp(shape, axis=0).mean())
    shapes = []
    for _ in range(count):
        angle, scale = np.radians(rng.normal(0, 5)), np.exp(rng.normal(0, 0.05))
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shapes.append((shape - centre) @ turn.T + centre + rng.normal(0, 0.03 * size, 2))
    return shapes


def openings(results: Sequence[FrameResult]) -> np.ndarray:
    """(N,) the opening of the eyes; NaN where it cannot be measured."""
    return np.array([face.measures.eye_opening or np.nan for face in measure_results(results)])


def depth_near(blink: Blink, times: np.ndarray, values: np.ndarray) -> float:
    """By which share the eyes close at most where a blink was, whether or not it counts as a blink in this series."""
    near, around = np.abs(times - blink.peak_s) <= AROUND_S, np.abs(times - blink.peak_s) <= LEVEL_S
    return float(1 - np.nanmin(values[near]) / np.nanmedian(values[around]))


def row(blink: Blink, again: Blink | None, times: np.ndarray, series: Sequence[np.ndarray]) -> tuple[str, float]:
    """Markdown cells of a blink, and how much of its depth is left."""
    raw, smooth, _ = series
    depths = [depth_near(blink, times, values) for values in series]
    first, peak = np.searchsorted(times, [blink.start_s, blink.peak_s])
    middle = float(np.nanmedian(raw[np.abs(times - blink.peak_s) <= LEVEL_S])) * (1 - blink.depth / 2)
    expected = crossings(raw[: peak + 1], middle)[-1]
    late = nearest(crossings(smooth[max(0, first - 8) : peak + 8], middle) + max(0, first - 8), expected)
    ends = (
        [f"{1000 * (a - b):+.0f}" for a, b in ((again.start_s, blink.start_s), (again.end_s, blink.end_s))]
        if again
        else ["", ""]
    )
    cells = [f"{blink.peak_s:.2f}", *(f"{depth:.3f}" for depth in depths), f"{100 * depths[1] / depths[0]:.1f} %"]
    return " | ".join([*cells, f"{late:+.2f}", *ends]), depths[1] / depths[0]


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP")
    parser.add_argument("--model")
    parser.add_argument("--smooth", type=parse_smoothing, default=LookAhead())
    parser.add_argument("--views", type=int, default=16)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    aligner, left, counts = Aligner(args.model), [], [0, 0]
    columns = ["clip", "peak, s", "depth, unsmoothed", "smoothed", f"mean of {args.views} crops", "left"]
    columns += ["late, frames", "begins, ms", "ends, ms"]
    sys.stdout.write(f"| {' | '.join(columns)} |\n| --- |" + " ---: |" * (len(columns) - 1) + "\n")
    for clip in args.clips:
        results = tracked(clip, aligner)
        if not results:
            continue
        times = np.array([result.timestamp_s for result in results])
        points = smoothed(np.array([result.faces[0].landmarks for result in results]), args.smooth, times)
        calm = [replace(r, faces=(replace(r.faces[0], landmarks=p),)) for r, p in zip(results, points, strict=True)]
        before, after = (find_blinks(measure_results(one)) for one in (results, calm))
        counts = [counts[0] + len(before), counts[1] + len(after)]
        series = [openings(results), openings(calm), seen_again(results, before, aligner, args.views)]
        for blink in before:
            again = next((one for one in after if abs(one.peak_s - blink.peak_s) <= AROUND_S), None)
            cells, share = row(blink, again, times, series)
            left.append(share)
            sys.stdout.write(f"| {clip.name} | {cells} |\n")
    if left:
        worst = max(left, key=lambda share: abs(share - 1))
        sys.stdout.write(
            f"\n{counts[0]} blinks, smoothed {counts[1]}; of their depth {100 * np.mean(left):.1f} % is left in the "
            f"mean, {100 * worst:.1f} % at worst.\n"
        )


if __name__ == "__main__":
    main()
