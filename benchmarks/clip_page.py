"""What the page of `facealign video plot` costs: to make, and to look at.

    python benchmarks/clip_page.py [--minutes 60] [--persons 3] [--page PAGE.html]

Rows are made up: the mean face, turned and blinking, with noise, 30 frames a second, each person out of sight for four
seconds of every minute. Printed are the faces, the megabytes of the page, the seconds of processor time that it took
(also a face; reading ROWS comes on top of it), and, where Playwright and Chromium are there, what the page's own thread
spends until it is drawn and for one value under the pointer. All is processor time, so that other work disturbs little.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from facealign_cli.boxes import BBox
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.records import Face, FrameResult
from facealign_cli.report.clip import write_clip_page

RATE, HOVERS = 30, 100
UPPER, LOWER = [37, 38, 43, 44], [41, 40, 47, 46]


def rows(seconds: float, persons: int) -> Iterator[FrameResult]:
    """Records of a clip that nobody filmed."""
    rng = np.random.default_rng(0)
    face = 200 * (MEAN_SHAPE - MEAN_SHAPE.min(axis=0)) / np.ptp(MEAN_SHAPE, axis=0).max()
    for frame in range(round(seconds * RATE)):
        time_s, faces = frame / RATE, []
        for number in range(persons):
            if (time_s + 7 * number) % 60 < 4:
                continue
            shape, since = face.copy(), (time_s * (1 + 0.1 * number) + number) % 4
            if since < 0.2:
                shape[UPPER] += 0.85 * np.sin(np.pi * since / 0.2) * (shape[LOWER] - shape[UPPER])
            shape[:, 0] *= 1 - 0.2 * abs(np.sin(time_s / 5 + number))
            shape += rng.normal((150 + 500 * number, 300), 0.2, shape.shape)
            box = BBox.around(shape)
            faces.append(Face(number, box, shape, 0.95 + 0.04 * np.sin(time_s / 3), track_id=number))
        yield FrameResult.of_faces(
            "made-up.mp4", faces, width=500 * persons + 400, height=1080, frame=frame, timestamp_s=time_s
        )


def browse(page: Path) -> str:
    """Milliseconds of the page's thread until it is drawn, and for a value under the pointer."""
    chromium = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        return "No Playwright or no Chromium here: not looked at."
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"], timeout=0)
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        session = tab.context.new_cdp_session(tab)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})

        def spent() -> float:
            values = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
            return 1000 * float(values["TaskDuration"])

        tab.goto(page.resolve().as_uri(), timeout=0)
        tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        drawn = spent()
        tab.evaluate(
            """(count) => {
                const plot = document.querySelectorAll(".plot")[4], box = plot.getBoundingClientRect();
                for (let i = 0; i < count; i++) {
                    const clientX = box.left + box.width * i / count;
                    plot.dispatchEvent(new PointerEvent("pointermove", { clientX, clientY: box.top + 5 }));
                    document.body.offsetHeight;
                }
            }""",
            HOVERS,
        )
        hover = (spent() - drawn) / HOVERS
        browser.close()
    return f"Chromium: {drawn:.0f} ms until it is drawn, {hover:.1f} ms a value under the pointer."


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--persons", type=int, default=3)
    parser.add_argument("--page", type=Path, help="where to keep the page [default: nowhere]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        page = options.page or Path(temporary, "page.html")
        made = list(rows(60 * options.minutes, options.persons))
        begin = time.process_time()
        series = write_clip_page(page, made, overwrite=True)
        taken, faces = time.process_time() - begin, series.summary.faces
        sys.stdout.write(
            f"{series.summary.frames:,} frames, {faces:,} faces: {page.stat().st_size / 1e6:.2f} MB in {taken:.1f} s, "
            f"{1000 * taken / faces:.2f} ms a face.\n{browse(page)}\n"
        )


if __name__ == "__main__":
    main()
