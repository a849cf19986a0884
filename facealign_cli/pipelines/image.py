"""Pictures, one after another: each becomes a record, also the one that cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from facealign_cli.aligner import Aligner
from facealign_cli.errors import InputError
from facealign_cli.files.pictures import MAX_PIXELS, read_image
from facealign_cli.records import FrameResult


@dataclass(frozen=True, eq=False)
class PictureResult:
    """A record, and the picture it is of: (H, W, 3) uint8 BGR, upright; None where it could not be read."""

    record: FrameResult
    image: np.ndarray | None


def align_pictures(paths: Iterable[str], aligner: Aligner, *, max_pixels: int = MAX_PIXELS) -> Iterator[PictureResult]:
    """Align each picture in turn. A picture that fails gives a record with status "error", and the others go on.

    paths: files, or "-" for standard input.
    """
    for path in paths:
        yield _align_picture(path, aligner, max_pixels)


def _align_picture(path: str, aligner: Aligner, max_pixels: int) -> PictureResult:
    used = {"detector": aligner.detector.name, "model": aligner.model.name, "provider": aligner.model.provider}
    image = None
    try:
        image = read_image(path, max_pixels=max_pixels)
        faces = aligner.align(image, path)
    except (InputError, MemoryError) as error:
        size = {} if image is None else {"height": image.shape[0], "width": image.shape[1]}
        return PictureResult(FrameResult.of_error(path, str(error) or "out of memory", **used, **size), image)
    height, width = image.shape[:2]
    return PictureResult(FrameResult.of_faces(path, faces, width=width, height=height, **used), image)
