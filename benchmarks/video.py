"""How fast a clip is tracked, where the time goes, and whether memory stays flat.

    python benchmarks/video.py speed CLIP... [--model NAME|FILE] [--rounds N] [--against CHECKOUT] [-o FILE.md]
    python benchmarks/video.py crowd PHOTO      # `speed` on ten seconds of 1080p made from a photo of several faces
    python benchmarks/video.py memory CLIP [--minutes 1,10] [--overlay]

`speed` runs `video track` (rows to a CSV file) over each clip, once with tracking and once with the detector in every
frame, turn about, and gives the frames a second of the best round; then each step by itself, in milliseconds of
processor time a frame, all threads together. With --against, only tracking, by this checkout and another one, turn
about, each run in a process of its own: the frames a second of the best round, and the ratios of the medians. `memory`
plays one clip again and again, as one long film, and gives the
resident memory after so many minutes of film.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import outcome

from facealign_cli.aligner import Aligner
from facealign_cli.formats.base import get_format
from facealign_cli.formats.growing import write_rows
from facealign_cli.overlay import draw_overlay
from facealign_cli.video import SoundPacket, VideoFrame, VideoInfo, VideoSource, open_source
from facealign_cli.video.sink import open_sink
from facealign_cli.video.track import VideoOptions, track_video
from facealign_cli.video.tracking import TrackingOptions

STEP_FRAMES = 150
"""Frames that each step is timed on by itself."""


@dataclass(frozen=True)
class Speed:
    """Frames a second with tracking and without, and milliseconds of processor time a frame of each step."""

    name: str
    info: VideoInfo
    n_frames: int
    tracked_fps: float
    detected_fps: float
    steps_ms: dict[str, float]


class Looped:
    """A clip played again and again for so many seconds of film, with times that go on."""

    sound: tuple[object, ...] = ()

    def __init__(self, path: str, seconds: float) -> None:
        self._path, self._seconds = path, seconds
        first = open_source(path)
        self.info, self.offset_s = first.info, first.offset_s
        first.close()

    def __iter__(self) -> Iterator[VideoFrame | SoundPacket]:
        pts = index = 0
        while pts * self.info.time_base < self._seconds:
            source, begin, length = open_source(self._path), pts, 1
            for item in source:
                if isinstance(item, VideoFrame):
                    pts, length = begin + item.pts, item.duration or length
                    yield replace(item, index=index, pts=pts, timestamp_s=float(pts * self.info.time_base))
                    index += 1
            pts += length
            source.close()

    def close(self) -> None:
        """Nothing stays open."""


def tracked_fps(path: Path, aligner: Aligner, detect_every: int | None) -> tuple[int, float]:
    """Frames, and frames a second, of a whole `video track`."""
    options, count = VideoOptions(TrackingOptions(detect_every)), 0
    begin = time.perf_counter()
    source = open_source(str(path))

    def counted() -> Iterator:
        nonlocal count
        for record in track_video(source, aligner, options):
            count += 1
            yield record

    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / "rows.csv", counted(), get_format("csv"))
    source.close()
    return count, count / (time.perf_counter() - begin)


def cpu_ms(run: Callable[[], object], count: int) -> float:
    """Milliseconds of processor time, of all threads, for each of `count`."""
    begin = time.process_time()
    run()
    return 1000 * (time.process_time() - begin) / max(count, 1)


def steps_ms(path: Path, aligner: Aligner) -> dict[str, float]:
    """Each step by itself on the clip's first frames."""
    frames: list[VideoFrame] = []

    def decode() -> None:
        source = open_source(str(path))
        for item in source:
            if isinstance(item, VideoFrame) and item.image_bgr is not None:
                frames.append(item)
                if len(frames) == STEP_FRAMES:
                    break
        source.close()

    decoding = cpu_ms(decode, 1)
    few = frames[:: max(1, len(frames) // 30)]
    images = [frame.image_bgr for frame in frames if frame.image_bgr is not None]
    faces = [aligner.align(image) for image in images[:: max(1, len(images) // 10)]]
    known = next((found for found in faces if found), [])
    shapes = [face.landmarks for face in known]

    def encode() -> None:
        source = open_source(str(path))
        with tempfile.TemporaryDirectory() as folder, open_sink(Path(folder) / "o.mp4", source.info) as sink:
            for frame, image in zip(frames, images, strict=True):
                sink.write(image, frame.pts, frame.duration)
        source.close()

    return {
        "decode": decoding / len(frames),
        "detect": cpu_ms(lambda: [aligner.detector.detect(frame.image_bgr) for frame in few], len(few)),
        "align": cpu_ms(lambda: [aligner.align_shapes(image, shapes) for image in images if shapes], len(images)),
        "draw": cpu_ms(lambda: [draw_overlay(image, known) for image in images], len(images)),
        "encode": cpu_ms(encode, len(frames)),
    }


def speed(path: Path, aligner: Aligner, rounds: int) -> Speed:
    """Measure one clip."""
    tracked, detected, count = [], [], 0
    for _ in range(rounds):
        count, fps = tracked_fps(path, aligner, None)
        tracked.append(fps)
        detected.append(tracked_fps(path, aligner, 1)[1])
    source = open_source(str(path))
    source.close()
    return Speed(path.name, source.info, count, max(tracked), max(detected), steps_ms(path, aligner))


def rates(clips: list[Path], aligner: Aligner) -> list[tuple[int, float, float]]:
    """Frames, frames a second, and milliseconds of processor time a frame of each clip."""
    found = []
    for clip in clips:
        begin = time.process_time()
        count, fps = tracked_fps(clip, aligner, None)
        found.append((count, fps, 1000 * (time.process_time() - begin) / count))
    return found


def against(clips: list[Path], other: Path, rounds: int, model: str | None) -> str:
    """Markdown: tracking by this checkout beside that by another one."""
    here, runs = Path(__file__).resolve().parents[1], []
    command = [sys.executable, __file__, "rates", *map(str, clips), *(["--model", model] if model else [])]
    for _ in range(rounds):
        for checkout in (other.resolve(), here):
            environment = os.environ | {"PYTHONPATH": str(checkout)}
            runs.append(json.loads(subprocess.check_output(command, env=environment, text=True)))
    lines = [
        "| clip | frames | fps | × real time | fps before | ratio | processor ms a frame | ms before | ratio of ms |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for i, clip in enumerate(clips):
        source = open_source(str(clip))
        rate = float(source.info.rate or 25)
        source.close()
        (fps_then, cpu_then), (fps, cpu) = ([[run[i][k] for run in runs[n::2]] for k in (1, 2)] for n in (0, 1))
        lines.append(
            f"| {clip.name} | {runs[1][i][0]} | {max(fps):.0f} | {max(fps) / rate:.1f} | {max(fps_then):.0f} "
            f"| {statistics.median(fps) / statistics.median(fps_then):.2f} | {min(cpu):.2f} | {min(cpu_then):.2f} "
            f"| {statistics.median(cpu) / statistics.median(cpu_then):.2f} |"
        )
    return "\n".join(lines) + "\n"


def write_crowd(photo: Path, clip: Path, n_frames: int = 300) -> Path:
    """A clip of 1920 x 1080, 30 frames a second: a window that moves slowly over the photo, enlarged to 2048 wide."""
    picture = cv2.imread(str(photo))
    if picture is None:
        raise SystemExit(f"{photo}: cannot be read")
    scale = 2048 / picture.shape[1]
    picture = cv2.resize(picture, None, fx=scale, fy=max(scale, 1180 / picture.shape[0]), interpolation=cv2.INTER_CUBIC)
    info = VideoInfo(str(clip), 1920, 1080, Fraction(1, 30), Fraction(30), n_frames)
    with open_sink(clip, info) as sink:
        for i in range(n_frames):
            sway = (1 - np.cos(2 * np.pi * i / n_frames)) / 2
            x, y = round(128 * sway), round(100 * sway)
            sink.write(np.ascontiguousarray(picture[y : y + 1080, x : x + 1920]), i, 1)
    return clip


def table(speeds: list[Speed]) -> str:
    """Markdown."""
    lines = [
        "| clip | frames | tracking fps | × real time | every frame fps | ratio | ms a frame, each step alone |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for s in speeds:
        real = s.tracked_fps / float(s.info.rate or 25)
        steps = ", ".join(f"{name} {ms:.1f}" for name, ms in s.steps_ms.items())
        size = f"{s.name} ({s.info.width}×{s.info.height})"
        ratio = s.tracked_fps / s.detected_fps
        lines.append(
            f"| {size} | {s.n_frames} | {s.tracked_fps:.0f} | {real:.1f} | {s.detected_fps:.0f} | {ratio:.1f} "
            f"| {steps} |"
        )
    return "\n".join(lines) + "\n"


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory(path: Path, aligner: Aligner, minutes: list[float], overlay: bool) -> list[float]:
    """Resident megabytes after so many minutes of film, rising."""
    source: VideoSource = Looped(str(path), 60 * minutes[-1] + 1)
    found: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        rows, clip = Path(folder) / "rows.csv", Path(folder) / "o.mp4"

        def watched(records: Iterator) -> Iterator:
            for record in records:
                if len(found) < len(minutes) and record.timestamp_s >= 60 * minutes[len(found)]:
                    found.append(resident_mb())
                yield record

        if overlay:
            with open_sink(clip, source.info) as sink:
                write_rows(rows, watched(track_video(source, aligner, sink=sink)), get_format("csv"))
        else:
            write_rows(rows, watched(track_video(source, aligner)), get_format("csv"))
    return found


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "crowd", "memory", "rates"])
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="speed, crowd: beside that of this checkout")
    parser.add_argument("--minutes", default="1,10")
    parser.add_argument("--overlay", action="store_true", help="memory: write the overlay, too")
    outcome.add_options(parser)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    aligner = Aligner(args.model)
    if args.what == "rates":
        print(json.dumps(rates(args.clips, aligner)))
        return
    if args.what in ("speed", "crowd"):
        with tempfile.TemporaryDirectory() as folder:
            clips = args.clips
            if args.what == "crowd":
                clips = [write_crowd(photo, Path(folder) / f"{photo.stem}.mp4") for photo in clips]
            if args.against:
                text = against(clips, args.against, args.rounds, args.model)
            else:
                text = table([speed(clip, aligner, args.rounds) for clip in clips])
    else:
        minutes = [float(part) for part in args.minutes.split(",")]
        found = memory(args.clips[0], aligner, minutes, args.overlay)
        parts = [f"{m:g} min | {mb:.0f} MB" for m, mb in zip(minutes, found, strict=True)]
        text = "| After | Resident memory |\n| --- | ---: |\n" + "".join(f"| {part} |\n" for part in parts)
        text += f"\nSpread {np.ptp(found):.1f} MB.\n"
    outcome.hand_over(text, args)


if __name__ == "__main__":
    main()
