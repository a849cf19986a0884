"""How calm a still face is in video, whether changes come in time, and how far smoothing lags behind a moving one.

    python benchmarks/video_smoothing.py [PICTURE] [--model NAME|FILE] [--frames N] [--smooth F]

--smooth: what `video track --smooth` takes: on (looks ahead, the default for files), causal (for cameras), and so on.

A picture of one face (docs/astronaut.jpg) stands for a person before a camera: still, panned and nodding, with noise of
2, 4 and 8 grey levels. `movement` is the mean way of a point from frame to frame, tracked and smoothed; `raw` the same
with the detector in every frame and no smoothing; `turning` the mean change of the head pose's angles from frame to
frame. `lag` is by how much the error grows through smoothing. Then points alone, without network and noise: all the
error is the filter's. All but degrees in percent of the outer-eye distance.

Then changes that people make, on points with the noise of a camera (0.1 % of the outer-eye distance): `late` is by how
many frames the measure crosses the middle of the change later than it does in truth, `height` how much of the change is
left at its height; each is the mean over ten runs at 25, 30 and 60 frames a second, and the worst of them.
`noise alone` is the worst height of the same runs without smoothing: what the noise of the one frame at the height
makes. The thresholds of the look-ahead were set on other pictures. Blinks of real clips: video_blinks.py.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import outcome

from facealign_cli.aligner import Aligner
from facealign_cli.boxes import BBox
from facealign_cli.files.pictures import read_image
from facealign_cli.landmarks import OUTER_EYE_CORNERS
from facealign_cli.pose import camera_matrix, estimate_pose
from facealign_cli.records import Face
from facealign_cli.video.lookahead import LookAhead, LookAheadSmoother, parse_smoothing
from facealign_cli.video.smoothing import FaceSmoother, Smoothing
from facealign_cli.video.tracking import Tracker, TrackingOptions

RATE = 30
SIGMAS = (2.0, 4.0, 8.0)
SETTLED = 5
"""Frames from which on movement counts."""

AnySmoothing = LookAhead | Smoothing | None
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
    aligner: Aligner, frames: Iterator[np.ndarray], smoothing: AnySmoothing, every: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(N, 68, 2) landmarks of the one face, as they were found and smoothed; the same where `smoothing` is None."""
    tracker, found = Tracker(aligner, TrackingOptions(every)), []
    for i, frame in enumerate(frames):
        (face,) = tracker.update(frame, i / RATE)
        found.append(face.landmarks)
    shapes = np.array(found)
    return shapes, smoothed(shapes, smoothing)


def smoothed(shapes: np.ndarray, smoothing: AnySmoothing, times_s: np.ndarray | None = None) -> np.ndarray:
    """(N, 68, 2) points through the smoothing by themselves; the same where it is None. times_s: None: by RATE."""
    if smoothing is None:
        return shapes
    faces = [[Face(0, BBox.around(shape), shape, 1.0, track_id=0)] for shape in shapes]
    timed = list(zip(faces, np.arange(len(faces)) / RATE if times_s is None else times_s, strict=True))
    if isinstance(smoothing, LookAhead):
        ahead = LookAheadSmoother(smoothing)
        given = [one for face, time_s in timed for one in ahead.push(face, float(time_s))] + ahead.flush()
    else:
        causal = FaceSmoother(smoothing)
        given = [causal(face, float(time_s)) for face, time_s in timed]
    return np.array([face.landmarks for (face,) in given])


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


def turning(shapes: np.ndarray, width: int, height: int) -> float:
    """Mean change of the head pose's angles from frame to frame, degrees."""
    camera = camera_matrix(width, height)
    poses = [estimate_pose(shape, camera) for shape in shapes[SETTLED:]]
    return float(np.abs(np.diff(np.degrees([pose.rotation_rad for pose in poses if pose]), axis=0)).mean())


EYES, CORNERS, MOUTH = ([37, 38, 43, 44], [41, 40, 47, 46]), [48, 54, 60, 64], [55, 56, 57, 58, 59, 65, 66, 67]


def changed(shape: np.ndarray, what: str, amounts: np.ndarray) -> np.ndarray:
    """(N, 68, 2) a face whose eyes close, or whose mouth widens or opens, by amounts from 0 to 1."""
    shapes, size = np.repeat(shape[None], len(amounts), axis=0), outer_eyes(shape)
    if what == "eyes":
        upper, lower = EYES
        shapes[:, upper] += 0.8 * amounts[:, None, None] * (shape[lower] - shape[upper])
    elif what == "smile":
        outward = np.array([[-1, -0.7], [1, -0.7], [-0.8, -0.6], [0.8, -0.6]])
        shapes[:, CORNERS] += 0.06 * size * amounts[:, None, None] * outward
    else:
        shapes[:, MOUTH, 1] += 0.25 * size * amounts[:, None]
    return shapes


def measure_of(shapes: np.ndarray, what: str) -> np.ndarray:
    """(N,) opening of the eyes, width or opening of the mouth, pixels."""
    pairs = {"eyes": zip(*EYES, strict=True), "smile": [(48, 54)], "mouth": [(62, 66)]}[what]
    return np.mean([np.linalg.norm(shapes[:, i] - shapes[:, j], axis=1) for i, j in pairs], axis=0)


