"""What turning the head does to the measures, and whether blinks are found.

    python benchmarks/measures.py turned ROOT [--focal-sides F]    # ROOT as for benchmarks/pose.py
    python benchmarks/measures.py blinks [PICTURE] [--model NAME|FILE]

`turned`: the median of each measure over the hand-labelled faces of a folder, by degrees of yaw, and in brackets the
distance of its 5th and 95th percentile. People who are turned open their eyes as others do, so a measure that does not
depend on the turn has like medians in all bands. `picture` is measured in the picture itself, `laid back` as facealign
does it, here without the limits of yaw. The near side is the one that faces the camera.

`blinks`: a photo of one face (docs/astronaut.jpg) as a clip of 30 frames a second, with camera noise of 2 grey levels,
in which the lids are drawn down over the eyes at known times, for 0.1 to 0.5 s. It is tracked, smoothed and measured,
and the blinks found are counted against those that were made.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import cv2
import numpy as np
from video_smoothing import RATE, followed

from facealign_cli.aligner import Aligner
from facealign_cli.files.pictures import read_image
from facealign_cli.formats import pts
from facealign_cli.measures.base import lay_back
from facealign_cli.measures.blinks import dips
from facealign_cli.pose import camera_matrix, estimate_pose
from facealign_cli.video.lookahead import LookAhead

BANDS = ((0, 15), (15, 30), (30, 45), (45, 60), (60, 91))
DURATIONS_S = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
EVERY_S = 1.5
"""Seconds from one made blink to the next."""


def _apart(points: np.ndarray, i: int, j: int) -> float:
    return float(np.linalg.norm(points[i] - points[j]))


def _eye(points: np.ndarray, first: int) -> float:
    lids = _apart(points, first + 1, first + 5) + _apart(points, first + 2, first + 4)
    return lids / max(2 * _apart(points, first, first + 3), 1e-9)  # the far corners may lie on one another


def _brow(points: np.ndarray, corners: list[int], brow: list[int]) -> float:
    return float(points[corners, 1].mean() - points[brow, 1].mean()) / _apart(points, 36, 45)


LEFT, RIGHT = (36, [36, 39], [17, 18, 19, 20, 21]), (42, [42, 45], [22, 23, 24, 25, 26])
QUANTITIES: dict[str, Callable[[np.ndarray, float], float]] = {
    "eye, near side": lambda p, yaw: _eye(p, (RIGHT if yaw > 0 else LEFT)[0]),
    "eye, far side": lambda p, yaw: _eye(p, (LEFT if yaw > 0 else RIGHT)[0]),
    "brow, near side": lambda p, yaw: _brow(p, *(RIGHT if yaw > 0 else LEFT)[1:]),
    "brow, far side": lambda p, yaw: _brow(p, *(LEFT if yaw > 0 else RIGHT)[1:]),
    "mouth width": lambda p, _: _apart(p, 48, 54) / _apart(p, 36, 45),
}


def turned_faces(root: Path, sides: float) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Yaw in degrees, landmarks in the picture and laid back, of each face that has a yaw and landmarks."""
    for name, facts in sorted(json.loads((root / "info.json").read_text(encoding="utf-8")).items()):
        labels = root / f"{name}.pts"
        if "yaw" not in facts or not labels.exists():
            continue
        height, width = read_image(root / f"{name}.jpg").shape[:2]
        landmarks, camera = pts.read(labels)[0].faces[0].landmarks, camera_matrix(width, height, sides * width)
        pose = estimate_pose(landmarks, camera)
        if pose is not None:
            yield facts["yaw"], landmarks, lay_back(landmarks, pose, camera)


@click.group()
def main() -> None:
    """See the module's docstring."""
    cv2.setNumThreads(1)


@main.command()
@click.argument("root", type=click.Path(path_type=Path, exists=True))
@click.option("--focal-sides", default=4.0)
def turned(root: Path, focal_sides: float) -> None:
    """Medians of the measures by yaw."""
    faces = list(turned_faces(root, focal_sides))
    yaws = np.array([abs(yaw) for yaw, _, _ in faces])
    heads = [f"{low} to {high}" for low, high in BANDS]
    lines = [f"| measure | where | {' | '.join(heads)} |", "| --- | --- |" + " ---: |" * len(BANDS)]
    for name, measure in QUANTITIES.items():
        for where, index in (("picture", 1), ("laid back", 2)):
            values = np.array([measure(face[index], face[0]) for face in faces])
            cells = [_median_and_spread(values[(yaws >= low) & (yaws < high)]) for low, high in BANDS]
            lines.append(f"| {name} | {where} | {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")


