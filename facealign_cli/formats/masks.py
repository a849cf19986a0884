"""Masks of the faces' regions: a folder with one 8-bit PNG for each picture, as large as the picture, a value a region.

0 is the background; 1 face (from the jaw to the brows), 2 and 3 the brows, 4 and 5 the eyes, 6 nose, 7 lips, 8 the open
mouth; left and right are the picture's. Of faces that overlap the later one lies upon the earlier one. The files are
called by the pictures: NAME.png, or by the whole path where several have one NAME. Masks cannot be read back.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from facealign_cli.arrays import Image
from facealign_cli.errors import FormatError
from facealign_cli.files.documents import PathLike
from facealign_cli.files.output import UniqueNames, check_output, make_folder, picture_stems
from facealign_cli.files.pictures import write_image
from facealign_cli.formats.base import register_format
from facealign_cli.formats.labelling import why_not_sized
from facealign_cli.records import Face, FrameResult
from facealign_cli.schemes import REGIONS, regions

VALUES: dict[str, int] = {name: value for value, name in enumerate(REGIONS, start=1)}
"""Region → its value in a mask."""

_SUB_PIXEL_BITS = 4


def draw_mask(faces: Iterable[Face], height: int, width: int) -> Image:
    """(height, width) uint8: the region of each pixel's centre, 0 where there is none."""
    import cv2

    mask = np.zeros((height, width), np.uint8)
    for face in faces:
        for name, polygon in regions(face.landmarks).items():
            places = np.round(polygon * 2**_SUB_PIXEL_BITS).clip(-(2**30), 2**30).astype(np.int32)
            cv2.fillPoly(mask, [places], VALUES[name], lineType=cv2.LINE_8, shift=_SUB_PIXEL_BITS)
    return mask


def write(
    path: PathLike, results: Iterable[FrameResult], overwrite: bool = False, root: PathLike | None = None
) -> None:
    """Fill the folder. root: a folder of pictures: the masks lie in `path` as their pictures lie in it.

    Nothing is written if one of the files exists already and `overwrite` is not set. Raises OutputError.
    """
    held = [result for result in results if why_not_sized(result) is None]
    folder = make_folder(path)
    names = UniqueNames()
    stems = picture_stems([result.source for result in held], root)
    files = [folder / names.claim(stem, [".png"])[0] for stem in stems]
    for file in files:
        if file.parent.exists():
            check_output(file, overwrite)
    for file, result in zip(files, held, strict=True):
        make_folder(file.parent)
        write_image(file, draw_mask(result.faces, result.height, result.width), overwrite)


def read(path: PathLike) -> list[FrameResult]:
    """Raises FormatError: points cannot be told from masks."""
    raise FormatError(f"{Path(path)}: masks have regions, not points: they cannot be read back")


_LOSES = "the points themselves"
register_format("masks", [], write=write, read=read, why_not=why_not_sized, loses=_LOSES, takes_root=True)
