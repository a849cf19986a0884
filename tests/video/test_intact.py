"""Files that are damaged in their middle: FFmpeg goes on behind it, and what is missing has to be told."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from clips import noisy_pictures, write_clip

from facealign_cli.video import intact
from facealign_cli.video.base import VideoFrame
from facealign_cli.video.container import ContainerSource
from facealign_cli.video.intact import damaged_at
from facealign_cli.video.whole import is_whole

KINDS: dict[str, dict[str, Any]] = {
    "a.mkv": {"sound": "aac"},
    "a.webm": {"codec": "libvpx", "sound": "libopus"},
    "a.avi": {"codec": "mpeg4", "sound": "libmp3lame"},
    "a.ts": {"sound": "aac"},
    "a.m2ts": {"options": {"mpegts_m2ts_mode": "1"}},
    "a.wmv": {"codec": "wmv2", "sound": "wmav2"},
    "a.ogv": {"codec": "libvpx", "sound": "libopus"},
    "a.mxf": {"codec": "mpeg2video"},
    "a.gif": {"codec": "gif", "time_base": Fraction(1, 100), "ticks": range(0, 120, 4)},
}


def facts_of(path: Path) -> tuple[str, int]:
    with av.open(str(path)) as container:
        return container.format.name, container.streams.video[0].id


def frames_of(path: Path) -> list[VideoFrame]:
    with ContainerSource(str(path)) as source:
        return [item for item in source if isinstance(item, VideoFrame)]


@pytest.mark.parametrize("name", KINDS)
def test_a_hole_is_told(tmp_path: Path, name: str) -> None:
    path = write_clip(tmp_path / name, noisy_pictures(30), **KINDS[name])
    facts = facts_of(path)
    assert damaged_at(str(path), *facts) is None
    assert not any(frame.error for frame in frames_of(path))
    data = path.read_bytes()
    start, end = len(data) * 2 // 5, len(data) * 3 // 5
    path.write_bytes(data[:start] + bytes(end - start) + data[end:])
    byte = damaged_at(str(path), *facts)
    assert byte is not None
    assert byte <= end
    said = f"the file is damaged at byte {byte:,}: frames that were there are missing, and have no rows; "
    assert (frames_of(path)[-1].error or "").startswith(said)


def test_damage_before_the_part_that_is_wanted_is_not_told(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", noisy_pictures(100), gop=5)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 5] + bytes(len(data) // 20) + data[len(data) // 4 :])
    assert frames_of(path)[-1].error is not None
    for start, is_told in ((0.5, True), (3.0, False)):
        with ContainerSource(str(path), start_s=start) as source:
            assert any(isinstance(item, VideoFrame) and item.error for item in source) is is_told


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("a.gif", "a.avi")])
def test_bytes_that_are_left_out_are_told(tmp_path: Path, name: str) -> None:
    path = write_clip(tmp_path / name, noisy_pictures(30), **KINDS[name])
    facts, data = facts_of(path), path.read_bytes()
    packet = {"a.ts": 188, "a.m2ts": 192}.get(name, 1)
    start, end = (len(data) * n // 5 // packet * packet + packet // 188 for n in (2, 3))
    path.write_bytes(data[: start - start % packet] + data[end - end % packet :])
    assert damaged_at(str(path), *facts) is not None or is_whole(str(path), facts[0]) is False


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.avi", "a.ts", "a.ogv", "a.wmv"])
def test_what_is_joined_or_stands_behind_is_no_damage(tmp_path: Path, name: str) -> None:
    path = write_clip(tmp_path / name, noisy_pictures(12), **KINDS[name])
    facts, data = facts_of(path), path.read_bytes()
    behind = data if name == "a.ts" else data + bytes(3000)
    path.write_bytes(data + behind)
    assert damaged_at(str(path), *facts) is None


@pytest.mark.parametrize("at_a_time", [1, 7, 1 << 18])
def test_how_many_packets_are_looked_at_together_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    path = write_clip(tmp_path / "a.ts", noisy_pictures(6), sound="aac")
    facts, data = facts_of(path), path.read_bytes()
    monkeypatch.setattr(intact, "_AT_A_TIME", at_a_time)
    path.write_bytes(data * 2)
    assert damaged_at(str(path), *facts) is None
    gap = len(data) // 188 // 2 * 188
    path.write_bytes(data[:gap] + data[gap + 3 * 188 :])
    broken = damaged_at(str(path), *facts)
    assert broken is not None and gap <= broken < gap + 20 * 188
    path.write_bytes(data[:gap] + b"\0" + data[gap + 1 :])
    assert damaged_at(str(path), *facts) == gap


@pytest.mark.parametrize(("name", "how"), [("a.mkv", {}), ("a.webm", {"codec": "libvpx", "options": {"live": "1"}})])
def test_what_a_pipe_got_has_no_lengths(tmp_path: Path, name: str, how: dict[str, Any]) -> None:
    path = write_clip(tmp_path / name, noisy_pictures(12), gop=4, **how)
    data = path.read_bytes()
    for kind in (b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"):
        at = data.index(kind) + 4
        used = 9 - data[at].bit_length()
        data = data[:at] + (((1 << 8 * used) - 1) >> (used - 1)).to_bytes(used, "big") + data[at + used :]
    path.write_bytes(data)
    assert damaged_at(str(path), *facts_of(path)) is None
    assert len(frames_of(path)) == 12
    hole = len(data) * 3 // 5
    path.write_bytes(data[:hole] + bytes(len(data) // 5) + data[hole + len(data) // 5 :])
    assert damaged_at(str(path), *facts_of(path)) is not None


@pytest.mark.parametrize(
    ("name", "head", "frame"),
    [
        ("a.y4m", b"YUV4MPEG2 W5 H3 F25:1 C420mpeg2\n", b"FRAME\n" + bytes(15 + 2 * 6)),
        ("a.y4m", b"YUV4MPEG2 W5 H3 F25:1\n", b"FRAME\n" + bytes(15 + 2 * 6)),
        ("a.y4m", b"YUV4MPEG2 W5 H3 F25:1 C422p10\n", b"FRAME\n" + bytes(2 * (15 + 2 * 9))),
        ("a.y4m", b"YUV4MPEG2 W5 H3 F25:1 C444alpha\n", b"FRAME\n" + bytes(60)),
        ("a.y4m", b"YUV4MPEG2 W5 H3 F25:1 Cmono\n", b"FRAME\n" + bytes(15)),
        ("a.dv", b"", b"\x1f\x07\x00\x80" + bytes(143_996)),
        ("a.dv", b"", b"\x1f\x07\x00\x3f" + bytes(119_996)),
        ("a.ts", b"", b"\x47" + bytes(187)),
    ],
)
def test_frames_of_one_size(tmp_path: Path, name: str, head: bytes, frame: bytes) -> None:
    path, kind = tmp_path / name, {"a.y4m": "yuv4mpegpipe", "a.dv": "dv", "a.ts": "mpegts"}[name]
    for behind, expected in ((b"", True), (frame[:-1], False), (frame[:9], False)):
        path.write_bytes(head + frame * 6 + behind)
        assert is_whole(str(path), kind) is expected


def test_an_avi_that_went_to_a_pipe_is_whole(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", noisy_pictures(5), codec="mpeg4")
    data = path.read_bytes()
    path.write_bytes(data[:4] + b"\xff" * 4 + data[8:])
    assert [frame.error for frame in frames_of(path)] == [None] * 5