def _median_and_spread(values: np.ndarray) -> str:
    low, middle, high = np.percentile(values, [5, 50, 95])
    return f"{middle:.2f} ({high - low:.2f})"


def with_lids_drawn(picture: np.ndarray, landmarks: np.ndarray, shut: float) -> np.ndarray:
    """A picture of a face whose upper lids are drawn down by a share of the way to the lower ones."""
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    source = rows.copy()
    for first, brow in ((36, range(17, 22)), (42, range(22, 27))):
        eye = landmarks[first : first + 6]
        (left, right), roof = (eye[0, 0], eye[3, 0]), landmarks[list(brow), 1].mean()
        across = np.arange(width)
        upper = np.interp(across, eye[[0, 1, 2, 3], 0], eye[[0, 1, 2, 3], 1])
        lower = np.interp(across, eye[[0, 5, 4, 3], 0], eye[[0, 5, 4, 3], 1])
        lid = upper + shut * (lower - upper)  # where the upper lid's edge comes to lie
        inside = (columns > left) & (columns < right)
        stretched = roof + (rows - roof) * (upper - roof) / np.maximum(lid - roof, 1)  # the lid's skin
        eye_height = np.maximum(
            lower - lid, np.clip(lower - upper, 1e-6, 1)
        )  # an eye that does not close stays as it is
        squeezed = lower - (lower - rows) * (lower - upper) / eye_height  # what is left of the eye
        source = np.where(inside & (rows > roof) & (rows <= lid), stretched, source)
        source = np.where(inside & (rows > lid) & (rows < lower), squeezed, source)
    return cv2.remap(picture, columns, source.astype(np.float32), cv2.INTER_LINEAR)


def closing(time_s: float) -> float:
    """How far the lids are drawn at a time, 0 to 1: a raised cosine for each blink."""
    for i, duration in enumerate(DURATIONS_S):
        away = abs(time_s - (i + 1) * EVERY_S)
        if away < duration / 2:
            return 0.5 + 0.5 * float(np.cos(2 * np.pi * away / duration))
    return 0.0


def blinking_film(picture: np.ndarray, landmarks: np.ndarray) -> Iterator[np.ndarray]:
    """The frames of the clip."""
    rng = np.random.default_rng(0)
    for i in range(round(RATE * EVERY_S * (len(DURATIONS_S) + 1))):
        frame = with_lids_drawn(picture, landmarks, closing(i / RATE))
        yield np.clip(frame + rng.normal(0, 2, frame.shape), 0, 255).astype(np.uint8)


@main.command()
@click.argument(
    "picture",
    type=click.Path(path_type=Path, exists=True),
    default=Path(__file__).resolve().parents[1] / "docs" / "astronaut.jpg",
)
@click.option("--model")
def blinks(picture: Path, model: str | None) -> None:
    """Blinks that were made, and those that are found."""
    image, aligner = read_image(picture), Aligner(model)
    landmarks = aligner.align(image)[0].landmarks
    _, smooth = followed(aligner, blinking_film(image, landmarks), LookAhead())
    camera = camera_matrix(image.shape[1], image.shape[0])
    openings = []
    for shape in smooth:
        pose = estimate_pose(shape, camera)
        laid = shape if pose is None else lay_back(shape, pose, camera)
        openings.append((_eye(laid, 36) + _eye(laid, 42)) / 2)
    found = dips(np.arange(len(openings)) / RATE, np.array(openings))
    lines = ["| made at, s | lasts, s | found at | from | to | depth |", "| ---: |" + " ---: |" * 5]
    for i, duration in enumerate(DURATIONS_S):
        middle = (i + 1) * EVERY_S
        near = [dip for dip in found if abs(dip[1] - middle) < duration / 2]
        cells = [f"{value:.2f}" for value in (near[0][1], near[0][0], near[0][2], near[0][3])] if near else ["—"] * 4
        lines.append(f"| {middle:g} | {duration:g} | {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + f"\n\n{len(DURATIONS_S)} blinks made, {len(found)} found\n")


if __name__ == "__main__":
    main()
