"""Reading the weights that the authors of DAN published: Lasagne's parameters in an .npz file.

The file holds arr_0 … arr_n in the order in which the layers compute, and meanImg, stdDevImg, initLandmarks; errors
and errorsTrain are not read. Nothing is ever unpickled. `lasagne.py` says what the arrays are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facealign_cli.arrays import Floats
from facealign_cli.errors import FormatError
from facealign_cli.files.arrays import read_npz
from facealign_cli.landmarks import N_LANDMARKS

STAGE_1, LATER_STAGE, HEAD = 47, 53, 2
"""Arrays of stage 1, of each later stage with the feature image before it, and of the confidence head."""
_SMALLEST_SIDE, _LARGEST_SIDE = 32, 512


@dataclass(frozen=True, eq=False)
class LasagneFile:
    """What such a file holds. parameters: in layer order. mean_image, std_image: (S, S). init_landmarks: (68, 2)."""

    path: Path
    parameters: list[Floats]
    mean_image: Floats
    std_image: Floats
    init_landmarks: Floats

    def __post_init__(self) -> None:
        size = self.mean_image.shape[-1] if self.mean_image.ndim else 0
        images = {"meanImg": self.mean_image, "stdDevImg": self.std_image, "initLandmarks": self.init_landmarks}
        for (name, values), shape in zip(images.items(), ((size, size), (size, size), (N_LANDMARKS, 2)), strict=True):
            if values.shape != shape:
                raise FormatError(f"{self.path}: {name}: expected shape {shape}, got {values.shape}")
        for name, values in {**images, **{f"arr_{i}": p for i, p in enumerate(self.parameters)}}.items():
            if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
                raise FormatError(f"{self.path}: {name} does not hold finite numbers")
        if size % 16 or not _SMALLEST_SIDE <= size <= _LARGEST_SIDE:
            sides = f"a multiple of 16 from {_SMALLEST_SIDE} to {_LARGEST_SIDE}"
            raise FormatError(f"{self.path}: pictures of side {size}; {sides} is needed")
        if not (self.std_image > 0).all() or not np.ptp(self.init_landmarks, axis=0).min() > 0:
            raise FormatError(f"{self.path}: stdDevImg is not above 0, or initLandmarks have no extent")

    @property
    def n_stages(self) -> int:
        """How many stages there are. Raises FormatError where the count of arrays fits none."""
        return self._stages_and_head()[0]

    @property
    def has_head(self) -> bool:
        """Whether there is a confidence head. Raises FormatError as `n_stages` does."""
        return self._stages_and_head()[1]

    def _stages_and_head(self) -> tuple[int, bool]:
        for head in (False, True):
            later, rest = divmod(len(self.parameters) - STAGE_1 - HEAD * head, LATER_STAGE)
            if later >= 0 and not rest:
                return 1 + later, head
        raise FormatError(
            f"{self.path}: {len(self.parameters)} arrays arr_0 …; a DAN has {STAGE_1} of its first stage, "
            f"{LATER_STAGE} of each later one, and {HEAD} more of a confidence head"
        )


_PICTURES = ("meanImg", "stdDevImg", "initLandmarks")


def read_lasagne(path: Path) -> LasagneFile:
    """Read the authors' weights. Raises InputError if the file is not there, FormatError for any other content."""
    arrays = read_npz(path, lambda name: name in _PICTURES or re.fullmatch(r"arr_[0-9]{1,6}", name) is not None)
    names = [f"arr_{i}" for i in range(max(len(arrays.keys() - set(_PICTURES)), 1))]
    missing = [name for name in (*names, *_PICTURES) if name not in arrays]
    if missing:
        raise FormatError(f"{path}: no {', '.join(missing[:3])}; not weights of the DAN authors")
    mean, std, init = (_squeezed(arrays[name], 2) for name in _PICTURES)
    return LasagneFile(path, [arrays[name] for name in names], mean, std, init)


def _squeezed(values: Floats, ndim: int) -> Floats:
    """Without leading axes of length 1."""
    while values.ndim > ndim and values.shape[0] == 1:
        values = values[0]
    return values
