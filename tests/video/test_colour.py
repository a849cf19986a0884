"""Colours: untagged HD is BT.709, HDR is brought into BT.709's range and said, and the tags tell the truth."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from facealign_cli.video import VideoFrame, open_source
from facealign_cli.video.sink import open_sink

PATCHES = ((40, 40, 200), (40, 180, 40), (200, 60, 40), (128, 128, 128))
PQ, HLG, BT2020, BT709, BT601 = 16, 18, 9, 1, 6


def patches(width: int, height: int) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    for i, colour in enumerate(PATCHES):
        image[:, i * width // 4 : (i + 1) * width // 4] = colour
    return image


def write(path: Path, image: np.ndarray, *, matrix: int, tags: dict[str, int], pixels: str = "yuv420p") -> Path:
    """Three frames coded with `matrix` (swscale's number), and told to have `tags`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264" if pixels == "yuv420p" else "libx265", rate=25)
        stream.width, stream.height, stream.pix_fmt = image.shape[1], image.shape[0], pixels
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for i in range(3):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame = frame.reformat(format=pixels, dst_colorspace=matrix, dst_color_range=1)
            frame.pts = i
            for name, value in tags.items():
                setattr(frame, name, value)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def middles(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return np.array([image[height // 2, (2 * i + 1) * width // 8] for i in range(4)], int)


def first_of(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    source = open_source(str(path))
    frame = next(item for item in source if isinstance(item, VideoFrame))
    notes = source.notes
    source.close()
    assert frame.image_bgr is not None
    return middles(frame.image_bgr), notes


def copy(path: Path, out: Path) -> None:
    source = open_source(str(path))
    with open_sink(out, source.info) as sink:
        for item in source:
            if isinstance(item, VideoFrame) and item.image_bgr is not None:
                sink.write(item.image_bgr, item.pts, item.duration)
    source.close()


@pytest.mark.long
@pytest.mark.parametrize(
    ("size", "matrix", "tags", "expected"),
    [
        ((1280, 720), 1, {}, BT709),
        ((1920, 1080), 1, {"colorspace": 1}, BT709),
        ((320, 240), 5, {}, BT601),
        ((320, 240), 1, {"colorspace": 1}, BT709),
        ((1280, 720), 5, {"colorspace": 6}, BT601),
    ],
)
def test_the_matrix_is_the_one_that_players_take(
    tmp_path: Path, size: tuple[int, int], matrix: int, tags: dict[str, int], expected: int
) -> None:
    path = write(tmp_path / "in.mp4", patches(*size), matrix=matrix, tags=tags)
    colours, notes = first_of(path)
    assert np.abs(colours - np.array(PATCHES)).max() <= 6 and not notes
    copy(path, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.colorspace == expected
    assert np.abs(first_of(tmp_path / "out.mp4")[0] - np.array(PATCHES)).max() <= 8


@pytest.mark.long
@pytest.mark.parametrize(("transfer", "name"), [(PQ, "PQ"), (HLG, "HLG")])
def test_hdr_is_tone_mapped_and_said(tmp_path: Path, transfer: int, name: str) -> None:
    tags = {"colorspace": BT2020, "color_primaries": BT2020, "color_trc": transfer}
    path = write(tmp_path / "in.mp4", patches(320, 240), matrix=9, tags=tags, pixels="yuv420p10le")
    colours, notes = first_of(path)
    assert len(notes) == 1 and name in notes[0] and "tone-mapped" in notes[0]
    assert np.abs(colours - np.array(PATCHES)).max() > 10  # not the coded values, passed through
    assert np.ptp(colours[3]) <= 6  # grey stays grey
    copy(path, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc) == (BT709, BT709, BT709)
    assert np.abs(first_of(tmp_path / "out.mp4")[0] - colours).max() <= 8
