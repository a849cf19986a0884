"""Streams on the network: read as they come, made anew when they break, given up when they do not come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from clips import pictures, write_clip
from stream_servers import (
    HttpServer,
    RtspServer,
    file,
    live,
    motion_jpeg,
    one_after_the_other,
    redirect,
    serving,
    then_silent,
)

from facealign_cli.cli.main import main
from facealign_cli.errors import InputError
from facealign_cli.formats.base import get_format
from facealign_cli.video import VideoFrame, open_source, opening, stream
from facealign_cli.video.opening import shown
from facealign_cli.video.stream import StreamSource

FRAMES = 25


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A clip of 25 frames at 25 a second, as .mp4 and .ts; its frames are all key frames."""
    folder = tmp_path_factory.mktemp("clips")
    made = {}
    for suffix in (".mp4", ".ts"):
        path = write_clip(folder / f"a{suffix}", pictures(FRAMES), options={"movflags": "faststart"})
        made[suffix] = path.read_bytes()
    return made


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "FIRST_PAUSE_S", 0.05)


@pytest.fixture
def http(clip: dict[str, bytes]) -> Iterator[HttpServer]:
    answers = {f"/a{suffix}": file(data) for suffix, data in clip.items()} | {"/live.ts": live(clip[".ts"])}
    with serving(HttpServer(answers)) as server:
        yield server


def follow(url: str, **options: Any) -> tuple[list[VideoFrame], list[str]]:
    """The frames of a stream, and what was told."""
    told: list[str] = []
    source = StreamSource(url, tell=told.append, **options)
    try:
        return list(source), told
    finally:
        source.close()


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_a_clip_at_a_url_is_read_once_and_whole(http: HttpServer, suffix: str) -> None:
    frames, told = follow(http.url(f"/a{suffix}"))
    assert [frame.timestamp_s for frame in frames] == pytest.approx([i / 25 for i in range(FRAMES)], abs=1e-4)
    assert [frame.index for frame in frames] == list(range(FRAMES))
    assert told == []
    for frame, image in zip(frames, pictures(FRAMES), strict=True):
        assert frame.image_bgr is not None
        assert np.abs(frame.image_bgr.astype(int) - image).mean() < 6


def test_a_clip_is_not_thinned_by_who_is_slow(http: HttpServer) -> None:
    source = StreamSource(http.url("/a.mp4"))
    count = 0
    for _ in source:
        count += 1
        time.sleep(0.01)
    assert count == FRAMES


def test_motion_jpeg_has_the_times_at_which_it_comes(http: HttpServer) -> None:
    data = [bytes(cv2.imencode(".jpg", image)[1]) for image in pictures(12)]
    http.answers["/cam"] = motion_jpeg(data, 0.1)
    frames, _ = follow(http.url("/cam"), reconnects=0)
    good = [frame for frame in frames if frame.error is None]
    assert len(good) == 12
    assert good[-1].timestamp_s > 0.7  # by FFmpeg's own 25 a second it would be 0.44
    assert frames[-1].error is not None and "broke off" in frames[-1].error


