"""`facealign batch videos` with two workers against one: how many times faster, and are the tables the same?

    python benchmarks/batch_videos.py CLIP... [--clips 40] [--frames 100] [--rounds 2] [--work FOLDER]

Makes clips out of the given ones: parts of some frames, every second one at three quarters of the size, two of them
damaged (the second half of the file missing). One worker and two run in turn, each in a folder of its own; printed are
the seconds of each run and of processor time, the ratio of the best ones, the processors that this process may use,
since two workers cannot be faster than one where there is only one, and how many processes wanted one before the first
run: beside other work the ratio says little, but the processor time says what a second worker costs.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

COMMAND = [sys.executable, "-m", "facealign_cli", "batch", "videos"]


def main() -> None:
    """Parse, make, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="+", metavar="CLIP")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", type=Path, help="where to put clips and tables [default: a temporary folder]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        make_clips(options.sources, work / "in", options.clips, options.frames)
        seconds: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
        for number, workers in itertools.product(range(options.rounds), seconds):
            seconds[workers].append(run(work / "in", work / f"out-{number}-{workers}", workers))
        same = tables(work / "out-0-1") == tables(work / "out-0-2")
    best = {workers: min(wall for wall, _ in taken) for workers, taken in seconds.items()}
    sys.stdout.write("| workers | seconds of each run | of processor time | best |\n| ---: | --- | --- | ---: |\n")
    for workers, taken in seconds.items():
        wall, own = (", ".join(f"{s:.1f}" for s in column) for column in zip(*taken, strict=True))
        sys.stdout.write(f"| {workers} | {wall} | {own} | {best[workers]:.1f} |\n")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    sys.stdout.write(f"\nTwo workers are {best[1] / best[2]:.2f} times one; {usable} processors, load {load:.1f}; ")
    sys.stdout.write(f"tables {'the same' if same else 'NOT the same'}.\n")


def make_clips(sources: list[Path], folder: Path, count: int, frames: int) -> None:
    """Parts of the sources, taken in turn; what is there already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = itertools.cycle(sources)
    for number, source in zip(range(count), parts, strict=False):
        place = folder / f"{number:03d}.mp4"
        if not place.exists():
            begin = number // len(sources) * frames
            write_clip(place, list(itertools.islice(pictures(source), begin, begin + frames)) or first(source, frames))
            if number in (3, 5):
                place.write_bytes(place.read_bytes()[: place.stat().st_size // 2])


def pictures(source: Path) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 RGB."""
    with av.open(str(source)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def first(source: Path, frames: int) -> list[np.ndarray]:
    """Those that a clip begins with, where it is too short for a later part."""
    return list(itertools.islice(pictures(source), frames))


def write_clip(place: Path, images: list[np.ndarray]) -> None:
    """H.264, 25 frames a second; every second clip is three quarters as large."""
    scale = 0.75 if int(place.stem) % 2 else 1.0
    height, width = (int(scale * side) // 2 * 2 for side in images[0].shape[:2])
    with av.open(str(place), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24").reformat(width, height)))
        container.mux(stream.encode(None))


def run(folder: Path, out: Path, workers: int) -> tuple[float, float]:
    """Seconds of one job, and of its processor time; two of its clips are damaged, so it ends with 3."""
    begin, before = time.monotonic(), os.times()
    command = [*COMMAND, str(folder), "-o", str(out), "--workers", str(workers), "--restart"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        sys.exit(f"exit code {done.returncode}: {done.stderr[-500:]}")
    after = os.times()
    own = after.children_user - before.children_user + after.children_system - before.children_system
    return time.monotonic() - begin, own


def tables(out: Path) -> dict[str, bytes]:
    """All that a job made of its clips."""
    made = {str(path.relative_to(out)): path.read_bytes() for path in (out / "clips").rglob("*") if path.is_file()}
    return made | {"clips.csv": (out / "clips.csv").read_bytes()}


if __name__ == "__main__":
    main()
