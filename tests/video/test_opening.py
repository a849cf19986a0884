"""What a file's name and its first bytes may do: one clip is opened, and nothing else."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from clips import facts, noisy_pictures, pictures, write_clip, write_truncated

from facealign_cli.errors import InputError
from facealign_cli.video import VideoFrame, open_source
from facealign_cli.video.sink import open_sink
from facealign_cli.video.whole import is_whole


def count(path: Path) -> int:
    source = open_source(str(path))
    frames = [item for item in source if isinstance(item, VideoFrame)]
    source.close()
    return len(frames)


@pytest.mark.long
@pytest.mark.parametrize(
    "name", ["2024-01-05T12:30:05.mp4", "file:a.mp4", "concat:a|b.mp4", "a%04d.mp4", "é\udcff.mp4"]
)
def test_a_name_is_only_a_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(Path("plain.mp4"), pictures(5), sound="aac").rename(name)
    assert count(Path(name)) == 5
    source = open_source(name, sound=True)
    out = Path(f"out-{name}")
    with open_sink(out, source.info, sound=source.sound, samples=source.sound_samples) as sink:
        for item in source:
            if isinstance(item, VideoFrame) and item.image_bgr is not None:
                sink.write(item.image_bgr, item.pts, item.duration)
    source.close()
    assert count(out) == 5


PLAYLISTS = {
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n",
    "a.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n",
    "a.ffconcat": "ffconcat version 1.0\nfile 'clip.ts'\n",
    "a.mpd": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>\n',
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_opens_no_other_file(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "clip.ts", pictures(25))
    (tmp_path / name).write_text(PLAYLISTS[name].format(clip=clip))
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / name, Path(name)):
        with pytest.raises(InputError, match=r"list|manifest"):
            open_source(str(path))


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    data = write_clip(tmp_path / "in.mkv", pictures(8), sound="aac").read_bytes()
    os.mkfifo(tmp_path / "pipe.mkv")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe.mkv").write_bytes(data))
    writer.start()
    assert count(tmp_path / "pipe.mkv") == 8
    writer.join()


CUT = {
    "a.mkv": {"sound": "aac"},
    "a.webm": {"codec": "libvpx", "sound": "libopus"},
    "a.avi": {"codec": "mpeg4", "sound": "libmp3lame"},
    "a.flv": {"sound": "aac"},
    "a.wmv": {"codec": "wmv2", "sound": "wmav2"},
    "a.ogv": {"codec": "libvpx", "sound": "libopus"},
    "a.mp4": {"sound": "aac", "options": {"movflags": "faststart"}},
}


@pytest.mark.long
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.97])
@pytest.mark.parametrize("name", CUT)
def test_a_cut_file_is_told(tmp_path: Path, name: str, share: float) -> None:
    path = write_clip(tmp_path / name, pictures(75), **CUT[name])  # type: ignore[arg-type]
    source = open_source(str(path))
    assert not [item for item in source if isinstance(item, VideoFrame) and item.error]
    source.close()
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    source = open_source(str(path))
    *frames, last = [item for item in source if isinstance(item, VideoFrame)]
    source.close()
    assert last.error is not None
    assert any(frame.error is None for frame in frames)
    assert all(a.timestamp_s < b.timestamp_s for a, b in zip(frames, [*frames[1:], last], strict=True))


def test_what_states_no_size_is_not_judged(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mpg", pictures(3), codec="mpeg2video")
    assert is_whole(str(path), "mpeg") is None
    (tmp_path / "empty").write_bytes(b"")
    for name in ("matroska,webm", "avi", "mov,mp4", "flv", "asf", "ogg", "gif"):
        assert is_whole(str(tmp_path / "empty"), name) in (None, False, True)
        assert is_whole(str(tmp_path / "missing"), name) is None
    assert is_whole(str(write_truncated(tmp_path / "cut.mp4")), "mov,mp4,m4a") is False


def test_large_frames_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", pictures(2, (128, 96)))
    with pytest.raises(InputError, match=r"128 x 96 pixels.*--max-pixels"):
        open_source(str(path), max_pixels=128 * 96 - 1)
    assert facts(path).sizes == {(128, 96)}
    source = open_source(str(path), max_pixels=128 * 96)
    source.close()


def test_an_flv_that_is_joined_to_another_is_told(tmp_path: Path) -> None:
    one = write_clip(tmp_path / "a.flv", pictures(8), sound="aac").read_bytes()
    (tmp_path / "two.flv").write_bytes(one + one)
    source = open_source(str(tmp_path / "two.flv"))
    frames = [item for item in source if isinstance(item, VideoFrame)]
    source.close()
    assert [frame.error for frame in frames[:-1]] == [None] * 8
    assert f"another clip is joined to this one at byte {len(one):,}" in str(frames[-1].error)
    assert count(tmp_path / "a.flv") == 8


@pytest.mark.parametrize(
    ("kept", "said"),
    [(0.0, "the file is empty"), (0.3, r"it has no index \(moov\)"), (-1, "damaged at its start")],
)
def test_why_a_file_cannot_be_opened(tmp_path: Path, kept: float, said: str) -> None:
    """x264 writes the index behind the pictures, as cameras do."""
    data = write_clip(tmp_path / "whole.mp4", pictures(10)).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(b"\0" * 99 + data if kept < 0 else data[: int(kept * len(data))])
    with pytest.raises(InputError, match=said):
        open_source(str(tmp_path / "cut.mp4"))


def test_a_clip_that_is_cut_before_its_first_frame_says_so(tmp_path: Path) -> None:
    options = {"movflags": "faststart"}
    data = write_clip(tmp_path / "whole.mp4", noisy_pictures(3), options=options).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 4])
    with pytest.raises(InputError, match="no frame that can be decoded: the file is cut short"):
        open_source(str(tmp_path / "cut.mp4"))