def test_a_broken_stream_is_made_anew_and_then_given_up(http: HttpServer, clip: dict[str, bytes]) -> None:
    http.answers["/live.ts"] = one_after_the_other(live(clip[".ts"]), live(clip[".ts"][: len(clip[".ts"]) // 2]))
    frames, told = follow(http.url("/live.ts", "me:secret@"), reconnects=2)
    assert http.asked["/live.ts"] == 4
    assert [t.partition(": ")[2].partition(" ")[0] for t in told[:2]] == ["the", "is"]
    assert "try 1 of 2 in 0.05 s" in told[0]
    assert "try 2 of 2 in 0.1 s" in told[3]
    assert "5XX" in told[3]
    *good, last = frames
    assert last.image_bgr is None and last.error is not None
    assert "did not come back in 2 tries" in last.error
    assert good and last.index > FRAMES  # both connections were read
    assert all(a.timestamp_s < b.timestamp_s for a, b in pairwise(frames))
    assert "secret" not in "".join([*told, last.error])


def test_a_live_stream_does_not_wait_for_who_is_slow(http: HttpServer) -> None:
    told: list[str] = []
    source = StreamSource(http.url("/live.ts"), reconnects=0, tell=told.append)
    frames = []
    for frame in source:
        frames.append(frame)
        time.sleep(0.15)
    good = [frame for frame in frames if frame.error is None]
    assert 1 <= len(good) < FRAMES
    assert f"{frames[-1].index + 1 - len(frames)} frames were left out" in told[-1]


def test_one_that_falls_silent_is_given_up(
    http: HttpServer, clip: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "ANSWER_S", 0.6)
    http.answers["/live.ts"] = one_after_the_other(then_silent(live(clip[".ts"])))
    frames, told = follow(http.url("/live.ts"), reconnects=1)
    assert "no answer for 0.6 s" in told[0]
    assert frames[-1].index > FRAMES // 2  # counts those, too, that were left out
    http.answers["/dead"] = lambda request: request.server.silence.wait(20)
    with pytest.raises(InputError, match=r"no answer for 0\.6 s"):
        StreamSource(http.url("/dead"))
    with pytest.raises(InputError, match=r"no answer for 0\.6 s"):  # as a clip, too
        open_source(http.url("/dead"))


def test_stop_ends_a_silent_stream(http: HttpServer, clip: dict[str, bytes]) -> None:
    http.answers["/live.ts"] = then_silent(live(clip[".ts"]))
    stop = threading.Event()
    source = StreamSource(http.url("/live.ts"), stop=stop)
    items = iter(source)
    next(items)
    threading.Timer(0.5, stop.set).start()
    begin = time.monotonic()
    list(items)
    source.close()
    assert time.monotonic() - begin < opening.ANSWER_S / 2


def test_it_ends_at_its_end(http: HttpServer) -> None:
    frames, _ = follow(http.url("/a.mp4"), end_s=0.5)
    assert [frame.index for frame in frames] == list(range(13))


@pytest.mark.parametrize("user", ["", "me:secret@"])
def test_rtsp(clip: dict[str, bytes], user: str) -> None:
    with serving(RtspServer(clip[".ts"])) as server:
        frames, told = follow(server.url(user), reconnects=0)
        assert server.plays == 1
    good = [frame for frame in frames if frame.error is None]
    assert good[-1].index > FRAMES // 2
    assert all(abs(b.timestamp_s - a.timestamp_s - 0.04 * (b.index - a.index)) < 0.002 for a, b in pairwise(good))
    assert "secret" not in f"{told} {frames[-1].error}"


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{place}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{place}'\n",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{place}</BaseURL></MPD>\n',
    "sdp": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 9 RTP/AVP 33\r\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("open_it", [StreamSource, open_source])
def test_no_playlist_opens_another_place(
    http: HttpServer, clip: dict[str, bytes], tmp_path: Path, kind: str, open_it: Any
) -> None:
    (tmp_path / "a.ts").write_bytes(clip[".ts"])
    for place in ("/a.ts", str(tmp_path / "a.ts")):
        text = PLAYLISTS[kind].format(place=place)
        http.answers["/list.m3u8"] = file(text.encode(), "application/vnd.apple.mpegurl")
        with pytest.raises(InputError, match=r"a playlist|Invalid data found"):  # the latter where FFmpeg lacks DASH
            open_it(http.url("/list.m3u8"))
    assert http.asked["/a.ts"] == 0


def test_a_redirection_leads_to_no_file(http: HttpServer, clip: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_bytes(clip[".ts"])
    http.answers["/moved"] = redirect(f"file://{tmp_path}/a.ts")
    with pytest.raises(InputError, match="cannot be read"):
        StreamSource(http.url("/moved"))
    http.answers["/moved"] = redirect("/a.ts")
    assert len(follow(http.url("/moved"))[0]) == FRAMES


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("rtsp://me:p@ss@host:554/a?x=1", "rtsp://***@host:554/a?x=1"),
        ("http://host/a?user=me&password=x&Token=y&n=2", "http://host/a?user=me&password=***&Token=***&n=2"),
        ("http://host/a@b", "http://host/a@b"),
        ("a@b.mp4", "a@b.mp4"),
        ("srt://me@host?passphrase=abc", "srt://***@host?passphrase=***"),
    ],
)
def test_what_is_shown_of_a_url(url: str, text: str) -> None:
    assert shown(url) == text


def test_an_error_does_not_show_a_password(http: HttpServer) -> None:
    for open_it in (StreamSource, open_source):
        with pytest.raises(InputError, match="404") as caught:
            open_it(http.url("/missing", "me:secret@"))
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert "***@127.0.0.1" in str(caught.value)


def test_the_command_masks_passwords_in_rows(http: HttpServer, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    command = ["video", "camera", "--source", http.url("/a.mp4", "me:secret@"), "--device", "cpu", "-o", str(rows)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.stderr
    assert "secret" not in result.stderr + rows.read_text()
    records = get_format("csv").read(rows)
    assert len(records) == FRAMES
    assert records[0].source.startswith("http://***@127.0.0.1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--source", "clip.mp4"], "takes a URL"),
        (["--source", "http://127.0.0.1:1/", "--device-index", "0"], "two cameras"),
        (["--reconnect", "3"], "name it with --source"),
    ],
)
def test_what_the_command_refuses(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(main, ["video", "camera", *arguments])
    assert result.exit_code == 2
    assert words in result.stderr


def test_times_that_jump_are_not_believed() -> None:
    times = stream._Times(2.0, live=True)
    assert [times.at(stated, now) for stated, now in ((100.0, 2.0), (100.5, 2.6), (101.0, 2.9))] == [2.0, 2.5, 3.0]
    assert times.at(7.0, 3.2) == 3.2  # the camera's clock was set back
    assert times.at(7.5, 3.6) == pytest.approx(3.7)
    assert times.at(None, 9.0) == 9.0
    once = stream._Times(5.0, live=False)
    assert [once.at(stated, 0.1) for stated in (3.0, 13.0)] == [0.0, 10.0]
