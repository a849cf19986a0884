"""Opening a clip's file by PyAV, so that FFmpeg reads this one file and nothing else.

The file is opened by us and handed over by its descriptor: a name with a colon is no protocol, and a playlist,
whatever it is called, cannot make FFmpeg open what it names. A URL opens what it names on the network, by protocols
that lead to no file, and no playlist either. What may be a password in it is never shown.
"""

from __future__ import annotations

import os
import re
from typing import Any

from facealign_cli.errors import InputError
from facealign_cli.files.base import no_such_file, without_waiting
from facealign_cli.video.base import import_av
from facealign_cli.video.whole import lacks_index

_URL = re.compile(r"(https?|rtsps?|rtmps?|srt|udp|rtp|tcp|mmsh?)://")
_PROTOCOLS = "http,https,httpproxy,tcp,tls,udp,rtp,srtp,rtmp,rtmps,rtmpt,srt,mmsh,mmst"
"""Of FFmpeg, for URLs: none that reads files."""
_PLAYLIST_FORMATS = {"concat", "dash", "hls", "imf", "sdp", "webm_dash_manifest"}
"""FFmpeg's names of formats that name other places."""
ANSWER_S = 10.0
"""Seconds without a byte after which a place on the network is given up."""
_USER = re.compile(r"(?<=://)[^/?#]*@")
_SECRET = re.compile(r"([?&][^=&#]*(?:pass|pwd|token|key|secret|auth|sig)[^=&#]*=)[^&#]*", re.IGNORECASE)
_PLAYLISTS = {
    b"#EXTM3U": "an HLS playlist (.m3u8)",
    b"ffconcat": "a list of clips (.ffconcat)",
    b"[playlist]": "a playlist (.pls)",
    b"<MPD": "a DASH manifest (.mpd)",
    b"<CompositionPlaylist": "an IMF playlist",
    b"v=0\r\n": "a description of a live stream (.sdp)",
    b"v=0\n": "a description of a live stream (.sdp)",
}


def is_url(path: str) -> bool:
    """Whether a path means a stream on the network; anything else is a file's name, colons and all."""
    return _URL.match(path) is not None


def shown(path: str) -> str:
    """The path as it may be shown: of a URL, without its user, its password, and values that may be passwords."""
    return _SECRET.sub(r"\1***", _USER.sub("***@", path)) if is_url(path) else path


def open_container(path: str) -> Any:
    """PyAV's container of a clip or a stream. Raises InputError, which says why it cannot be read."""
    av = import_av()
    if not is_url(path) and os.path.isdir(path):
        raise InputError(f"{path}: is a folder, not a clip")
    try:
        container = _open_url(av, path) if is_url(path) else _open_file(av, path)
    except (FileNotFoundError, av.error.FileNotFoundError) as error:
        raise InputError(f"{shown(path)}: {_missing(path)}") from error
    except PermissionError as error:
        raise InputError(f"{shown(path)}: cannot be read: no permission to read it") from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = url_reason(error) if is_url(path) else _reason(path)
        raise InputError(f"{shown(path)}: cannot be read: {reason}") from (None if is_url(path) else error)
    container.flags &= ~av.container.core.Flags.gen_pts.value  # made-up times would hide that there are none
    return container


def _missing(path: str) -> str:
    """What to say of a clip that is not there."""
    if path == "-":
        return (
            "a clip is not read from standard input, since its reader has to go back in it: save it first, with "
            "cat > clip.mp4, and give that file"
        )
    return no_such_file(path, "facealign batch videos")


def url_reason(error: Exception) -> str:
    """What went wrong at a URL, without the URL itself, which FFmpeg's errors have in them."""
    av = import_av()
    if isinstance(error, av.error.ExitError | TimeoutError):
        return f"no answer for {ANSWER_S:g} s"
    if isinstance(error, av.error.ArgumentError):
        return "no stream of a kind that is read here; a playlist (.m3u8, .mpd, .sdp) is not opened: give the stream"
    text = getattr(error, "strerror", None)
    return str(text) if text else type(error).__name__


def _open_url(av: Any, url: str) -> Any:
    formats = ",".join(sorted(set(av.formats_available) - _PLAYLIST_FORMATS))
    options = {"protocol_whitelist": _PROTOCOLS, "format_whitelist": formats, "rtsp_flags": "prefer_tcp"}
    return av.open(url, options=options, timeout=(ANSWER_S, ANSWER_S), metadata_errors="replace")


def _open_file(av: Any, path: str) -> Any:
    descriptor = without_waiting(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        options = {"fd": str(descriptor), "protocol_whitelist": "fd"}
        return av.open("fd:", options=options, metadata_errors="replace")
    finally:
        os.close(descriptor)  # FFmpeg has made a copy of its own


def _reason(path: str) -> str:
    """What kind of file it is that FFmpeg could not read."""
    try:
        if not os.path.isfile(path):
            return "not a file that can be read"
        with open(path, "rb") as stream:
            head = stream.read(4096)
        if not head:
            return "the file is empty"
        if lacks_index(path):
            return "it has no index (moov): the file is cut short, or its recording was broken off"
    except (OSError, ValueError):
        return "not a file that can be read"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for mark, kind in _PLAYLISTS.items():
        if start.startswith(mark) or (mark.startswith(b"<") and mark in head):
            return f"it is {kind}, and the files that it names are not opened; give one of the clips itself"
    return "not a video, or damaged at its start"
