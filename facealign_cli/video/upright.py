"""A decoder's frames as upright BGR pictures, all of the size and the colours of the first one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from facealign_cli.arrays import Image, pixels
from facealign_cli.video.base import Fitting, import_av
from facealign_cli.video.colour import Colours

if TYPE_CHECKING:
    from av.video.frame import VideoFrame as DecodedFrame


class UprightPictures:
    """Turns frames into pictures. The first one decides the size, the turn and the colours."""

    def __init__(self) -> None:
        self._fitting, self._turn = Fitting((0, 0)), _Turn()
        self._colours: Colours | None = None
        self._reformatter = import_av().video.reformatter.VideoReformatter()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person has to know about the colours, and about sizes that changed until now."""
        colours = () if self._colours is None or self._colours.note is None else (self._colours.note,)
        return *colours, *self._fitting.notes

    @property
    def bt709(self) -> bool:
        """Whether a clip made of the pictures is to have BT.709's matrix."""
        return self._colours is not None and self._colours.bt709

    @property
    def transposed(self) -> bool:
        """Whether width and height have changed places."""
        return self._turn.transposed

    def __call__(self, frame: DecodedFrame) -> Image:
        """(H, W, 3) BGR, upright, of the size of the first one."""
        if self._colours is None:
            self._fitting, self._turn = Fitting((frame.width, frame.height)), _Turn.of(frame)
            self._colours = Colours.of(frame)
        size = frame.width, frame.height
        is_other = size != self._fitting.size
        width, height = self._fitting.inner(size) if is_other else size
        image = pixels(self._reformatter.reformat(frame, width, height, "bgr24", **self._colours.how).to_ndarray())
        return self._turn(self._fitting.lay(image) if is_other else image)


@dataclass(frozen=True)
class _Turn:
    """How a player shows the stored picture: axes exchanged, then mirrored left to right and top to bottom."""

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False

    @classmethod
    def of(cls, frame: Any) -> _Turn:
        """From the frame's display matrix (a, b, u, c, d, v, …): stored x, y show at a·x + c·y, b·x + d·y."""
        for data in frame.side_data:
            if data.type.name == "DISPLAYMATRIX":
                a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
                across = abs(b) + abs(c) > abs(a) + abs(d)
                return cls(True, c < 0, b < 0) if across else cls(False, a < 0, d < 0)
        return cls()

    def __call__(self, image: Image) -> Image:
        image = image.swapaxes(0, 1) if self.transposed else image
        image = image[:, ::-1] if self.mirrored else image
        return np.ascontiguousarray(image[::-1] if self.upside_down else image)
