"""What a data set reader yields: samples, and what had to be left out and why."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from facealign_cli.arrays import Floats
from facealign_cli.boxes import BBox
from facealign_cli.errors import InputError
from facealign_cli.files.pictures import DecodedPicture, read_picture
from facealign_cli.formats.labelling import why_other_size
from facealign_cli.geometry import SimilarityTransform, is_mirrored
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.records import LeftOut

_MOST_ROLL_DEG = 60.0
__all__ = ["LeftOut", "Sample"]


@dataclass(frozen=True, eq=False)
class Sample:
    """One annotated face.

    name: path relative to the root, with "/". dataset: first folder of the name ("afw", "helen", …).
    photo: key of the photo the face comes from. landmarks: (68, 2) 0-based pixels. bbox: the data set's own face box,
    if it gives one. rough: labels that were estimated, not made by hand; for training only.
    weights: (68,) how far each point is to be trusted, 0 to 1; 0 is never learnt from; None where all are 1; all 0
    where there are no labels and `landmarks` only say where the face is. yaw: how far the head is turned to a side, in
    degrees, as the data set says; NaN where it does not. points: (K, 2) placed by hand in another scheme. size: width
    and height of the picture in which the landmarks lie, as a label file says; None where it does not.
    """

    name: str
    dataset: str
    photo: str
    image_path: Path
    landmarks: Floats
    bbox: BBox | None = None
    rough: bool = False
    weights: Floats | None = None
    yaw: float = math.nan
    points: Floats | None = None
    size: tuple[int, int] | None = None

    def picture(self) -> DecodedPicture:
        """The picture, and what is wrong with its file. Raises InputError, also if it has another size than `size`."""
        picture = read_picture(self.image_path)
        if reason := why_other_size(picture.image, self.size):
            raise InputError(f"{self.image_path}: {reason}")
        if picture.orientation == 1 or not _lies(self.landmarks):
            return picture
        lying = (
            f"{self.image_path}: its EXIF orientation turns it, and a face lies on its side or upside down then: are "
            "the points those of the picture as it is stored? They are taken as those of the upright one"
        )
        return replace(picture, warning="; ".join(filter(None, (picture.warning, lying))))


def _lies(landmarks: Floats) -> bool:
    """Whether a face, (68, 2), is turned in the picture by more than 60 degrees, or mirrored."""
    roll = SimilarityTransform.estimate(MEAN_SHAPE, landmarks).angle_deg
    return abs(roll) > _MOST_ROLL_DEG or bool(is_mirrored(landmarks[None])[0])
