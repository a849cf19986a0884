"""How a clip's colours become 8-bit BGR: untagged pictures as players take them, HDR brought into BT.709's range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.video.frame import VideoFrame as DecodedFrame

_UNTAGGED, _BT709, _BT2020 = 2, 1, 9  # FFmpeg's numbers of colour matrices and primaries (ITU-T H.273)
_HDR = {16: "PQ", 18: "HLG"}  # of transfer characteristics
_SWS_BT709 = 1
_HD_HEIGHT, _HD_WIDTH = 720, 1280


@dataclass(frozen=True)
class Colours:
    """bt709: whether a clip made of the BGR pictures is to have BT.709's matrix. note: what a person has to know.

    how: settings of PyAV's `reformat` from a frame to BGR.
    """

    bt709: bool
    how: dict[str, int]
    note: str | None = None

    @classmethod
    def of(cls, frame: DecodedFrame) -> Colours:
        """From a frame's tags; where there are none, by its size, as players do: HD has BT.709, the rest BT.601."""
        hdr = _HDR.get(frame.color_trc)
        if hdr is not None or frame.color_primaries == _BT2020:
            name = f"HDR ({hdr})" if hdr else "of BT.2020's colours"
            to_bt709 = {"dst_color_trc": _BT709, "dst_color_primaries": _BT709}
            return cls(True, to_bt709, f"the clip is {name}: its pictures are tone-mapped to BT.709, 8 bits")
        if frame.format.is_rgb or frame.colorspace == _UNTAGGED:
            large = frame.height >= _HD_HEIGHT or frame.width >= _HD_WIDTH
            return cls(large, {"src_colorspace": _SWS_BT709} if large and not frame.format.is_rgb else {})
        return cls(frame.colorspace == _BT709, {})
