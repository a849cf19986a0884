"""Small data sets to pack."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from facealign_cli.datasets.splits import is_held_out
from facealign_cli.formats.pts import write_pts
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.training.pack import Pack

NOSE = 30
TRAIN, ALSO_TRAIN, HELD_OUT = (
    next(str(i) for i in range(start, start + 1000) if is_held_out(f"helen/{i}") == held_out)
    for start, held_out in ((100, False), (2000, False), (4000, True))
)


def pack_of(image: np.ndarray, landmarks: np.ndarray, name: str) -> Pack:
    """One face, labelled by hand, of which no more is known."""
    return Pack(
        image[None].astype(np.uint8),
        landmarks[None].astype(np.float32),
        np.full((1, 4), np.nan, np.float32),
        np.zeros(1, bool),
        np.zeros(1, bool),
        np.ones((1, 68), np.float32),
        np.full(1, np.nan, np.float32),
        np.full((1, 5, 2), np.nan, np.float32),
        [name],
    )


def draw(path: Path, landmarks: np.ndarray, size: tuple[int, int] = (240, 200)) -> None:
    """A grey picture with a bright blob on the tip of the nose."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    blob = np.exp(-((x - landmarks[NOSE, 0]) ** 2 + (y - landmarks[NOSE, 1]) ** 2) / (2 * 2.0**2))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), (40 + 200 * blob).astype(np.uint8))


def add_face(folder: Path, stem: str, landmarks: np.ndarray, suffix: str = ".png") -> Path:
    draw(folder / f"{stem}{suffix}", landmarks)
    write_pts(folder / f"{stem}.pts", landmarks)
    return folder / f"{stem}{suffix}"


def face(seed: int, extent: float = 70.0) -> np.ndarray:
    """Landmarks like no other seed's."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(90, 120, 2)
    box = np.array([x - extent / 2, y - extent / 2, x + extent / 2, y + extent / 2])
    return np.round(init_shape_from_bbox(box) + rng.normal(0, extent / 60, (68, 2)), 3)
