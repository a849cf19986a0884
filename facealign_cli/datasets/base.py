"""What a data set reader yields: samples, and what had to be left out and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facealign_cli.records import BBox, LeftOut

__all__ = ["LeftOut", "Sample"]


@dataclass(frozen=True, eq=False)
class Sample:
    """One annotated face.

    name: path relative to the root, with "/". dataset: first folder of the name ("afw", "helen", …).
    photo: key of the photo the face comes from. landmarks: (68, 2) 0-based pixels. bbox: the data set's own face box,
    if it gives one. rough: labels that were estimated, not made by hand; for training only.
    """

    name: str
    dataset: str
    photo: str
    image_path: Path
    landmarks: np.ndarray
    bbox: BBox | None = None
    rough: bool = False
