"""Reading clips: every frame once, at its time, upright; what is damaged is told, the rest goes on."""

from __future__ import annotations

import contextlib
import errno
import shutil
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from clips import SIZE, facts, noisy_pictures, pictures, write_clip, write_damaged, write_truncated

from facealign_cli.errors import InputError, MissingDependency
from facealign_cli.video import SoundPacket, VideoFrame, open_source
from facealign_cli.video.container import ContainerSource
from facealign_cli.video.thinned import ThinnedSource


def frames_of(path: Path, **options: object) -> list[VideoFrame]:
    source = open_source(str(path), **options)  # type: ignore[arg-type]
    try:
        return [item for item in source if isinstance(item, VideoFrame)]
    finally:
        source.close()


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.ts", "a.webm", "a.avi"])
def test_each_container_gives_each_frame_at_its_time(tmp_path: Path, name: str) -> None:
    codec = {"a.webm": "libvpx-vp9", "a.avi": "mpeg4"}.get(name, "libx264")
    path = write_clip(tmp_path / name, pictures(12), codec=codec)
    frames = frames_of(path)
    assert [frame.index for frame in frames] == list(range(12))
    assert np.allclose([frame.timestamp_s for frame in frames], np.arange(12) * 0.04, atol=1e-3)
    assert {frame.image_bgr.shape for frame in frames if frame.image_bgr is not None} == {(SIZE[1], SIZE[0], 3)}
    assert not any(frame.error for frame in frames)


