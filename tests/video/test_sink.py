"""Writing clips: opened again by PyAV, times, length and sound are the input's."""

from __future__ import annotations

import errno
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import SIZE, facts, pictures, write_clip, write_truncated

from facealign_cli.errors import InputError, OutputError
from facealign_cli.video import VideoFrame, VideoInfo, open_source
from facealign_cli.video.sink import open_sink


def copy(source_path: Path, path: Path, **part: float) -> tuple[str, ...]:
    """Read a clip and write it as it is; returns what the sink says about it."""
    source = open_source(str(source_path), sound=True, **part)  # type: ignore[arg-type]
    place = {"sound": source.sound, "samples": source.sound_samples, "offset_s": source.offset_s}
    with open_sink(path, source.info, **place) as sink:  # type: ignore[arg-type]
        for item in source:
            if not isinstance(item, VideoFrame):
                sink.write_sound(item)
            elif item.image_bgr is not None:
                sink.write(item.image_bgr, item.pts, item.duration)
    source.close()
    return sink.notes


def assert_same(got: Path, expected: Path, *, length: bool = True) -> None:
    """Times within a millisecond, sound byte for byte."""
    a, b = facts(got), facts(expected)
    assert len(a.times) == len(b.times)
    assert np.allclose(a.times, b.times, atol=1e-3)
    assert a.sound == b.sound
    if length:
        assert a.length == pytest.approx(b.length, abs=1e-3)
        assert a.file_length == pytest.approx(b.file_length, abs=1e-3)


