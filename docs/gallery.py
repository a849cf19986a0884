"""Makes the pictures of the documentation, from public-domain photos only: python docs/gallery.py [NAME ...]

scikit-image's `data.astronaut()` is a portrait of Eileen Collins by NASA, in the public domain.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from facealign_cli import Aligner, BBox, Face, draw_overlay, read_image, write_image
from facealign_cli.geometry import bbox_of_shape
from facealign_cli.landmarks import CONTOURS, GROUPS, MEAN_SHAPE
from facealign_cli.pose import camera_matrix, mean_face, project
from facealign_cli.records import HeadPose

DOCS = Path(__file__).resolve().parent
INK, LINE, PAPER, SHADE = (40, 40, 40), (200, 160, 90), (255, 255, 255), (150, 150, 150)


def numbered_points(side: int = 900) -> np.ndarray:
    """(side, side, 3) uint8 BGR: the mean face with the number of each ibug point, counted from 0."""
    scale = 0.84 * side / np.ptp(MEAN_SHAPE, axis=0).max()
    middle = (MEAN_SHAPE.min(axis=0) + MEAN_SHAPE.max(axis=0)) / 2
    points = (MEAN_SHAPE - middle) * scale + side / 2
    image = np.full((side, side, 3), PAPER, np.uint8)
    for indices, closed in CONTOURS:
        cv2.polylines(image, [np.rint(points[list(indices)]).astype(np.int32)], closed, LINE, 2, cv2.LINE_AA)
    for number, point in enumerate(points):
        x, y = np.rint(point).astype(int)
        cv2.circle(image, (x, y), 4, INK, -1, cv2.LINE_AA)
        centre = next(points[list(group)].mean(axis=0) for group in GROUPS.values() if number in group)
        away = (point - centre) / max(float(np.linalg.norm(point - centre)), 1e-6)
        if number in range(27, 31):
            away = np.array([1.0, 0.0])  # beside the bridge of the nose, not on it
        elif number in (60, 64):
            away = -away  # the inner corners of the mouth lie close to the outer ones
        (width, height), _ = cv2.getTextSize(str(number), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
        place = point + away * 16 + (-width / 2, height / 2)
        cv2.putText(
            image, str(number), tuple(np.rint(place).astype(int)), cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA
        )
    return image


TURNS = (
    ("straight ahead", (0.0, 0.0, 0.0)),
    ("Rx, pitch +25", (25.0, 0.0, 0.0)),
    ("Ry, yaw +35", (0.0, 35.0, 0.0)),
    ("Rz, roll +25", (0.0, 0.0, 25.0)),
)
"""What stands below each head, and its Rx, Ry, Rz in degrees."""


def head_turns(side: int = 280) -> np.ndarray:
    """(H, W, 3) uint8 BGR: the 3D mean face straight ahead, and with each angle of the head pose positive alone."""
    camera, margin, tiles = camera_matrix(side, side, 1.6 * side), 44, []
    for title, degrees in TURNS:
        pose = HeadPose((0.0, -6.0, 430.0), tuple(np.radians(degrees).tolist()))
        points = project(mean_face(), pose, camera)
        box = BBox(*bbox_of_shape(points).tolist())
        tile = np.full((side + margin, side, 3), PAPER, np.uint8)
        for indices, closed in CONTOURS:
            path = np.rint(points[list(indices)]).astype(np.int32)
            cv2.polylines(tile, [path], closed, SHADE, 2, cv2.LINE_AA)
        face = Face(0, box, points, 1.0, pose=pose)
        tile = draw_overlay(tile, [face], points=False, contours=False, box=False, labels=False)
        (width, _), _ = cv2.getTextSize(title, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 1)
        place = ((side - width) // 2, side + margin // 2)
        cv2.putText(tile, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, INK, 1, cv2.LINE_AA)
        tiles.append(tile)
    return np.concatenate([np.concatenate(tiles[:2], axis=1), np.concatenate(tiles[2:], axis=1)])


def astronaut_landmarks() -> np.ndarray:
    """(H, W, 3) uint8 BGR: the portrait with its landmarks."""
    image = read_image(DOCS / "astronaut.jpg")
    return draw_overlay(image, Aligner().align(image))


def training_crops(columns: int = 6, rows: int = 2) -> np.ndarray:
    """(H, W) uint8: the portrait's face as `train run` shows it, each time in another way. Needs the extra "train"."""
    from facealign_cli.training.augment import make_batch
    from facealign_cli.training.augmentation import Augmentation
    from facealign_cli.training.config import network_config
    from facealign_cli.training.pack import Pack

    image = read_image(DOCS / "astronaut.jpg")
    landmarks = Aligner().align(image)[0].landmarks.astype(np.float32)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    unknown, no = np.full((1, 4), np.nan, np.float32), np.zeros(1, bool)
    nowhere = np.full((1, 5, 2), np.nan, np.float32)
    pack = Pack(
        grey[None], landmarks[None], unknown, no, no, np.ones((1, 68), np.float32), unknown[:, 0], nowhere, ["a"]
    )
    frame, rng = network_config("dan-light").crop_frame, np.random.default_rng(8)
    shown = Augmentation(cover=0.8, displaced=0.0, faceless=0.0)
    crops = make_batch(pack, np.zeros(columns * rows, int), frame, shown, rng).crops[:, 0]
    side = frame.size
    return crops.reshape(rows, columns, side, side).swapaxes(1, 2).reshape(rows * side, columns * side)


if __name__ == "__main__":
    pictures = {
        "points.png": numbered_points,
        "head_turns.png": head_turns,
        "astronaut_landmarks.jpg": astronaut_landmarks,
        "training_crops.jpg": training_crops,
    }
    for name in sys.argv[1:] or pictures:
        picture = pictures[name]()
        write_image(DOCS / name, picture, overwrite=True)
