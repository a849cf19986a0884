"""Clips in and out: files, numbered pictures and cameras as sources, H.264 with the sound as a sink. Needs PyAV."""

from facealign_cli.video.base import MAX_FRAME_PIXELS, SoundPacket, VideoFrame, VideoInfo, VideoSource, import_av

__all__ = ["SoundPacket", "VideoFrame", "VideoInfo", "VideoSource", "import_av", "open_source"]


def open_source(
    path: str,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    rate: float = 25.0,
    sound: bool = False,
    max_pixels: int = MAX_FRAME_PIXELS,
) -> VideoSource:
    """The clip at `path`: a file, a folder of pictures or a pattern like frames/%04d.png (`rate` of them a second).

    start_s, end_s: only the frames between. sound: pass its packets on. max_pixels: of a frame. Raises InputError,
    MissingDependency.
    """
    from facealign_cli.video.container import ContainerSource
    from facealign_cli.video.sequence import SequenceSource, is_sequence

    if is_sequence(path):
        return SequenceSource(path, rate=rate, start_s=start_s, end_s=end_s, max_pixels=max_pixels)
    return ContainerSource(path, start_s=start_s, end_s=end_s, sound=sound, max_pixels=max_pixels)