def test_a_gif_is_a_clip(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.gif", pictures(6), codec="gif", time_base=Fraction(1, 100), ticks=range(0, 60, 10))
    assert np.allclose([frame.timestamp_s for frame in frames_of(path)], np.arange(6) * 0.1, atol=1e-6)


def test_variable_frame_rate_is_kept(tmp_path: Path) -> None:
    ticks = [0, 1000, 1900, 9000, 9100, 30000, 30300]
    path = write_clip(tmp_path / "a.mp4", pictures(7), ticks=ticks, time_base=Fraction(1, 90000))
    assert np.allclose([frame.timestamp_s for frame in frames_of(path)], np.array(ticks) / 90000, atol=1e-6)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_rotated_clip_comes_upright(tmp_path: Path, rotation: int) -> None:
    path = write_clip(tmp_path / "a.mp4", pictures(2), rotation=rotation)
    with av.open(str(path)) as container:
        told = next(container.decode(video=0)).rotation
    image = frames_of(path)[0].image_bgr
    plain = frames_of(write_clip(tmp_path / "b.mp4", pictures(2)))[0].image_bgr
    assert image is not None and plain is not None
    assert told % 360 == rotation
    assert np.array_equal(image, np.rot90(plain, rotation // 90))


ONE = 1 << 16
MIRRORS = {
    "left to right": ((-ONE, 0, 0, ONE), lambda image: image[:, ::-1]),
    "top to bottom": ((ONE, 0, 0, -ONE), lambda image: image[::-1]),
    "main diagonal": ((0, ONE, ONE, 0), lambda image: image.swapaxes(0, 1)),
    "other diagonal": ((0, -ONE, -ONE, 0), lambda image: image[::-1, ::-1].swapaxes(0, 1)),
}


@pytest.mark.parametrize("name", MIRRORS)
def test_a_mirrored_clip_comes_as_players_show_it(tmp_path: Path, name: str) -> None:
    """The matrix of ISO 14496-12: stored x, y show at a x + c y, b x + d y."""
    (a, b, c, d), shown = MIRRORS[name]
    matrix = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    source = open_source(str(write_clip(tmp_path / "a.mp4", pictures(2), matrix=matrix)))
    image, plain = next(iter(source)).image_bgr, frames_of(write_clip(tmp_path / "b.mp4", pictures(2)))[0].image_bgr
    source.close()
    assert np.array_equal(image, shown(plain))
    assert (source.info.height, source.info.width) == image.shape[:2]


def test_a_phone_clip_stands_as_players_show_it(tmp_path: Path) -> None:
    """A matrix of -90 says: turn it clockwise to show it, so the marked upper left corner goes to the upper right."""
    image = frames_of(write_clip(tmp_path / "a.mp4", pictures(1), rotation=-90))[0].image_bgr
    assert image is not None
    assert image.shape == (SIZE[0], SIZE[1], 3)
    assert image[10, -8, 1] > 150 and image[10, 8, 1] < 120


def test_a_part_begins_and_ends_where_it_should(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", pictures(50), sound="aac")
    times = [frame.timestamp_s for frame in frames_of(path, start_s=0.5, end_s=1.2)]
    assert np.allclose(times, np.arange(13, 30) * 0.04)
    source = open_source(str(path), start_s=0.5, end_s=1.2, sound=True)
    sound = [item.packet for item in source if isinstance(item, SoundPacket)]
    assert sound and all(0.5 <= packet.pts * packet.time_base < 1.2 for packet in sound)


def test_a_size_that_changes_distorts_nothing_and_is_told(tmp_path: Path) -> None:
    wide, tall = (np.full((*size, 3), 200, np.uint8) for size in ((48, 64), (64, 48)))
    parts = [write_clip(tmp_path / f"{i}.ts", [image] * 3) for i, image in enumerate((wide, tall))]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with contextlib.closing(open_source(str(path))) as source:
        assert source.notes == ()
        images = [item.image_bgr for item in source if isinstance(item, VideoFrame)]
        (note,) = source.notes
    assert "some of its frames have 48 x 64 pixels; they are fitted into the 64 x 48 of the first one" in note
    assert [image.shape for image in images] == [(48, 64, 3)] * 6
    assert images[0].min() > 190
    lit = np.flatnonzero(images[-1][24, :, 0] > 100)  # 48 x 64 pixels of a height of 48 are 36 wide
    assert (lit[0], len(lit)) == (14, 36)
    assert images[-1][:, 30].min() > 190


def test_of_a_truncated_clip_what_is_there_is_read(tmp_path: Path) -> None:
    path = write_truncated(tmp_path / "a.mp4")
    frames = frames_of(path)
    good = [frame for frame in frames if frame.error is None]
    assert 20 < len(good) < 40
    assert len(frames) > len(good) and all(frame.error for frame in frames[len(good) :])
    assert [frame.index for frame in frames] == list(range(len(frames)))


def test_a_damaged_frame_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = write_damaged(tmp_path / "a.mp4")
    frames = frames_of(path)
    assert np.allclose([frame.timestamp_s for frame in frames], np.arange(50) * 0.04)
    assert 1 <= sum(frame.error is not None for frame in frames) <= 5
    assert frames[-1].image_bgr is not None


@pytest.mark.parametrize("gop", [250, 20, 1])
def test_frames_up_to_the_next_key_frame_are_told_of(tmp_path: Path, gop: int) -> None:
    path = write_damaged(tmp_path / "a.mp4", gop=gop)
    with av.open(str(path)) as container:
        keys = [round(p.pts * p.time_base * 25) for p in container.demux(video=0) if p.size and p.is_keyframe]
    source = open_source(str(path))
    damaged = max(item.index for item in source if isinstance(item, VideoFrame) and item.error is not None)
    source.close()
    between = next((key for key in keys if key > damaged), 50) - damaged - 1
    assert (between > 1) == (gop > 1)
    expected = f": {between} frames, the first at {(damaged + 1) / 25:.3f} s, came between a damaged frame and"
    assert [expected in note for note in source.notes] == [True] * (gop > 1)


def test_what_is_no_clip_is_said_in_clear_words(tmp_path: Path, astronaut: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), astronaut)
    cv2.imwrite(str(tmp_path / "a.jpg"), astronaut)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video")
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100)
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="mono")
        tone.rate = 44100
        container.mux(stream.encode(tone) + stream.encode(None))
    for name, words in {
        "a.png": "still picture.*detect image",
        "a.jpg": "still picture",
        "empty.mp4": "cannot be read",
        "text.mp4": "cannot be read",
        "sound.m4a": "no video stream",
        "missing.mp4": "no such file",
    }.items():
        with pytest.raises(InputError, match=words):
            open_source(str(tmp_path / name))
    clip = write_clip(tmp_path / "a.mp4", pictures(3))
    with pytest.raises(InputError, match=r"the clip is 0\.\d+ s long, and nothing of it comes after 50 s"):
        open_source(str(clip), start_s=50.0)
    with pytest.raises(InputError, match="no frame that can be decoded between --start and --end"):
        open_source(str(clip), start_s=0.041, end_s=0.042)
    with pytest.raises(InputError, match=r"-: a clip is not read from standard input.*save it first"):
        open_source("-")
    with pytest.raises(InputError, match="folder"):
        ContainerSource(str(tmp_path))


def write_motion_jpeg(path: Path, images: list[np.ndarray]) -> Path:
    path.write_bytes(b"".join(cv2.imencode(".jpg", image)[1].tobytes() for image in images))
    return path


@pytest.mark.parametrize("images", [pictures(6), noisy_pictures(6)], ids=["short frames", "long frames"])
def test_raw_motion_jpeg_is_a_clip(images: list[np.ndarray], tmp_path: Path) -> None:
    clip = write_motion_jpeg(tmp_path / "a.mjpeg", images)  # FFmpeg reads long frames as jpeg_pipe
    frames = frames_of(clip)
    assert np.allclose([frame.timestamp_s for frame in frames], np.arange(6) * 0.04)
    assert [frame.error for frame in frames] == [None] * 6
    assert [frame.timestamp_s for frame in frames_of(clip, start_s=0.1, end_s=0.2)] == pytest.approx([0.12, 0.16])
    clip.write_bytes(clip.read_bytes()[:-20])
    assert "cut short" in (frames_of(clip)[-1].error or "")


def test_a_picture_with_a_smaller_one_behind_it_is_still(tmp_path: Path) -> None:
    phone = write_motion_jpeg(tmp_path / "a.jpg", [*noisy_pictures(1), *pictures(1, (32, 24))])
    with pytest.raises(InputError, match="still picture"):
        open_source(str(phone))


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingDependency, match=r"facealign\[video\]"):
        open_source(str(tmp_path / "a.mp4"))


