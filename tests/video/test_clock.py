"""A clip's clock against FFmpeg's own tools: clips made by ffmpeg, their times beside those of `ffmpeg -c copy`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from clips import facts, pictures, write_clip

from facealign_cli.video import SoundPacket, VideoFrame, open_source
from facealign_cli.video.clock import Clock, CountedTimes, Start, StatedTimes, look_ahead
from facealign_cli.video.sink import open_sink

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None, reason="needs the programs ffmpeg and ffprobe"
)


def ffmpeg(*args: object) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, args)], check=True, capture_output=True)


def ffprobe(path: Path, what: str) -> list[float]:
    """Seconds of each packet's pts, sorted; what: v:0 or a:0."""
    command = ["ffprobe", "-v", "error", "-select_streams", what, "-show_entries", "packet=pts_time", "-of", "csv=p=0"]
    done = subprocess.run([*command, str(path)], check=True, capture_output=True, text=True)
    return sorted(float(line.strip(",")) for line in done.stdout.split() if line.strip(",") not in ("", "N/A"))


def copied(path: Path, suffix: str = ".mov") -> Path:
    """What `ffmpeg -c copy` makes of a clip."""
    out = path.with_name(f"copy-{path.stem}{suffix}")
    ffmpeg("-i", path, "-c", "copy", out)
    return out


def make(path: Path, *codecs: object, rate: str = "25", seconds: float = 2, sound: bool = True) -> Path:
    """A test picture of 96 x 64, and a tone."""
    tone = ["-f", "lavfi", "-i", f"sine=d={seconds}:sample_rate=44100"] if sound else []
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=96x64:r={rate}:d={seconds}", *tone, *codecs, path)
    return path


def times_of(path: Path, **part: float) -> list[float]:
    source = open_source(str(path), **part)  # type: ignore[arg-type]
    frames = [item for item in source if isinstance(item, VideoFrame)]
    source.close()
    assert not any(frame.error for frame in frames), [frame.error for frame in frames if frame.error]
    assert [frame.index for frame in frames] == list(range(len(frames)))
    return [frame.timestamp_s for frame in frames]


H264 = ("-c:v", "libx264", "-bf", "3", "-pix_fmt", "yuv420p", "-g", "20")
AAC = ("-c:a", "aac")

COUNTED: dict[str, tuple[Sequence[str], str]] = {
    "a.h264": (H264, "25"),
    "ntsc.h264": (H264, "30000/1001"),
    "film.h264": (H264, "24000/1001"),
    "a.hevc": (("-c:v", "libx265", "-x265-params", "log-level=error"), "25"),
    "fast.hevc": (("-c:v", "libx265", "-x265-params", "log-level=error"), "50"),
    "a.m2v": (("-c:v", "mpeg2video", "-bf", "2"), "25"),
    "a.m4v": (("-c:v", "mpeg4", "-bf", "2", "-f", "m4v"), "25"),
    "no_index.mxf": (H264, "25"),
    "pyramid.avi": ((*H264, "-bf", "8", "-x264-params", "b-pyramid=normal"), "25"),
    "xvid.avi": (("-c:v", "mpeg4", "-bf", "2"), "25"),
    "mpeg2.avi": (("-c:v", "mpeg2video", "-bf", "2"), "30000/1001"),
}


@pytest.mark.long
@needs_ffmpeg
@pytest.mark.parametrize("name", COUNTED)
def test_frames_without_times_are_counted(name: str, tmp_path: Path) -> None:
    codecs, rate = COUNTED[name]
    path = make(tmp_path / name, *codecs, rate=rate, sound=False)
    times = times_of(path)
    assert len(times) == round(2 * Fraction(rate))
    assert np.allclose(times, np.arange(len(times)) / float(Fraction(rate)), atol=1e-3)


STATED: dict[str, tuple[str, ...]] = {
    "a.mp4": (*H264, *AAC),
    "a.mkv": (*H264, *AAC),
    "a.flv": (*H264, *AAC),
    "a.3gp": ("-c:v", "mpeg4", *AAC),
    "a.wmv": ("-c:v", "wmv2", "-c:a", "wmav2"),
    "a.ogv": ("-c:v", "libtheora", "-c:a", "libvorbis"),
    "a.ts": (*H264, *AAC),
    "late.ts": (*H264, *AAC, "-output_ts_offset", "100"),
    "sound.avi": ("-c:v", "mpeg4", "-bf", "2", "-c:a", "mp3"),
    "late.mkv": (*H264, *AAC, "-output_ts_offset", "7"),
}


