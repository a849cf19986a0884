"""Long runs: does memory stay flat, is a descriptor lost, is every row there?

    python benchmarks/soak.py camera --minutes 60      # a stream that is cut off every 20 s, followed by `video camera`
    python benchmarks/soak.py batch --pictures 100000  # small pictures made for it, worked on by `batch folder`
    python benchmarks/soak.py batch --pictures 24000 --shard-rows 1000  # a quarter of it, with more shards

Either runs the command, as its user would, and looks at its processes every second: resident memory and open files,
in the second tenth of the run and in the last. Prints a Markdown table, and what the slope of the memory makes in 24
hours. The first tenth is left out, since networks load and caches fill there. Let it hold a shard of `batch`, too:
pyarrow is loaded with the first one.
"""

from __future__ import annotations

import argparse
import csv
import http.server
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import outcome
import pyarrow.parquet as pq

COMMAND = [sys.executable, "-m", "facealign_cli"]
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "astronaut.jpg"
FACES = 200
"""Different pictures; the others repeat them, each as a file of its own."""
CUT_S = 20.0
DAY_S = 86_400.0


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    camera = commands.add_parser("camera")
    camera.add_argument("--minutes", type=float, default=60.0)
    camera.add_argument("--rate", type=float, default=10.0, help="pictures a second that the source sends")
    batch = commands.add_parser("batch")
    batch.add_argument("--pictures", type=int, default=100_000)
    batch.add_argument("--workers", type=int, default=1)
    batch.add_argument("--shard-rows", type=int, default=10_000)
    for command in (camera, batch):
        outcome.add_options(command)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = soak_camera if options.what == "camera" else soak_batch
        rows = soak(options, Path(folder))
    outcome.hand_over(outcome.pairs(rows), options)


def soak_camera(options: argparse.Namespace, folder: Path) -> list[tuple[str, str]]:
    """A source that sends motion JPEG and cuts every connection off; the camera's command follows it."""
    server = _Source(options.rate)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rows = folder / "rows.csv"
    url = f"http://user:secret@127.0.0.1:{server.server_port}/camera"
    end = ["--end", str(int(60 * options.minutes)), "--device", "cpu", "-o", str(rows)]
    watched = watch([*COMMAND, "video", "camera", "--source", url, *end])
    server.shutdown()
    with open(rows, encoding="utf-8", newline="") as stream:
        found = [(float(row["timestamp_s"]), int(row["frame"]), row["status"]) for row in csv.DictReader(stream)]
    times, frames = [time for time, _, _ in found], [frame for _, frame, _ in found]
    left_out = frames[-1] + 1 - len(set(frames))
    return [
        ("ran", f"{options.minutes:g} min, exit code {watched.code}"),
        ("connections, all but the last cut off", str(server.connections)),
        ("sent, rows, left out as too fast", f"{server.sent:,}, {len(found):,}, {left_out:,}"),
        ("rows with an error", str(sum(status == "error" for _, _, status in found))),
        ("times go on", _yes(all(a <= b for a, b in pairwise(times)))),
        ("a password in rows or messages", _yes("secret" in rows.read_text("utf-8") + watched.told)),
        *watched.rows(),
    ]


def soak_batch(options: argparse.Namespace, folder: Path) -> list[tuple[str, str]]:
    """Many small pictures, one of a hundred damaged, through one job."""
    place, out = folder / "pictures", folder / "out"
    made = list(_pictures())
    for i in range(options.pictures):
        path = place / f"{i // 1000:04d}" / f"{i:07d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made[i % FACES] if i % 100 != 50 else made[0][: 200 + i % 1000])
    command = ["batch", "folder", str(place), "-o", str(out), "--recursive", "--workers", str(options.workers)]
    command += ["--shard-rows", str(options.shard_rows)]
    watched = watch([*COMMAND, *command, "--device", "cpu"])
    shards = [pq.read_table(path, columns=["source", "status"]) for path in sorted(out.glob("part-*.parquet"))]
    sources = [source for shard in shards for source in shard["source"].to_pylist()]
    failed = sum(status == "error" for shard in shards for status in shard["status"].to_pylist())
    return [
        ("pictures, rows, shards", f"{options.pictures:,}, {len(sources):,}, {len(shards)}"),
        ("every picture has its row, none twice", _yes(len(set(sources)) == len(sources) == options.pictures)),
        ("failed, damaged", f"{failed:,}, {options.pictures // 100:,}"),
        ("pictures a second, with the start", f"{options.pictures / watched.seconds:.1f}"),
        ("exit code", str(watched.code)),
        *watched.rows(),
    ]