@pytest.mark.long
def test_the_shared_clips_are_read_whole(shared_data: Path) -> None:
    for path in sorted((shared_data / "video").iterdir())[2:]:
        frames = frames_of(path)
        assert [frame.timestamp_s for frame in frames] == facts(path).times
        assert not any(frame.error for frame in frames)


def test_pictures_are_a_clip(tmp_path: Path) -> None:
    for i, image in enumerate(pictures(12)):
        cv2.imwrite(str(tmp_path / f"f{i}.png"), image)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "f5.png").write_bytes(b"damaged")
    for name in (tmp_path, tmp_path / "f%d.png"):
        frames = frames_of(name, rate=10.0)
        assert np.allclose([frame.timestamp_s for frame in frames], np.arange(12) * 0.1)
        assert [frame.index for frame in frames if frame.error] == [5]
        assert np.array_equal(frames[11].image_bgr, pictures(12)[11])  # 11 comes after 9, not after 1
    assert len(frames_of(tmp_path, rate=10.0, start_s=0.25, end_s=0.8)) == 5
    with pytest.raises(InputError, match=r"the clip is 1\.200 s long, and nothing of it comes after 1\.2 s"):
        open_source(str(tmp_path), rate=10.0, start_s=1.2)
    shutil.rmtree(tmp_path)
    for missing in (tmp_path / "f%04d.png", tmp_path):
        with pytest.raises(InputError, match="no such"):
            open_source(str(missing))


def test_a_clip_that_is_closed_has_no_more_frames_and_waits_for_who_reads(tmp_path: Path) -> None:
    source = ContainerSource(str(write_clip(tmp_path / "a.mp4", pictures(12))))
    begun, go_on = threading.Event(), threading.Event()

    def slow(items: Iterator[VideoFrame | SoundPacket]) -> Iterator[VideoFrame | SoundPacket]:
        begun.set()
        assert go_on.wait(60)
        yield from items

    source._items, seen = slow(source._items), list[object]()
    reader = threading.Thread(target=lambda: seen.extend(source))
    reader.start()
    assert begun.wait(60)
    closer = threading.Thread(target=source.close)
    closer.start()
    assert source._in_use.locked() and closer.is_alive()  # a frame is being read, and nothing was closed under it
    go_on.set()
    reader.join()
    closer.join()
    assert len(seen) <= 12


def test_a_with_statement_closes_a_clip(tmp_path: Path) -> None:
    clip, folder = write_clip(tmp_path / "a.mp4", pictures(5)), tmp_path / "frames"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), pictures(1)[0])
    for path, every in ((clip, 1), (clip, 2), (folder, 1)):
        with open_source(str(path), every=every) as source:
            assert isinstance(next(iter(source)), VideoFrame)
    with pytest.raises(ZeroDivisionError), open_source(str(clip)) as source:
        _ = 1 / 0
    with pytest.raises(InputError, match="closed"):
        list(source)


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_clip_is_read_once(tmp_path: Path, is_closed: bool) -> None:
    """No clip without frames is taken for it, neither by a loop nor by `track_video`."""
    source = open_source(str(write_clip(tmp_path / "a.mp4", pictures(5))))
    if is_closed:
        source.close()
    else:
        first = next(iter(source))
        assert isinstance(first, VideoFrame)
        assert [frame.index for frame in (first, *source)] == [0, 1, 2, 3, 4]  # type: ignore[union-attr]
    for thinned in (source, ThinnedSource(source, 2)):
        with pytest.raises(InputError, match=r"a\.mp4: was read to its end already, or closed: open_source opens it"):
            list(thinned)
    source.close()


def test_an_end_before_the_start_is_refused(tmp_path: Path) -> None:
    """It said that the clip is as long as what had been read of it until then."""
    clip = str(write_clip(tmp_path / "a.mp4", pictures(5)))
    with pytest.raises(InputError, match=r"expected an end after the beginning, got 3 s to 2\.5 s"):
        open_source(clip, start_s=3, end_s=2.5)


@pytest.mark.parametrize("part", ["decode", "demux"])
def test_memory_that_is_short_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """PyAV's error is one of FFmpeg's, too: frames without memory were told as damaged, and the rows said so."""
    write_clip(tmp_path / "a.mp4", pictures(3))
    source = ContainerSource(str(tmp_path / "a.mp4"))

    def fail(*_: object) -> None:
        raise av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")

    failing = SimpleNamespace(**{part: fail})
    if part == "decode":
        monkeypatch.setattr(source, "_stream", SimpleNamespace(codec_context=failing))
        with pytest.raises(MemoryError):
            source._decode(None)
    else:
        monkeypatch.setattr(source._packets, "container", failing)
        with pytest.raises(MemoryError):
            list(source._packets._demux())
    monkeypatch.undo()
    source.close()
