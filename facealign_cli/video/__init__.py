"""Clips in and out: files, numbered pictures and cameras as sources, H.264 with the sound as a sink. Needs PyAV."""

from facealign_cli.arguments import check_flags, check_number
from facealign_cli.errors import InputError
from facealign_cli.files.base import check_path
from facealign_cli.video.base import (
    MAX_FRAME_PIXELS,
    OpenedSource,
    SoundPacket,
    VideoFrame,
    VideoInfo,
    VideoSource,
    import_av,
)

__all__ = ["SoundPacket", "VideoFrame", "VideoInfo", "VideoSource", "import_av", "open_source"]


def open_source(
    path: str,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    rate: float = 25.0,
    sound: bool = False,
    max_pixels: int = MAX_FRAME_PIXELS,
    every: int = 1,
    most_fps: float | None = None,
) -> OpenedSource:
    """Open a clip: a file, a folder of pictures, or a pattern such as frames/%04d.png.

    start_s, end_s: only the frames between these times, in seconds. rate: frames a second of numbered pictures. sound:
    whether packets of the sound are passed on. max_pixels: a clip whose frames have more pixels is refused. every: take
    one of so many frames, from the first one on. most_fps: take no more than so many frames a second.
    What it returns has its facts in `info`, gives its frames when it is gone through, once, and ends with `close`, or
    with a `with` statement.
    Raises InputError if the clip cannot be opened, and MissingDependency without PyAV.
    """
    from facealign_cli.video.container import ContainerSource
    from facealign_cli.video.sequence import SequenceSource, is_sequence
    from facealign_cli.video.thinned import ThinnedSource, check_thinning

    check_path("path", path)
    for name, value in (("start_s", start_s), ("end_s", end_s)):
        if value is not None:
            check_number(name, value, 0, 1e9)
    if start_s is not None and end_s is not None and end_s <= start_s:
        part = f"{start_s:g} s to {end_s:g} s"
        raise InputError(f"start_s and end_s (--start and --end): expected an end after the beginning, got {part}")
    check_flags(sound=sound)
    check_number("rate", rate, 1e-3, 1e6)
    check_number("max_pixels", max_pixels, 1, whole=True)
    check_thinning(every, most_fps)
    source: OpenedSource
    if is_sequence(path):
        source = SequenceSource(path, rate=rate, start_s=start_s, end_s=end_s, max_pixels=max_pixels)
    else:
        source = ContainerSource(path, start_s=start_s, end_s=end_s, sound=sound, max_pixels=max_pixels)
    return source if every == 1 and most_fps is None else ThinnedSource(source, every, most_fps)