@pytest.mark.long
@needs_ffmpeg
@pytest.mark.parametrize("name", STATED)
def test_times_are_those_of_ffmpegs_copy(name: str, tmp_path: Path) -> None:
    path = make(tmp_path / name, *STATED[name])
    assert np.allclose(times_of(path), ffprobe(copied(path), "v:0"), atol=1e-3)


JOINED = {
    "thrice": ("0", "0", "0"),
    "later": ("0", "100"),
    "earlier": ("100", "0"),
    "a pause": ("0", "5"),
}


@pytest.mark.long
@needs_ffmpeg
@pytest.mark.parametrize("sound", [True, False])
@pytest.mark.parametrize("name", JOINED)
def test_joined_recordings_run_on(name: str, sound: bool, tmp_path: Path) -> None:
    data = b""
    for i, offset in enumerate(JOINED[name]):
        codecs = (*H264, *(AAC if sound else ()), "-output_ts_offset", offset)
        data += make(tmp_path / f"{i}.ts", *codecs, seconds=1, sound=sound).read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(data)
    expected = copied(path)
    times = times_of(path)
    assert np.allclose(times, ffprobe(expected, "v:0"), atol=1e-3)
    source = open_source(str(path), sound=True)
    heard = [item for item in source if isinstance(item, SoundPacket)]
    source.close()
    assert len(heard) == (len(ffprobe(expected, "a:0")) if sound else 0)
    got = sorted(float(item.packet.pts * item.packet.time_base) for item in heard)
    assert not sound or np.allclose(
        got, ffprobe(expected, "a:0"), atol=0.025
    )  # where packets overlap, a container shifts


@pytest.mark.long
@needs_ffmpeg
@pytest.mark.parametrize(
    "name", ["a.ts", "a.mkv", "late.mkv", "a.avi", "a.h264", "joined.ts", "late.ts", "a.mp4", "a.flv"]
)
def test_a_part_is_counted_from_the_clips_beginning(name: str, tmp_path: Path) -> None:
    is_raw = name in ("a.avi", "a.h264")
    offset = ("-output_ts_offset", "7") if "late" in name else ()
    path = make(tmp_path / name, *H264, *(() if is_raw else AAC), *offset, sound=not is_raw)
    if name == "joined.ts":
        path.write_bytes(2 * path.read_bytes())
    whole = times_of(path)
    assert times_of(path, start_s=1.1, end_s=1.7) == [t for t in whole if 1.1 <= t < 1.7]
    assert times_of(path, start_s=whole[-3]) == whole[-3:]
    assert times_of(path, end_s=0.3) == [t for t in whole if t < 0.3]


@needs_ffmpeg
@pytest.mark.parametrize("name", ["long.mp4", "long.mkv", "long.gif", "long.mov"])
def test_a_last_picture_may_stand_for_long(name: str, tmp_path: Path) -> None:
    slides = write_clip(tmp_path / "in.gif", pictures(3), codec="gif", ticks=[0, 300, 600], time_base=Fraction(1, 100))
    data = slides.read_bytes()
    at = data.rfind(b"\x21\xf9\x04")  # the last picture's graphic control extension: its delay becomes nine seconds
    slides.write_bytes(data[: at + 4] + (900).to_bytes(2, "little") + data[at + 6 :])
    path = tmp_path / name
    codec = ("-c", "copy") if name in ("long.gif", "long.mkv") else ("-fps_mode", "passthrough", *H264)
    ffmpeg("-i", slides, *codec, path)
    assert times_of(path)[:3] == [0, 3, 6]