def test_a_full_disk_is_told_with_the_whole_path(tmp_path: Path) -> None:
    class Full:
        def mux(self, *_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None: ...

    path = tmp_path / "v.mp4"
    with (
        pytest.raises(OutputError, match=f"^cannot write {path}: the disk is full$"),
        open_sink(path, VideoInfo("a", *SIZE, Fraction(1, 25))) as sink,
    ):
        sink._container = Full()
        sink.write(pictures(1)[0], 0)
    assert not list(tmp_path.iterdir())


CASES = {
    "plain": {},
    "29.97": {"ticks": [1001 * i for i in range(30)], "time_base": Fraction(1, 30000)},
    "variable": {"ticks": [i * i * 37 + 40 * i for i in range(30)], "time_base": Fraction(1, 90000)},
    "with sound": {"sound": "aac"},
    "with mp3": {"sound": "libmp3lame"},
    "late": {"ticks": list(range(20, 50)), "sound": "aac"},
}


@pytest.mark.parametrize("case", CASES)
def test_times_length_and_sound_are_kept(tmp_path: Path, case: str) -> None:
    path = write_clip(tmp_path / "in.mp4", pictures(30), **CASES[case])  # type: ignore[arg-type]
    copy(path, tmp_path / "out.mp4")
    assert_same(tmp_path / "out.mp4", path)
    assert (facts(tmp_path / "out.mp4").codec, facts(tmp_path / "out.mp4").pixels) == ("h264", "yuv420p")


@pytest.mark.parametrize("name", ["out.mov", "out.mkv", "out.m4v", "out.ts"])
def test_other_containers_go_by_suffix(tmp_path: Path, name: str) -> None:
    path = write_clip(tmp_path / "in.mp4", pictures(20), sound="aac")
    copy(path, tmp_path / name)
    got, expected = facts(tmp_path / name), facts(path)
    assert np.allclose(np.diff(got.times), np.diff(expected.times), atol=1e-3)
    assert name == "out.ts" or got.sound == expected.sound  # a transport stream puts headers before AAC packets
    assert len(got.sound) == len(expected.sound)


def test_webm_takes_vp9_and_its_own_sound(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "in.mkv", pictures(10), sound="libopus")
    copy(path, tmp_path / "out.webm")
    assert facts(tmp_path / "out.webm").codec == "vp9"
    assert facts(tmp_path / "out.webm").sound == facts(path).sound


def sound_of(path: Path) -> tuple[str, float, np.ndarray]:
    """Codec, seconds at which it begins, and samples of the first sound stream, (N,) float."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        mono = av.AudioResampler(format="flt", layout="mono", rate=48000)
        frames = [frame for packet in container.demux(stream) for frame in packet.decode()]
        heard = [part for frame in frames for part in mono.resample(frame)]
        return stream.codec_context.name, frames[0].time, np.concatenate([part.to_ndarray()[0] for part in heard])


@pytest.mark.long
@pytest.mark.parametrize(
    ("codec", "source", "out", "expected"),
    [
        ("aac", "in.mp4", "out.webm", "opus"),
        ("pcm_s16le", "in.mov", "out.mp4", "aac"),
        ("pcm_s16le", "in.avi", "out.mkv", "pcm_s16le"),
        ("pcm_mulaw", "in.mov", "out.mkv", "pcm_mulaw"),
        ("pcm_mulaw", "in.mov", "out.ts", "aac"),
        ("wmav2", "in.wmv", "out.mp4", "aac"),
        ("wmav2", "in.wmv", "out.mkv", "wmav2"),
        ("libopus", "in.mkv", "out.mp4", "opus"),
        ("flac", "in.mkv", "out.ts", "aac"),
        ("libmp3lame", "in.mkv", "out.webm", "opus"),
    ],
)
def test_sound_is_copied_where_it_can_be_and_else_encoded_and_said(
    tmp_path: Path, codec: str, source: str, out: str, expected: str
) -> None:
    video = {"in.wmv": "wmv2", "in.avi": "mpeg4"}.get(source, "libx264")
    path = write_clip(tmp_path / source, pictures(25), codec=video, sound=codec)
    notes = copy(path, tmp_path / out)
    (_, begin, before), (name, start, after) = sound_of(path), sound_of(tmp_path / out)
    before, after = (samples[4096:44000] for samples in (before, after))
    assert name == expected
    assert begin == pytest.approx(start - (facts(tmp_path / out).times[0] - facts(path).times[0]), abs=0.06)
    assert np.sqrt(np.mean(after**2)) == pytest.approx(np.sqrt(np.mean(before**2)), rel=0.05)
    assert bool(notes) == (expected not in codec)
    assert all(expected in note.lower() and "--no-sound" in note for note in notes)


@pytest.mark.parametrize("size", [(63, 47), (64, 47), (63, 48)])
def test_odd_sizes_are_filled_up_without_moving_anything(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_clip(tmp_path / "in.mp4", pictures(5, size))
    copy(path, tmp_path / "out.mp4")
    assert facts(tmp_path / "out.mp4").sizes == {(64, 48)}
    assert_same(tmp_path / "out.mp4", path)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_rotated_clip_is_written_upright(tmp_path: Path, rotation: int) -> None:
    path = write_clip(tmp_path / "in.mp4", pictures(5), rotation=rotation, sound="aac")
    copy(path, tmp_path / "out.mp4")
    got = facts(tmp_path / "out.mp4")
    assert got.rotation == 0 and got.sizes == {(48, 64) if rotation != 180 else (64, 48)}
    assert_same(tmp_path / "out.mp4", path)


def test_of_a_truncated_clip_the_good_frames_are_kept(tmp_path: Path) -> None:
    path = write_truncated(tmp_path / "in.mp4")
    good = []
    with av.open(str(path)) as container, pytest.raises(av.error.InvalidDataError):
        for frame in container.decode(video=0):
            good.append(frame.time)
    copy(path, tmp_path / "out.mp4")
    assert np.allclose(facts(tmp_path / "out.mp4").times, good, atol=1e-3)


def test_a_part_begins_at_zero(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "in.mp4", pictures(50), sound="aac")
    copy(path, tmp_path / "out.mp4", start_s=1.0, end_s=1.6)
    got = facts(tmp_path / "out.mp4")
    assert np.allclose(got.times, np.arange(15) * 0.04, atol=1e-3)
    assert got.file_length == pytest.approx(0.6, abs=0.05)
    assert set(got.sound) <= set(facts(path).sound)


def test_colours_stay(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "in.mp4", pictures(3))
    copy(path, tmp_path / "out.mp4")
    first, second = (next(iter(open_source(str(p)))).image_bgr for p in (path, tmp_path / "out.mp4"))
    difference = np.abs(first.astype(int) - second.astype(int))
    assert difference.mean() < 3


def test_players_can_begin_before_all_is_there(tmp_path: Path) -> None:
    copy(write_clip(tmp_path / "in.mp4", pictures(5)), tmp_path / "out.mp4")
    data = (tmp_path / "out.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


@pytest.mark.long
def test_the_shared_clips_keep_times_length_and_sound(tmp_path: Path, shared_data: Path) -> None:
    for path in sorted((shared_data / "video").iterdir())[2:]:
        out = tmp_path / f"{path.stem}.mp4"
        copy(path, out)
        assert_same(out, path)


@pytest.mark.parametrize(
    ("name", "why"), [("out.avi", "no times"), ("OUT.GIF", "256 colours"), ("out.xyz", "xyz"), ("out", "no suffix")]
)
def test_an_unknown_suffix_lists_the_known_ones(tmp_path: Path, name: str, why: str) -> None:
    with (
        pytest.raises(InputError, match=rf"\.mp4, .*\.webm.*{why}"),
        open_sink(tmp_path / name, VideoInfo("in", 64, 48, Fraction(1, 25))),
    ):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["in.gif", "in.avi"])
def test_a_gif_or_an_avi_can_be_written_as_mp4(tmp_path: Path, name: str) -> None:
    codec, base, ticks = ("gif", Fraction(1, 100), range(0, 60, 10)) if name == "in.gif" else ("mpeg4", None, range(6))
    path = write_clip(tmp_path / name, pictures(6), codec=codec, time_base=base or Fraction(1, 25), ticks=ticks)
    copy(path, tmp_path / "out.mp4")
    assert np.allclose(facts(tmp_path / "out.mp4").times, facts(path).times, atol=1e-3)


def test_a_failed_run_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        open_sink(tmp_path / "out.mp4", VideoInfo("in", 64, 48, Fraction(1, 25))) as sink,
    ):
        sink.write(pictures(1)[0], 0)
        raise RuntimeError
    assert not list(tmp_path.iterdir())