@dataclass(frozen=True)
class Watched:
    """A command that has ended. samples: (seconds, bytes of memory, open files) of all its processes together."""

    code: int
    told: str
    samples: list[tuple[float, int, int]]

    @property
    def seconds(self) -> float:
        """How long it ran."""
        return self.samples[-1][0]

    def rows(self) -> list[tuple[str, str]]:
        """(what, measured): the second tenth of the run beside the last, and what the slope makes in a day."""
        table = np.array(self.samples, float)
        tenth = max(1, len(table) // 10)
        table = table[tenth : -2 if len(table) > 4 * tenth else None]  # the end closes files
        first, last = np.median(table[:tenth], axis=0), np.median(table[-tenth:], axis=0)
        slope = np.polyfit(table[:, 0], table[:, 1], 1)[0]
        return [
            ("memory: second tenth, last tenth, most", f"{_mib(first[1])}, {_mib(last[1])}, {_mib(table[:, 1].max())}"),
            ("its slope", f"{slope * 3600 / 2**20:+.2f} MiB an hour: {slope * DAY_S / 2**20:+.0f} MiB in 24 hours"),
            ("open files: second tenth, last tenth, most", f"{first[2]:.0f}, {last[2]:.0f}, {table[:, 2].max():.0f}"),
        ]


def watch(command: list[str]) -> Watched:
    """Run a command to its end, and look at it and its workers every second."""
    begin, samples = time.monotonic(), [(0.0, 0, 0)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    told: list[str] = []
    reader = threading.Thread(target=lambda: told.extend(process.stderr or ()))
    reader.start()
    while process.poll() is None:
        family = [process.pid, *_children(process.pid)]
        samples.append((time.monotonic() - begin, sum(map(_memory, family)), sum(map(_open_files, family))))
        time.sleep(1)
    reader.join()
    return Watched(process.returncode, "".join(told), samples)


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in _read(task).split()]
    return [*found, *(grandchild for child in found for grandchild in _children(child))]


def _memory(pid: int) -> int:
    parts = _read(Path(f"/proc/{pid}/statm")).split()
    return int(parts[1]) * 4096 if parts else 0


def _open_files(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except OSError:  # it has just ended
        return ""


def _pictures() -> Iterator[bytes]:
    """JPEG, 128 pixels: a face that moves."""
    image = cv2.imread(str(PICTURE))
    rows, columns = image.shape[:2]
    face = image[: rows // 2, columns // 5 : columns // 5 + rows // 2]
    small = cv2.resize(face, (128, 128), interpolation=cv2.INTER_AREA)
    for i in range(FACES):
        yield bytes(cv2.imencode(".jpg", np.roll(small, i % 20 - 10, axis=1))[1])


class _Source(http.server.ThreadingHTTPServer):
    """A camera on loopback. connections, sent: so far."""

    daemon_threads = True

    def __init__(self, rate: float) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.rate, self.pictures = rate, list(_pictures())
        self.connections = self.sent = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is none."""


class _Answer(http.server.BaseHTTPRequestHandler):
    server: _Source

    def do_GET(self) -> None:
        self.server.connections += 1
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        until = time.monotonic() + CUT_S
        while time.monotonic() < until:
            data = self.server.pictures[self.server.sent // 4 % FACES]
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
            self.wfile.write(data + b"\r\n")
            self.server.sent += 1
            time.sleep(1 / self.server.rate)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _mib(count: float) -> str:
    return f"{count / 2**20:.0f} MiB"


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


if __name__ == "__main__":
    main()
