"""Pictures as a clip: which of them a part of the time means."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign_cli.video import VideoFrame, open_source
from facealign_cli.video.sequence import picture_files


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected"),
    [(0.05, None, [2, 3, 4, 5]), (0.08, 0.16, [2, 3]), (0.0, 0.09, [0, 1, 2]), (None, None, [0, 1, 2, 3, 4, 5])],
)
def test_a_part_holds_the_pictures_whose_time_lies_in_it(
    tmp_path: Path, start_s: float | None, end_s: float | None, expected: list[int]
) -> None:
    """Picture i stands at 0.04 · i seconds; a part begins with the first picture at or after its start."""
    for i in range(6):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((20, 30, 3), 40 * i, np.uint8))
    source = open_source(str(tmp_path), start_s=start_s, end_s=end_s)
    shown = [int(frame.image_bgr[0, 0, 0]) // 40 for frame in source if frame.image_bgr is not None]
    assert shown == expected


def test_names_with_digits_that_are_no_numbers(tmp_path: Path) -> None:
    """ "①" and "²" are digits, but not for int(); numbers count by their value, and have up to 200 digits."""
    names = ["①1.png", "①10.png", "²2.png", "9.png", "10.png", "9" * 200 + ".png", "٣.png"]
    for name in names:
        cv2.imwrite(str(tmp_path / "x.png"), np.zeros((8, 8, 3), np.uint8))
        (tmp_path / "x.png").rename(tmp_path / name)
    found = [file.name for file in picture_files(str(tmp_path))]
    assert sorted(found) == sorted(names)
    assert found.index("9.png") < found.index("10.png") < found.index("9" * 200 + ".png")
    assert found.index("①1.png") < found.index("①10.png")


def test_other_sizes_are_fitted_and_told(tmp_path: Path) -> None:
    for i, size in enumerate([(48, 64, 3), (64, 48, 3)]):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full(size, 200, np.uint8))
    source = open_source(str(tmp_path))
    images = [frame.image_bgr for frame in source if isinstance(frame, VideoFrame)]
    assert [image is not None and image.shape for image in images] == [(48, 64, 3)] * 2
    assert images[1] is not None
    lit = np.flatnonzero(images[1][24, :, 0])
    assert (lit[0], len(lit)) == (14, 36)
    assert source.notes == (
        f"{tmp_path}: some of its frames have 48 x 64 pixels; they are fitted into the 64 x 48 of the first one, "
        "and their landmarks are pixels of that.",
    )


def test_what_is_wrong_with_pictures_that_are_used_stands_with_their_frames(tmp_path: Path) -> None:
    for i, kind in enumerate((np.uint8, np.uint16, np.uint16)):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((20, 30, 3), 200 if kind is np.uint8 else 4000, kind))
    source = open_source(str(tmp_path))
    assert source.notes == ()
    warnings = [frame.warning for frame in source if isinstance(frame, VideoFrame)]
    assert warnings[0] is None
    assert warnings[2] is not None and warnings[2].startswith(f"{tmp_path / '2.png'}: its values go up to 4,000")
    assert source.notes == (f"{tmp_path}: 2 pictures have warnings, the first one: {warnings[1]}.",)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_among_the_pictures_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "0.png")
    cv2.imwrite(str(tmp_path / "1.png"), np.full((20, 30, 3), 40, np.uint8))
    frames = [frame for frame in open_source(str(tmp_path)) if isinstance(frame, VideoFrame)]
    assert [frame.error for frame in frames] == [f"{tmp_path / '0.png'}: is not a file", None]
