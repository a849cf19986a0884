"""examples/service.py under load: waiting times, throughput, memory, and what bad pictures and slow clients do.

    python benchmarks/service_load.py [PICTURE] [--requests 60] [-o FILE.md]

Starts the service in a process of its own on a free port of this machine and sends it so many requests, 1, 4 and 16 at
a time; then good ones with a damaged picture among every two of them, with a picture of 50 megapixels, with one beyond
the limit, and with ten clients that send nothing. CPU: the processor's time that the service took for a request, which
other work on the machine does not lengthen. Memory: its largest resident size so far.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import cv2
import numpy as np
import outcome

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Service:
    """A running service."""

    port: int
    pid: int

    def post(self, body: bytes) -> tuple[int, float]:
        """The status of the answer, and the seconds until it was there."""
        begin = time.perf_counter()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request("POST", "/faces", body)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status, time.perf_counter() - begin

    def peak_mb(self) -> int:
        """Its largest resident size so far."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return int(re.findall(r"VmHWM:\s*(\d+)", status)[0]) >> 10

    def cpu_seconds(self) -> float:
        """The processor's time that it has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving() -> Iterator[Service]:
    """The service, on a port that is free."""
    command = [sys.executable, str(ROOT / "examples" / "service.py"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            for line in process.stderr or ():
                if match := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                    yield Service(int(match[1]), process.pid)
                    return
            sys.exit("the service did not start")
        finally:
            process.terminate()


def row(name: str, service: Service, bodies: Sequence[bytes], at_once: int) -> str:
    """A line of the table: all bodies sent, so many at a time."""
    begin, used = time.perf_counter(), service.cpu_seconds()
    with ThreadPoolExecutor(at_once) as pool:
        answers = list(pool.map(service.post, bodies))
    seconds = time.perf_counter() - begin
    good = [1000 * wait for status, wait in answers if status == 200]
    statuses = ", ".join(f"{n} × {status}" for status, n in sorted(Counter(status for status, _ in answers).items()))
    waits = f"{np.percentile(good, 50):.0f} | {np.percentile(good, 95):.0f}" if good else "– | –"
    cpu, speed = 1000 * (service.cpu_seconds() - used) / len(bodies), len(bodies) / seconds
    return f"| {name} | {at_once} | {statuses} | {waits} | {speed:.1f} | {cpu:.0f} | {service.peak_mb()} |"


def silent_clients(service: Service, count: int, work: Callable[[], str]) -> str:
    """The work, while so many clients have said that they send a picture and send nothing."""
    with ExitStack() as clients:
        for _ in range(count):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            client.sendall(b"POST /faces HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        return work()


def large(picture: np.ndarray, megapixels: float) -> bytes:
    """The picture enlarged, as JPEG."""
    scale = (megapixels * 1e6 / (picture.shape[0] * picture.shape[1])) ** 0.5
    enlarged = cv2.resize(picture, None, fx=scale, fy=scale)
    return cv2.imencode(".jpg", enlarged, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, nargs="?", default=ROOT / "docs" / "astronaut.jpg")
    parser.add_argument("--requests", type=int, default=60)
    outcome.add_options(parser)
    args = parser.parse_args()
    good, n = args.picture.read_bytes(), args.requests
    picture = cv2.imdecode(np.frombuffer(good, np.uint8), cv2.IMREAD_COLOR)
    lines = [
        "| sent | at once | answers | ms, median | ms, 95 % | a second | CPU ms each | MB at most |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    with serving() as service:
        service.post(good)  # the first one pays for what is loaded late
        lines += [row("good pictures", service, [good] * n, at_once) for at_once in (1, 4, 16)]
        lines.append(row("every third one damaged", service, [good, good, good[: len(good) // 2]] * (n // 3), 4))
        silent = silent_clients(service, 10, lambda: row("good ones beside ten silent clients", service, [good] * n, 4))
        lines.append(silent)
        lines.append(row("more at once than are let in", service, [good] * n, 32))
        lines.append(row("49 megapixels among every ten", service, ([large(picture, 49)] + [good] * 9) * (n // 10), 4))
        lines.append(row("51 megapixels, refused", service, [large(picture, 51)] * 4, 4))
        lines.append(row("good pictures again", service, [good] * n, 4))
    text = "\n".join(lines) + "\n"
    outcome.hand_over(text, args)


if __name__ == "__main__":
    main()
