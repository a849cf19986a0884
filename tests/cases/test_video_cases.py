"""Every clip of ../shared/cases/video does what its "should" says."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from clips import facts

from facealign_cli.formats.base import get_format
from facealign_cli.records import FrameResult
from tests.cli.video_runs import run

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "video"

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"needs the failing clips in {CASES}")

PER_SECOND = {"no_pts.mkv": 24000 / 1001}
WHOLE = {
    "no_times.h264": (25, 0.0),
    "no_pts.mkv": (48, 0.0),
    "negative.mkv": (25, 0.0),
    "bframes.avi": (25, 0.0),
    "joined.ts": (50, 0.0232),
    "trimmed.mp4": (17, 0.0),
    "mulaw.mkv": (25, 0.0),
    "wmav2.wmv": (25, 0.046),
    "mjpeg_pcm.avi": (25, 0.0),
}
"""Frames, and seconds of the first one; ffmpeg -c copy has the same where it gives times at all."""


def rows(path: Path) -> list[FrameResult]:
    return list(get_format("csv").read(path))


def sound(path: Path) -> tuple[str, int, float]:
    """Codec, packets, and seconds of the first one."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        return stream.codec_context.name, len(packets), float(packets[0].pts * packets[0].time_base)


@pytest.mark.long
@pytest.mark.parametrize("name", WHOLE)
def test_track_gives_a_row_per_frame_at_its_time(name: str, tmp_path: Path) -> None:
    result = run("track", CASES / name, "-o", tmp_path / "rows.csv")
    records, (count, begin) = rows(tmp_path / "rows.csv"), WHOLE[name]
    assert result.exit_code == 0
    assert result.stdout == ""
    *hints, summary = result.stderr.splitlines()
    assert summary.startswith(f"{count} frames, ")
    assert all(line.startswith("No face is reported") for line in hints)
    assert [r.frame for r in records] == list(range(count))
    times = begin + np.arange(count) / PER_SECOND.get(name, 25)
    assert np.allclose([r.timestamp_s for r in records], times, atol=1e-3)
    assert not any(r.error for r in records)


@pytest.mark.long
@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_overlay_of_each_plays_at_the_same_times(name: str, suffix: str, tmp_path: Path) -> None:
    out = tmp_path / f"out{suffix}"
    result = run("overlay", CASES / name, "-o", out, "--blank")
    assert result.exit_code == 0, result.output
    count, _ = WHOLE[name]
    times = np.array(facts(out).times)
    assert np.allclose(times - times[0], np.arange(count) / PER_SECOND.get(name, 25), atol=1e-3)


@pytest.mark.long
def test_a_last_picture_may_stand_for_long(tmp_path: Path) -> None:
    result = run("track", CASES / "three_slides.gif", "-o", tmp_path / "rows.csv")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "cut short" not in result.stderr
    assert [r.timestamp_s for r in rows(tmp_path / "rows.csv")] == [0, 3, 6]
    assert run("overlay", CASES / "three_slides.gif", "-o", tmp_path / "o.mp4").exit_code == 0
    assert facts(tmp_path / "o.mp4").length == pytest.approx(9)


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts"])
def test_what_an_edit_list_trims_away_stays_away(suffix: str, tmp_path: Path) -> None:
    out = tmp_path / f"out{suffix}"
    assert run("overlay", CASES / "trimmed.mp4", "-o", out).exit_code == 0
    with av.open(str(out)) as container:
        begin = min(s.start_time * s.time_base for s in container.streams)
        heard = [frame.time for frame in container.decode(audio=0)]
    assert facts(out).times[0] - float(begin) == pytest.approx(0, abs=1e-3)
    assert len(facts(out).times) == 17
    assert heard[-1] - heard[0] < 0.7


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "suffix", "codec", "is_copy"),
    [
        ("mulaw.mkv", ".mkv", "pcm_mulaw", True),
        ("mulaw.mkv", ".mp4", "aac", False),
        ("wmav2.wmv", ".mkv", "wmav2", True),
        ("wmav2.wmv", ".mp4", "aac", False),
        ("mjpeg_pcm.avi", ".mkv", "pcm_s16le", True),
        ("mjpeg_pcm.avi", ".mp4", "aac", False),
        ("joined.ts", ".mp4", "aac", True),
    ],
)
def test_sound_is_copied_or_encoded_and_said(name: str, suffix: str, codec: str, is_copy: bool, tmp_path: Path) -> None:
    out = tmp_path / f"out{suffix}"
    result = run("overlay", CASES / name, "-o", out, "--blank")
    assert result.exit_code == 0, result.output
    assert ("encoded as AAC" in result.stderr) == (not is_copy)
    found, count, _ = sound(out)
    assert found == codec
    assert not is_copy or count == sound(CASES / name)[1]


@pytest.mark.long
def test_no_sound_leaves_it_out(tmp_path: Path) -> None:
    result = run("overlay", CASES / "wmav2.wmv", "-o", tmp_path / "o.mp4", "--blank", "--no-sound")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "encoded as" not in result.stderr
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert [s.type for s in container.streams] == ["video"]


def test_a_cut_file_is_told(tmp_path: Path) -> None:
    result = run("track", CASES / "half.mkv", "-o", tmp_path / "rows.csv")
    assert result.exit_code == 3
    assert "cut short" in result.stderr
    *good, last = rows(tmp_path / "rows.csv")
    assert len(good) == 50 and not any(r.error for r in good)
    assert last.status == "error"


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on the address space, as Linux has it")
def test_huge_frames_are_refused_in_little_memory(tmp_path: Path) -> None:
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))  # noqa: E731
    command = [sys.executable, "-m", "facealign_cli", "video", "track", CASES / "huge_14000x14000.gif"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit, timeout=60)
    assert done.returncode == 1
    assert "14000 x 14000" in done.stderr and "--max-pixels" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_every_clip_has_a_test() -> None:
    known = {*WHOLE, "three_slides.gif", "half.mkv", "huge_14000x14000.gif"}
    assert {path.name for path in CASES.iterdir()} == known