@pytest.mark.long
@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts"])
def test_what_ffmpeg_trimmed_stays_away(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "trimmed.mp4"
    ffmpeg("-ss", "0.5", "-i", make(tmp_path / "in.mp4", *H264, "-g", "100", *AAC), "-c", "copy", path)
    source = open_source(str(path), sound=True)
    place = {"sound": source.sound, "samples": source.sound_samples}
    with open_sink(tmp_path / f"out{suffix}", source.info, **place) as sink:  # type: ignore[arg-type]
        for item in source:
            if isinstance(item, SoundPacket):
                sink.write_sound(item)
            elif item.image_bgr is not None:
                sink.write(item.image_bgr, item.pts, item.duration)
    source.close()
    times, heard = facts(tmp_path / f"out{suffix}").times, ffprobe(tmp_path / f"out{suffix}", "a:0")
    shown = times_of(path)
    assert shown[0] == 0 and len(times) == len(shown)
    begin = times[0] if suffix == ".ts" else 0
    assert np.allclose(np.array(times) - begin, shown, atol=1e-3)
    assert suffix in (".mp4", ".mov") or -0.001 <= heard[0] - begin < 0.03


@needs_ffmpeg
def test_of_several_video_streams_the_default_one_is_taken_and_said(tmp_path: Path) -> None:
    inputs = [arg for size in ("96x64", "64x48") for arg in ("-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d=0.4")]
    streams = ("-map", "0", "-map", "1", "-disposition:v:0", "0", "-disposition:v:1", "default")
    ffmpeg(*inputs, *streams, *H264, tmp_path / "two.mkv")
    source = open_source(str(tmp_path / "two.mkv"))
    assert (source.info.width, source.info.height) == (64, 48)
    assert "2 video streams" in source.notes[0] and "number 1" in source.notes[0] and "default" in source.notes[0]
    source.close()


# ---- the parts alone


def packet(pts: int | None, dts: int | None, duration: int = 40, stream: int = 0) -> Any:
    base = Fraction(1, 1000)
    return SimpleNamespace(
        pts=pts, dts=dts, duration=duration, time_base=base, stream_index=stream, stream=stream, size=1
    )


def placed(clock: Clock, *packets: Any) -> list[tuple[int, int]]:
    for item in packets:
        clock.place(item)
    return [(item.pts, item.dts) for item in packets]


def test_the_clock_begins_at_zero_and_bridges_a_jump_back_for_all_streams() -> None:
    first = [packet(1500, 1480), packet(1500, 1500, stream=1), packet(1540, 1520)]
    then = [packet(20, 0), packet(10, 10, stream=1), packet(60, 40)]
    got = placed(Clock(Fraction(3, 2)), *first, *then)
    assert got == [(0, -20), (0, 0), (40, 20), (80, 60), (70, 70), (120, 100)]


def test_only_where_times_may_jump_a_long_gap_is_closed() -> None:
    long_gap = lambda: (packet(0, 0), packet(20_000, 20_000))  # noqa: E731
    assert placed(Clock(Fraction(0)), *long_gap())[1] == (20_000, 20_000)
    assert placed(Clock(Fraction(0), gaps_are_jumps=True), *long_gap())[1] == (40, 40)
    assert placed(Clock(Fraction(0), gaps_are_jumps=True), packet(0, 0), packet(9000, 9000))[1] == (9000, 9000)


def test_of_counted_frames_the_missing_one_takes_a_time_too() -> None:
    times = CountedTimes(Fraction(40), lambda: 1)
    packets = [packet(None, 40 * i) for i in range(6)]
    for item in packets:
        times.expect(item)
    assert [item.pts for item in packets] == list(range(6))
    assert [times.came(ticket) for ticket in (0, 2)] == [([], 0), ([], 40)]
    assert times.came(4) == ([80], 120)  # 1 is missing: two before 4 have not come, and the decoder holds back one
    assert times.came(3) == ([], 160)
    assert times.rest() == [200]


def test_of_stated_frames_those_before_are_missing() -> None:
    times = StatedTimes()
    for pts in (0, 80, 40, 160, 120):
        times.expect(packet(pts, None))
    assert times.came(0) == ([], 0)
    assert times.came(120) == ([40, 80], 120)
    assert times.came(None) == ([], None)
    assert times.rest() == [160]


def test_the_first_time_is_looked_for_where_a_stream_begins_without() -> None:
    packets = [packet(None, None) for _ in range(3)] + [packet(pts, None) for pts in (100, 20, 60)]
    held, start = look_ahead(iter(packets), 0)
    assert (len(held), start.has_pts, start.missing, start.first) == (6, False, 3, 20)
    assert look_ahead(iter([packet(5, 5)]), 0)[1] == Start(True, 0, 5)
    assert look_ahead(iter([packet(None, 5)]), 0)[1].first is None