def amounts(times: np.ndarray, kind: str, seconds: float) -> np.ndarray:
    """A change about time 2: "to and fro" within the seconds, or "once", which then stays."""
    if kind == "to and fro":
        return np.where(np.abs(times - 2) < seconds / 2, 0.5 + 0.5 * np.cos(2 * np.pi * (times - 2) / seconds), 0.0)
    share = np.clip((times - 2) / seconds + 0.5, 0, 1)
    return share**2 * (3 - 2 * share)


CHANGES = (
    *(("blink", "eyes", "to and fro", seconds) for seconds in (0.1, 0.2, 0.5)),
    *(("slow closing", "eyes", "once", seconds) for seconds in (0.5, 1.0, 3.0)),
    *(("smile", "smile", "once", seconds) for seconds in (0.2, 0.5, 1.0, 3.0)),
    *(("mouth opening", "mouth", "to and fro", seconds) for seconds in (0.2, 0.5)),
    *(("mouth opening", "mouth", "once", seconds) for seconds in (0.5, 3.0)),
)
"""Name, what changes, how, in how many seconds."""


def crossings(values: np.ndarray, level: float) -> np.ndarray:
    """Where a series crosses a level, in frames."""
    above = values > level
    i = np.flatnonzero(above[1:] != above[:-1])
    return i + (level - values[i]) / (values[i + 1] - values[i])


def with_changes(shape: np.ndarray, smoothing: AnySmoothing, runs: int = 10) -> str:
    """Markdown table of changes: how late, and how high."""
    rng, scale = np.random.default_rng(0), 0.001 * outer_eyes(shape)
    lines = [
        "| change | seconds | late, frames | late at worst | height | height at worst | noise alone |",
        "| --- |" + " ---: |" * 6,
    ]
    for name, what, kind, seconds in CHANGES:
        late, heights, noisy_heights = [], [], []
        for rate in (25, 30, 60):
            times = np.arange(0, 4 + seconds / 2, 1 / rate)
            path = changed(shape, what, amounts(times, kind, seconds))
            truth = measure_of(path, what)
            peak = int(np.argmax(np.abs(truth - truth[0])))
            expected = crossings(truth, (truth[0] + truth[peak]) / 2)
            for _ in range(runs):
                noisy = path + rng.normal(0, scale, path.shape)
                found = measure_of(smoothed(noisy, smoothing, times), what)
                at = crossings(found, (truth[0] + truth[peak]) / 2)
                late += [nearest(at, frame) for frame in expected]
                for into, values in ((heights, found), (noisy_heights, measure_of(noisy, what))):
                    into.append((values[peak] - truth[0]) / (truth[peak] - truth[0]))
        worst, worst_noisy = (100 * max(one, key=lambda height: abs(height - 1)) for one in (heights, noisy_heights))
        cells = f"{np.mean(late):+.2f} | {max(late, key=abs):+.2f} | {100 * np.mean(heights):.1f} %"
        cells += f" | {worst:.1f} % | {worst_noisy:.1f} %"
        lines.append(f"| {name}, {kind} | {seconds:g} | {cells} |")
    return "\n".join(lines) + "\n"


def nearest(at: np.ndarray, frame: float) -> float:
    """By how many frames the nearest crossing is late; infinity where there is none."""
    return float(at[np.argmin(np.abs(at - frame))] - frame) if len(at) else math.inf


def with_network(picture: np.ndarray, aligner: Aligner, smoothing: AnySmoothing, count: int) -> str:
    """Markdown table of movement and lag, a row a noise."""
    truth = aligner.align(picture)[0].landmarks
    head = "| noise | movement | raw | raw / movement | turning, degrees | lag, pan | lag, nod |"
    lines = [head, "| ---: |" + " ---: |" * 6]
    for sigma in SIGMAS:
        _, calm = followed(aligner, film(picture, lambda _: (0.0, 0.0), count, sigma), smoothing)
        raw, _ = followed(aligner, film(picture, lambda _: (0.0, 0.0), count, sigma), None, 1)
        lags = []
        for path in PATHS.values():
            expected = np.array([truth + path(i / RATE) for i in range(count)])
            found, smooth = followed(aligner, film(picture, path, count, sigma), smoothing)
            lags.append(error(smooth, expected) - error(found, expected))
        a, b = movement(calm), movement(raw)
        turned = turning(calm, picture.shape[1], picture.shape[0])
        lines.append(
            f"| {sigma:g} | {a:.3f} | {b:.2f} | {b / a:.1f} | {turned:.3f} | "
            + " | ".join(f"{v:+.2f}" for v in lags)
            + " |"
        )
    return "\n".join(lines) + "\n"


def with_points(shape: np.ndarray, smoothing: AnySmoothing) -> str:
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
    parser.add_argument("--smooth", type=parse_smoothing, default=LookAhead())
    outcome.add_options(parser)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    aligner, picture = Aligner(args.model), read_image(args.picture)
    face = aligner.align(picture)[0].landmarks
    scale = 60 / outer_eyes(face)
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tables = [with_network(picture, aligner, args.smooth, args.frames)]
    tables += [with_points(scale * face, args.smooth), with_changes(scale * face, args.smooth)]
    outcome.hand_over("\n".join(tables), args)


if __name__ == "__main__":
    main()
